// Which worlds are about one thing only? Some misfortunes need many conditions at once that a mix of everything rarely gives: a
// share of the seeds draws a theme, and bends its plan to it.
import { type Random, seededRandom } from "../../src/lib/random.ts";
import type { FaultIntervals, Plan } from "./plan.ts";

/** Apart from the plan's own stream, so that themes do not move what other seeds draw. */
const THEME_STREAM = 0x7e3e;

export function themed(plan: Plan, fixedNodes: boolean): Plan {
  const random = seededRandom((plan.seed ^ THEME_STREAM) >>> 0);
  if (plan.nodes < 3 && fixedNodes) return plan;
  const drawn = random.below(100);
  const nodes = fixedNodes ? plan.nodes : random.chance(70) ? 3 : 5;
  if (drawn < 10) return shortLeaderships({ ...quick(plan, random), nodes }, random);
  if (drawn < 16) return longTails({ ...quick(plan, random), nodes }, random);
  if (drawn < 20) return lateNews({ ...quick(plan, random), nodes }, random);
  if (drawn < 26)
    return changingMembers({ ...quick(plan, random), nodes: fixedNodes ? plan.nodes : random.between(3, 5) }, random);
  return plan;
}

/** Short timeouts, and no weather that keeps anybody from electing. */
function quick(plan: Plan, random: Random): Plan {
  const heartbeatMs = random.chance(50) ? 20 : 50;
  return {
    ...plan,
    founding: "together",
    faultsAtOnce: false,
    settings: { ...plan.settings, heartbeatMs, electionMinMs: 4 * heartbeatMs, electionMaxMs: 8 * heartbeatMs },
    clockRates: { from: 0.999, to: 1.001 },
    roundMs: random.chance(50) ? 0 : 0.2,
    network: { ...plan.network, delayMinMs: 0.1, delayMaxMs: random.between(1, 5), dialLossPercent: 0, lossPercent: 0 },
    disk: { ...plan.disk, operationMaxMs: random.chance(50) ? 0.1 : 2, slowSyncPercent: 0, slowSyncMaxMs: 0 },
    safetyMs: random.between(4_000, 10_000),
  };
}

function only(plan: Plan, wanted: Partial<FaultIntervals>): FaultIntervals {
  const none: Record<keyof FaultIntervals, number> = { ...plan.faults };
  for (const name of Object.keys(none) as (keyof FaultIntervals)[]) none[name] = 0;
  return { ...none, ...wanted };
}

/** Leaders that are cut off again and again with a piece of their log on the others, entry by entry (the paper's Figure 8). */
function shortLeaderships(plan: Plan, random: Random): Plan {
  const slow = random.chance(40);
  return {
    ...plan,
    // A write that ends only when another leader has replaced what it wrote.
    disk: { ...plan.disk, slowSyncPercent: slow ? 20 : 0, slowSyncMaxMs: slow ? plan.settings.electionMaxMs : 0 },
    settings: { ...plan.settings, maxAppendBytes: 1, maxInflightMessages: random.between(1, 4) },
    faults: only(plan, { figure8: 3_000, kill: random.chance(30) ? 3_000 : 0 }),
  };
}

/** Leaders that are cut off with much that nobody else has, while the others go on and compact their log behind it. */
function longTails(plan: Plan, random: Random): Plan {
  return {
    ...plan,
    settings: {
      ...plan.settings,
      compactMinBytes: 300,
      compactFactor: 1,
      keepLogBytes: random.chance(70) ? 0 : 512,
      maxAppendBytes: random.chance(50) ? 1 : 1 << 20,
    },
    clients: {
      ...plan.clients,
      processes: Math.min(6, plan.settings.queueLimits.maxSessions - 1),
      window: 16,
      thinkMaxMs: 5,
      maxPadding: 100,
      maxJobs: 1,
    },
    faults: only(plan, {
      partition: 600,
      kill: random.chance(30) ? 3_000 : 0,
      powerCut: random.chance(50) ? 1_000 : 0,
    }),
  };
}

/** Leaders that are followed by another before they know it, with many who read. */
function lateNews(plan: Plan, random: Random): Plan {
  return {
    ...plan,
    network: { ...plan.network, delayMaxMs: plan.settings.heartbeatMs },
    clients: { ...plan.clients, thinkMaxMs: 5, readPercent: 40, takeoverEveryMs: 0 },
    faults: only(plan, { partition: 500, transfer: 200, figure8: random.chance(30) ? 3_000 : 0 }),
  };
}

/** Members that come and go, with leaders struck in the middle of it. */
function changingMembers(plan: Plan, random: Random): Plan {
  return {
    ...plan,
    faults: only(plan, { membership: 400, midChange: 300, kill: 2_000, partition: random.chance(50) ? 1_500 : 0 }),
  };
}
