// `bun run sim`: how many seeds pass, and which line replays one that fails?
//   --seed N       the first seed (default 1)       --seeds N   how many (default 1 with --seed, else 100)
//   --nodes N      every world has N nodes          --verbose   the timeline of the run
//   --short        the short worlds of the smoke test
//   --shrink       finds the smallest world in which a failing seed still fails, and the line that replays it
//   --profile NAME   every world is about that (sim/profiles.ts); a mutant may have a profile of its own
//   --plan JSON    what is to be otherwise than the seed drew it (such a line names it)
//   --mutant NAME  plants that bug; succeeds when a seed catches it within the mutant's own number of seeds
//   --mutants      each mutant in turn, one per core at a time, and what each has cost
//   --evidence     appends the run to tests/EVIDENCE.md; refused (exit code 2) where the tree is no commit's
import { parseArgs } from "node:util";
import { openEvidence } from "../evidence.ts";
import type { Plan, PlanOverrides, PlanWishes } from "./plan.ts";
import { describe, hunt, huntAll, type RunSeeds, table } from "./hunt.ts";
import { findMutant, type Mutant, MUTANTS, plant } from "./mutants.ts";
import type { SeedResult } from "./run.ts";
import { mergeOverrides, shrink } from "./shrink.ts";
import { createCoverageReport, LONG_RUN_SEEDS } from "./coverage-report.ts";
import { profileCalled } from "./profile-names.ts";
import { inWorkers, type Range, serveAsWorker, type Spent, wishesOf } from "./workers.ts";

/** Fewer seeds than that are not worth the start of other processes. */
const FEW_SEEDS = 8;
/** One in so many seeds runs twice: the same seed must be the same run. */
const TWICE_EVERY = 100;
/** A long run reports after so many seeds how far it is. */
const PROGRESS_EVERY = 500;
const MIB = 1024 * 1024;
const CORES = Math.max(2, navigator.hardwareConcurrency);

interface Wanted extends Range {
  readonly verbose: boolean;
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
    profile: { type: "string" },
    plan: { type: "string" },
    shrink: { type: "boolean", default: false },
    evidence: { type: "boolean", default: false },
    /** For the workers only: a seed is a line of stdin, its result a line of stdout. */
    worker: { type: "boolean", default: false },
  },
});
/** Only whole worlds as the seed drew them count, and hunts with each mutant's own number of seeds. */
const unfit = { nodes: values.nodes, short: values.short, plan: values.plan, shrink: values.shrink };
const unfitHunt = { mutant: values.mutant, seeds: values.mutants ? values.seeds : undefined };
const evidence = values.evidence ? openEvidence({ ...unfit, ...unfitHunt }) : null;
const mutantGiven = values.mutant === undefined ? null : findMutant(values.mutant);
const seedsWithout = mutantGiven?.within ?? (values.seed === undefined ? 100 : 1);
const wanted: Wanted = {
  seed: wholeNumber("seed", values.seed, 1),
  seeds: wholeNumber("seeds", values.seeds, seedsWithout),
  nodes: values.nodes === undefined ? null : wholeNumber("nodes", values.nodes, 0),
  short: values.short,
  verbose: values.verbose,
  mutant: mutantGiven?.name ?? null,
  profile: values.profile === undefined ? (mutantGiven?.profile ?? null) : profileCalled(values.profile),
  plan: values.plan ?? null,
};

if (values.worker) await serveAsWorker(await seedRunner(wanted));
else if (values.shrink) process.exitCode = await shrinkOne(wanted);
else if (values.mutants) process.exitCode = await huntMutants();
else if (mutantGiven !== null) process.exitCode = await huntOne(mutantGiven);
else process.exitCode = await runAll();

