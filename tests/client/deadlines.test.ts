// The time limits of a client: whose time is over, and how long a node that owes an answer may be silent.
import { expect, test } from "bun:test";
import {
  createSilenceLimit,
  firstDeadline,
  type PendingAnswer,
  takeAll,
  takeExpired,
} from "../../src/client/deadlines.ts";
import type { Clock } from "../../src/lib/clock.ts";

let now = 0;
const clock: Clock = { now: () => now, wall: () => now, after: () => () => {}, soon: () => {} };
const LIMITS = { silenceMs: 100, slowBytesPerMs: 1_000, maxSilenceFactor: 4 };

test("a node may be silent for as long as a slow link needs for the bytes on their way to it", () => {
  now = 0;
  const silenceLimit = createSilenceLimit(clock, LIMITS);
  now = 50;
  expect([silenceLimit.remainingMs(0), silenceLimit.remainingMs(2_000_000)]).toEqual([50, 2_050]);
  silenceLimit.restart();
  now = 200;
  expect(silenceLimit.remainingMs(0)).toBe(0);
});

test("after each silence the next connection gets twice the time, up to a limit, until there is an answer", () => {
  now = 0;
  const silenceLimit = createSilenceLimit(clock, LIMITS);
  const allowed = [1, 2, 3, 4].map(() => {
    silenceLimit.exceeded();
    return silenceLimit.remainingMs(0);
  });
  expect(allowed).toEqual([200, 400, 400, 400]);
  silenceLimit.answered();
  expect(silenceLimit.remainingMs(0)).toBe(100);
});

test("answers whose time is over leave in the order they came, the others stay", () => {
  const until = (deadline: number): PendingAnswer<string> => ({ deadline, done: () => {} });
  const [one, two, three, four] = [until(10), until(20), until(20), until(30)] as const;
  const pending = new Set([one, two, three, four]);
  pending.delete(two);
  expect(firstDeadline(pending)).toBe(10);
  expect(takeExpired(pending, 9)).toEqual([]);
  expect(takeExpired(pending, 20)).toEqual([one, three]);
  expect([...pending]).toEqual([four]);
  expect(takeAll(pending)).toEqual([four]);
  expect([pending.size, firstDeadline(pending)]).toEqual([0, Infinity]);
});
