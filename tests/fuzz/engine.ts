// How is a target fuzzed? Inputs are made afresh or from inputs that reached something new before; time and memory are watched.
import { seededRandom } from "../../src/lib/random.ts";
import { mutate } from "./mutate.ts";
import type { FuzzTarget } from "./target.ts";

export interface Crash {
  readonly target: string;
  readonly input: Uint8Array;
  readonly why: string;
}

export interface Outcome {
  readonly inputs: number;
  readonly words: number;
  /** Inputs that reached what no earlier one did. */
  readonly grown: readonly Uint8Array[];
  readonly crash: Crash | null;
  readonly highestBytes: number;
  readonly slowestMs: number;
}

export interface Run {
  readonly seed: number;
  /** The inputs that were kept before. */
  readonly corpus: readonly Uint8Array[];
  /** Asked before every input. */
  readonly goOn: (inputs: number) => boolean;
  /** Called before every input, so that one that never ends is known. */
  readonly before?: (input: Uint8Array) => void;
  /** Memory of this process. */
  readonly residentBytes?: () => number;
}

/** More resident memory than at the start of a run, after its first inputs: nothing that is fuzzed may keep so much. */
const MAX_GROWTH_BYTES = 384 * 1024 * 1024;
const LOOK_EVERY = 512;
const WARM_UP = 2_000;
const MAX_POOL = 4_000;
/** Slow inputs are run again: a busy machine must not decide. */
const SECOND_LOOKS = 3;

export async function fuzz(target: FuzzTarget, run: Run): Promise<Outcome> {
  const random = seededRandom(run.seed);
  const known = new Set<string>();
  const pool: Uint8Array[] = [];
  const grown: Uint8Array[] = [];
  let inputs = 0;
  const residentBytes = run.residentBytes ?? (() => process.memoryUsage.rss());
  let highestBytes = residentBytes();
  let floorBytes = Number.POSITIVE_INFINITY;
  let slowestMs = 0;
  let crash: Crash | null = null;

  async function tryOne(input: Uint8Array, fromCorpus: boolean): Promise<void> {
    inputs++;
    run.before?.(input);
    try {
      const { words, ms } = await timed(target, input);
      slowestMs = Math.max(slowestMs, ms);
      const fresh = words.split("\n").filter((word) => !known.has(word));
      if (fresh.length === 0) return;
      for (const word of fresh) known.add(word);
      if (pool.length < MAX_POOL) pool.push(input);
      if (!fromCorpus) grown.push(input);
    } catch (error) {
      crash = {
        target: target.name,
        input,
        why: error instanceof Error ? (error.stack ?? error.message) : String(error),
      };
    }
  }

  function lookAtMemory(): void {
    const bytes = residentBytes();
    highestBytes = Math.max(highestBytes, bytes);
    if (inputs <= WARM_UP) floorBytes = bytes;
    else if (bytes - floorBytes > MAX_GROWTH_BYTES) {
      Bun.gc(true);
      if (residentBytes() - floorBytes < MAX_GROWTH_BYTES) return;
      crash = {
        target: target.name,
        input: new Uint8Array(0),
        why: `resident memory grew from ${floorBytes} to ${bytes} bytes`,
      };
    }
  }

  for (const input of run.corpus) {
    if (crash !== null || !run.goOn(inputs)) break;
    await tryOne(input, true);
  }
  while (crash === null && run.goOn(inputs)) {
    const parent = pool.length > 0 && random.chance(75) ? pool[random.below(pool.length)] : undefined;
    const change = target.mutate ?? mutate;
    await tryOne(parent === undefined ? target.generate(random) : change(parent, random), false);
    if (inputs % LOOK_EVERY === 0) lookAtMemory();
  }
  target.end?.();
  return { inputs, words: known.size, grown, crash, highestBytes, slowestMs };
}

/** The words of one input, and how long it took; too long, again and again, is a finding. */
async function timed(target: FuzzTarget, input: Uint8Array): Promise<{ readonly words: string; readonly ms: number }> {
  let least = Number.POSITIVE_INFINITY;
  let words = "";
  for (let looks = 0; looks <= SECOND_LOOKS; looks++) {
    const began = performance.now();
    const result = target.run(input);
    words = typeof result === "string" ? result : await result;
    least = Math.min(least, performance.now() - began);
    if (least <= target.maxMs) return { words, ms: least };
  }
  throw new Error(
    `it took ${Math.round(least)} ms or more, ${SECOND_LOOKS + 1} times; the bound is ${target.maxMs} ms`,
  );
}
