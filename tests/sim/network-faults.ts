// Which misfortunes come from the network beyond a plain cut? Links that flap, links that are too slow, storms of resets, and
// partitions of stranger shapes.
import type { Random } from "../../src/lib/random.ts";
import type { FaultTools, Strike } from "./faults.ts";
import type { NetworkFaultClass } from "./plan.ts";
import type { Machine } from "./world.ts";

export interface Cut {
  readonly what: string;
  readonly blocked: (from: Machine, to: Machine) => boolean;
}

const FLAP_MAX_MS = 300;
const STORM_PAUSE_MS = 40;
const SWIZZLE_STEP_MS = 200;
/** In election timeouts. */
const HELD_MAX = 4;

export function networkFaults({ world, plan, pickUp, ceased }: FaultTools): Record<NetworkFaultClass, Strike> {
  /** `step` again and again, after a random pause each time. */
  function repeat(times: number, pauseMs: number, chance: Random, step: (left: number) => void): void {
    if (times === 0 || ceased()) return;
    step(times);
    world.after(chance.below(pauseMs), () => repeat(times - 1, pauseMs, chance, step));
  }

  /** One at a time waits for an election. */
  let strikes = 0;

  /** Who leads on while `candidate` stands for a later term. */
  function leaderBefore(candidate: Machine): Machine | undefined {
    const term = candidate.life?.inspect()?.raft.currentTerm ?? 0;
    return world.machines.find(({ life }) => {
      const raft = life?.inspect()?.raft;
      return raft?.role === "leader" && raft.currentTerm < term;
    });
  }

  return {
    heldNews: (chance) => {
      const { electionMinMs, electionMaxMs } = plan.settings;
      const mine = ++strikes;
      const alone = chance.chance(50);
      const ms = chance.below(HELD_MAX * electionMaxMs);
      // Long enough for the others to elect, too short for it to doubt itself.
      const leading = world.machines.find(({ life }) => life?.inspect()?.raft.role === "leader");
      if (leading !== undefined && chance.chance(50))
        world.pause(leading, chance.between(electionMinMs, electionMaxMs - 1));
      world.watch((machine) => {
        if (ceased() || mine !== strikes) return true;
        if (machine.life?.inspect()?.raft.role !== "candidate") return false;
        const leader = leaderBefore(machine);
        if (leader === undefined) return false;
        // It is connected with no member, or only with those that elect the other: either way clients go on asking it.
        const isConnected = (other: Machine): boolean => !alone && other !== machine;
        const blocked = (from: Machine, to: Machine): boolean =>
          (from === leader && !isConnected(to)) || (to === leader && !isConnected(from));
        world.after(ms, world.cut(`${leader.id} leads on and does not hear of ${machine.id}`, blocked, true));
        return true;
      });
    },
    flap: (chance) => {
      const [a, b] = [pickUp(chance), pickUp(chance)];
      if (a === null || b === null) return;
      const oneWay = chance.chance(30);
      // A link, or, if both are the same, everything that the machine is connected with.
      const blocked = (from: Machine, to: Machine): boolean =>
        a === b ? from === a || to === a : (from === a && to === b) || (!oneWay && from === b && to === a);
      let heal: (() => void) | null = null;
      repeat(2 * chance.between(2, 8), FLAP_MAX_MS, chance, () => {
        if (heal === null) heal = world.cut(`${a.id} and ${b.id} flap`, blocked, chance.chance(50));
        else {
          heal();
          heal = null;
        }
      });
    },
    slowLink: (chance) => {
      const victim = pickUp(chance);
      if (victim === null) return;
      const whole = chance.chance(40);
      const other = world.machines[chance.below(world.machines.length)]!;
      const { from, to } = plan.slowLinks.bytesPerMs;
      const bytesPerMs = chance.between(from, to);
      const ms = chance.below(plan.slowLinks.maxMs);
      for (const machine of whole ? world.machines : [other]) {
        if (machine === victim) continue;
        world.after(ms, world.slowLink(victim, machine, bytesPerMs));
        if (chance.chance(50)) world.after(ms, world.slowLink(machine, victim, bytesPerMs));
      }
    },
    resetStorm: (chance) => {
      const victim = chance.chance(50) ? pickUp(chance) : null;
      repeat(chance.between(5, 40), STORM_PAUSE_MS, chance, () => {
        const [a, b] = [victim ?? pickUp(chance), pickUp(chance)];
        if (a !== null && b !== null && a !== b) world.reset(a, b);
      });
    },
    swizzle: (chance) => {
      // One machine after the other falls silent; they come back in another order.
      const silenced = world.machines.filter(() => chance.chance(60));
      for (const machine of silenced) {
        const from = chance.below(silenced.length * SWIZZLE_STEP_MS);
        const ms = chance.below(2 * silenced.length * SWIZZLE_STEP_MS);
        world.after(from, () => {
          if (ceased()) return;
          const heal = world.cut(`${machine.id} silenced`, (a, b) => a === machine || b === machine, chance.chance(50));
          world.after(ms, heal);
        });
      }
    },
  };
}

/** Shapes in which everybody still reaches somebody. */
export function drawOddCut(machines: readonly Machine[], chance: Random): Cut {
  const side = new Set(machines.filter(() => chance.chance(50)));
  const names = [...side].map(({ id }) => id).join(" ");
  if (chance.chance(30))
    return { what: `${names} are not heard by the rest`, blocked: (from, to) => side.has(from) && !side.has(to) };
  // A ring of majorities: each sees its nearest neighbours, and no two see the same.
  const order = machines.map((machine) => ({ machine, at: chance.below(1_000_000) })).sort((a, b) => a.at - b.at);
  const places = new Map(order.map(({ machine }, at) => [machine, at]));
  const reach = Math.max(1, Math.floor(machines.length / 4));
  const distance = (from: Machine, to: Machine): number => {
    const between = Math.abs((places.get(from) ?? 0) - (places.get(to) ?? 0));
    return Math.min(between, machines.length - between);
  };
  return { what: "a ring of majorities", blocked: (from, to) => distance(from, to) > reach };
}
