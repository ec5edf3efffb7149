// Counts where a node's time goes: one counter for each stage of its work and of its waiting, always on.
import { SERVER } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import type { LogIndex } from "../raft/types.ts";
import type { StageTimes } from "../wire/protocol.ts";

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

interface Counter {
  count: number;
  ms: number;
  longestMs: number;
}

type Counters = Readonly<Record<StageName, Counter>>;

export interface Stages {
  readonly clock: Clock;
  /** Since `since`; those of the window before began at `earlierSince`. */
  counters: Counters;
  since: number;
  earlier: Counters;
  earlierSince: number;
  turnBegan: number;
  lapBegan: number;
  /** One for each turn in which entries entered this leader's log. */
  uncommitted: { readonly index: LogIndex; readonly at: number }[];
}

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
  const now = clock.now();
  return {
    clock,
    counters: newCounters(),
    since: now,
    earlier: newCounters(),
    earlierSince: now,
    turnBegan: now,
    lapBegan: now,
    uncommitted: [],
  };
}

/** Adds one more duration of `stage`, in milliseconds. */
export function addTime(stages: Stages, stage: StageName, ms: number): void {
  const counter = stages.counters[stage];
  counter.count++;
  counter.ms += ms;
  if (ms > counter.longestMs) counter.longestMs = ms;
}

export function beginTurn(stages: Stages): void {
  stages.turnBegan = stages.clock.now();
  stages.lapBegan = stages.turnBegan;
}

/** What was done since the turn began, or since the last lap, was this. */
export function lap(stages: Stages, stage: StageName): void {
  const now = stages.clock.now();
  addTime(stages, stage, now - stages.lapBegan);
  stages.lapBegan = now;
}

export function endTurn(stages: Stages): void {
  const now = stages.lapBegan;
  addTime(stages, "turn", now - stages.turnBegan);
  if (now - stages.since < SERVER.stageWindowMs) return;
  stages.earlier = stages.counters;
  stages.earlierSince = stages.since;
  stages.counters = newCounters();
  stages.since = now;
}

/** Entries up to `index` entered the log of this leader. */
export function entriesProposed({ uncommitted, lapBegan }: Stages, index: LogIndex): void {
  uncommitted.push({ index, at: lapBegan });
}

export function entriesCommitted(stages: Stages, index: LogIndex): void {
  const { uncommitted, lapBegan } = stages;
  const left = uncommitted.findIndex((turn) => turn.index > index);
  const done = uncommitted.splice(0, left < 0 ? uncommitted.length : left);
  for (const { at } of done) addTime(stages, "majority", lapBegan - at);
}

/** The leadership is over: what was proposed under it is not waited for. */
export function forgetUncommitted(stages: Stages): void {
  stages.uncommitted = [];
}

export function stageTimes({ clock, counters, earlier, earlierSince }: Stages): StageTimes {
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
}