/** The product is loaded here and not before, so that a mutant can be planted first. */
async function seedRunner(range: Wanted): Promise<(seed: number) => SeedResult> {
  if (range.mutant !== null) await plant(findMutant(range.mutant));
  const { runSeed, runTwice } = await import("./run.ts");
  const wishes = wishesOf(range);
  const print = range.verbose ? (line: string) => console.log(line) : null;
  return (seed) => {
    const again = range.mutant === null && seed % TWICE_EVERY === 0;
    return again ? runTwice(seed, wishes, print) : runSeed(seed, wishes, print);
  };
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
  const coverage = createCoverageReport();
  let seen = 0;
  let spent: Spent | null = null;
  const note = (result: SeedResult): void => {
    coverage.add(result);
    if (++seen % PROGRESS_EVERY === 0) console.log(`${seen} seeds after ${Math.round(secondsSince(began))}s`);
    if (result.failure === null) return;
    failures.push(result);
    console.log(`FAILED ${replayLine(result)}\n       ${result.failure}`);
  };
  if (wanted.seeds <= FEW_SEEDS || wanted.verbose) {
    const run = await seedRunner(wanted);
    for (let seed = wanted.seed; seed < wanted.seed + wanted.seeds; seed++) note(run(seed));
  } else spent = await inWorkers(wanted, CORES, note);
  if (wanted.seeds === 1 && failures.length === 0) console.log(`seed ${wanted.seed} passed`);
  const isLong = wanted.seeds >= LONG_RUN_SEEDS;
  if (isLong) console.log(["times seen", ...coverage.all()].join("\n"));
  const missing = coverage.neverHit();
  if (isLong || wanted.verbose) for (const point of missing) console.log(`never seen: ${point}`);
  const seconds = secondsSince(began);
  const { events, virtualMs } = coverage;
  const hours = (virtualMs / 3_600_000).toFixed(1);
  const cost = spent === null ? "" : `, ${costOf(spent)}`;
  console.log(
    `${wanted.seeds} seeds, ${hours} simulated hours, ${events} events, ${Math.round(events / seconds)} events per second${cost}, ${failures.length} failures`,
  );
  evidence?.({
    kind: "simulator",
    firstSeed: wanted.seed,
    seeds: wanted.seeds,
    events,
    virtualMs,
    failures: failures.map((failure) => replayLine(failure)),
    neverSeen: isLong ? missing : null,
  });
  return failures.length === 0 && !(isLong && missing.length > 0) ? 0 : 1;
}

function costOf({ cpuSeconds, largestBytes }: Spent): string {
  const seconds = (cpuSeconds / wanted.seeds).toFixed(2);
  return `${seconds} CPU seconds a seed, at most ${Math.round(largestBytes / MIB)} MiB a process`;
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
  const profile = wanted.profile === null ? "" : ` --profile ${wanted.profile}`;
  return `bun run sim --seed ${seed}${short}${nodes}${mutant}${profile}${plan}`;
}

/** On all cores. */
async function huntOne(given: Mutant): Promise<number> {
  const hunted = await hunt(given, async (_, report) => (await inWorkers(wanted, CORES, report)).cpuSeconds);
  console.log(describe(hunted));
  return hunted.caught === null ? 1 : 0;
}

/** Each in one process, so that nothing is run beside the seed that catches it, and no process starts afresh. */
async function huntMutants(): Promise<number> {
  const began = performance.now();
  const run: RunSeeds = async ({ name, within, profile }, report) => {
    const seeds = values.seeds === undefined ? within : wanted.seeds;
    const range = { ...wanted, seeds, mutant: name, profile: wanted.profile ?? profile ?? null };
    return (await inWorkers(range, 1, report)).cpuSeconds;
  };
  const hunted = await huntAll(MUTANTS, CORES, run, (ended) => console.log(describe(ended)));
  for (const line of table(hunted)) console.log(line);
  console.log(`in ${Math.round(secondsSince(began))} s`);
  const survivors = hunted.flatMap(({ mutant, caught }) => (caught === null ? [mutant.name] : []));
  evidence?.({
    kind: "mutants",
    firstSeed: wanted.seed,
    hunted: hunted.length,
    minutes: secondsSince(began) / 60,
    survivors: survivors.map((name) => `bun run sim --seed ${wanted.seed} --mutant ${name}`),
  });
  return survivors.length === 0 ? 0 : 1;
}
