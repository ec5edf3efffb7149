// `raftq cluster down`: stops all nodes gracefully; with --purge their data is deleted too.
import { clusterLayout, ROOT } from "../cluster/layout.ts";
import { askSupervisor } from "../cluster/control.ts";
import { lockCluster } from "../cluster/lock.ts";
import type { DirectoryLock } from "../storage/lock.ts";
import { purgeCluster, readClusterState } from "../cluster/state.ts";
import type { Layout } from "../cluster/layout.ts";
import { setTimeout as sleep } from "node:timers/promises";
import { CLUSTER } from "../config.ts";
import { EXIT, RaftqError } from "../lib/errors.ts";
import { command } from "./arguments.ts";
import { JSON_FLAG, type LocalCluster, localCluster, NAME, reportLeftovers } from "./cluster-arguments.ts";
import { canAsk, confirm } from "./confirm.ts";
import { messages } from "./log.ts";

export const downCommand = command({
  name: "raftq cluster down",
  description: "Stop all nodes of a local cluster, and keep their data",
  examples: ["raftq cluster down", "raftq cluster down --name test --purge --yes"],
  args: {
    ...NAME,
    purge: { type: "boolean", description: "Delete the data, the logs and all else that `up` created" },
    yes: { type: "boolean", alias: "y", description: "Do not ask before --purge deletes it" },
    ...JSON_FLAG,
  },
  run: async ({ name, purge, yes, json }) => {
    if (purge && !yes && !canAsk()) {
      throw new RaftqError(
        "USAGE",
        "--purge deletes the data for good, and nobody can be asked here: give --yes as well. Nothing was stopped or deleted.",
      );
    }
    const cluster = await localCluster(name);
    reportLeftovers(cluster);
    const { layout, running } = cluster;
    if (purge && !yes && !(await confirm(purgeQuestion(cluster)))) {
      messages.info("Nothing was stopped or deleted.");
      return EXIT.failed;
    }
    if (running)
      await askSupervisor(layout.controlSocket, { command: "down" }, CLUSTER.stopTimeoutMs + CLUSTER.controlTimeoutMs);
    const left = purge ? await purgeStopped(layout) : [];
    if (json) process.stdout.write(`${JSON.stringify({ name, stopped: running, purged: purge })}\n`);
    else process.stdout.write(`${summaryOf(name, running, purge)}\n`);
    if (left.length > 0)
      messages.warn(`Not deleted, because \`up\` did not create it: ${left.join(", ")} in ${layout.directory}`);
    return EXIT.ok;
  },
});

function purgeQuestion({ layout, facts, running }: LocalCluster): string {
  const data = `the data of ${facts.nodes.map(({ id }) => id).join(", ")} in ${layout.directory} for good?`;
  return running ? `Stop cluster "${facts.name}" and delete ${data}` : `Delete ${data}`;
}

function summaryOf(name: string, wasRunning: boolean, purged: boolean): string {
  const stopped = wasRunning ? `Cluster "${name}" is stopped` : `Cluster "${name}" was not running`;
  return purged ? `${stopped}; its data is deleted.` : `${stopped}; its data is kept.`;
}

/** The lock keeps an `up` of another terminal from starting nodes in directories that are being deleted. */
async function purgeStopped(layout: Layout): Promise<readonly string[]> {
  const lock = await waitForLock(layout);
  try {
    return purgeCluster(layout, readClusterState(layout));
  } finally {
    lock.release();
  }
}

/** A supervisor gives up its lock only when its process ends, a moment after it answered. */
async function waitForLock(layout: Layout): Promise<DirectoryLock> {
  const deadline = performance.now() + CLUSTER.controlTimeoutMs;
  while (performance.now() < deadline) {
    const lock = lockCluster(layout);
    if (lock !== null) return lock;
    await sleep(CLUSTER.pollMs);
  }
  throw new RaftqError(
    "LOCKED",
    `another \`raftq cluster\` command uses ${clusterLayout(ROOT, layout.name).directory}; nothing was deleted.`,
  );
}
