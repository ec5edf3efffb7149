// What a local cluster keeps between two runs, in `cluster.json`: its nodes, its founders, and which processes are its own.
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
import { dirname, join, resolve } from "node:path";
import * as v from "valibot";
import { RaftqError } from "../lib/errors.ts";
import { isNodeId } from "../raft/types.ts";
import { PRIVATE_DIRECTORY_MODE, requireOwn, requirePrivate } from "../storage/directory-checks.ts";
import { isAddress } from "../wire/address.ts";
import { problemIn } from "./json.ts";
import { clusterLayout, isClusterName, type Layout } from "./layout.ts";
import type { ProcessIdentity } from "./processes.ts";

const COUNT = v.pipe(v.number(), v.safeInteger("a whole number"), v.minValue(1));
const ADDRESS = v.pipe(v.string(), v.check(isAddress, "an address such as 127.0.0.1:3000"));
/** Both null: there is no such process. */
const PROCESS = { pid: v.nullable(COUNT), startTime: v.nullable(v.string()) };
const isWhole = ({ pid, startTime }: { readonly pid: unknown; readonly startTime: unknown }): boolean =>
  (pid === null) === (startTime === null);
const NOT_WHOLE = "a process with both pid and startTime, or with neither";

const NODE = v.pipe(
  v.strictObject({ id: v.pipe(v.string(), v.check(isNodeId, "a node id such as n1")), address: ADDRESS, ...PROCESS }),
  v.check((read) => isWhole(read), NOT_WHOLE),
  v.readonly(),
);
export type NodeRecord = v.InferOutput<typeof NODE>;

const STATE = v.pipe(
  v.strictObject({
    name: v.string(),
    // The supervisor, while there is one.
    ...PROCESS,
    // The addresses that founded the cluster: given to those nodes at every start, so that an interrupted bootstrap goes on.
    founders: v.pipe(v.array(ADDRESS), v.readonly()),
    // The number of the next node that is added; a removed node's number is not used again, because its data stays.
    nextNumber: COUNT,
    // A purge began: the next `up` or `down` finishes it.
    purging: v.boolean(),
    nodes: v.pipe(v.array(NODE), v.readonly()),
  }),
  v.check((read) => isWhole(read), NOT_WHOLE),
  v.readonly(),
);
export type ClusterState = v.InferOutput<typeof STATE>;

const STATE_FILE = v.pipe(v.string(), v.parseJson(), STATE);

/** Null when this cluster was never started here. */
export function readClusterState(layout: Layout): ClusterState | null {
  let text: string;
  try {
    // Its owner decides where our clients go and what our processes are.
    requireOwn(layout.directory, process.geteuid?.());
    text = readFileSync(layout.stateFile, "utf8");
  } catch (error) {
    if (error instanceof RaftqError) throw error;
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw new RaftqError("UNWRITABLE", `cannot read ${layout.stateFile}: ${reason(error)}`, error);
  }
  const read = v.safeParse(STATE_FILE, text);
  if (read.success) return read.output;
  throw new RaftqError(
    "UNWRITABLE",
    `${layout.stateFile} is not what \`cluster up\` writes (${problemIn(read.issues)}): restore it, use the raftq that wrote it, or move ${layout.directory} aside`,
  );
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

/**
 * The clusters below `root`, by name: the directories that `up` created or left a state in. Throws UNWRITABLE when `root` cannot be
 * read: then it is not known whether there are any.
 */
export function clustersUnder(root: string): readonly Layout[] {
  return namesIn(root)
    .filter(isClusterName)
    .toSorted()
    .map((name) => clusterLayout(root, name))
    .filter(({ stateFile, marker }) => existsSync(stateFile) || existsSync(marker));
}

function namesIn(root: string): readonly string[] {
  try {
    return readdirSync(root);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw new RaftqError("UNWRITABLE", `cannot read ${root}: ${reason(error)}`, error);
  }
}

export function supervisorOf(state: ClusterState): ProcessIdentity | null {
  return identityOf(state);
}

/** The process behind a record of cluster.json, running or ended. */
export function identityOf(record: {
  readonly pid: number | null;
  readonly startTime: string | null;
}): ProcessIdentity | null {
  return record.pid === null || record.startTime === null ? null : { pid: record.pid, startTime: record.startTime };
}

/**
 * Creates `.raftq/<name>` with the file that identifies it. A directory of another origin is refused, so that a purge can never delete it. Answers the
 * first directory that had to be made, this one or one above it; null: it was there.
 */
export function createClusterDirectory(layout: Layout): string | null {
  try {
    const made = mkdirSync(layout.directory, { recursive: true, mode: PRIVATE_DIRECTORY_MODE }) ?? null;
    requirePrivate(layout.directory, process.geteuid?.(), existsSync(layout.marker));
    if (existsSync(layout.marker)) return made;
    // An empty directory is what a kill between the two steps leaves.
    if (readdirSync(layout.directory).length > 0) {
      throw new RaftqError(
        "USAGE",
        `${layout.directory} exists and was not made by \`raftq cluster up\`: choose another --name, or move it aside`,
      );
    }
    closeSync(openSync(layout.marker, "w", 0o600));
    return made;
  } catch (error) {
    if (error instanceof RaftqError) throw error;
    throw new RaftqError("UNWRITABLE", `cannot create ${layout.directory}: ${reason(error)}`, error);
  }
}

/** Undoes `createClusterDirectory`, which made `made`, and whatever `up` put there since: nothing of it was ever used. */
export function removeCreated(layout: Layout, made: string): void {
  if (purgeCluster(layout, null).length > 0) return;
  const top = resolve(made);
  for (let at = resolve(layout.directory); at !== top && at !== dirname(at);) {
    at = dirname(at);
    // Another process may use it meanwhile.
    if (readdirSync(at).length > 0) return;
    rmdirSync(at);
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

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
