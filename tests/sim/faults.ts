// Which misfortunes strike, and when? Each class of fault that the seed's plan names comes at random times of its own stream, so
// that switching one class off does not move the others.
import type { Random } from "../../src/lib/random.ts";
import type { Term } from "../../src/raft/types.ts";
import type { Admin } from "./admin.ts";
import { diskFaults } from "./disk-faults.ts";
import { type Cut, drawOddCut, networkFaults } from "./network-faults.ts";
import { leaderFaults } from "./leader-faults.ts";
import type { Coverage } from "./coverage.ts";
import type { FaultIntervals, Plan } from "./plan.ts";
import { processFaults } from "./process-faults.ts";
import type { Machine, World } from "./world.ts";

/** One fault of a class. */
export type Strike = (chance: Random) => void;

/** What a class of faults is made from. */
export interface FaultTools {
  readonly world: World;
  readonly plan: Plan;
  /** A machine that is up, rather often the leader's. */
  readonly pickUp: (chance: Random) => Machine | null;
  readonly restartLater: (machine: Machine, chance: Random) => void;
  /** A kill or a power cut. */
  readonly end: (machine: Machine, chance: Random) => void;
  /** The same for its present life, if that goes on when the answer is called; it is started again later. */
  readonly presentEnd: (machine: Machine, chance: Random) => () => void;
  /** A removal may begin at any moment: no disk may be lost that it would count on. */
  readonly mayRemove: () => boolean;
  readonly ceased: () => boolean;
  /** An operator asks the leader on `from` to hand over. */
  readonly transfer: (from: Machine, to: Machine) => void;
  readonly hit: Coverage["hit"];
  /** A promise was broken that only the fault itself can judge. */
  readonly fail: (what: string) => void;
}

export interface Faults {
  /** No new faults. What is down or cut off stays so: healing is the world's business. */
  cease(): void;
}

const PAUSE_MAX_MS = 3_000;
const CUT_MAX_MS = 3_000;
/** How long a series of short leaderships goes on, and how long one may last. */
const DEPOSE_MIN_MS = 2_000;
const DEPOSE_MAX_MS = 8_000;
const STORED_MAX_MS = 200;
const RESTART_MAX_MS = 2_000;
const WALL_JUMP_MS = 86_400_000;
const MOST_MACHINES = 9;

export interface FaultPorts {
  readonly random: Random;
  readonly coverage: Coverage;
  readonly fail: (what: string) => void;
}

