// Which misfortunes meet a process at its worst moment? In recovery, between two disk operations, while a snapshot comes in.
import type { Random } from "../../src/lib/random.ts";
import { META_PATH } from "../../src/storage/meta.ts";
import { LOG_DIRECTORY } from "../../src/storage/segment.ts";
import { SNAPSHOT_DIRECTORY } from "../../src/storage/snapshot-files.ts";
import type { Aim } from "./disk.ts";
import type { FaultTools, Strike } from "./faults.ts";
import type { ProcessFaultClass } from "./plan.ts";
import type { Machine } from "./world.ts";

/** Most recoveries take less. */
const RECOVERY_MS = 60;
const OPERATIONS_AHEAD = 12;
/** What a node writes seldom would hardly ever be struck among all that it writes to its log. */
const SELDOM: readonly Aim[] = [
  (_, path) => path === META_PATH,
  (operation, path) => operation === "remove" && path.startsWith(LOG_DIRECTORY),
  (_, path) => path.startsWith(SNAPSHOT_DIRECTORY),
];
const SELDOM_AHEAD = 4;
/** How long a snapshot on its way is waited for, and how closely. */
const LOOKS = 1_500;
const LOOK_MS = 2;
const PART_MS = 20;

export function processFaults({ world, pickUp, restartLater, ceased }: FaultTools): Record<ProcessFaultClass, Strike> {
  const end = (machine: Machine, chance: Random): void => {
    if (chance.chance(50)) world.kill(machine);
    else world.powerCut(machine);
  };

  function crashAgain(machine: Machine, times: number, chance: Random): void {
    if (ceased()) return;
    end(machine, chance);
    if (times === 0) return restartLater(machine, chance);
    world.start(machine);
    world.after(chance.below(RECOVERY_MS), () => crashAgain(machine, times - 1, chance));
  }

  /** Somebody to whom a leader is sending a snapshot. */
  function receiver(): Machine | null {
    for (const { life } of world.machines) {
      for (const { state, id } of life?.inspect()?.raft.progress.values() ?? []) {
        if (state !== "snapshot") continue;
        const found = world.machines.find((machine) => machine.self === id && machine.life !== null);
        if (found !== undefined) return found;
      }
    }
    return null;
  }

  return {
    crashLoop: (chance) => {
      const machine = pickUp(chance);
      if (machine !== null) crashAgain(machine, chance.between(1, 5), chance);
    },
    crashPoint: (chance) => {
      const machine = pickUp(chance);
      if (machine === null) return;
      const { life } = machine;
      const strike = (): void => {
        if (ceased() || machine.life !== life) return;
        end(machine, chance);
        restartLater(machine, chance);
      };
      if (chance.chance(50)) return world.whenWriting(machine, chance.between(1, OPERATIONS_AHEAD), strike);
      const aim = SELDOM[chance.below(SELDOM.length)];
      world.whenWriting(machine, chance.between(1, SELDOM_AHEAD), strike, aim);
    },
    killReceiver: (chance) => {
      let looks = LOOKS;
      const look = (): void => {
        if (ceased() || looks-- === 0) return;
        const machine = receiver();
        if (machine === null) return world.after(LOOK_MS, look);
        world.after(chance.below(PART_MS), () => {
          if (ceased()) return;
          end(machine, chance);
          restartLater(machine, chance);
        });
      };
      look();
    },
  };
}
