// Which misfortunes come from disks? Errors, no room, slowness, rot, and directories that were mixed up.
import type { Random } from "../../src/lib/random.ts";
import type { FaultTools, Strike } from "./faults.ts";
import type { DiskFaultClass } from "./plan.ts";
import type { Machine } from "./world.ts";

const HANG_MAX_MS = 2_000;
/** One in ten hangs is longer than any election timeout. */
const LONG_HANG_MAX_MS = 6_000;
const FULL_MAX_MS = 5_000;
/** Longer than a node takes to notice. */
const SCARCE_MIN_MS = 2_000;
const CORRUPT_SHARE = 70;

export function diskFaults(tools: FaultTools): Record<DiskFaultClass, Strike> {
  const { world, plan, pickUp, restartLater, mayRemove } = tools;

  /** Down, by a stop as asked or not; then `then`, unless something else started it meanwhile. */
  function takeDown(machine: Machine, chance: Random, then: () => void): void {
    const ifDown = (): void => {
      if (machine.life === null) then();
    };
    if (chance.chance(30)) return world.stop(machine, ifDown);
    if (chance.chance(50)) world.kill(machine);
    else world.powerCut(machine);
    ifDown();
  }

  /** May what this machine knows be taken from it? Beyond what is survivable only in worlds that are made for it. */
  function mayDamage(machine: Machine): boolean {
    if (machine.self === null || machine.retired || world.configurations().length === 0) return false;
    if (plan.beyond) return true;
    // Where the first entry is on one disk only, the others can neither have it nor know that nobody has.
    const isFounded = world.presentVoters().length > 0;
    return isFounded && !mayRemove() && world.mayLoseDisk(machine);
  }

  return {
    diskError: (chance) => {
      const machine = pickUp(chance);
      const operation = (["write", "sync", "create"] as const)[chance.below(3)]!;
      if (machine === null) return;
      world.failDisk(machine, operation, chance.between(1, 5), () => restartLater(machine, chance));
    },
    readError: (chance) => {
      const machine = pickUp(chance);
      if (machine === null) return;
      // Most reads happen at a start; the others when a snapshot is sent.
      if (chance.chance(70)) world.kill(machine);
      world.failDisk(machine, "read", chance.between(1, 8), () => restartLater(machine, chance));
      if (machine.life === null) restartLater(machine, chance);
    },
    diskHang: (chance) => {
      const machine = pickUp(chance);
      if (machine !== null) world.hangDisk(machine, chance.below(chance.chance(90) ? HANG_MAX_MS : LONG_HANG_MAX_MS));
    },
    diskFull: (chance) => {
      const victims = chance.chance(30) ? world.machines.filter(() => chance.chance(60)) : [pickUp(chance)];
      for (const machine of victims) {
        if (machine === null) continue;
        // To the last byte, or so that one or two segments fit, or just below the reserve.
        const segments = chance.chance(30) ? 0 : chance.below(400) / 100;
        world.fillDisk(machine, Math.floor(segments * plan.settings.segmentBytes), chance.below(FULL_MAX_MS));
      }
    },
    scarceRoom: (chance) => {
      // A majority, or all: there is space for the log to go on for a while, and less than the reserve.
      const most = chance.chance(50) ? 100 : 60;
      const ms = chance.between(SCARCE_MIN_MS, FULL_MAX_MS);
      for (const machine of world.machines) {
        if (!chance.chance(most)) continue;
        world.keepDiskFull(machine, Math.floor((chance.between(50, 190) / 100) * plan.settings.segmentBytes), ms);
      }
    },
    wipe: (chance) => {
      const machine = pickUp(chance);
      if (machine === null || mayRemove() || !world.mayLoseDisk(machine)) return;
      world.kill(machine);
      world.wipe(machine);
      restartLater(machine, chance);
    },
    damage: (chance) => {
      const machine = pickUp(chance);
      if (machine === null || !mayDamage(machine)) return;
      takeDown(machine, chance, () => {
        // What was survivable a moment ago may not be any more.
        if (mayDamage(machine) && chance.chance(CORRUPT_SHARE)) world.damage(machine, chance);
        restartLater(machine, chance);
      });
    },
    swapDisks: (chance) => {
      const [machine, other] = [pickUp(chance), pickUp(chance)];
      const fits = ({ self, damaged, foreignDisk }: Machine): boolean =>
        self !== null && !damaged && foreignDisk === null;
      if (machine === null || other === null || machine === other || !fits(machine) || !fits(other)) return;
      world.kill(machine);
      world.kill(other);
      world.startWithDiskOf(machine, other);
    },
  };
}
