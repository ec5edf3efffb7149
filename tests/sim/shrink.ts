// What is the smallest world that still fails in the same way? Fault classes are switched off, time, nodes and clients are cut down,
// one step after the other; a step that makes the failure go away is taken back.
import type { Plan, PlanOverrides } from "./plan.ts";
import type { SeedResult } from "./run.ts";

export interface Shrunk {
  readonly overrides: PlanOverrides;
  readonly result: SeedResult;
  readonly runs: number;
}

/** A step that may make a plan smaller; null: it is that small already. */
type Step = (plan: Plan) => PlanOverrides | null;

const MOST_RUNS = 300;

/** The kind of a failure: its first line without the numbers and names that every run has of its own. */
export function kindOf(failure: string): string {
  const [line = ""] = failure.split("\n");
  return line
    .replaceAll(/[0-9a-f]{8,}/g, "#")
    .replaceAll(/\b(?:n|c|client|h)\d+/g, "?")
    .replaceAll(/\d+(?:\.\d+)?/g, "#")
    .slice(0, 60);
}

/** `planOf` and `run` see the same overrides; `first` is the run without any. */
export function shrink(
  planOf: (overrides: PlanOverrides) => Plan,
  run: (overrides: PlanOverrides) => SeedResult,
  first: SeedResult,
  report: (what: string) => void,
): Shrunk {
  if (first.failure === null) throw new Error("a run that passes has nothing to shrink");
  const kind = kindOf(first.failure);
  let best: PlanOverrides = {};
  let result = first;
  let runs = 0;

  const tryStep = (step: Step): boolean => {
    const change = step(planOf(best));
    if (change === null || runs >= MOST_RUNS) return false;
    const overrides = mergeOverrides(best, change);
    runs++;
    const tried = run(overrides);
    if (tried.failure === null || kindOf(tried.failure) !== kind) return false;
    best = overrides;
    result = tried;
    report(`${JSON.stringify(change)}: still fails, after ${tried.events} events`);
    return true;
  };

  for (let before = -1; before !== runs;) {
    const sizeBefore = JSON.stringify(best);
    before = runs;
    for (const step of steps(planOf(best))) while (tryStep(step) && isRepeatable(step));
    if (JSON.stringify(best) === sizeBefore) break;
  }
  return { overrides: best, result, runs };
}

const repeatable = new WeakSet<Step>();
const isRepeatable = (step: Step): boolean => repeatable.has(step);
function again(step: Step): Step {
  repeatable.add(step);
  return step;
}

/** Half of the fault classes at once, then one by one; then all that is a number. */
function steps(plan: Plan): readonly Step[] {
  const classes = Object.entries(plan.faults)
    .filter(([, meanMs]) => meanMs > 0)
    .map(([name]) => name);
  const half = Math.ceil(classes.length / 2);
  const off =
    (names: readonly string[]): Step =>
    ({ faults }) => {
      const on = Object.entries(faults).filter(([name, meanMs]) => meanMs > 0 && names.includes(name));
      return on.length === 0 ? null : { faults: Object.fromEntries(on.map(([name]) => [name, 0])) };
    };
  const rarer = (name: string): Step =>
    again(({ faults, safetyMs }) => {
      const meanMs = Object.entries(faults).find(([known]) => known === name)?.[1] ?? 0;
      return meanMs === 0 || meanMs > 2 * safetyMs ? null : { faults: { [name]: 2 * meanMs } };
    });
  return [
    again(({ safetyMs }) => (safetyMs < 100 ? null : { safetyMs: Math.floor(safetyMs / 2) })),
    off(classes),
    off(classes.slice(0, half)),
    off(classes.slice(half)),
    ...classes.map((name) => off([name])),
    again(({ nodes }) => (nodes < 2 ? null : { nodes: nodes - 1, ...(nodes === 2 ? { founding: "growing" } : {}) })),
    again(({ clients: { processes } }) => (processes < 2 ? null : { clients: { processes: processes >> 1 } })),
    ...SIMPLER.map(
      (simpler): Step =>
        (now) =>
          isPartOf(simpler, now) ? null : simpler,
    ),
    again(({ safetyMs }) => (safetyMs < 100 ? null : { safetyMs: Math.floor(safetyMs * 0.8) })),
    ...classes.map(rarer),
  ];
}

const SIMPLER: readonly PlanOverrides[] = [
  { clients: { takeoverEveryMs: 0, oldRetryPercent: 0, threeAtOncePercent: 0, readPercent: 0, hostile: 0 } },
  { clients: { takeoverEveryMs: 0 } },
  { clients: { oldRetryPercent: 0, threeAtOncePercent: 0 } },
  { clients: { readPercent: 0 } },
  { clients: { hostile: 0, leavePercent: 0, sleepPercent: 0 } },
  { clients: { realPercent: 0 } },
  { clients: { filePercent: 0, burst: 1, silentPercent: 0 } },
  { clients: { maxJobs: 1, maxPadding: 0 } },
  { clients: { window: 1, answeredLag: 0 } },
  { network: { lossPercent: 0, dialLossPercent: 0 } },
  { disk: { slowSyncPercent: 0 } },
  { clockRates: { from: 1, to: 1 } },
  { faultsAtOnce: false },
  { roundMs: 0 },
];

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isPartOf(part: unknown, whole: unknown): boolean {
  if (!isPlain(part) || !isPlain(whole)) return part === whole;
  return Object.entries(part).every(([name, value]) => isPartOf(value, whole[name]));
}

export function mergeOverrides(one: PlanOverrides, other: PlanOverrides): PlanOverrides {
  return merged(one, other) as PlanOverrides;
}

/** `over` wins; sections are merged name by name. */
export function merged(base: unknown, over: unknown): unknown {
  if (!isPlain(base) || !isPlain(over)) return over;
  const result: Record<string, unknown> = { ...base };
  for (const [name, value] of Object.entries(over)) result[name] = name in base ? merged(base[name], value) : value;
  return result;
}
