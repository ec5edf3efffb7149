// Does shrinking find the little that a failure needs, and keep the failure the same?
import { expect, test } from "bun:test";
import { drawPlan, type Plan, type PlanOverrides } from "./plan.ts";
import type { SeedResult } from "./run.ts";
import { kindOf, mergeOverrides, shrink } from "./shrink.ts";

const SEED = 1;
const EVERYTHING: PlanOverrides = {
  nodes: 5,
  safetyMs: 4_000,
  faults: { kill: 100, pause: 100, partition: 100, reset: 100 },
};

const planOf = (overrides: PlanOverrides): Plan => drawPlan(SEED, { overrides: mergeOverrides(EVERYTHING, overrides) });

/** As if the plan had been played: it fails with what `fails` gives. */
function played(plan: Plan, fails: (plan: Plan) => string | null): SeedResult {
  const events = plan.safetyMs * plan.nodes;
  return {
    seed: SEED,
    events,
    hash: "",
    failure: fails(plan),
    virtualMs: plan.safetyMs,
    operations: 0,
    entries: 0,
    coverage: {},
  };
}

function shrunk(fails: (plan: Plan) => string | null): Plan {
  const run = (overrides: PlanOverrides): SeedResult => played(planOf(overrides), fails);
  return planOf(shrink(planOf, run, run({}), () => {}).overrides);
}

test("what the failure does not need is gone, what it needs stays", () => {
  const plan = shrunk(({ faults, nodes, safetyMs }) =>
    faults.kill > 0 && faults.pause > 0 && nodes >= 3 && safetyMs >= 700 ? `n${nodes} lost job ${safetyMs}` : null,
  );
  const on = Object.entries(plan.faults).filter(([, meanMs]) => meanMs > 0);
  expect(on.map(([name]) => name).toSorted()).toEqual(["kill", "pause"]);
  expect(plan.nodes).toBe(3);
  expect(plan.safetyMs).toBeGreaterThanOrEqual(700);
  expect(plan.safetyMs).toBeLessThan(1_000);
  expect(plan.clients.processes).toBe(1);
});

test("a step that ends in another kind of failure is taken back", () => {
  const plan = shrunk(({ faults, nodes }) =>
    faults.kill > 0 ? `n${nodes} lost a job` : `n${nodes} stopped by itself`,
  );
  expect(plan.faults.kill).toBeGreaterThan(0);
  expect(plan.faults.pause).toBe(0);
});

test("one kind of failure with other numbers and names is the same kind", () => {
  expect(kindOf("n1 and n3 differ in their state at index 28\n  at x")).toBe(
    kindOf("n2 and n1 differ in their state at index 1404\n  at y"),
  );
  expect(kindOf("n1 threw: no")).not.toBe(kindOf("n1 stopped: no"));
});
