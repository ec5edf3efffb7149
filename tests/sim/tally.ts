// What did all seeds together see? The marks of a run, summed up; a long run that never saw one of them has failed.
import { ALL_MARKS } from "./marks.ts";
import type { SeedResult } from "./run.ts";

/** From so many seeds on, every mark must have been hit. */
export const LONG_RUN_SEEDS = 1_000;

export interface Tally {
  add(result: SeedResult): void;
  /** Every mark with its count, the rarest first. */
  all(): readonly string[];
  neverHit(): readonly string[];
  readonly events: number;
  readonly virtualMs: number;
}

export function createTally(): Tally {
  const counts = new Map<string, number>(ALL_MARKS.map((mark) => [mark, 0]));
  let events = 0;
  let virtualMs = 0;
  return {
    add: (result) => {
      events += result.events;
      virtualMs += result.virtualMs;
      for (const [mark, count] of Object.entries(result.marks)) counts.set(mark, (counts.get(mark) ?? 0) + count);
    },
    all: () =>
      [...counts].toSorted((a, b) => a[1] - b[1]).map(([mark, count]) => `${count.toString().padStart(9)}  ${mark}`),
    neverHit: () => [...counts].filter(([, count]) => count === 0).map(([mark]) => mark),
    get events() {
      return events;
    },
    get virtualMs() {
      return virtualMs;
    },
  };
}
