// How much bulk is on a link? A queue in front of a wire of a given rate, and a sender that fills what the window allows.
import { expect, test } from "bun:test";
import { createPace, type Pace } from "../../src/wire/pace.ts";

interface Link {
  readonly bytesPerMs: number;
  /** There and back, while nothing waits. */
  readonly emptyMs: number;
  /** Taken at once before the link is slow. */
  burst?: number;
}

/** After the hello something small goes first. */
function greeted({ emptyMs }: Link): Pace {
  const pace = createPace(() => clock.now);
  const ping = pace.wrote(0, false);
  clock.now += emptyMs;
  expect(pace.answered(ping ?? 0)).toBe(0);
  return pace;
}

/** Sends bulk for so long as fast as it may; what each ping took. */
function saturate(link: Link, ms: number, pace = greeted(link)): { took: number[]; sent: number } {
  const took: number[] = [];
  let sent = 0;
  let freeAt = clock.now;
  let burst = link.burst ?? 0;
  const answers: { readonly at: number; readonly ping: number; readonly since: number }[] = [];
  const end = clock.now + ms;
  while (clock.now < end) {
    while (answers[0] !== undefined && answers[0].at <= clock.now) {
      const { ping, since } = answers.shift()!;
      took.push(clock.now - since);
      expect(pace.answered(ping)).toBeGreaterThanOrEqual(0);
    }
    for (let bytes = leaving(pace); bytes > 0; bytes = leaving(pace)) {
      const ping = pace.wrote(bytes, true);
      sent += bytes;
      const queued = Math.max(0, bytes - burst);
      burst = Math.max(0, burst - bytes);
      freeAt = Math.max(freeAt, clock.now) + queued / link.bytesPerMs;
      if (ping !== null) answers.push({ at: freeAt + link.emptyMs, ping, since: clock.now });
    }
    clock.now += 1;
  }
  return { took, sent };
}

const clock = { now: 0 };
const leaving = (pace: Pace): number => {
  const bytes = Math.floor(Math.min(pace.room(), pace.stride));
  return bytes < 128 ? 0 : bytes;
};
const last = (took: readonly number[]): number => Math.max(...took.slice(-10));

test.each([
  [64, 8, 1],
  [512, 64, 1],
  [10_000, 1_250, 20],
])(
  "on a link of %i kbit/s what is sent waits for about the time between two heartbeats, and the link is used",
  (_, bytesPerMs, emptyMs) => {
    const { took, sent } = saturate({ bytesPerMs, emptyMs }, 10_000);
    expect(last(took)).toBeLessThan(emptyMs + 110);
    expect(sent).toBeGreaterThan(0.9 * bytesPerMs * 10_000 * (emptyMs > 1 ? 0.8 : 1));
  },
);

test("a link that takes a burst before it is slow is not filled for longer than an election takes", () => {
  const { took } = saturate({ bytesPerMs: 8, emptyMs: 1, burst: 8_192 }, 10_000);
  expect(Math.max(...took)).toBeLessThan(300);
  expect(last(took)).toBeLessThan(110);
});

test("a long way is no queue: the window grows to what it carries", () => {
  const { sent } = saturate({ bytesPerMs: 1_000, emptyMs: 200 }, 20_000);
  expect(sent).toBeGreaterThan(0.4 * 1_000 * 20_000);
});

test("a link that becomes slow is found out by its next answers", () => {
  const pace = greeted({ bytesPerMs: 64, emptyMs: 1 });
  saturate({ bytesPerMs: 64, emptyMs: 1 }, 5_000, pace);
  const before = pace.bytesPerSecond();
  // What is out is answered first.
  for (let ping = 1; pace.left() > pace.arrived() && ping < 100_000; ping++) pace.answered(ping);
  saturate({ bytesPerMs: 8, emptyMs: 1 }, 3_000, pace);
  expect(pace.bytesPerSecond()).toBeLessThan(before / 4);
  expect(pace.bytesPerSecond()).toBeLessThan(2 * 8_000);
});

test("the most that may be on the way is bounded, however fast the link is", () => {
  const pace = greeted({ bytesPerMs: 1_000_000, emptyMs: 1 });
  saturate({ bytesPerMs: 1_000_000, emptyMs: 1 }, 2_000, pace);
  expect(pace.room()).toBeLessThanOrEqual(1_024 * 1_024);
  expect(pace.stride).toBe(64 * 1_024);
});

test("an answer that is not due is no answer", () => {
  const pace = createPace(() => clock.now);
  expect(pace.answered(1)).toBe(null);
  expect(pace.wrote(10_000, false)).toBe(1);
  expect(pace.wrote(10_000, false)).toBe(2);
  expect(pace.wrote(10_000, false)).toBe(3);
  // An answer stands for those before it.
  expect([pace.answered(2), pace.answered(1), pace.answered(2), pace.answered(3)]).toEqual([
    20_000,
    null,
    null,
    10_000,
  ]);
  expect([pace.left(), pace.arrived()]).toEqual([30_000, 30_000]);
});

test("a heartbeat waits while the link is behind with its answers, and leaves again with the next one", () => {
  const pace = createPace(() => clock.now);
  expect(pace.mayBeat(false)).toBe(true);
  expect(pace.wrote(400, false)).toBe(1);
  clock.now += 140;
  expect(pace.mayBeat(false)).toBe(true);
  clock.now += 100;
  expect(pace.mayBeat(false)).toBe(false);
  expect(pace.answered(1)).toBe(400);
  expect(pace.mayBeat(false)).toBe(true);
});

test("beside bulk that waits, heartbeats get a share of a slow link only; without it, all of it", () => {
  const pace = createPace(() => clock.now);
  pace.beat();
  clock.now += 20;
  expect([pace.mayBeat(false), pace.mayBeat(true)]).toEqual([true, false]);
  clock.now += 100;
  expect(pace.mayBeat(true)).toBe(true);
});
