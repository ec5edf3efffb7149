// How long each step of an entry's path took: a few rings of times, enough for the last few thousand turns.
import { SERVER } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import type { LogIndex, MemberId } from "../raft/types.ts";

interface Milestone {
  readonly index: LogIndex;
  readonly at: number;
}

export interface EntryTimes {
  readonly durable: readonly { readonly member: MemberId; readonly microseconds: number }[];
  readonly committedMicroseconds: number;
}

/** Each milestone means: everything up to `index` had come this far at this time. */
export interface Traces {
  taken(index: LogIndex): void;
  durable(member: MemberId, index: LogIndex): void;
  committed(index: LogIndex): void;
  /** A new leadership starts with empty rings: entries up to its first one were not taken under it. */
  reset(firstIndex: LogIndex): void;
  /** null when the entry is too old, or was not taken under this leadership. */
  timesOf(index: LogIndex): EntryTimes | null;
}

export function createTraces(clock: Clock): Traces {
  let firstIndex: LogIndex = 0;
  let taken: Milestone[] = [];
  let committed: Milestone[] = [];
  let durable = new Map<MemberId, Milestone[]>();

  const record = (ring: Milestone[], index: LogIndex): void => {
    const last = ring.at(-1);
    if (last !== undefined && last.index >= index) return;
    ring.push({ index, at: clock.now() });
    if (ring.length > 2 * SERVER.tracedTurns) ring.splice(0, SERVER.tracedTurns);
  };
  const firstAtOrAbove = (ring: readonly Milestone[], index: LogIndex): Milestone | undefined => {
    let low = 0;
    let high = ring.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((ring[middle]?.index ?? 0) >= index) high = middle;
      else low = middle + 1;
    }
    return ring[low];
  };

  return {
    taken: (index) => record(taken, index),
    durable: (member, index) => {
      if (taken.length === 0 || index === 0) return;
      const ring = durable.get(member) ?? [];
      if (ring.length === 0) durable.set(member, ring);
      record(ring, index);
    },
    committed: (index) => record(committed, index),
    reset: (index) => {
      firstIndex = index;
      taken = [];
      committed = [];
      durable = new Map();
    },
    timesOf: (index) => {
      if (index <= firstIndex) return null;
      const start = firstAtOrAbove(taken, index);
      const oldest = taken[0];
      const end = firstAtOrAbove(committed, index);
      if (start === undefined || oldest === undefined || end === undefined) return null;
      if (taken.length > SERVER.tracedTurns && index <= oldest.index) return null;
      const since = (found: Milestone): number => Math.max(0, Math.round((found.at - start.at) * 1_000));
      const times: { member: MemberId; microseconds: number }[] = [];
      for (const [member, ring] of durable) {
        const found = firstAtOrAbove(ring, index);
        if (found !== undefined) times.push({ member, microseconds: since(found) });
      }
      times.sort((a, b) => a.microseconds - b.microseconds);
      return { durable: times, committedMicroseconds: since(end) };
    },
  };
}
