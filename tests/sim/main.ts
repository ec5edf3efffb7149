// `bun run sim`: how many seeds pass, and which line replays one that fails?
//   --seed N       the first seed (default 1)       --seeds N   how many (default 1 with --seed, else 100)
//   --nodes N      every world has N nodes          --verbose   the timeline of the run
//   --short        the short worlds of the smoke test
//   --shrink       finds the smallest world in which a failing seed still fails, and the line that replays it
//   --theme NAME   every world is about that (sim/themes.ts); a mutant may have a theme of its own
//   --plan JSON    what is to be otherwise than the seed drew it (such a line names it)
//   --mutant NAME  plants that bug; succeeds when a seed catches it within the mutant's own number of seeds
//   --mutants      each mutant in turn, two at a time, and what each has cost
import { parseArgs } from "node:util";
import type { Plan, PlanOverrides, PlanWishes } from "./plan.ts";
import { describe, hunt, huntAll, type RunSeeds, table } from "./hunt.ts";
import { findMutant, type Mutant, MUTANTS, plant } from "./mutants.ts";
import type { SeedResult } from "./run.ts";
import { mergeOverrides, shrink } from "./shrink.ts";
import { createTally, LONG_RUN_SEEDS } from "./tally.ts";
import { themeCalled, type ThemeName } from "./theme-names.ts";

/** Seeds that one worker process runs before the next one takes over: a fresh one is half as fast until it is warm. */
const SEEDS_PER_WORKER = 1_000;
/** Where the first catch ends the run, or the run is short. */
const SEEDS_PER_SHORT_WORKER = 20;
/** One in so many seeds runs twice: the same seed must be the same run. */
const TWICE_EVERY = 100;
/** A long run says after so many seeds how far it is. */
const PROGRESS_EVERY = 500;
const CORES = Math.max(2, navigator.hardwareConcurrency);

interface Wanted {
  readonly seed: number;
  readonly seeds: number;
  readonly nodes: number | null;
  readonly short: boolean;
  readonly verbose: boolean;
  readonly mutant: string | null;
  readonly theme: ThemeName | null;
  /** JSON of PlanOverrides. */
  readonly plan: string | null;
}

