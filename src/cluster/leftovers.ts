// Ends what a killed supervisor left behind: its nodes stop by themselves, but a paused one cannot.
import { rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { CLUSTER } from "../config.ts";
import type { Layout } from "./layout.ts";
import { type ProcessIdentity, processState, signalProcess } from "./processes.ts";
import { type ClusterState, identityOf, supervisorOf, writeClusterState } from "./state.ts";

export interface Leftover {
  readonly id: string;
  readonly pid: number;
  readonly was: "paused" | "running";
}

/** True while the supervisor named in the state runs. */
export function isSupervised(state: ClusterState): boolean {
  const supervisor = supervisorOf(state);
  return supervisor !== null && processState(supervisor) !== "gone";
}

/**
 * For a cluster whose supervisor has ended: ends its paused nodes, waits for the running ones (killing those that do not stop
 * in time), removes the stale socket, and writes down that nothing runs. Answers the nodes that had to be ended.
 */
export async function endLeftovers(layout: Layout, state: ClusterState): Promise<readonly Leftover[]> {
  const outcomes = await Promise.all(
    state.nodes.map(async (record): Promise<Leftover | null> => {
      const identity = identityOf(record);
      const was = identity === null ? null : await endLeftover(identity);
      return identity === null || was === null ? null : { id: record.id, pid: identity.pid, was };
    }),
  );
  if (state.pid !== null || state.nodes.some((node) => node.pid !== null)) {
    rmSync(layout.controlSocket, { force: true });
    const nodes = state.nodes.map(({ id, address }) => ({ id, address, pid: null, startTime: null }));
    writeClusterState(layout, { ...state, pid: null, startTime: null, nodes });
  }
  return outcomes.filter((outcome) => outcome !== null);
}

/** Null when it ended by itself; else what it was doing when it was killed. */
async function endLeftover(process: ProcessIdentity): Promise<Leftover["was"] | null> {
  const deadline = performance.now() + CLUSTER.stopTimeoutMs;
  let killed: Leftover["was"] | null = null;
  for (;;) {
    const state = processState(process);
    if (state === "gone") return killed;
    if (state === "paused" || performance.now() >= deadline) {
      killed ??= state;
      signalProcess(process, "SIGKILL");
    }
    await sleep(CLUSTER.pollMs);
  }
}
