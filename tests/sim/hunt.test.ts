// Does a hunt stop at the first seed that fails, count what it cost, and report which mutants survived?
import { expect, test } from "bun:test";
import { describe, hunt, huntAll, type RunSeeds, table } from "./hunt.ts";
import type { Mutant } from "./mutants.ts";
import type { SeedResult } from "./run.ts";

const mutant = (name: string, profile?: Mutant["profile"]): Mutant => ({
  name,
  what: `${name} is broken`,
  within: 5,
  edits: [],
  ...(profile === undefined ? {} : { profile }),
});

const result = (seed: number, failure: string | null): SeedResult => ({
  seed,
  failure,
  hash: "0",
  events: 1,
  virtualMs: 1,
  operations: 1,
  entries: 1,
  coverage: {},
});

/** Each seed costs a CPU second; `catches` names the one that fails. */
const running =
  (catches: Readonly<Record<string, number>>): RunSeeds =>
  async ({ name, within }, report) => {
    for (let seed = 1; seed <= within; seed++) {
      await Promise.resolve();
      if (report(result(seed, seed === catches[name] ? "a promise was broken" : null))) return seed;
    }
    return within;
  };

test("a hunt ends with the first seed that fails", async () => {
  const hunted = await hunt(mutant("vote-again"), running({ "vote-again": 3 }));
  expect(hunted).toMatchObject({ seeds: 3, cpuSeconds: 3, caught: { seed: 3 } });
  expect(describe(hunted)).toBe("caught vote-again by seed 3, after 3 seeds and 3.0 CPU seconds: a promise was broken");
});

test("a mutant that no seed notices has survived", async () => {
  const hunted = await hunt(mutant("vote-again"), running({}));
  expect(hunted).toMatchObject({ seeds: 5, cpuSeconds: 5, caught: null });
  expect(describe(hunted)).toStartWith("SURVIVED vote-again (vote-again is broken)");
});

test("a replacement that names what is gone is no bug that was caught", async () => {
  const why = "n1 threw: ReferenceError: gate is not defined";
  const run: RunSeeds = async (_, report) => {
    report(result(1, why));
    return Promise.resolve(1);
  };
  const ended = await hunt(mutant("old-name"), run).catch((error: unknown) => String(error));
  expect(ended).toBe(`Error: mutant old-name is no bug, its edits do not run: ${why}`);
});

test("all mutants are hunted, no more than so many at a time, and the table shows what each has cost", async () => {
  const mutants = [mutant("slow", "lateNews"), mutant("quick"), mutant("lost"), mutant("usual")];
  const run = running({ slow: 4, quick: 1, usual: 2 });
  let atOnce = 0;
  let most = 0;
  const ended: string[] = [];
  const hunted = await huntAll(
    mutants,
    2,
    async (given, report) => {
      most = Math.max(most, ++atOnce);
      const cpuSeconds = await run(given, report);
      atOnce--;
      return cpuSeconds;
    },
    (one) => ended.push(one.mutant.name),
  );
  expect(most).toBe(2);
  expect(ended[0]).toBe("quick");
  expect(hunted.map((one) => one.mutant.name)).toEqual(["slow", "quick", "lost", "usual"]);
  const lines = table(hunted).map((line) => line.replaceAll(/ +/g, " "));
  expect(lines).toEqual([
    "mutant worlds seeds CPU s",
    "quick all 1 1.0",
    "usual all 2 2.0",
    "slow lateNews 4 4.0",
    "lost all 5 5.0 SURVIVED",
    "4 mutants, 3 caught, 1 survived; 12 CPU seconds, the median 3.0",
  ]);
});
