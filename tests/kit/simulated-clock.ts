/**
 * Clocks that stand still unless a scheduler moves them.
 *
 * `createTestClock`: runs true, and the test lets time pass; where there are no machines. `createSimTime` and `createSimClock`: those of
 * one machine, which run too fast or too slow, and whose wall clock may jump.
 */
import type { Clock } from "../../src/lib/clock.ts";
import type { Random } from "../../src/lib/random.ts";
import { createScheduler, pass, type Scheduler } from "./scheduler.ts";

/** Unix milliseconds when a scheduler begins. */
const FIRST_WALL = 1_700_000_000_000;

export interface TestClock extends Clock {
  /** Lets time pass; timers due on the way run. */
  pass(ms: number): void;
  /** The process stalls: time jumps, and what was due runs late. */
  stall(ms: number): void;
}

export function createTestClock(scheduler: Scheduler = createScheduler()): TestClock {
  let stalled = 0;
  const now = (): number => scheduler.now() + stalled;
  return {
    now,
    wall: () => FIRST_WALL + Math.floor(now()),
    after: (ms, callback) => scheduler.after(ms, callback),
    soon: (callback) => void scheduler.after(0, callback),
    pass: (ms) => pass(scheduler, ms),
    stall: (ms) => {
      stalled += ms;
    },
  };
}

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
  let wallOffset = FIRST_WALL + random.below(1_000_000_000);
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

/** The Clock port of a machine. A round of an event loop takes up to `roundMs`: what arrives within it becomes one turn. */
export function createSimClock(scheduler: Scheduler, time: SimTime, random: Random, roundMs: number): Clock {
  return {
    now: time.now,
    wall: time.wall,
    after: (ms, callback) => scheduler.after(Math.max(0, ms) / time.rate, callback),
    soon: (callback) => void scheduler.after((random.below(1_000) / 1_000) * roundMs, callback),
  };
}
