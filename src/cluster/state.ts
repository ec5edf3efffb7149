// What does a local cluster remember between two runs? `cluster.json`: its nodes, its founders, and which processes are its own.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { RaftqError } from "../lib/errors.ts";
import { PRIVATE_DIRECTORY_MODE, requireOwn, requirePrivate } from "../storage/private-directory.ts";
import type { Layout } from "./layout.ts";
import type { ProcessIdentity } from "./processes.ts";

export interface NodeRecord {
  readonly id: string;
  readonly address: string;
  readonly pid: number | null;
  readonly startTime: string | null;
}

export interface ClusterState {
  readonly name: string;
  /** The supervisor, while there is one. */
  readonly pid: number | null;
  readonly startTime: string | null;
  /** The addresses that founded the cluster: given to those nodes at every start, so that an interrupted founding goes on. */
  readonly founders: readonly string[];
  /** The number of the next node that is added; a removed node's number is not used again, because its data stays. */
  readonly nextNumber: number;
  /** A purge began: whoever comes next finishes it. */
  readonly purging: boolean;
  readonly nodes: readonly NodeRecord[];
}

/** Null when this cluster was never started here. */
export function readClusterState(layout: Layout): ClusterState | null {
  let text: string;
  try {
    // Whoever owns it says where our clients go and what our processes are.
    requireOwn(layout.directory, process.geteuid?.());
    text = readFileSync(layout.stateFile, "utf8");
  } catch (error) {
    if (error instanceof RaftqError) throw error;
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw new RaftqError("UNWRITABLE", `cannot read ${layout.stateFile}: ${reason(error)}`, error);
  }
  const state = parseState(text);
  if (state === null) {
    throw new RaftqError(
      "UNWRITABLE",
      `${layout.stateFile} is not what \`cluster up\` writes: restore it, or move ${layout.directory} aside`,
    );
  }
  return state;
}

/** Complete or not at all: a supervisor killed in the middle leaves the previous state. */
export function writeClusterState(layout: Layout, state: ClusterState): void {
  const draft = `${layout.stateFile}.draft`;
  try {
    const file = openSync(draft, "w", 0o600);
    writeSync(file, `${JSON.stringify(state, null, 2)}\n`);
    fsyncSync(file);
    closeSync(file);
    renameSync(draft, layout.stateFile);
  } catch (error) {
    throw new RaftqError("UNWRITABLE", `cannot write ${layout.stateFile}: ${reason(error)}`, error);
  }
}

export function supervisorOf(state: ClusterState): ProcessIdentity | null {
  return identityOf(state);
}

/** The process behind a record of cluster.json, dead or alive. */
export function identityOf(record: {
  readonly pid: number | null;
  readonly startTime: string | null;
}): ProcessIdentity | null {
  return record.pid === null || record.startTime === null ? null : { pid: record.pid, startTime: record.startTime };
}

/** Creates `.raftq/<name>` with its marker. A directory of another origin is refused, so that a purge can never delete it. */
export function createClusterDirectory(layout: Layout): void {
  try {
    mkdirSync(layout.directory, { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
    requirePrivate(layout.directory, process.geteuid?.(), existsSync(layout.marker));
    if (existsSync(layout.marker)) return;
    // An empty directory is what a kill between the two steps leaves.
    if (readdirSync(layout.directory).length > 0) {
      throw new RaftqError(
        "USAGE",
        `${layout.directory} exists and was not made by \`raftq cluster up\`: choose another --name, or move it aside`,
      );
    }
    closeSync(openSync(layout.marker, "w", 0o600));
  } catch (error) {
    if (error instanceof RaftqError) throw error;
    throw new RaftqError("UNWRITABLE", `cannot create ${layout.directory}: ${reason(error)}`, error);
  }
}

/** Deletes what `up` created, the state last; answers the names of files that others put there and that stay. */
export function purgeCluster(layout: Layout, state: ClusterState | null): readonly string[] {
  if (!existsSync(layout.marker)) {
    throw new RaftqError(
      "USAGE",
      `${layout.directory} was not made by \`raftq cluster up\` and is not deleted: remove it by hand if you are sure`,
    );
  }
  if (state !== null) writeClusterState(layout, { ...state, pid: null, startTime: null, purging: true });
  const own = /^(n[1-9]\d*(\.log(\.1)?)?|supervisor\.log|tls(\.draft-\w+)?|control\.sock|cluster\.json\.draft|LOCK)$/;
  for (const name of readdirSync(layout.directory)) {
    if (own.test(name)) rmSync(join(layout.directory, name), { recursive: true, force: true });
  }
  for (const path of [layout.stateFile, layout.marker]) rmSync(path, { force: true });
  const left = readdirSync(layout.directory);
  if (left.length === 0) rmdirSync(layout.directory);
  return left;
}

function parseState(text: string): ClusterState | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(value)) return null;
  const { name, founders, nextNumber, purging, nodes } = value;
  const supervisor = parseProcess(value);
  if (supervisor === null || typeof name !== "string" || typeof purging !== "boolean") return null;
  if (!isNumber(nextNumber) || !Array.isArray(founders) || !Array.isArray(nodes)) return null;
  const records: NodeRecord[] = [];
  for (const node of nodes) {
    const record = parseNode(node);
    if (record === null) return null;
    records.push(record);
  }
  const addresses = founders.filter((founder) => typeof founder === "string");
  return { name, ...supervisor, founders: addresses, nextNumber, purging, nodes: records };
}

function parseNode(value: unknown): NodeRecord | null {
  if (!isObject(value)) return null;
  const { id, address } = value;
  const process = parseProcess(value);
  if (process === null || typeof id !== "string" || typeof address !== "string") return null;
  return { id, address, ...process };
}

function parseProcess(value: Record<string, unknown>): { pid: number | null; startTime: string | null } | null {
  const { pid, startTime } = value;
  if (pid === null && startTime === null) return { pid, startTime };
  return isNumber(pid) && typeof startTime === "string" ? { pid, startTime } : null;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
const isNumber = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) > 0;

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
