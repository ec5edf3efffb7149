// How does a node join an existing cluster? It asks to be let in, follows redirects to the leader, waits, and asks again.
import { DEFAULTS, SERVER, WIRE } from "../config.ts";
import { type Failure, failure, RaftqError } from "../lib/errors.ts";
import { must } from "../lib/assert.ts";
import type { Clock } from "../lib/clock.ts";
import type { ClusterId, Member } from "../raft/types.ts";
import type { ConnectionLimits } from "../wire/connection.ts";
import type { Network } from "../wire/network.ts";
import { callNode } from "../wire/rpc.ts";
import type { LogEvent } from "./types.ts";

export const JOIN = {
  dialTimeoutMs: WIRE.dialTimeoutMs,
  answerTimeoutMs: DEFAULTS.clientTimeoutMs,
  joinRetryMs: SERVER.joinRetryMs,
} as const;

export interface JoinPorts {
  readonly network: Network;
  readonly clock: Clock;
  readonly limits: ConnectionLimits;
  readonly settings: typeof JOIN;
  readonly log: (line: LogEvent) => void;
}

export interface JoinAttempt {
  stop(): void;
  /** What it waits for, for people. */
  state(): string;
}

/**
 * Asks the nodes at `addresses`, one after the other and again, to let `self` in (or to record its new address), until one answers
 * done. `refused` is for final answers: the id is taken by a living node, or the address belongs to another cluster. A `known`
 * cluster has let this node in before: then an address that leads elsewhere is only passed over, and the cluster answers REMOVED if
 * it has removed this node since.
 */
export function join(
  ports: JoinPorts,
  self: Member,
  addresses: readonly string[],
  known: ClusterId | null,
  joined: (clusterId: ClusterId) => void,
  refused: (error: RaftqError) => void,
): JoinAttempt {
  let stopped = false;
  let turn = 0;
  let cancel: (() => void) | null = null;
  let present = `asking ${addresses.join(", ")}`;
  /** By address, so that each text is logged once although the addresses answer in turns. */
  const logged = new Map<string, string>();

  const logWaiting = (address: string, text: string): void => {
    present = text;
    if (logged.get(address) !== text) ports.log({ level: "info", event: "joining", text });
    logged.set(address, text);
  };
  const later = (): void => {
    cancel = ports.clock.after(ports.settings.joinRetryMs, () => attempt(nextAddress()));
  };
  const nextAddress = (): string => must(addresses[turn++ % addresses.length], "an address to ask");

  /** `sent`: another node has just named this address. */
  function attempt(address: string, sent = false): void {
    if (stopped) return;
    const request = { type: "join", frameId: 1, member: self, comesBack: known !== null } as const;
    const { dialTimeoutMs, answerTimeoutMs: timeoutMs } = ports.settings;
    const target = { address, role: "admin", clusterId: known, dialTimeoutMs, timeoutMs } as const;
    callNode(ports, target, request, (result) => {
      if (stopped) return;
      if (result.type !== "answer") return react(address, result.why, sent);
      const { message } = result;
      const cluster = message.type === "done" ? message.clusterId : null;
      if (cluster === null) return later();
      if (known === null || known === cluster) return joined(cluster);
      react(address, failure("CLUSTER_MISMATCH", `this is cluster ${cluster}, not ${known}`), sent);
    });
  }

  function react(address: string, why: Failure, sent: boolean): void {
    const { leader } = why;
    if (why.code === "NOT_LEADER" && leader !== undefined && leader !== address) {
      logWaiting(address, `${address} sends us to the leader at ${leader}`);
      // At most one hop a round: two that name each other must not become a tight loop.
      if (sent) return later();
      cancel = ports.clock.after(0, () => attempt(leader, true));
      return;
    }
    if (why.code === "CONFLICT") {
      const message = `the id ${self.id} is taken: ${why.message}. Choose another --id, or stop the other node first`;
      return refused(new RaftqError("CONFLICT", message));
    }
    if (why.code === "REMOVED") return refused(new RaftqError("REMOVED", `${address} refuses: ${why.message}`));
    if (why.code === "BAD_REQUEST" && known === null)
      return refused(new RaftqError("USAGE", `${address} cannot let this node in: ${why.message}`));
    const elsewhere = why.code === "CLUSTER_MISMATCH" || why.code === "VERSION" || why.code === "UNAUTHORISED";
    if (elsewhere && known === null) {
      return refused(new RaftqError(why.code, `${address} refuses to let this node in: ${why.message}`));
    }
    // Not its message: that may quote ours, and we would quote it in turn.
    const answered = why.code === "RECOVERING" ? "it has lost its data too" : `${why.code}: ${why.message}`;
    logWaiting(address, `waiting to be let in: ${address} answers ${answered}`);
    later();
  }

  attempt(nextAddress());
  return {
    stop: () => {
      stopped = true;
      cancel?.();
    },
    state: () => present,
  };
}
