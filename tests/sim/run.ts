// Does one seed pass? One seed, one plan, one run, one verdict.
import { forbidRealWorld } from "./forbidden.ts";
import { play } from "./phases.ts";
import { drawPlan, type PlanWishes } from "./plan.ts";
import { createScheduler } from "../kit/scheduler.ts";
import { createSimulation, Failed } from "./simulation.ts";
import { createTrace } from "./trace.ts";

export interface SeedResult {
  readonly seed: number;
  readonly events: number;
  /** The same seed gives the same hash. */
  readonly hash: string;
  /** What failed first; null when all went well. */
  readonly failure: string | null;
  readonly virtualMs: number;
  readonly operations: number;
  readonly entries: number;
  /** How often each named event was seen. */
  readonly coverage: Readonly<Record<string, number>>;
}

/** The same seed must be the same run, event for event. */
export function runTwice(seed: number, wishes: PlanWishes, print: ((line: string) => void) | null): SeedResult {
  const first = runSeed(seed, wishes, print);
  const again = runSeed(seed, wishes);
  if (first.hash === again.hash && first.events === again.events) return first;
  const runs = `${first.events} events with hash ${first.hash}, then ${again.events} with ${again.hash}`;
  return { ...first, failure: first.failure ?? `the seed is not one run: ${runs}` };
}

export function runSeed(
  seed: number,
  wishes: PlanWishes = {},
  print: ((line: string) => void) | null = null,
): SeedResult {
  const scheduler = createScheduler();
  const trace = createTrace(scheduler.now, print);
  const allow = forbidRealWorld();
  let failure: string | null = null;
  let operations = 0;
  let entries = 0;
  let coverage: SeedResult["coverage"] = {};
  try {
    const simulation = createSimulation(drawPlan(seed, wishes), scheduler, trace);
    try {
      play(simulation);
    } finally {
      operations = simulation.history.operations.length;
      entries = simulation.committedLog.lastIndex;
      coverage = simulation.coverage.counts();
    }
  } catch (error) {
    const thrown = error instanceof Error ? error.stack : String(error);
    failure = error instanceof Failed ? error.message : `the simulator threw: ${thrown}`;
    trace.event("run", `FAILED: ${failure}`);
  } finally {
    allow();
  }
  return {
    seed,
    events: scheduler.executed,
    hash: trace.hash(),
    failure,
    virtualMs: scheduler.now(),
    operations,
    entries,
    coverage,
  };
}
