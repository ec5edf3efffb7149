// Checks that a leader which no majority answers steps down in time. What comes in from whom is seen on the way into the process, and judged
// by that machine's own clock.
import type { Raft } from "../../src/raft/raft.ts";
import { type MemberId, nodeIdOf } from "../../src/raft/types.ts";
import { holdsQuorum } from "./members.ts";
import type { SharedSettings } from "./plan.ts";
import type { SimTime } from "../kit/simulated-clock.ts";

/** The product doubts itself after one, at its next heartbeat. */
const ELECTION_TIMEOUTS = 2;

interface ObservedMachine {
  readonly id: string;
  readonly time: Pick<SimTime, "now">;
}

/** What is asked of a node's raft. */
type Leading = Pick<Raft, "self" | "currentTerm" | "configuration"> & {
  readonly leadership: { readonly since: number } | null;
};

export interface StepDownOracle {
  /** Bytes of `from`, whatever they hold, were given to the process of `machine`. */
  received(machine: ObservedMachine, from: string): void;
  /** Its clock or its process was disturbed: what it owes is counted from now on. */
  disturbed(machine: ObservedMachine): void;
  /** After every callback into its process. */
  observe(machine: ObservedMachine, raft: Leading): void;
}

export function createStepDownOracle(
  { electionMaxMs, heartbeatMs }: Pick<SharedSettings, "electionMaxMs" | "heartbeatMs">,
  fail: (what: string) => void,
): StepDownOracle {
  const limitMs = ELECTION_TIMEOUTS * electionMaxMs;
  /** By receiver and sender, in the receiver's time. */
  const receivedAt = new Map<string, Map<string, number>>();
  const disturbedAt = new Map<string, number>();
  /** It is asked once per heartbeat. */
  const judgedAt = new Map<string, number>();
  const configured = new Map<string, { readonly configuration: unknown; readonly at: number }>();

  const timesOf = (machine: ObservedMachine): Map<string, number> => {
    const known = receivedAt.get(machine.id) ?? new Map<string, number>();
    receivedAt.set(machine.id, known);
    return known;
  };

  return {
    received: (machine, from) => void timesOf(machine).set(from, machine.time.now()),
    disturbed: ({ id, time }) => void disturbedAt.set(id, time.now()),
    observe: (machine, raft) => {
      const { leadership, configuration, self } = raft;
      if (leadership === null) return;
      const now = machine.time.now();
      if (configured.get(machine.id)?.configuration !== configuration)
        configured.set(machine.id, { configuration, at: now });
      if (now - (judgedAt.get(machine.id) ?? 0) < heartbeatMs) return;
      judgedAt.set(machine.id, now);
      const from = Math.max(leadership.since, disturbedAt.get(machine.id) ?? 0, configured.get(machine.id)?.at ?? 0);
      const times = timesOf(machine);
      // Whichever incarnation lives on that machine by now.
      const lives = (member: MemberId): boolean =>
        member === self || now - Math.max(from, times.get(nodeIdOf(member)) ?? 0) <= limitMs;
      if (!holdsQuorum([configuration], lives))
        fail(`${machine.id} leads on in term ${raft.currentTerm}: nothing came from a majority for ${limitMs}ms`);
    },
  };
}
