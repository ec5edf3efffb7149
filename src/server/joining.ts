// How does a node become a member of an existing cluster? It asks, follows the leader, waits its turn, and asks again.
import { type Failure, RaftqError } from "../lib/errors.ts";
import { must } from "../lib/assert.ts";
import type { Clock } from "../lib/clock.ts";
import type { ClusterId, Member } from "../raft/types.ts";
import type { ConnectionLimits } from "../wire/connection.ts";
import type { Network } from "../wire/network.ts";
import { ask, type DialogueSettings } from "./dialogue.ts";
import type { LogEvent } from "./types.ts";

export interface JoinPorts {
  readonly network: Network;
  readonly clock: Clock;
  readonly limits: ConnectionLimits;
  readonly settings: DialogueSettings & { readonly joinRetryMs: number };
  readonly log: (line: LogEvent) => void;
}

export interface Joining {
  stop(): void;
}

/**
 * Asks the nodes at `addresses`, one after the other and again, to let `self` in (or to note its new address), until one says
 * done. `refused` is for final answers: the id is taken by a living node, or the address belongs to another cluster.
 */
export function join(
  ports: JoinPorts,
  self: Member,
  addresses: readonly string[],
  joined: (clusterId: ClusterId) => void,
  refused: (error: RaftqError) => void,
): Joining {
  let stopped = false;
  let turn = 0;
  let cancel: (() => void) | null = null;
  let lastSaid = "";

  const say = (text: string): void => {
    if (text !== lastSaid) ports.log({ level: "info", event: "joining", text });
    lastSaid = text;
  };
  const later = (): void => {
    cancel = ports.clock.after(ports.settings.joinRetryMs, () => attempt(nextAddress()));
  };
  const nextAddress = (): string => must(addresses[turn++ % addresses.length], "an address to ask");

  function attempt(address: string): void {
    if (stopped) return;
    ask(ports, ports.settings, address, { type: "join", frameId: 1, member: self }, (answer) => {
      if (stopped) return;
      if (answer.type === "answer") {
        const { message } = answer;
        if (message.type === "done" && message.clusterId !== null) return joined(message.clusterId);
        return later();
      }
      react(address, answer.failure);
    });
  }

  function react(address: string, why: Failure): void {
    if (why.code === "NOT_LEADER" && why.leader !== undefined && why.leader !== address) {
      say(`${address} sends us to the leader at ${why.leader}`);
      // At most one hop a round: a wrong hint must not become a tight loop.
      cancel = ports.clock.after(0, () => attempt(why.leader ?? address));
      return;
    }
    if (why.code === "CONFLICT") {
      const message = `the id ${self.id} is taken: ${why.message}. Choose another --id, or stop the other node first`;
      return refused(new RaftqError("CONFLICT", message));
    }
    if (why.code === "CLUSTER_MISMATCH" || why.code === "VERSION" || why.code === "UNAUTHORISED") {
      return refused(new RaftqError(why.code, `${address} refuses to let this node in: ${why.message}`));
    }
    say(`waiting to be let in: ${address} says ${why.code}: ${why.message}`);
    later();
  }

  attempt(nextAddress());
  return {
    stop: () => {
      stopped = true;
      cancel?.();
    },
  };
}
