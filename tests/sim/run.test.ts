// Is a simulated run determined by its seed alone, and does the product keep its promises in a few of them? More: `smoke.sim.ts`.
import { expect, test } from "bun:test";
import { runSeed } from "./run.ts";

const FIRST_SEEDS = [1, 2, 3, 4] as const;

test("one seed is one run, byte for byte, and the first ones keep every promise", () => {
  const [first, again, ...others] = [1, ...FIRST_SEEDS].map((seed) => runSeed(seed, { short: true }));
  expect(again?.hash).toBe(first!.hash);
  expect(again?.events).toBe(first!.events);
  for (const { hash } of others) expect(hash).not.toBe(first!.hash);
  expect([again, ...others].map((run) => run?.failure)).toEqual(FIRST_SEEDS.map(() => null));
});
