// The status of a cluster: what the supervisor knows of the processes, joined with what each node reports.
import { setTimeout as sleep } from "node:timers/promises";
import { CLUSTER } from "../config.ts";
import { type Failure, RaftqError } from "../lib/errors.ts";
import type { MemberStatus, NodeState, NodeStatus } from "../wire/protocol.ts";
import type { NodeFacts } from "./control.ts";

/** What cluster commands ask of nodes, always as a client: there is no private interface. */
export interface NodeAccess {
  /** What the node at this address reports. */
  status(address: string): Promise<Answer>;
  /** True when this node answers a linearizable read: it leads, and a majority follows it now. */
  serves(address: string): Promise<boolean>;
  /** Null: done. */
  remove(addresses: readonly string[], id: string): Promise<Failure | null>;
  readmit(addresses: readonly string[], id: string): Promise<Failure | null>;
  /** To `to`, or to whom the leader chooses. Null: done. */
  transfer(addresses: readonly string[], to: string | null): Promise<Failure | null>;
  /** Why a node at these addresses and this program are incompatible; null: none of them is. */
  refusal(): Failure | null;
  close(): void;
}

/** Null: no node answers there. */
export type Answer = NodeStatus | NotServing | null;

/** Why a node does not serve although its process is there. */
export type NotServing =
  /** It has lost its data and waits to be let in again. */
  | { readonly rejoining: string }
  /** It is no member of a cluster yet. */
  | { readonly starting: string }
  /** It accepts connections, and does not answer in time. */
  | { readonly silent: true };

/** One line of `cluster status`. The numbers are null when the node could not be asked. */
export interface NodeLine {
  readonly id: string;
  readonly address: string;
  readonly pid: number | null;
  readonly state: NodeState | "rejoining" | "paused" | "unreachable" | "down";
  readonly term: number | null;
  readonly commitIndex: number | null;
  readonly appliedIndex: number | null;
  readonly lastIndex: number | null;
  readonly snapshotIndex: number | null;
  /** As the node reports: too little is free on its disk. */
  readonly diskLow: boolean | null;
  /** Of a node that rejoins: what from, and what it waits for. */
  readonly why?: string;
}

export interface ClusterStatus {
  /** Null for a cluster that `up` did not start here. */
  readonly name: string | null;
  readonly clusterId: string | null;
  readonly leader: string | null;
  readonly term: number;
  readonly nodes: readonly NodeLine[];
  /** As the leader reports, or the node with the newest term; empty when no node serves. */
  readonly members: readonly MemberLine[];
}

export type MemberLine = Pick<MemberStatus, "id" | "role" | "reachable">;

/** Asks all nodes at once. A node that is down or paused is not asked. */
export async function askStatus(name: string, nodes: readonly NodeFacts[], access: NodeAccess): Promise<ClusterStatus> {
  const answers = await Promise.all(
    nodes.map((node) => (node.process === "running" ? access.status(node.address) : Promise.resolve(null))),
  );
  return joinStatus(
    name,
    nodes.map((node, i) => ({ ...node, answer: answers[i] ?? null })),
  );
}

/** The cluster that these addresses lead to, members included that were not given. Throws when no node answers. */
export async function askStatusAt(addresses: readonly string[], access: NodeAccess): Promise<ClusterStatus> {
  const asked = new Map<string, Answer>();
  const ask = async (wanted: readonly string[]): Promise<void> => {
    const fresh = wanted.filter((address) => !asked.has(address));
    const answers = await Promise.all(fresh.map((address) => access.status(address)));
    fresh.forEach((address, i) => asked.set(address, answers[i] ?? null));
  };
  await ask(addresses);
  const first = newest([...asked.values()]);
  if (first === null) throw nobodyAnswers(addresses, access);
  await ask(first.members.map((member) => member.address));
  const newestAnswer = newest([...asked.values()]) ?? first;
  return joinStatus(
    null,
    newestAnswer.members.map(({ id, address }) => {
      const answer = asked.get(address) ?? null;
      return { id, address, pid: null, process: answer === null ? "down" : "running", answer };
    }),
  );
}