export function startFaults(world: World, plan: Plan, admin: Admin, { random, coverage, fail }: FaultPorts): Faults {
  let ceased = false;
  const tools: FaultTools = {
    world,
    plan,
    pickUp,
    restartLater: (machine, chance) => restartLater(machine, RESTART_MAX_MS, chance),
    end,
    presentEnd: (machine, chance) => {
      const { life } = machine;
      return () => {
        if (ceased || machine.life !== life) return;
        end(machine, chance);
        restartLater(machine, RESTART_MAX_MS, chance);
      };
    },
    mayRemove: admin.removing,
    ceased: () => ceased,
    transfer: (from, to) => admin.transfer(to.id, from.address),
    hit: coverage.hit,
    fail,
  };
  const classes: Record<keyof FaultIntervals, Strike> = {
    kill: (chance) => strike(chance, (machine) => world.kill(machine)),
    powerCut: (chance) => strike(chance, (machine) => world.powerCut(machine)),
    powerCutAll: (chance) => {
      const together = chance.chance(50);
      for (const machine of world.machines) {
        if (machine.life === null) continue;
        world.powerCut(machine);
        restartLater(machine, together ? 10 : RESTART_MAX_MS, chance);
      }
    },
    stop: (chance) => {
      const machine = pickUp(chance);
      if (machine !== null) world.stop(machine, () => restartLater(machine, RESTART_MAX_MS, chance));
    },
    pause: (chance) => {
      const machine = pickUp(chance);
      if (machine === null) return;
      const ms = chance.chance(70) ? chance.below(500) : chance.below(PAUSE_MAX_MS);
      world.pause(machine, ms);
    },
    partition: (chance) => {
      const cut = drawCut(chance);
      const heal = world.cut(cut.what, cut.blocked, chance.chance(50));
      world.after(chance.below(CUT_MAX_MS), heal);
    },
    figure8: (chance) => deposeForAWhile(chance),
    reset: (chance) => {
      const [a, b] = [pickUp(chance), pickUp(chance)];
      if (a !== null && b !== null && a !== b) world.reset(a, b);
    },
    clock: (chance) => {
      const machine = world.machines[chance.below(world.machines.length)]!;
      if (chance.chance(50)) world.jumpWall(machine, chance.between(-WALL_JUMP_MS, WALL_JUMP_MS));
      else world.setClockRate(machine, world.drawRate(chance));
    },
    transfer: (chance) => admin.transfer(chance.chance(50) ? null : (pickUp(chance)?.id ?? null)),
    membership: (chance) => changeMembership(chance),
    midChange: (chance) => strikeMidChange(chance),
    wrongState: (chance) => {
      // A leader's state may be wrong only where no answer shows it.
      const followers = world.machines.filter((machine) => machine.life !== null && !leads(machine));
      const one = chance.chance(85) ? followers[chance.below(Math.max(1, followers.length))] : pickUp(chance);
      const atOnce = plan.beyond && chance.chance(60);
      for (const machine of atOnce ? followers : one ? [one] : []) {
        if (admin.removing() || !(plan.beyond || world.mayLoseDisk(machine))) continue;
        world.corruptState(machine, chance, () => restartLater(machine, RESTART_MAX_MS, chance));
      }
    },
    ...diskFaults(tools),
    ...networkFaults(tools),
    ...processFaults(tools),
    ...leaderFaults(tools),
  };

  const leads = (machine: Machine): boolean => machine.life?.inspect()?.raft.role === "leader";

  function pickUp(chance: Random): Machine | null {
    const up = world.machines.filter((machine) => machine.life !== null);
    // The leader is the most interesting victim.
    const leaders = up.filter(leads);
    const among = leaders.length > 0 && chance.chance(40) ? leaders : up;
    return among[chance.below(Math.max(1, among.length))] ?? null;
  }

  function end(machine: Machine, chance: Random): void {
    if (chance.chance(50)) world.kill(machine);
    else world.powerCut(machine);
  }

  function strike(chance: Random, how: (machine: Machine) => void): void {
    const machine = pickUp(chance);
    if (machine === null) return;
    how(machine);
    restartLater(machine, RESTART_MAX_MS, chance);
  }

  function restartLater(machine: Machine, withinMs: number, chance: Random): void {
    world.after(chance.chance(30) ? 0 : chance.below(withinMs), () => {
      if (!ceased && machine.life === null && !machine.retired) world.start(machine);
    });
  }

  /** Who cannot reach whom; every shape of partition that others met in production. */
  function drawCut(chance: Random): Cut {
    if (chance.chance(20)) return drawOddCut(world.machines, chance);
    const victim = pickUp(chance);
    const side = new Set(world.machines.filter(() => chance.chance(50)));
    switch (chance.below(5)) {
      case 0:
        return { what: `${victim?.id} isolated`, blocked: (from, to) => from === victim || to === victim };
      case 1:
        return { what: `${victim?.id} hears nothing`, blocked: (_, to) => to === victim };
      case 2:
        return { what: `${victim?.id} is not heard`, blocked: (from) => from === victim };
      case 3: {
        const other = world.machines[chance.below(world.machines.length)];
        return {
          what: `one link down`,
          blocked: (from, to) => (from === victim && to === other) || (from === other && to === victim),
        };
      }
      case 4:
        // Both sides see the victim, but not each other.
        if (chance.chance(50))
          return {
            what: `bridge ${victim?.id}`,
            blocked: (from, to) => from !== victim && to !== victim && side.has(from) !== side.has(to),
          };
    }
    return {
      what: `split ${[...side].map((machine) => machine.id).join(" ")} from the rest`,
      blocked: (from, to) => side.has(from) !== side.has(to),
    };
  }

  /**
   * The paper's Figure 8, again and again: each new leader is cut off at once, with whatever is on its way and whatever its
   * clients still give it, and the one cut off before comes back.
   */
  function deposeForAWhile(chance: Random): void {
    const cutOff = new Map<Machine, () => void>();
    const met = new Set<Term>();
    const most = Math.max(1, Math.floor((world.presentVoters().length - 1) / 2));
    let over = false;
    const heal = (count: number): void => {
      for (const [machine, reconnect] of [...cutOff].slice(0, count)) {
        cutOff.delete(machine);
        reconnect();
      }
    };
    const isolate = (leader: Machine): void => {
      if (over || ceased || cutOff.has(leader) || !leads(leader)) return;
      const reconnect = world.cut(
        `${leader.id} leads and is isolated`,
        (from, to) => from === leader || to === leader,
        true,
      );
      cutOff.set(leader, reconnect);
      // What it is writing may end only when another leader has replaced it.
      if (chance.chance(25)) world.hangDisk(leader, chance.below(2 * plan.settings.electionMaxMs));
      heal(cutOff.size - most);
    };
    world.watch((machine) => {
      if (over || ceased) return true;
      const raft = machine.life?.inspect()?.raft;
      if (raft?.role !== "leader" || met.has(raft.currentTerm)) return false;
      met.add(raft.currentTerm);
      // Now and then it gets the time to send some of its log, but not all: for a while, or until the others hold a little more.
      const patience = chance.below(10);
      if (patience < 4) isolate(machine);
      else if (patience < 5) world.after(chance.below(50), () => isolate(machine));
      else whenStored(machine, chance.between(1, 2), () => isolate(machine));
      return false;
    });
    world.after(chance.between(DEPOSE_MIN_MS, DEPOSE_MAX_MS), () => {
      over = true;
      heal(cutOff.size);
    });
  }

  /** When the leader has learned so many times that a follower holds more than before; or soon, if it never does. */
  function whenStored(leader: Machine, times: number, run: () => void): void {
    const { life } = leader;
    const stored = (): number =>
      [...(life?.inspect()?.raft.progress.values() ?? [])].reduce((sum, { matchIndex }) => sum + matchIndex, 0);
    let left = times;
    let over = false;
    let before = stored();
    const finish = (): void => {
      if (!over) run();
      over = true;
    };
    world.watch((machine) => {
      if (over || leader.life !== life) return true;
      if (machine !== leader) return false;
      const now = stored();
      if (now > before) left--;
      before = now;
      if (left === 0) finish();
      return over;
    });
    world.after(STORED_MAX_MS, finish);
  }

  /** The next leader that changes the members is struck in the middle of it: at once, or when some have learned of the change. */
  function strikeMidChange(chance: Random): void {
    let over = false;
    const hit = (leader: Machine): void => {
      if (ceased || !leads(leader)) return;
      if (chance.chance(30)) world.kill(leader);
      else if (chance.chance(40)) world.powerCut(leader);
      else {
        const side = new Set(world.machines.filter((other) => other !== leader && chance.chance(40)));
        const apart = (machine: Machine): boolean => machine === leader || side.has(machine);
        const heal = world.cut(`${leader.id} changes the members`, (from, to) => apart(from) !== apart(to), true);
        return world.after(chance.below(CUT_MAX_MS), heal);
      }
      restartLater(leader, RESTART_MAX_MS, chance);
    };
    world.watch((machine) => {
      if (over || ceased) return true;
      const raft = machine.life?.inspect()?.raft;
      if (raft?.role !== "leader" || raft.configuration.outgoing.length === 0) return false;
      over = true;
      if (chance.chance(30)) hit(machine);
      else if (chance.chance(50)) world.after(chance.below(20), () => hit(machine));
      else whenStored(machine, chance.between(1, 3), () => hit(machine));
      return true;
    });
  }

  function changeMembership(chance: Random): void {
    const voters = world.presentVoters();
    const grow = voters.length < 3 ? chance.chance(80) : chance.chance(voters.length >= plan.nodes ? 30 : 55);
    if (grow) {
      const retired = world.machines.find((machine) => machine.retired && machine.life === null);
      if (retired !== undefined) return world.rejoin(retired);
      if (world.machines.length < MOST_MACHINES) world.start(world.addMachine());
      return;
    }
    // A majority shows whose state is wrong, a leader whose disk is old: a group of two could only stop, or lose its other disk.
    const isInDoubt = world.machines.some(
      ({ life, onCorrupted, outdated }) =>
        onCorrupted !== null || outdated !== null || (life?.corruptedAt ?? null) !== null,
    );
    if (voters.length <= 1 || isInDoubt) return;
    const count = chance.chance(80) ? 1 : Math.min(2, voters.length - 1);
    const from = chance.below(voters.length);
    const victims = Array.from({ length: count }, (_, at) => voters[(from + at) % voters.length]!);
    admin.remove(
      victims.map((member) => member.id),
      (removed) => {
        for (const machine of world.machines) {
          if (!removed.includes(machine.id)) continue;
          machine.retired = true;
          // Some removed nodes run on for a while: they must not disturb the others. One that was on its way in would come back.
          const onItsWayIn = machine.self === null;
          world.after(onItsWayIn || chance.chance(50) ? 0 : chance.below(5_000), () => {
            if (machine.retired) world.kill(machine);
          });
        }
      },
    );
  }

  for (const name of Object.keys(classes) as (keyof FaultIntervals)[]) {
    const meanMs = plan.faults[name];
    const chance = random.fork();
    if (meanMs === 0) continue;
    const next = (): void => {
      world.after(chance.below(2 * meanMs), () => {
        if (ceased) return;
        classes[name](chance);
        next();
      });
    };
    next();
  }
  return {
    cease: () => {
      ceased = true;
    },
  };
}
