// How long is a node that owes an answer waited for?
import { expect, test } from "bun:test";
import { createSilenceLimit } from "../../src/client/silence-limit.ts";
import type { Clock } from "../../src/lib/clock.ts";

let now = 0;
const clock: Clock = { now: () => now, wall: () => now, after: () => () => {}, soon: () => {} };
const LIMITS = { silenceMs: 100, slowBytesPerMs: 1_000, maxSilenceFactor: 4 };

test("a node may be silent for as long as a slow link needs for the bytes on their way to it", () => {
  now = 0;
  const silenceLimit = createSilenceLimit(clock, LIMITS);
  now = 50;
  expect([silenceLimit.left(0), silenceLimit.left(2_000_000)]).toEqual([50, 2_050]);
  silenceLimit.quietFromNow();
  now = 200;
  expect(silenceLimit.left(0)).toBe(0);
});

test("after each silence the next connection gets twice the time, up to a limit, until there is an answer", () => {
  now = 0;
  const silenceLimit = createSilenceLimit(clock, LIMITS);
  const allowed = [1, 2, 3, 4].map(() => {
    silenceLimit.exhausted();
    return silenceLimit.left(0);
  });
  expect(allowed).toEqual([200, 400, 400, 400]);
  silenceLimit.answered();
  expect(silenceLimit.left(0)).toBe(100);
});