function nobodyAnswers(addresses: readonly string[], access: NodeAccess): RaftqError {
  const refusal = access.refusal();
  if (refusal !== null) return new RaftqError(refusal.code, `${refusal.message}.`);
  return new RaftqError("UNREACHABLE", `no node answers at ${addresses.join(", ")}.`);
}

type Asked = Pick<NodeFacts, "id" | "address" | "pid" | "process"> & { readonly answer: Answer };

/** What a serving node reports. */
export function serving(answer: Answer): NodeStatus | null {
  return answer !== null && "node" in answer ? answer : null;
}

/** Of two nodes that both claim to lead, the one with the higher term does. */
export function joinStatus(name: string | null, nodes: readonly Asked[]): ClusterStatus {
  const best = newest(nodes.map((node) => node.answer));
  const answers = nodes.map((node) => serving(node.answer));
  const leading = newest(answers.map((answer) => (answer?.state === "leader" ? answer : null)));
  return {
    name,
    clusterId: best?.clusterId ?? null,
    leader: leading?.node.id ?? null,
    term: best?.term ?? 0,
    nodes: nodes.map((node) => nodeLine(node, leading)),
    members: (leading ?? best)?.members.map(({ id, role, reachable }) => ({ id, role, reachable })) ?? [],
  };
}

/** Waits until a leader serves: its status, or null when `giveUp` returns true or the time is over. */
export async function waitForLeader(
  ask: () => Promise<ClusterStatus>,
  access: NodeAccess,
  giveUp: () => boolean,
): Promise<ClusterStatus | null> {
  const deadline = performance.now() + CLUSTER.leaderTimeoutMs;
  while (performance.now() < deadline && !giveUp()) {
    const status = await ask();
    const leader = status.nodes.find((node) => node.id === status.leader);
    if (leader !== undefined && (await access.serves(leader.address))) return status;
    await sleep(CLUSTER.pollMs);
  }
  return null;
}

/** How many voters serve or are about to, and how many it takes. */
export interface Majority {
  readonly voters: number;
  readonly left: number;
  readonly needed: number;
}

/** What is left of a cluster without `node`; null when no node named its members. */
export function majorityWithout(node: string, { nodes, members }: ClusterStatus): Majority | null {
  const voters = members.filter(({ role }) => role === "voter");
  if (voters.length === 0) return null;
  const left = voters.filter(({ id, reachable }) => {
    if (id === node) return false;
    const local = nodes.find((line) => line.id === id);
    return local === undefined ? reachable : !isOut(local);
  });
  return { voters: voters.length, left: left.length, needed: Math.floor(voters.length / 2) + 1 };
}

/** It does not vote until a person acts, or until there is a majority without it. */
function isOut({ state }: NodeLine): boolean {
  return state === "down" || state === "paused" || state === "unreachable" || state === "rejoining";
}

function newest(answers: readonly Answer[]): NodeStatus | null {
  let best: NodeStatus | null = null;
  for (const answer of answers.map(serving)) {
    if (
      answer !== null &&
      (best === null || answer.term > best.term || (answer.term === best.term && answer.state === "leader"))
    ) {
      best = answer;
    }
  }
  return best;
}

function nodeLine(node: Asked, leading: NodeStatus | null): NodeLine {
  const { id, address, pid } = node;
  const answer = serving(node.answer);
  return {
    id,
    address,
    pid,
    state: stateOf(node, leading),
    term: answer?.term ?? null,
    commitIndex: answer?.commitIndex ?? null,
    appliedIndex: answer?.appliedIndex ?? null,
    lastIndex: answer?.lastIndex ?? null,
    snapshotIndex: answer?.snapshotIndex ?? null,
    diskLow: answer?.members.find((member) => member.id === answer.node.id)?.diskLow ?? null,
    ...(node.answer !== null && "rejoining" in node.answer ? { why: node.answer.rejoining } : {}),
  };
}

function stateOf({ process, answer }: Asked, leading: NodeStatus | null): NodeLine["state"] {
  if (process !== "running") return process;
  if (answer === null || "starting" in answer) return "starting";
  if ("silent" in answer) return "unreachable";
  if ("rejoining" in answer) return "rejoining";
  // A leader of an older term does not know yet that it leads no more.
  return answer.state === "leader" && answer !== leading ? "follower" : answer.state;
}
