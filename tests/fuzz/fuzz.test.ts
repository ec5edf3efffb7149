// Does no input that was ever worth keeping, and none of a short seeded run, make raftq throw, hang, or take one thing for another?
import { describe, expect, test } from "bun:test";
import { readCorpus } from "./corpus.ts";
import { fuzz } from "./engine.ts";
import { type FuzzTarget, Finding } from "./target.ts";
import { TARGETS } from "./targets.ts";

const SEED = 20_250;
/** New inputs of the short run. */
const FRESH: Readonly<Record<string, number>> = { directories: 100, conversation: 4, control: 40, log: 300 };
const OTHERWISE = 2_000;
/** Conversations cost tens of milliseconds each. */
const MOST_OF_CORPUS: Readonly<Record<string, number>> = { conversation: 6, directories: 60 };

describe("a short run", () => {
  test.each(TARGETS.map((target) => [target.name, target] as const))("of %s finds nothing", async (name, target) => {
    const corpus = readCorpus(name).slice(0, MOST_OF_CORPUS[name]);
    expect(corpus.length).toBeGreaterThan(0);
    const most = corpus.length + (FRESH[name] ?? OTHERWISE);
    const outcome = await fuzz(target, { seed: SEED, corpus, goOn: (inputs) => inputs < most });
    if (outcome.crash !== null) {
      const { input, why } = outcome.crash;
      throw new Error(`bun run fuzz --target ${name} --input ${input.toBase64()}\n${why}`);
    }
    expect(outcome.inputs).toBe(most);
    expect(outcome.words).toBeGreaterThan(5);
  });
});

describe("the fuzzer itself", () => {
  const quick: FuzzTarget = {
    name: "quick",
    maxMs: 20,
    generate: (random) => Uint8Array.from({ length: 8 }, () => random.below(4)),
    run: () => "same",
  };
  const run = { seed: 1, corpus: [], goOn: (inputs: number) => inputs < 3_000 };

  test("reports what a target throws, with the input that repeats it", async () => {
    const isBad = (input: Uint8Array): boolean => input[0] === 3 && input[1] === 2;
    const outcome = await fuzz(
      {
        ...quick,
        run: (input) => {
          if (isBad(input)) throw new Finding("found");
          return "good";
        },
      },
      run,
    );
    expect(outcome.crash?.why).toContain("found");
    expect(isBad(outcome.crash?.input ?? new Uint8Array(0))).toBe(true);
  });

  test("reports an input that takes too long each time", async () => {
    const slow = { ...quick, run: () => (Bun.sleepSync(25), "slow") };
    expect((await fuzz(slow, run)).crash?.why).toContain("the bound is 20 ms");
  });

  test("reports memory that is kept", async () => {
    let bytes = 0;
    const residentBytes = (): number => (bytes += 50 * 1024 * 1024);
    const outcome = await fuzz(quick, { ...run, residentBytes, goOn: (inputs) => inputs < 9_000 });
    expect(outcome.crash?.why).toContain("resident memory grew");
  });

  test("goes on from inputs that reached something new: deep things are found that no single draw finds", async () => {
    const deep: FuzzTarget = {
      ...quick,
      generate: () => new Uint8Array(6),
      run: (input) => {
        const depth = input.findIndex((byte, at) => byte % 16 !== at + 1);
        if (depth < 0 && input.length >= 6) throw new Finding("all the way down");
        return `depth ${depth}`;
      },
    };
    const outcome = await fuzz(deep, { ...run, goOn: (inputs) => inputs < 100_000 });
    expect(outcome.crash?.why).toContain("all the way down");
  });
});
