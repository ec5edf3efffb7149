// Does one seed pass? One seed, one plan, one run, one verdict.
import { forbidRealWorld } from "./forbidden.ts";
import { play } from "./phases.ts";
import { drawPlan, type PlanWishes } from "./plan.ts";
import { createScheduler } from "./scheduler.ts";
import { createStage, Failed } from "./stage.ts";
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
  try {
    const stage = createStage(drawPlan(seed, wishes), scheduler, trace);
    try {
      play(stage);
    } finally {
      operations = stage.history.operations.length;
      entries = stage.ledger.lastIndex;
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
  };
}
