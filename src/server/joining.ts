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
 * done. `refused` is for final answers: the id is taken by a living node, or the address belongs to another cluster. With a
 * `known` cluster, an address that leads elsewhere is only passed over.
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

  function attempt(address: string): void {
    if (stopped) return;
    ask(ports, ports.settings, address, known, { type: "join", frameId: 1, member: self }, (answer) => {
      if (stopped) return;
      if (answer.type === "failed") return react(address, answer.failure);
      const { message } = answer;
      const cluster = message.type === "done" ? message.clusterId : null;
      if (cluster === null) return later();
      if (known === null || known === cluster) return joined(cluster);
      react(address, failure("CLUSTER_MISMATCH", `this is cluster ${cluster}, not ${known}`));
    });
  }

  function react(address: string, why: Failure): void {
    if (why.code === "NOT_LEADER" && why.leader !== undefined && why.leader !== address) {
      say(address, `${address} sends us to the leader at ${why.leader}`);
      // At most one hop a round: a wrong hint must not become a tight loop.
      cancel = ports.clock.after(0, () => attempt(why.leader ?? address));
      return;
    }
    if (why.code === "CONFLICT") {
      const message = `the id ${self.id} is taken: ${why.message}. Choose another --id, or stop the other node first`;
      return refused(new RaftqError("CONFLICT", message));
    }
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
