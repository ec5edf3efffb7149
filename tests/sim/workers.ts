// Which processes run the seeds? One per core, each warm from its first seed to the last, asked for one seed after the other; one
// that grows too large is replaced, and a seed that takes too long or too much memory has failed.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { findMutant } from "./mutants.ts";
import type { PlanOverrides, PlanWishes } from "./plan.ts";
import type { SeedResult } from "./run.ts";
import { mergeOverrides } from "./shrink.ts";
import type { ProfileName } from "./profile-names.ts";

/** Which seeds, in which worlds, of which product. */
export interface Range {
  readonly seed: number;
  readonly seeds: number;
  readonly nodes: number | null;
  readonly short: boolean;
  readonly mutant: string | null;
  readonly profile: ProfileName | null;
  /** JSON of PlanOverrides. */
  readonly plan: string | null;
}

/** What a worker answers for one seed, as a line of JSON. */
interface WorkerAnswer {
  readonly result: SeedResult;
  readonly residentBytes: number;
}

/** The first line of a worker: it has loaded the product, with the mutant if there is one. */
const READY = "ready";
/** What earlier seeds left behind goes when a worker holds more after a seed: it would not be collected before it is twice as much. */
const COLLECT_ABOVE_BYTES = 320 * 1024 * 1024;
/** A worker that holds more all the same makes room for a fresh one. */
const REPLACE_ABOVE_BYTES = 640 * 1024 * 1024;
/** No seed needs as much; one that does is broken, and would take the machine with it. */
const MOST_BYTES = 1024 * 1024 * 1024;
/** Wall-clock time; the slowest seeds take seconds, on a busy machine ten times that. */
const MOST_MS = 180_000;
const WATCH_EVERY_MS = 500;

/** A mutant has worlds of its own; what is asked for comes on top. */
export function wishesOf({ short, nodes, mutant, profile, plan }: Range): PlanWishes {
  const own = mutant === null ? {} : (findMutant(mutant).plan ?? {});
  const overrides = plan === null ? own : mergeOverrides(own, JSON.parse(plan) as PlanOverrides);
  return { short, overrides, ...(profile === null ? {} : { profile }), ...(nodes === null ? {} : { nodes }) };
}

/** In a worker process: runs each seed that stdin names, until it ends. */
export async function serveAsWorker(run: (seed: number) => SeedResult): Promise<void> {
  console.log(READY);
  for await (const line of console) {
    const result = run(Number(line));
    if (process.memoryUsage.rss() > COLLECT_ABOVE_BYTES) Bun.gc(true);
    const answer: WorkerAnswer = { result, residentBytes: process.memoryUsage.rss() };
    console.log(JSON.stringify(answer));
  }
}

/** What the workers of a range took together. */
export interface Spent {
  readonly cpuSeconds: number;
  /** The most resident bytes that one of them was seen with. */
  readonly largestBytes: number;
}

/** The range, shared by `processes` workers; each result is reported as it comes; true stops all. */
export async function inWorkers(
  range: Range,
  processes: number,
  report: (result: SeedResult) => boolean | void,
): Promise<Spent> {
  const end = range.seed + range.seeds;
  let next = range.seed;
  let stopped = false;
  let largestBytes = 0;
  let cpuSeconds = 0;
  const work = async (): Promise<void> => {
    let worker: Worker | null = null;
    try {
      while (next < end && !stopped) {
        const seed = next++;
        worker ??= await startWorker(range);
        const { result, residentBytes } = await worker.ask(seed);
        if (stopped) return;
        largestBytes = Math.max(largestBytes, residentBytes);
        stopped = report(result) === true;
        if (worker.isAlive() && residentBytes <= REPLACE_ABOVE_BYTES) continue;
        cpuSeconds += await worker.end();
        worker = null;
      }
    } finally {
      if (worker !== null) cpuSeconds += await worker.end();
    }
  };
  await Promise.all(Array.from({ length: Math.min(processes, range.seeds) }, work));
  return { cpuSeconds, largestBytes };
}

interface Worker {
  ask(seed: number): Promise<WorkerAnswer>;
  isAlive(): boolean;
  /** Gives the CPU seconds that it took. */
  end(): Promise<number>;
}

async function startWorker(range: Range): Promise<Worker> {
  const flags = ["--worker"];
  if (range.nodes !== null) flags.push("--nodes", `${range.nodes}`);
  if (range.short) flags.push("--short");
  if (range.plan !== null) flags.push("--plan", range.plan);
  if (range.mutant !== null) flags.push("--mutant", range.mutant);
  if (range.profile !== null) flags.push("--profile", range.profile);
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "main.ts"), ...flags], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const lines = linesOf(child.stdout);
  let isAlive = true;
  if ((await lines.next()).value !== READY)
    throw new Error(`a worker exited with ${await child.exited} before any seed`);
  return {
    ask: async (seed) => {
      void child.stdin.write(`${seed}\n`);
      void child.stdin.flush();
      const began = performance.now();
      let mostBytes = 0;
      let excess: string | null = null;
      const watch = setInterval(() => {
        mostBytes = Math.max(mostBytes, residentBytesOf(child.pid));
        const ms = performance.now() - began;
        if (mostBytes > MOST_BYTES) excess = `it took ${mostBytes} bytes of memory, and ${MOST_BYTES} are the limit`;
        else if (ms > MOST_MS) excess = `it was not done after ${Math.round(ms / 1_000)}s`;
        if (excess !== null) child.kill("SIGKILL");
      }, WATCH_EVERY_MS);
      const line = await lines.next();
      clearInterval(watch);
      if (line.done === true) {
        const failure = excess ?? `its process exited with ${await child.exited}`;
        isAlive = false;
        return { result: brokenOff(seed, failure), residentBytes: mostBytes };
      }
      const answer = JSON.parse(line.value) as WorkerAnswer;
      return { ...answer, residentBytes: Math.max(mostBytes, answer.residentBytes) };
    },
    isAlive: () => isAlive,
    end: async () => {
      child.kill();
      await child.exited;
      return Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6;
    },
  };
}

function brokenOff(seed: number, failure: string): SeedResult {
  return { seed, events: 0, hash: "", failure, virtualMs: 0, operations: 0, entries: 0, coverage: {} };
}

/** 0 where the system does not report it. */
function residentBytesOf(pid: number): number {
  try {
    const [, kilobytes = "0"] = /^VmRSS:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return Number(kilobytes) * 1024;
  } catch {
    return 0;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string, undefined> {
  let rest = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}
