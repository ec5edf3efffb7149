// Where does a node's time go? A counter for each stage of its work and of its waiting, always on.
import type { Clock } from "../lib/clock.ts";
import type { LogIndex } from "../raft/types.ts";
import type { StageTimes } from "../wire/protocol.ts";

/** The counters cover the last one to two of these. */
const WINDOW_MS = 10_000;

/** In the order of a request's way: the node's own work, the turn that holds most of it, then what it waits for. */
export const STAGES = [
  "decode",
  "propose",
  "raft",
  "persist",
  "apply",
  "send",
  "reply",
  "snapshot",
  "turn",
  "disk",
  "majority",
] as const;
export type StageName = (typeof STAGES)[number];

export interface Stages {
  /** `stage` took so long, once more. */
  add(stage: StageName, milliseconds: number): void;
  /** A turn begins. */
  beginTurn(): void;
  /** What was done since the turn began, or since the last lap, was this. */
  lap(stage: StageName): void;
  endTurn(): void;
  /** Entries up to `index` entered the log of this leader. */
  proposed(index: LogIndex): void;
  committed(index: LogIndex): void;
  /** The leadership is over: what was proposed under it is not waited for. */
  forget(): void;
  times(): StageTimes;
}

interface Counter {
  count: number;
  ms: number;
  longestMs: number;
}

type Counters = Readonly<Record<StageName, Counter>>;

const newCounter = (): Counter => ({ count: 0, ms: 0, longestMs: 0 });

function newCounters(): Counters {
  return {
    decode: newCounter(),
    propose: newCounter(),
    raft: newCounter(),
    persist: newCounter(),
    apply: newCounter(),
    send: newCounter(),
    reply: newCounter(),
    snapshot: newCounter(),
    turn: newCounter(),
    disk: newCounter(),
    majority: newCounter(),
  };
}

export function createStages(clock: Clock): Stages {
  let counters = newCounters();
  let since = clock.now();
  let earlier = newCounters();
  let earlierSince = since;
  let turnBegan = since;
  let lapBegan = since;
  /** One for each turn in which entries entered the log. */
  let uncommitted: { readonly index: LogIndex; readonly at: number }[] = [];

  const add = (stage: StageName, ms: number): void => {
    const counter = counters[stage];
    counter.count++;
    counter.ms += ms;
    if (ms > counter.longestMs) counter.longestMs = ms;
  };

  const moveWindow = (now: number): void => {
    if (now - since < WINDOW_MS) return;
    earlier = counters;
    earlierSince = since;
    counters = newCounters();
    since = now;
  };

  return {
    add,
    beginTurn: () => {
      turnBegan = clock.now();
      lapBegan = turnBegan;
    },
    lap: (stage) => {
      const now = clock.now();
      add(stage, now - lapBegan);
      lapBegan = now;
    },
    endTurn: () => {
      add("turn", lapBegan - turnBegan);
      moveWindow(lapBegan);
    },
    proposed: (index) => {
      uncommitted.push({ index, at: lapBegan });
    },
    committed: (index) => {
      const left = uncommitted.findIndex((turn) => turn.index > index);
      const done = uncommitted.splice(0, left < 0 ? uncommitted.length : left);
      for (const { at } of done) add("majority", lapBegan - at);
    },
    forget: () => {
      uncommitted = [];
    },
    times: () => {
      const stages = STAGES.map((name) => {
        const now = counters[name];
        const before = earlier[name];
        return {
          name,
          count: now.count + before.count,
          microseconds: Math.round((now.ms + before.ms) * 1_000),
          longestMicroseconds: Math.round(Math.max(now.longestMs, before.longestMs) * 1_000),
        };
      });
      return { windowMs: Math.round(clock.now() - earlierSince), stages };
    },
  };
}
