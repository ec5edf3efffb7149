// What time is it on a simulated machine? Its own: running too fast or too slow, with a wall clock that may jump.
import type { Clock } from "../../src/lib/clock.ts";
import type { Random } from "../../src/lib/random.ts";
import type { Scheduler } from "./scheduler.ts";

/** One machine's clocks. They run on while the machine's node is down. */
export interface SimTime {
  now(): number;
  wall(): number;
  /** Own milliseconds per virtual millisecond. Timers that are set already keep their old length. */
  setRate(rate: number): void;
  readonly rate: number;
  jumpWall(ms: number): void;
}

export function createSimTime(scheduler: Scheduler, random: Random, firstRate: number): SimTime {
  let rate = firstRate;
  let since = scheduler.now();
  let base = random.between(1, 1_000_000_000);
  let wallOffset = 1_700_000_000_000 + random.below(1_000_000_000);
  const now = (): number => base + (scheduler.now() - since) * rate;
  return {
    now,
    wall: () => Math.max(0, Math.floor(now() + wallOffset)),
    setRate: (next) => {
      base = now();
      since = scheduler.now();
      rate = next;
    },
    get rate() {
      return rate;
    },
    jumpWall: (ms) => {
      wallOffset += ms;
    },
  };
}

/** Delivers a callback into a process, holds it back while the process is paused, drops it when the process is dead. */
export type Enter = (callback: () => void) => void;

/** The Clock port of one process. A round of its event loop takes up to `roundMs`: what arrives within it becomes one turn. */
export function createSimClock(
  scheduler: Scheduler,
  time: SimTime,
  random: Random,
  roundMs: number,
  enter: Enter,
): Clock {
  const plan = (virtualMs: number, callback: () => void): (() => void) => {
    let cancelled = false;
    const cancel = scheduler.after(virtualMs, () =>
      enter(() => {
        if (!cancelled) callback();
      }),
    );
    return () => {
      cancelled = true;
      cancel();
    };
  };
  return {
    now: time.now,
    wall: time.wall,
    after: (ms, callback) => plan(Math.max(0, ms) / time.rate, callback),
    soon: (callback) => {
      plan((random.below(1_000) / 1_000) * roundMs, callback);
    },
  };
}
