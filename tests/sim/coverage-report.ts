// What did all seeds together see? The coverage of a run, summed up; a long run that never saw one of them has failed.
import { COVERAGE_POINTS } from "./coverage.ts";
import type { SeedResult } from "./run.ts";

/** From so many seeds on, every coverage point must have been hit. */
export const LONG_RUN_SEEDS = 1_000;

export interface CoverageReport {
  add(result: SeedResult): void;
  /** Every coverage point with its count, the rarest first. */
  all(): readonly string[];
  neverHit(): readonly string[];
  readonly events: number;
  readonly virtualMs: number;
}

export function createCoverageReport(): CoverageReport {
  const counts = new Map<string, number>(COVERAGE_POINTS.map((point) => [point, 0]));
  let events = 0;
  let virtualMs = 0;
  return {
    add: (result) => {
      events += result.events;
      virtualMs += result.virtualMs;
      for (const [point, count] of Object.entries(result.coverage)) counts.set(point, (counts.get(point) ?? 0) + count);
    },
    all: () =>
      [...counts].toSorted((a, b) => a[1] - b[1]).map(([point, count]) => `${count.toString().padStart(9)}  ${point}`),
    neverHit: () => [...counts].filter(([, count]) => count === 0).map(([point]) => point),
    get events() {
      return events;
    },
    get virtualMs() {
      return virtualMs;
    },
  };
}
