// Which times of an entry's path does `explain` show? Only those that were measured, the first ones first.
import { expect, test } from "bun:test";
import { createTraces } from "../../src/server/traces.ts";
import type { MemberId } from "../../src/raft/types.ts";

const n1 = "n1@1111111111111111" as MemberId;
const n2 = "n2@2222222222222222" as MemberId;

function traced() {
  let now = 0;
  const traces = createTraces({ now: () => now, wall: () => 0, after: () => () => {}, soon: () => {} });
  return { traces, at: (ms: number) => (now = ms) };
}

test("an entry's times run from when its batch was taken to the first mark at or above it", () => {
  const { traces, at } = traced();
  at(10);
  traces.taken(5);
  at(11.5);
  traces.durable(n1, 5);
  at(12);
  traces.durable(n2, 4);
  at(13);
  traces.durable(n2, 9);
  traces.committed(9);
  expect(traces.timesOf(5)).toEqual({
    durable: [
      { member: n1, microseconds: 1_500 },
      { member: n2, microseconds: 3_000 },
    ],
    committedMicroseconds: 3_000,
  });
});

test("an entry that is not committed, or of an earlier leadership, has no path", () => {
  const { traces } = traced();
  traces.taken(5);
  expect(traces.timesOf(5)).toBeNull();
  traces.committed(5);
  expect(traces.timesOf(5)).not.toBeNull();
  traces.reset(8);
  expect(traces.timesOf(5)).toBeNull();
  traces.taken(9);
  traces.committed(9);
  // The first mark of this leadership is above all earlier entries too.
  expect([0, 5, 8, 9].map((index) => traces.timesOf(index) !== null)).toEqual([false, false, false, true]);
});

test("the rings forget the oldest entries instead of inventing a path for them", () => {
  const { traces } = traced();
  for (let index = 1; index <= 20_000; index++) {
    traces.taken(index);
    traces.committed(index);
  }
  expect(traces.timesOf(1)).toBeNull();
  expect(traces.timesOf(20_000)).not.toBeNull();
});
