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
  /** Memory of this process, now and at its highest. */
  readonly residentBytes?: () => number;
  readonly peakBytes?: () => number;
}

/** More resident memory than at the start of a run, after its first inputs: nothing that is fuzzed may keep so much. */
const MAX_GROWTH_BYTES = 384 * 1024 * 1024;
/** For a moment an input may take more. */
const MAX_PEAK_GROWTH_BYTES = 640 * 1024 * 1024;
const LOOK_EVERY = 256;
const LOOK_EVERY_MS = 500;
/** Of inputs, or of time where they are slow. */
const WARM_UP = 2_000;
const WARM_UP_MS = 10_000;
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
  const peakBytes = run.peakBytes ?? (() => 0);
  const began = performance.now();
  let lookedAt = began;
  let highestBytes = residentBytes();
  let floorBytes = highestBytes;
  let slowestMs = 0;
  let crash: Crash | null = null;
  let lastInput: Uint8Array = new Uint8Array(0);

  async function tryOne(input: Uint8Array, fromCorpus: boolean): Promise<void> {
    inputs++;
    lastInput = input;
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

  function memoryGrew(how: string, bytes: number): void {
    const why = `${how} from ${floorBytes} to ${bytes} bytes within the last ${LOOK_EVERY} inputs`;
    crash ??= { target: target.name, input: lastInput, why };
  }

  function lookAtMemory(): void {
    const bytes = residentBytes();
    const peak = Math.max(bytes, peakBytes());
    const before = highestBytes;
    highestBytes = Math.max(before, peak);
    lookedAt = performance.now();
    if (inputs <= WARM_UP && lookedAt - began < WARM_UP_MS) floorBytes = bytes;
    else if (highestBytes > before && highestBytes - floorBytes > MAX_PEAK_GROWTH_BYTES)
      memoryGrew("memory grew for a moment", highestBytes);
    else if (bytes - floorBytes > MAX_GROWTH_BYTES) {
      Bun.gc(true);
      const left = residentBytes();
      if (left - floorBytes > MAX_GROWTH_BYTES) memoryGrew("resident memory grew", left);
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
    if (inputs % LOOK_EVERY === 0 || performance.now() - lookedAt > LOOK_EVERY_MS) lookAtMemory();
  }
  if (crash === null) lookAtMemory();
  target.end?.();
  return { inputs, words: known.size, grown, crash, highestBytes, slowestMs };
}

/**
 * The words of one input, and how long it took; too long, again and again, is a finding. The looks after the first are measured in
 * time of the processor: waiting for other processes is not the input's fault.
 */
async function timed(target: FuzzTarget, input: Uint8Array): Promise<{ readonly words: string; readonly ms: number }> {
  const began = performance.now();
  const first = target.run(input);
  const words = typeof first === "string" ? first : await first;
  let least = performance.now() - began;
  for (let looks = 0; looks < SECOND_LOOKS && least > target.maxMs; looks++) {
    const before = process.cpuUsage();
    await target.run(input);
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / 1_000);
  }
  if (least <= target.maxMs) return { words, ms: least };
  throw new Error(
    `it took ${Math.round(least)} ms or more, ${SECOND_LOOKS + 1} times; the bound is ${target.maxMs} ms`,
  );
}
