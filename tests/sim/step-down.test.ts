// Does the judge of leaders that receive nothing judge? By the leader's own clock, and not while something held it up.
import { expect, test } from "bun:test";

import { createStepDownOracle, type StepDownOracle } from "./step-down.ts";
import { TIMES, idOf, member } from "../kit/raft-samples.ts";

const HEARTBEATS = 40;
const configuration = { voters: ["n1", "n2", "n3"].map((id) => member(id)), outgoing: [], learners: [], removed: [] };

/** The verdict on n1, which leads, when this happens at each of its heartbeats, the last ones far behind two election timeouts. */
function verdict(
  happens: (stepDown: StepDownOracle, machine: Parameters<StepDownOracle["disturbed"]>[0], heartbeat: number) => void,
): string | null {
  const failures: string[] = [];
  const stepDown = createStepDownOracle(TIMES, (what) => void failures.push(what));
  let now = 1_000;
  const machine = { id: "n1", time: { now: () => now } };
  const raft = { self: idOf("n1"), currentTerm: 3, configuration, leadership: { since: now } };
  for (let heartbeat = 1; heartbeat <= HEARTBEATS; heartbeat++) {
    now += TIMES.heartbeatMs;
    happens(stepDown, machine, heartbeat);
    stepDown.observe(machine, raft);
  }
  return failures[0] ?? null;
}

test("a leader that receives nothing must step down", () => {
  expect(verdict(() => {})).toBe("n1 leads on in term 3: nothing came from a majority for 1200ms");
});

test("one other of three is a majority with it; its own bytes are nobody's", () => {
  expect(verdict((stepDown, machine) => stepDown.received(machine, "n2"))).toBeNull();
  expect(verdict((stepDown, machine) => stepDown.received(machine, "n1"))).not.toBeNull();
  expect(verdict((stepDown, machine) => stepDown.received(machine, "client1"))).not.toBeNull();
});

test("two election timeouts count from what came last, and from what held the leader up", () => {
  const until =
    (last: number) =>
    (stepDown: StepDownOracle, machine: Parameters<StepDownOracle["disturbed"]>[0], heartbeat: number) => {
      if (heartbeat === last) stepDown.received(machine, "n3");
    };
  expect(verdict(until(HEARTBEATS - 25))).not.toBeNull();
  expect(verdict(until(HEARTBEATS - 24))).toBeNull();
  const held = (
    stepDown: StepDownOracle,
    machine: Parameters<StepDownOracle["disturbed"]>[0],
    heartbeat: number,
  ): void => {
    if (heartbeat === HEARTBEATS - 24) stepDown.disturbed(machine);
  };
  expect(verdict(held)).toBeNull();
});
