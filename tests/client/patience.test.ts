// How long is a node that owes an answer waited for?
import { expect, test } from "bun:test";
import { createPatience } from "../../src/client/patience.ts";
import type { Clock } from "../../src/lib/clock.ts";

let now = 0;
const clock: Clock = { now: () => now, wall: () => now, after: () => () => {}, soon: () => {} };
const LIMITS = { silenceMs: 100, slowBytesPerMs: 1_000, maxPatience: 4 };

test("a node may be silent for as long as a slow link needs for the bytes on their way to it", () => {
  now = 0;
  const patience = createPatience(clock, LIMITS);
  now = 50;
  expect([patience.left(0), patience.left(2_000_000)]).toEqual([50, 2_050]);
  patience.quietFromNow();
  now = 200;
  expect(patience.left(0)).toBe(0);
});

test("after each silence the next connection gets twice the time, up to a limit, until there is an answer", () => {
  now = 0;
  const patience = createPatience(clock, LIMITS);
  const allowed = [1, 2, 3, 4].map(() => {
    patience.exhausted();
    return patience.left(0);
  });
  expect(allowed).toEqual([200, 400, 400, 400]);
  patience.answered();
  expect(patience.left(0)).toBe(100);
});
