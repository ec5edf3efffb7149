// Plans `cluster up`. Pure: the size and port that were asked for, and what exists, in; the nodes to start, or a refusal, out.
import { CLUSTER, DEFAULTS } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import type { ClusterState, NodeRecord } from "./state.ts";

export const MAX_PORT = 65_535;

export interface UpRequest {
  readonly name: string;
  /** Null: resume the size of the data, else the default. */
  readonly size: number | null;
  readonly basePort: number | null;
}

export type UpPlan =
  | { readonly kind: "bootstrap"; readonly state: ClusterState }
  | { readonly kind: "resume"; readonly state: ClusterState };

export function planUp(request: UpRequest, existing: ClusterState | null): UpPlan {
  // What a purge has begun to delete is no data any more.
  if (existing === null || existing.purging) return { kind: "bootstrap", state: newClusterState(request) };
  const { nodes } = existing;
  if (request.size !== null && request.size !== nodes.length) {
    throw new RaftqError("USAGE", sizeMismatch(request.name, request.size, nodes.length));
  }
  const [first] = nodes;
  if (request.basePort !== null && first !== undefined && portOf(first) !== request.basePort + numberOf(first.id) - 1) {
    throw new RaftqError(
      "USAGE",
      `cluster "${request.name}" lives at ${first.address} and on: leave out --base-port, or start afresh with \`raftq cluster down --purge${nameFlag(request.name)}\``,
    );
  }
  return { kind: "resume", state: existing };
}

function newClusterState(request: UpRequest): ClusterState {
  const size = request.size ?? DEFAULTS.clusterSize;
  const basePort = request.basePort ?? DEFAULTS.port;
  if (basePort + size - 1 > MAX_PORT) {
    throw new RaftqError("USAGE", `--base-port ${basePort} leaves no room for ${size} ports: the last is ${MAX_PORT}`);
  }
  const nodes = Array.from({ length: size }, (_, i) => newNode(i + 1, basePort + i));
  return {
    name: request.name,
    pid: null,
    startTime: null,
    founders: nodes.map((node) => node.address),
    nextNumber: size + 1,
    purging: false,
    nodes,
  };
}

/** The record of one more local node, on the port that belongs to its number; the caller looks whether it is free. */
export function planAdd(state: ClusterState): NodeRecord {
  if (state.nodes.length >= CLUSTER.maxNodes) {
    throw new RaftqError("USAGE", `a local cluster has at most ${CLUSTER.maxNodes} nodes: remove one first`);
  }
  const [first] = state.nodes;
  const basePort = first === undefined ? DEFAULTS.port : portOf(first) - numberOf(first.id) + 1;
  const port = basePort + state.nextNumber - 1;
  if (port > MAX_PORT) throw new RaftqError("USAGE", `port ${port} of node n${state.nextNumber} is above ${MAX_PORT}`);
  return newNode(state.nextNumber, port);
}

/**
 * How many of `size` nodes may come back at another address at once. The others are found at their addresses in the log, and as a majority they
 * log the change; if a majority moved, no node would find enough members to elect a leader. A single node elects itself.
 */
export function movable(size: number): number {
  return size === 1 ? 1 : survivedFailures(size);
}

/** An even number tolerates no more failures than the odd number below it. */
export function evenSizeHint(size: number): string | null {
  if (size % 2 === 1) return null;
  const survived = survivedFailures;
  return `Hint: ${size} nodes survive as many failures as ${size - 1} do (${survived(size)}); ${size + 1} survive ${survived(size + 1)}.`;
}

const survivedFailures = (size: number): number => Math.floor((size - 1) / 2);

function sizeMismatch(name: string, asked: number, present: number): string {
  const way = asked > present ? "add" : "remove <node>";
  return (
    `cluster "${name}" has ${present} nodes, not ${asked}. Keep its data: \`raftq cluster up${nameFlag(name)}\`, then \`raftq cluster ${way}${nameFlag(name)}\`. ` +
    `Or start afresh, and lose its data: \`raftq cluster down --purge${nameFlag(name)}\``
  );
}

/** The flag as a person must repeat it: none for the default cluster. */
export function nameFlag(name: string): string {
  return name === "default" ? "" : ` --name ${name}`;
}

const newNode = (number: number, port: number): NodeRecord => ({
  id: `n${number}`,
  address: `${DEFAULTS.host}:${port}`,
  pid: null,
  startTime: null,
});

export const atPort = (node: NodeRecord, port: number): NodeRecord => ({
  ...node,
  address: `${DEFAULTS.host}:${port}`,
});

export const portOf = (node: { readonly address: string }): number =>
  Number(node.address.slice(node.address.lastIndexOf(":") + 1));
const numberOf = (id: string): number => Number(id.slice(1));
