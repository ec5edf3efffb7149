// Does the judge of leaders that hear nobody judge? By the leader's own clock, and not while something held it up.
import { expect, test } from "bun:test";
import { idOf, member, TIMES } from "../raft/cluster.ts";
import { createDoubts, type Doubts } from "./doubts.ts";

const HEARTBEATS = 40;
const configuration = { voters: ["n1", "n2", "n3"].map((id) => member(id)), outgoing: [], learners: [], removed: [] };

/** What is said of n1, who leads, when this happens at each of its heartbeats, the last ones far behind two election timeouts. */
function verdict(
  happens: (doubts: Doubts, machine: Parameters<Doubts["disturbed"]>[0], heartbeat: number) => void,
): string | null {
  const failures: string[] = [];
  const doubts = createDoubts(TIMES, (what) => void failures.push(what));
  let now = 1_000;
  const machine = { id: "n1", time: { now: () => now } };
  const raft = { self: idOf("n1"), currentTerm: 3, configuration, leadership: { since: now } };
  for (let heartbeat = 1; heartbeat <= HEARTBEATS; heartbeat++) {
    now += TIMES.heartbeatMs;
    happens(doubts, machine, heartbeat);
    doubts.observe(machine, raft);
  }
  return failures[0] ?? null;
}

test("a leader that hears nobody must step down", () => {
  expect(verdict(() => {})).toBe("n1 leads on in term 3: nothing came from a majority for 1200ms");
});

test("one other of three is a majority with it; its own bytes are nobody's", () => {
  expect(verdict((doubts, machine) => doubts.received(machine, "n2"))).toBeNull();
  expect(verdict((doubts, machine) => doubts.received(machine, "n1"))).not.toBeNull();
  expect(verdict((doubts, machine) => doubts.received(machine, "client1"))).not.toBeNull();
});

test("two election timeouts count from what came last, and from what held the leader up", () => {
  const until = (last: number) => (doubts: Doubts, machine: Parameters<Doubts["disturbed"]>[0], heartbeat: number) => {
    if (heartbeat === last) doubts.received(machine, "n3");
  };
  expect(verdict(until(HEARTBEATS - 25))).not.toBeNull();
  expect(verdict(until(HEARTBEATS - 24))).toBeNull();
  const held = (doubts: Doubts, machine: Parameters<Doubts["disturbed"]>[0], heartbeat: number): void => {
    if (heartbeat === HEARTBEATS - 24) doubts.disturbed(machine);
  };
  expect(verdict(held)).toBeNull();
});
