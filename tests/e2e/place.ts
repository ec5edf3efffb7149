// What do the tests of local clusters share? A directory of their own, ports that nobody uses, and waits with a name.
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ClusterFacts } from "../../src/cluster/control.ts";
import { clusterLayout, type Layout } from "../../src/cluster/layout.ts";
import type { NodeEnd } from "../../src/cluster/node-process.ts";
import { identify } from "../../src/cluster/processes.ts";
import type { Supervisor } from "../../src/cluster/supervisor.ts";
import { bringUp, type UpResult } from "../../src/cluster/up.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import { freePortRow } from "../kit/free-ports.ts";

export const FAKE_PROGRAM: readonly string[] = [process.execPath, join(import.meta.dir, "fake-node.ts")];

export interface Death {
  readonly id: string;
  readonly end: NodeEnd;
}

export interface Place {
  readonly root: string;
  readonly layout: Layout;
  readonly basePort: number;
  /** Nodes that ended by themselves, over all supervisors of this place. */
  readonly deaths: readonly Death[];
  up(size: number | null, basePort?: number | null): Promise<UpResult>;
  started(size: number | null): Promise<Supervisor>;
  /** Runs when the test is over, however it ended. */
  atEnd(work: () => void): void;
}

/** Whatever a test leaves running in its place is stopped when it ends. */
export async function inPlace(work: (place: Place) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), "raftq-cluster-"));
  const layout = clusterLayout(root, "default");
  const deaths: Death[] = [];
  const supervisors: Supervisor[] = [];
  const endings: (() => void)[] = [];
  const basePort = freePortRow(7);
  const place: Place = {
    root,
    layout,
    basePort,
    deaths,
    up: async (size, port = basePort) => {
      const result = await bringUp({
        layout,
        request: { name: "default", size, basePort: port },
        program: FAKE_PROGRAM,
        nodeFlags: [],
        tls: false,
        onNodeDied: (id, end) => deaths.push({ id, end }),
      });
      if (result.kind === "started") supervisors.push(result.supervisor);
      return result;
    },
    started: async (size) => {
      const result = await place.up(size);
      if (result.kind !== "started") throw new Error("it was running already");
      await listening(result.supervisor.facts());
      return result.supervisor;
    },
    atEnd: (end) => endings.push(end),
  };
  try {
    await work(place);
  } finally {
    for (const end of endings) end();
    await Promise.all(
      supervisors.map((supervisor) => supervisor.stopNow().then(() => supervisor.stopped.catch(expectLost))),
    );
    rmSync(root, { recursive: true, force: true });
  }
}

export async function waitFor<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + 8_000;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`waited without success for ${what}`);
    await Bun.sleep(10);
  }
}

function expectLost(error: unknown): void {
  if (!(error instanceof RaftqError) || error.code !== "DISK_FAILED") throw error;
}

/** Why `attempt` was refused. */
export async function refusal(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt;
  } catch (error) {
    return error instanceof RaftqError ? error.message : `not a RaftqError: ${String(error)}`;
  }
  return "not refused";
}

/** All running nodes have opened their ports: they have installed their signal handlers before. */
export function listening(facts: ClusterFacts): Promise<true> {
  const ports = facts.nodes.filter((node) => node.pid !== null).map((node) => Number(node.address.split(":")[1]));
  return waitFor(
    "the nodes to listen",
    async () => (await Promise.all(ports.map(answers))).every(Boolean) || undefined,
  );
}

/** Neither gone nor a zombie that nobody has waited for yet. */
export function isAlive(pid: number): boolean {
  return identify(pid) !== null;
}

/** Asked by connecting: to listen there for a moment would take the port from the node. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