function wholeNumber(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name} wants a whole number, not ${text}`);
  return value;
}

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string" },
    nodes: { type: "string" },
    short: { type: "boolean", default: false },
    verbose: { type: "boolean", default: false },
    mutant: { type: "string" },
    mutants: { type: "boolean", default: false },
    theme: { type: "string" },
    plan: { type: "string" },
    shrink: { type: "boolean", default: false },
    /** For the workers only: one line of JSON per seed. */
    worker: { type: "boolean", default: false },
  },
});
const mutantGiven = values.mutant === undefined ? null : findMutant(values.mutant);
const seedsWithout = mutantGiven?.within ?? (values.seed === undefined ? 100 : 1);
const wanted: Wanted = {
  seed: wholeNumber("seed", values.seed, 1),
  seeds: wholeNumber("seeds", values.seeds, seedsWithout),
  nodes: values.nodes === undefined ? null : wholeNumber("nodes", values.nodes, 0),
  short: values.short,
  verbose: values.verbose,
  mutant: mutantGiven?.name ?? null,
  theme: values.theme === undefined ? (mutantGiven?.theme ?? null) : themeCalled(values.theme),
  plan: values.plan ?? null,
};

if (values.worker) await runHere(wanted, (result) => console.log(JSON.stringify(result)));
else if (values.shrink) process.exitCode = await shrinkOne(wanted);
else if (values.mutants) process.exitCode = await huntMutants();
else if (mutantGiven !== null) process.exitCode = await huntOne(mutantGiven);
else process.exitCode = await runAll();

/** The product is loaded here and not before, so that a mutant can be planted first. */
async function runHere(range: Wanted, report: (result: SeedResult) => boolean | void): Promise<void> {
  if (range.mutant !== null) await plant(findMutant(range.mutant));
  const { runSeed, runTwice } = await import("./run.ts");
  const wishes = wishesOf(range);
  for (let seed = range.seed; seed < range.seed + range.seeds; seed++) {
    const again = range.mutant === null && seed % TWICE_EVERY === 0;
    const print = range.verbose ? (line: string) => console.log(line) : null;
    const stop = report(again ? runTwice(seed, wishes, print) : runSeed(seed, wishes, print));
    if (stop === true) return;
  }
}

function wishesOf({ short, nodes, mutant, theme, plan }: Wanted): PlanWishes {
  const own = mutant === null ? {} : (findMutant(mutant).plan ?? {});
  const overrides = plan === null ? own : mergeOverrides(own, JSON.parse(plan) as PlanOverrides);
  return { short, overrides, ...(theme === null ? {} : { theme }), ...(nodes === null ? {} : { nodes }) };
}

async function shrinkOne(range: Wanted): Promise<number> {
  if (range.mutant !== null) await plant(findMutant(range.mutant));
  const { runSeed } = await import("./run.ts");
  const { drawPlan } = await import("./plan.ts");
  const { overrides: given = {}, ...wishes } = wishesOf(range);
  const end = range.mutant === null ? range.seed + 1 : range.seed + Math.max(range.seeds, 1);
  for (let seed = range.seed; seed < end; seed++) {
    const whole = (more: PlanOverrides): PlanWishes => ({ ...wishes, overrides: mergeOverrides(given, more) });
    const first = runSeed(seed, whole({}));
    if (first.failure === null) continue;
    console.log(`seed ${seed} fails after ${first.events} events: ${first.failure}`);
    const planOf = (more: PlanOverrides): Plan => drawPlan(seed, whole(more));
    const shrunk = shrink(planOf, (more) => runSeed(seed, whole(more)), first, console.log);
    const { events, virtualMs, failure } = shrunk.result;
    console.log(`after ${shrunk.runs} runs: ${events} events in ${Math.round(virtualMs)}ms instead of ${first.events}`);
    console.log(`${replayLine(first, mergeOverrides(given, shrunk.overrides))}\n       ${failure}`);
    return 1;
  }
  console.log("nothing failed, so there is nothing to shrink");
  return 0;
}

async function runAll(): Promise<number> {
  const began = performance.now();
  const failures: SeedResult[] = [];
  const tally = createTally();
  let seen = 0;
  const note = (result: SeedResult): void => {
    tally.add(result);
    if (++seen % PROGRESS_EVERY === 0) console.log(`${seen} seeds after ${Math.round(secondsSince(began))}s`);
    if (result.failure === null) return;
    failures.push(result);
    console.log(`FAILED ${replayLine(result)}\n       ${result.failure}`);
  };
  if (wanted.seeds <= SEEDS_PER_SHORT_WORKER || wanted.verbose) await runHere(wanted, note);
  else await inWorkers(wanted, note);
  if (wanted.seeds === 1 && failures.length === 0) console.log(`seed ${wanted.seed} passed`);
  const isLong = wanted.seeds >= LONG_RUN_SEEDS;
  if (isLong) console.log(["times seen", ...tally.all()].join("\n"));
  const missing = tally.neverHit();
  if (isLong || wanted.verbose) for (const mark of missing) console.log(`never seen: ${mark}`);
  const seconds = secondsSince(began);
  const { events, virtualMs } = tally;
  const hours = (virtualMs / 3_600_000).toFixed(1);
  console.log(
    `${wanted.seeds} seeds, ${hours} simulated hours, ${events} events, ${Math.round(events / seconds)} events per second, ${failures.length} failures`,
  );
  return failures.length === 0 && !(isLong && missing.length > 0) ? 0 : 1;
}

function secondsSince(began: number): number {
  return (performance.now() - began) / 1_000;
}

function replayLine({ seed }: SeedResult, overrides: PlanOverrides = wishesOf(wanted).overrides ?? {}): string {
  const json = JSON.stringify(overrides);
  const plan = json === "{}" ? "" : ` --plan '${json}'`;
  const short = wanted.short ? " --short" : "";
  const nodes = wanted.nodes === null ? "" : ` --nodes ${wanted.nodes}`;
  const mutant = wanted.mutant === null ? "" : ` --mutant ${wanted.mutant}`;
  const theme = wanted.theme === null ? "" : ` --theme ${wanted.theme}`;
  return `bun run sim --seed ${seed}${short}${nodes}${mutant}${theme}${plan}`;
}

/** Two processes (or as many as there are cores) share the range; each result is reported as it comes; true stops all. */
async function inWorkers(
  range: Wanted,
  report: (result: SeedResult) => boolean | void,
  spent: (cpuSeconds: number) => void = () => {},
): Promise<void> {
  let next = range.seed;
  let stopped = false;
  const end = range.seed + range.seeds;
  const isShort = range.mutant !== null || range.seeds < LONG_RUN_SEEDS;
  const share = isShort ? SEEDS_PER_SHORT_WORKER : SEEDS_PER_WORKER;
  const work = async (): Promise<void> => {
    while (next < end && !stopped) {
      const seed = next;
      next = Math.min(end, seed + share);
      for await (const result of worker({ ...range, seed, seeds: next - seed }, spent)) {
        if (stopped) return;
        stopped = report(result) === true;
      }
    }
  };
  await Promise.all(Array.from({ length: CORES }, work));
}

/** `spent`: once, when the process has ended. */
async function* worker(range: Wanted, spent: (cpuSeconds: number) => void): AsyncGenerator<SeedResult> {
  const flags = ["--worker", "--seed", `${range.seed}`, "--seeds", `${range.seeds}`];
  if (range.nodes !== null) flags.push("--nodes", `${range.nodes}`);
  if (range.short) flags.push("--short");
  if (range.plan !== null) flags.push("--plan", range.plan);
  if (range.mutant !== null) flags.push("--mutant", range.mutant);
  if (range.theme !== null) flags.push("--theme", range.theme);
  const child = Bun.spawn([process.execPath, import.meta.path, ...flags], { stdout: "pipe", stderr: "inherit" });
  let rest = "";
  try {
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line.startsWith("{")) yield JSON.parse(line) as SeedResult;
    }
    if ((await child.exited) !== 0)
      throw new Error(`the worker for seeds from ${range.seed} on exited with ${child.exitCode}`);
  } finally {
    child.kill();
    await child.exited;
    spent(Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6);
  }
}

/** On all cores. */
async function huntOne(given: Mutant): Promise<number> {
  let cpuSeconds = 0;
  const hunted = await hunt(given, async (_, report) => {
    await inWorkers(wanted, report, (seconds) => void (cpuSeconds += seconds));
    return cpuSeconds;
  });
  console.log(describe(hunted));
  return hunted.caught === null ? 1 : 0;
}

/** Each in one process, so that nothing is run beside the seed that catches it, and no process starts afresh. */
async function huntMutants(): Promise<number> {
  const began = performance.now();
  const run: RunSeeds = async ({ name, within, theme }, report) => {
    const seeds = values.seeds === undefined ? within : wanted.seeds;
    const range = { ...wanted, seeds, mutant: name, theme: wanted.theme ?? theme ?? null };
    let cpuSeconds = 0;
    for await (const result of worker(range, (seconds) => void (cpuSeconds = seconds))) if (report(result)) break;
    return cpuSeconds;
  };
  const hunted = await huntAll(MUTANTS, CORES, run, (ended) => console.log(describe(ended)));
  for (const line of table(hunted)) console.log(line);
  console.log(`in ${Math.round(secondsSince(began))} s`);
  return hunted.every(({ caught }) => caught !== null) ? 0 : 1;
}
