// Does no input that was ever worth keeping, and none of a short seeded run, make raftq throw, hang, or take one thing for another?
import { describe, expect, test } from "bun:test";
import { readCorpus } from "./corpus.ts";
import { fuzz } from "./engine.ts";
import { type FuzzTarget, Finding } from "./target.ts";
import { findTarget, TARGETS } from "./targets.ts";

const SEED = 20_250;
/** New inputs of the short run. */
const FRESH: Readonly<Record<string, number>> = {
  directories: 100,
  conversation: 4,
  control: 40,
  log: 300,
  state: 800,
};
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

/** Each was a finding once: what it is now, word for word. */
const FOUND = [
  // More sessions than the snapshot's own limit were restored.
  {
    target: "state",
    input: "AC6SAJGbAQQBCQUHCQEAnwMEzQH0zJYeZATNASwCzMgFzRAAzgAQAADNAljNBLAA",
    words: "a snapshot claims N sessions; its own limit is N",
  },
  // A configuration in a longer form inside the manifest: the comparison did not look into it.
  {
    target: "records",
    input:
      "AgFyYWZ0cW1hbgAAAASYbm1pls4AAAAUAQHPAAAAAAAAAIDEK5SRk6JuMbAwMTIzNDU2Nzg5YWJjZGVmrjEyNy4wLjAuMTozMDAw3AAAkJDcAAQJAQAC",
    words: "manifest",
  },
  // A header that names blocks of 1.6 GiB was taken for one.
  { target: "records", input: "BAFyYWZ0cXNlZwAAAAEAAAAHmvPC0RAAAACAAFUQAAAAgABVVmUAAA==", words: "no header" },
  // All frames from the snapshot's on are gone: then it does not count.
  {
    target: "directories",
    input: "CseDZDxDA5aAZxSqimaeOfBmm3UVKbK1PBOc",
    words: "opened false N entries",
  },
];

describe("what was found once", () => {
  test.each(FOUND)("is not found again by $target: $input", async ({ target, input, words }) => {
    expect(await findTarget(target).run(Uint8Array.fromBase64(input))).toStartWith(words);
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
    const work = (): string => {
      for (const began = process.cpuUsage(); process.cpuUsage(began).user < 25_000;);
      return "slow";
    };
    expect((await fuzz({ ...quick, run: work }, run)).crash?.why).toContain("the bound is 20 ms");
  });

  test("does not blame an input for what others do with the processor", async () => {
    let inputs = 0;
    const waits = { ...quick, run: (): string => (++inputs < 9 ? (Bun.sleepSync(25), "waits") : "same") };
    expect((await fuzz(waits, run)).crash).toBeNull();
  });

  test("reports memory that is kept", async () => {
    let bytes = 0;
    const residentBytes = (): number => (bytes += 50 * 1024 * 1024);
    const outcome = await fuzz(quick, { ...run, residentBytes, goOn: (inputs) => inputs < 9_000 });
    expect(outcome.crash?.why).toContain("resident memory grew");
  });

  test("reports an input that takes much memory for a moment only", async () => {
    let peak = 0;
    const peakBytes = (): number => peak;
    const once = { ...quick, run: (): string => ((peak = 2 ** 30), "same") };
    const later = { ...run, residentBytes: () => 1, peakBytes, goOn: (inputs: number) => inputs < 9_000 };
    expect((await fuzz(quick, later)).crash).toBeNull();
    let inputs = 0;
    const sometime = { ...quick, run: (): string => (++inputs === 5_000 ? once.run() : "same") };
    const outcome = await fuzz(sometime, later);
    expect(outcome.crash?.why).toContain("grew for a moment");
    expect(outcome.highestBytes).toBe(2 ** 30);
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
