// Where did a node's time go? The counters of a window, and what of them a person is shown.
import { expect, test } from "bun:test";
import { formatStatus } from "../../src/cli/show.ts";
import {
  addTime,
  beginTurn,
  createStages,
  endTurn,
  entriesCommitted,
  entriesProposed,
  forgetUncommitted,
  lap,
  type Stages,
  stageTimes,
} from "../../src/server/stages.ts";
import type { StageTime } from "../../src/wire/protocol.ts";
import { createTestClock } from "../kit/simulated-clock.ts";
import { EXAMPLES } from "../kit/messages.ts";

const stage = (stages: Stages, name: string): Omit<StageTime, "name"> | undefined => {
  const found = stageTimes(stages).stages.find((time) => time.name === name);
  if (found === undefined) return undefined;
  const { count, microseconds, longestMicroseconds } = found;
  return { count, microseconds, longestMicroseconds };
};

test("a turn's time belongs to the stages whose laps it consists of", () => {
  const clock = createTestClock();
  const stages = createStages(clock);
  for (const ms of [1, 4]) {
    beginTurn(stages);
    clock.stall(ms);
    lap(stages, "raft");
    clock.stall(2);
    lap(stages, "apply");
    endTurn(stages);
  }
  expect(stage(stages, "raft")).toEqual({ count: 2, microseconds: 5_000, longestMicroseconds: 4_000 });
  expect(stage(stages, "apply")).toEqual({ count: 2, microseconds: 4_000, longestMicroseconds: 2_000 });
  expect(stage(stages, "turn")).toEqual({ count: 2, microseconds: 9_000, longestMicroseconds: 6_000 });
  expect(stage(stages, "send")).toEqual({ count: 0, microseconds: 0, longestMicroseconds: 0 });
});

test("a majority is waited for from the turn in which entries enter the log to the one in which they are known to be committed", () => {
  const clock = createTestClock();
  const stages = createStages(clock);
  const turn = (run: () => void): void => {
    beginTurn(stages);
    run();
    lap(stages, "apply");
    endTurn(stages);
  };
  turn(() => entriesProposed(stages, 3));
  clock.stall(10);
  turn(() => entriesProposed(stages, 5));
  clock.stall(20);
  turn(() => entriesCommitted(stages, 4));
  expect(stage(stages, "majority")).toEqual({ count: 1, microseconds: 30_000, longestMicroseconds: 30_000 });
  clock.stall(5);
  turn(() => entriesCommitted(stages, 9));
  expect(stage(stages, "majority")).toEqual({ count: 2, microseconds: 55_000, longestMicroseconds: 30_000 });
  turn(() => entriesProposed(stages, 10));
  forgetUncommitted(stages);
  turn(() => entriesCommitted(stages, 10));
  expect(stage(stages, "majority")?.count).toBe(2);
});

test("what lies more than two windows back is forgotten", () => {
  const clock = createTestClock();
  const stages = createStages(clock);
  const turn = (): void => {
    beginTurn(stages);
    endTurn(stages);
  };
  addTime(stages, "disk", 7);
  for (const [passed, count] of [
    [9_000, 1],
    [3_000, 1],
    [6_000, 1],
    [5_000, 0],
  ] as const) {
    clock.stall(passed);
    turn();
    expect(stage(stages, "disk")?.count).toBe(count);
  }
  expect(stageTimes(stages).windowMs).toBe(11_000);
});

test("a person sees shares of the time, the longest turn, and the waits for one write and one majority", () => {
  const clock = createTestClock();
  const stages = createStages(clock);
  beginTurn(stages);
  clock.stall(300);
  lap(stages, "apply");
  clock.stall(100);
  lap(stages, "send");
  endTurn(stages);
  for (const ms of [1, 2]) addTime(stages, "disk", ms);
  clock.stall(600);
  const example = EXAMPLES.find((message) => message.type === "statusAnswer");
  if (example?.type !== "statusAnswer") throw new Error("there is an example of a status");
  const times = stageTimes(stages);
  const style = { json: false, terminal: false };
  expect(formatStatus({ ...example.status, times }, style)).toContain(
    "\nlast 1s: busy 40 % (decode 0, propose 0, raft 0, persist 0, apply 30, send 10, reply 0, snapshot 0), longest turn 400.00ms, disk 1.50ms (longest 2.00ms)\n",
  );
  expect(formatStatus({ ...example.status, times: null }, style)).not.toContain("busy");
  const json: unknown = JSON.parse(formatStatus({ ...example.status, times }, { ...style, json: true }));
  expect(json).toMatchObject({ times: { windowMs: 1000, apply: { count: 1, microseconds: 300_000 } } });
});
