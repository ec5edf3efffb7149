// Asks the members of a cluster to let this node in, or to record its new address: one after the other and again, following redirects to
// the leader, until one of them answers done.
import { DEFAULTS, SERVER, WIRE } from "../config.ts";
import { must } from "../lib/assert.ts";
import type { Clock } from "../lib/clock.ts";
import { type Failure, failure, RaftqError } from "../lib/errors.ts";
import type { ClusterId, Member } from "../raft/types.ts";
import type { Network } from "../wire/network.ts";
import { callNode } from "../wire/rpc.ts";
import type { LogEvent } from "./types.ts";

export interface JoinPorts {
  readonly network: Network;
  readonly clock: Clock;
  readonly log: (line: LogEvent) => void;
}

export type JoinResult =
  | { readonly ok: true; readonly clusterId: ClusterId }
  /** A final answer: the id is taken by a living node, the node was removed, or the address belongs to another cluster. */
  | { readonly ok: false; readonly error: RaftqError };

export interface JoinAttempt {
  readonly ports: JoinPorts;
  readonly self: Member;
  readonly addresses: readonly string[];
  /**
   * The cluster that has let this node in before. An address that leads elsewhere is only passed over then, and the cluster answers
   * REMOVED if it has removed this node since. Null: it has never been in one.
   */
  readonly known: ClusterId | null;
  readonly done: (result: JoinResult) => void;
  isOver: boolean;
  /** How many calls were made in turn. */
  turn: number;
  cancelTimer: () => void;
  /** What it waits for, for people. */
  state: string;
  /** By address, so that each text is logged once although the addresses answer in turns. */
  readonly logged: Map<string, string>;
}

/** `done` is called once, unless it is stopped before. */
export function startJoin(
  ports: JoinPorts,
  self: Member,
  addresses: readonly string[],
  known: ClusterId | null,
  done: JoinAttempt["done"],
): JoinAttempt {
  const join: JoinAttempt = {
    ports,
    self,
    addresses,
    known,
    done,
    isOver: false,
    turn: 0,
    cancelTimer: () => undefined,
    state: `asking ${addresses.join(", ")}`,
    logged: new Map(),
  };
  callNext(join);
  return join;
}

export function stopJoin(join: JoinAttempt): void {
  join.isOver = true;
  join.cancelTimer();
}

function callNext(join: JoinAttempt): void {
  const { addresses } = join;
  call(join, must(addresses[join.turn++ % addresses.length], "an address to ask"), false);
}

/** `isRedirected`: another node has just named this address. */
function call(join: JoinAttempt, address: string, isRedirected: boolean): void {
  if (join.isOver) return;
  const { network, clock } = join.ports;
  const { self: member, known } = join;
  const limits = { dialTimeoutMs: WIRE.dialTimeoutMs, timeoutMs: DEFAULTS.clientTimeoutMs };
  const target = { address, role: "admin", clusterId: known, ...limits } as const;
  const request = { type: "join", frameId: 1, member, comesBack: known !== null } as const;
  callNode({ network, clock, limits: WIRE }, target, request, (result) => {
    if (join.isOver) return;
    if (result.type !== "answer") return refused(join, address, result.why, isRedirected);
    const { message } = result;
    const clusterId = message.type === "done" ? message.clusterId : null;
    if (clusterId === null) return callLater(join);
    if (known === null || known === clusterId) return join.done({ ok: true, clusterId });
    const why = failure("CLUSTER_MISMATCH", `this is cluster ${clusterId}, not ${known}`);
    refused(join, address, why, isRedirected);
  });
}

function callLater(join: JoinAttempt): void {
  join.cancelTimer = join.ports.clock.after(SERVER.joinRetryMs, () => callNext(join));
}

function refused(join: JoinAttempt, address: string, why: Failure, isRedirected: boolean): void {
  const { leader } = why;
  if (why.code === "NOT_LEADER" && leader !== undefined && leader !== address) {
    logWaiting(join, address, `${address} sends us to the leader at ${leader}`);
    // At most one hop a round: two that name each other must not become a tight loop.
    if (isRedirected) return callLater(join);
    join.cancelTimer = join.ports.clock.after(0, () => call(join, leader, true));
    return;
  }
  const error = finalError(join, address, why);
  if (error !== null) return join.done({ ok: false, error });
  // Not its message: that may quote ours, and we would quote it in turn.
  const answered = why.code === "REJOINING" ? "it has lost its data too" : `${why.code}: ${why.message}`;
  logWaiting(join, address, `waiting to be let in: ${address} answers ${answered}`);
  callLater(join);
}

/** Null: another try may be answered otherwise. */
function finalError({ self, known }: JoinAttempt, address: string, { code, message }: Failure): RaftqError | null {
  if (code === "CONFLICT") {
    const advice = "Choose another --id, or stop the other node first";
    return new RaftqError(code, `the id ${self.id} is taken: ${message}. ${advice}`);
  }
  if (code === "REMOVED") return new RaftqError(code, `${address} refuses: ${message}`);
  if (known !== null) return null;
  if (code === "BAD_REQUEST") return new RaftqError("USAGE", `${address} cannot let this node in: ${message}`);
  const isElsewhere = code === "CLUSTER_MISMATCH" || code === "VERSION" || code === "UNAUTHORISED";
  return isElsewhere ? new RaftqError(code, `${address} refuses to let this node in: ${message}`) : null;
}

function logWaiting(join: JoinAttempt, address: string, text: string): void {
  join.state = text;
  if (join.logged.get(address) !== text) join.ports.log({ level: "info", event: "joining", text });
  join.logged.set(address, text);
}
