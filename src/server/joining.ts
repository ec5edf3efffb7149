// How does a node become a member of an existing cluster? It asks, follows the leader, waits its turn, and asks again.
import { DEFAULTS, SERVER, WIRE } from "../config.ts";
import { type Failure, failure, RaftqError } from "../lib/errors.ts";
import { must } from "../lib/assert.ts";
import type { Clock } from "../lib/clock.ts";
import type { ClusterId, Member } from "../raft/types.ts";
import type { ConnectionLimits } from "../wire/connection.ts";
import type { Network } from "../wire/network.ts";
import { ask, type DialogueSettings } from "./dialogue.ts";
import type { LogEvent } from "./types.ts";

export const JOINING = {
  protocolVersion: WIRE.protocolVersion,
  dialTimeoutMs: WIRE.dialTimeoutMs,
  answerTimeoutMs: DEFAULTS.clientTimeoutMs,
  joinRetryMs: SERVER.joinRetryMs,
} as const;

export interface JoinPorts {
  readonly network: Network;
  readonly clock: Clock;
  readonly limits: ConnectionLimits;
  readonly settings: DialogueSettings & { readonly joinRetryMs: number };
  readonly log: (line: LogEvent) => void;
}

export interface Joining {
  stop(): void;
  /** What it waits for, for people. */
  state(): string;
}

/**
 * Asks the nodes at `addresses`, one after the other and again, to let `self` in (or to note its new address), until one says
 * done. `refused` is for final answers: the id is taken by a living node, or the address belongs to another cluster. A `known`
 * cluster has let this node in before: then an address that leads elsewhere is only passed over, and the cluster says whether it
 * has removed this node since.
 */
export function join(
  ports: JoinPorts,
  self: Member,
  addresses: readonly string[],
  known: ClusterId | null,
  joined: (clusterId: ClusterId) => void,
  refused: (error: RaftqError) => void,
): Joining {
  let stopped = false;
  let turn = 0;
  let cancel: (() => void) | null = null;
  let present = `asking ${addresses.join(", ")}`;
  /** By address, so that each is told once although they answer in turns. */
  const said = new Map<string, string>();

  const say = (address: string, text: string): void => {
    present = text;
    if (said.get(address) !== text) ports.log({ level: "info", event: "joining", text });
    said.set(address, text);
  };
  const later = (): void => {
    cancel = ports.clock.after(ports.settings.joinRetryMs, () => attempt(nextAddress()));
  };
  const nextAddress = (): string => must(addresses[turn++ % addresses.length], "an address to ask");

  /** `sent`: another node has just named this address. */
  function attempt(address: string, sent = false): void {
    if (stopped) return;
    const question = { type: "join", frameId: 1, member: self, comesBack: known !== null } as const;
    ask(ports, ports.settings, address, known, question, (answer) => {
      if (stopped) return;
      if (answer.type === "failed") return react(address, answer.failure, sent);
      const { message } = answer;
      const cluster = message.type === "done" ? message.clusterId : null;
      if (cluster === null) return later();
      if (known === null || known === cluster) return joined(cluster);
      react(address, failure("CLUSTER_MISMATCH", `this is cluster ${cluster}, not ${known}`), sent);
    });
  }

  function react(address: string, why: Failure, sent: boolean): void {
    const { leader } = why;
    if (why.code === "NOT_LEADER" && leader !== undefined && leader !== address) {
      say(address, `${address} sends us to the leader at ${leader}`);
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
    // Not what it says: it may be quoting us, and we would quote it in turn.
    const says = why.code === "RECOVERING" ? "it has lost its data too" : `${why.code}: ${why.message}`;
    say(address, `waiting to be let in: ${address} says ${says}`);
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
