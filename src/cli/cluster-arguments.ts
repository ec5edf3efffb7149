// The flags that the commands of `raftq cluster` share, and which cluster they mean.
import { type ClusterFacts } from "../cluster/control.ts";
import { clusterLayout, type Layout, ROOT } from "../cluster/layout.ts";
import { endLeftovers, type Leftover } from "../cluster/leftovers.ts";
import { lockCluster } from "../cluster/lock.ts";
import { nameFlag } from "../cluster/plan.ts";
import type { MovedNode } from "../cluster/ports.ts";
import { readClusterState } from "../cluster/state.ts";
import type { NodeAccess } from "../cluster/status.ts";
import { findRunning } from "../cluster/up.ts";
import { RaftqError } from "../lib/errors.ts";
import type { Arguments, Values } from "./arguments.ts";
import { list } from "./conversions.ts";
import { CREDENTIAL_ARGUMENTS, credentialFiles, localCredentials } from "./credentials.ts";
import { messages } from "./log.ts";
import { openNodeAccess } from "./node-access.ts";

export const NAME = {
  name: {
    type: "string",
    description: "Which local cluster",
    valueHint: "name",
    default: "default",
    insteadOf: "addr",
  },
} as const satisfies Arguments;

export const JSON_FLAG = {
  json: { type: "boolean", description: "Answer as one JSON object" },
} as const satisfies Arguments;

export const ADDRESS = {
  addr: {
    type: "string",
    convert: list,
    description: "Ask the cluster at these addresses instead of a local one",
    valueHint: "host:port,host:port",
  },
  ...CREDENTIAL_ARGUMENTS,
} as const satisfies Arguments;

/** To ask the nodes with: what was given, else what the local cluster has. */
export function accessTo(values: Values<typeof NAME & typeof ADDRESS>): NodeAccess {
  const local = values.addr === undefined ? localCredentials(clusterLayout(ROOT, values.name), "admin") : null;
  return openNodeAccess(credentialFiles(values) ?? local);
}

export const NODE_NAME = {
  node: { type: "positional", required: true, description: "A node such as n3, or: leader" },
} as const satisfies Arguments;

export type LocalCluster =
  | { readonly running: true; readonly layout: Layout; readonly facts: ClusterFacts }
  /** Its data is here, but no supervisor runs. Nodes that a killed one had left paused were ended just now. */
  | {
      readonly running: false;
      readonly layout: Layout;
      readonly facts: ClusterFacts;
      readonly leftovers: readonly Leftover[];
    };

/** Throws UNREACHABLE when `up` never started this cluster here. */
export async function localCluster(name: string): Promise<LocalCluster> {
  const layout = clusterLayout(ROOT, name);
  const running = await findRunning(layout);
  if (running !== null) return { running: true, layout, facts: running };
  const state = readClusterState(layout);
  if (state === null) {
    throw new RaftqError(
      "UNREACHABLE",
      `there is no cluster "${name}" in this directory: \`raftq cluster up${nameFlag(name)}\` starts one.`,
    );
  }
  const lock = lockCluster(layout);
  // The holder of the lock is ending the leftovers already.
  const leftovers = lock === null ? [] : await endLeftovers(layout, state).finally(() => lock.release());
  const nodes = state.nodes.map(
    ({ id, address }) => ({ id, address, pid: null, process: "down", ended: null }) as const,
  );
  return { running: false, layout, facts: { name, pid: null, nodes }, leftovers };
}

/** Throws CLUSTER_DOWN when no supervisor runs. */
export async function runningCluster(name: string): Promise<LocalCluster & { readonly running: true }> {
  const cluster = await localCluster(name);
  reportLeftovers(cluster);
  if (cluster.running) return cluster;
  throw new RaftqError(
    "CLUSTER_DOWN",
    `cluster "${name}" is down: \`raftq cluster up${nameFlag(name)}\` starts it again.`,
  );
}

export function reportLeftovers(cluster: LocalCluster): void {
  if (!cluster.running) messages.info(...leftoverNotices(cluster.leftovers));
}

export function leftoverNotices(leftovers: readonly Leftover[]): readonly string[] {
  return leftovers.map(
    ({ id, pid, was }) => `${id} (pid ${pid}) was left ${was} by a supervisor that was killed: ended it.`,
  );
}

export function movedNotices(moved: readonly MovedNode[]): readonly string[] {
  return moved.map(({ id, from, to }) => `${from} is in use by another program: ${id} listens on ${to} from now on.`);
}
