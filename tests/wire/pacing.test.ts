// How much bulk is in flight on a link? A queue in front of a wire of a given rate, and a sender that fills what the window allows.
import { expect, test } from "bun:test";
import { createPacer, type Pacer } from "../../src/wire/pacing.ts";

interface Link {
  readonly bytesPerMs: number;
  /** There and back, while nothing waits. */
  readonly baseRttMs: number;
  /** Taken at once before the link is slow. */
  burst?: number;
}

/** After the hello something small goes first. */
function greeted({ baseRttMs }: Link): Pacer {
  const pacer = createPacer(() => clock.now);
  const ping = pacer.sent(0, false);
  clock.now += baseRttMs;
  expect(pacer.acknowledged(ping ?? 0)).toBe(0);
  return pacer;
}

/** Sends bulk for so long as fast as it may; what each ping took. */
function saturate(link: Link, ms: number, pacer = greeted(link)): { took: number[]; sent: number } {
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
      expect(pacer.acknowledged(ping)).toBeGreaterThanOrEqual(0);
    }
    for (let bytes = leaving(pacer); bytes > 0; bytes = leaving(pacer)) {
      const ping = pacer.sent(bytes, true);
      sent += bytes;
      const queued = Math.max(0, bytes - burst);
      burst = Math.max(0, burst - bytes);
      freeAt = Math.max(freeAt, clock.now) + queued / link.bytesPerMs;
      if (ping !== null) answers.push({ at: freeAt + link.baseRttMs, ping, since: clock.now });
    }
    clock.now += 1;
  }
  return { took, sent };
}

const clock = { now: 0 };
const leaving = (pacer: Pacer): number => {
  const bytes = Math.floor(Math.min(pacer.available(), pacer.maxBurst()));
  return bytes < 128 ? 0 : bytes;
};
const last = (took: readonly number[]): number => Math.max(...took.slice(-10));

test.each([
  [64, 8, 1],
  [512, 64, 1],
  [10_000, 1_250, 20],
])(
  "on a link of %i kbit/s what is sent waits for about the time between two heartbeats, and the link is used",
  (_, bytesPerMs, baseRttMs) => {
    const { took, sent } = saturate({ bytesPerMs, baseRttMs }, 10_000);
    expect(last(took)).toBeLessThan(baseRttMs + 110);
    expect(sent).toBeGreaterThan(0.9 * bytesPerMs * 10_000 * (baseRttMs > 1 ? 0.8 : 1));
  },
);

test("a link that takes a burst before it is slow is not filled for longer than an election takes", () => {
  const { took } = saturate({ bytesPerMs: 8, baseRttMs: 1, burst: 8_192 }, 10_000);
  expect(Math.max(...took)).toBeLessThan(300);
  expect(last(took)).toBeLessThan(110);
});

test("a long way is no queue: the window grows to what it carries", () => {
  const { sent } = saturate({ bytesPerMs: 1_000, baseRttMs: 200 }, 20_000);
  expect(sent).toBeGreaterThan(0.4 * 1_000 * 20_000);
});

test("a link that becomes slow is found out by its next answers", () => {
  const pacer = greeted({ bytesPerMs: 64, baseRttMs: 1 });
  saturate({ bytesPerMs: 64, baseRttMs: 1 }, 5_000, pacer);
  const before = pacer.bytesPerSecond();
  // What is out is answered first.
  for (let ping = 1; pacer.sentBytes() > pacer.acknowledgedBytes() && ping < 100_000; ping++) pacer.acknowledged(ping);
  saturate({ bytesPerMs: 8, baseRttMs: 1 }, 3_000, pacer);
  expect(pacer.bytesPerSecond()).toBeLessThan(before / 4);
  expect(pacer.bytesPerSecond()).toBeLessThan(2 * 8_000);
});

test("the most that may be on the way is bounded, however fast the link is", () => {
  const pacer = greeted({ bytesPerMs: 1_000_000, baseRttMs: 1 });
  saturate({ bytesPerMs: 1_000_000, baseRttMs: 1 }, 2_000, pacer);
  expect(pacer.available()).toBeLessThanOrEqual(1_024 * 1_024);
  expect(pacer.maxBurst()).toBe(64 * 1_024);
});

test("where nothing waits the window grows to twice what passes in 75 ms, so that few messages need a ping, and not further", () => {
  for (const [everyMs, bytes] of [
    [1, 4_000],
    [50, 400],
  ] as const) {
    const pacer = greeted({ bytesPerMs: 1_000_000, baseRttMs: 1 });
    let pings = 0;
    for (let message = 0; message < 1_000; message++) {
      const ping = pacer.sent(bytes, false);
      clock.now += everyMs;
      if (ping === null) continue;
      if (message >= 500) pings++;
      pacer.acknowledged(ping);
    }
    const passes = (75 / everyMs) * bytes;
    expect(pacer.bytesPerSecond() * 0.076).toBeLessThan(2.5 * passes);
    if (bytes === 4_000) expect(pings).toBeLessThan(50);
  }
});

test("an answer that is not due is no answer", () => {
  const pacer = createPacer(() => clock.now);
  expect(pacer.acknowledged(1)).toBe(null);
  expect(pacer.sent(10_000, false)).toBe(1);
  expect(pacer.sent(10_000, false)).toBe(2);
  expect(pacer.sent(10_000, false)).toBe(3);
  // An answer stands for those before it.
  expect([pacer.acknowledged(2), pacer.acknowledged(1), pacer.acknowledged(2), pacer.acknowledged(3)]).toEqual([
    20_000,
    null,
    null,
    10_000,
  ]);
  expect([pacer.sentBytes(), pacer.acknowledgedBytes()]).toEqual([30_000, 30_000]);
});

test("a heartbeat waits while the link is behind with its answers, and leaves again with the next one", () => {
  const pacer = createPacer(() => clock.now);
  expect(pacer.mayHeartbeat(false)).toBe(true);
  expect(pacer.sent(400, false)).toBe(1);
  clock.now += 140;
  expect(pacer.mayHeartbeat(false)).toBe(true);
  clock.now += 100;
  expect(pacer.mayHeartbeat(false)).toBe(false);
  expect(pacer.acknowledged(1)).toBe(400);
  expect(pacer.mayHeartbeat(false)).toBe(true);
});

test("beside bulk that waits, heartbeats get a share of a slow link only; without it, all of it", () => {
  const pacer = createPacer(() => clock.now);
  pacer.heartbeatSent();
  clock.now += 20;
  expect([pacer.mayHeartbeat(false), pacer.mayHeartbeat(true)]).toEqual([true, false]);
  clock.now += 100;
  expect(pacer.mayHeartbeat(true)).toBe(true);
});
