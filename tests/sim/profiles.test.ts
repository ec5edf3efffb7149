// Is every world about the profile that was wished for, and are those of the other seeds left as they are?
import { expect, test } from "bun:test";
import { drawPlan, type Plan } from "./plan.ts";
import { PROFILE_NAMES, profileCalled } from "./profile-names.ts";

const seeds = Array.from({ length: 100 }, (_, at) => at + 1);
const faultsOf = ({ faults }: Plan): readonly string[] =>
  Object.entries(faults).flatMap(([name, meanMs]) => (meanMs > 0 ? [name] : []));

test("every world of a profile is about it, a short one too", () => {
  for (const short of [false, true]) {
    for (const seed of seeds) {
      const plan = drawPlan(seed, { profile: "tightDisks", short });
      expect(plan.faults.diskFull).toBe(500);
      for (const name of faultsOf(plan)) expect(["diskFull", "kill", "powerCut"]).toContain(name);
    }
  }
});

test("a seed that drew the profile by itself has the same world when the profile is wished for", () => {
  const drew = seeds.flatMap((seed) =>
    PROFILE_NAMES.filter((profile) => Bun.deepEquals(drawPlan(seed, { profile }), drawPlan(seed))),
  );
  expect(drew.length).toBeGreaterThan(20);
  expect(drew.length).toBeLessThan(80);
});

test("a profile has at least three nodes, and a name", () => {
  for (const profile of PROFILE_NAMES)
    for (const seed of seeds) expect(drawPlan(seed, { profile }).nodes).toBeGreaterThanOrEqual(3);
  expect(drawPlan(1, { profile: "handovers", nodes: 5 }).nodes).toBe(5);
  expect(() => drawPlan(1, { profile: "handovers", nodes: 2 })).toThrow(
    "worlds about handovers have at least three nodes",
  );
  expect(() => profileCalled("nothing")).toThrow("no profile is called nothing; there are: shortLeaderships, ");
});
