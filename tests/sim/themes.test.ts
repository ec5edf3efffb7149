// Is every world about the theme that was wished for, and are those of the other seeds left as they are?
import { expect, test } from "bun:test";
import { drawPlan, type Plan } from "./plan.ts";
import { THEME_NAMES, themeCalled } from "./theme-names.ts";

const seeds = Array.from({ length: 100 }, (_, at) => at + 1);
const faultsOf = ({ faults }: Plan): readonly string[] =>
  Object.entries(faults).flatMap(([name, meanMs]) => (meanMs > 0 ? [name] : []));

test("every world of a theme is about it, a short one too", () => {
  for (const short of [false, true]) {
    for (const seed of seeds) {
      const plan = drawPlan(seed, { theme: "tightDisks", short });
      expect(plan.faults.diskFull).toBe(500);
      for (const name of faultsOf(plan)) expect(["diskFull", "kill", "powerCut"]).toContain(name);
    }
  }
});

test("a seed that drew the theme by itself has the same world when the theme is wished for", () => {
  const drew = seeds.flatMap((seed) =>
    THEME_NAMES.filter((theme) => Bun.deepEquals(drawPlan(seed, { theme }), drawPlan(seed))),
  );
  expect(drew.length).toBeGreaterThan(20);
  expect(drew.length).toBeLessThan(80);
});

test("a theme has at least three nodes, and a name", () => {
  for (const theme of THEME_NAMES)
    for (const seed of seeds) expect(drawPlan(seed, { theme }).nodes).toBeGreaterThanOrEqual(3);
  expect(drawPlan(1, { theme: "handovers", nodes: 5 }).nodes).toBe(5);
  expect(() => drawPlan(1, { theme: "handovers", nodes: 2 })).toThrow(
    "worlds about handovers have at least three nodes",
  );
  expect(() => themeCalled("nothing")).toThrow("no theme is called nothing; there are: shortLeaderships, ");
});
