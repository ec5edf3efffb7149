// Which misfortunes meet a process at its worst moment? In recovery, between two disk operations, while a snapshot comes in.
import type { Random } from "../../src/lib/random.ts";
import { META_PATH } from "../../src/storage/meta.ts";
import { LOG_DIRECTORY } from "../../src/storage/wal/segment.ts";
import { indexOf, SNAPSHOT_DIRECTORY } from "../../src/storage/snapshot/files.ts";
import type { Aim } from "../kit/simulated-disk.ts";
import type { FaultTools, Strike } from "./faults.ts";
import type { ProcessFaultClass } from "./plan.ts";
import type { Machine } from "./world.ts";

/** Most recoveries take less. */
const RECOVERY_MS = 60;
const OPERATIONS_AHEAD = 12;
const IN_META: Aim = (_, path) => path === META_PATH;
/** What a node writes seldom would hardly ever be struck among all that it writes to its log. */
const SELDOM: readonly Aim[] = [
  IN_META,
  (operation, path) => operation === "remove" && path.startsWith(LOG_DIRECTORY),
  (_, path) => path.startsWith(SNAPSHOT_DIRECTORY),
];
const SELDOM_AHEAD = 4;
/** A start writes both slots of meta, and what ends it in the first of them meets what the life before left in the other. */
const META_AHEAD = 2;
const META_SHARE = 70;
/** The last step of saving a snapshot. */
const SAVED: Aim = (operation, path) => operation === "syncDirectory" && path === SNAPSHOT_DIRECTORY;
const SAVED_SHARE = 70;
const PAUSE_MAX_MS = 400;
/** A process that dies so soon after a pause has written what had gathered meanwhile. */
const AFTER_PAUSE_MS = 60;
/** How long a snapshot on its way is waited for, and how closely. */
const LOOKS = 1_500;
const LOOK_MS = 2;
const PART_MS = 20;

export function processFaults(tools: FaultTools): Record<ProcessFaultClass, Strike> {
  const { world, pickUp, restartLater, end, presentEnd, ceased } = tools;

  function crashAgain(machine: Machine, times: number, chance: Random): void {
    if (ceased()) return;
    end(machine, chance);
    if (times === 0) return restartLater(machine, chance);
    world.start(machine);
    world.after(chance.below(RECOVERY_MS), () => crashAgain(machine, times - 1, chance));
  }

  /** Life after life ends as it writes to the same few places: a repair is cut short that follows something cut short. */
  function endAsItWrites(machine: Machine, times: number, aim: Aim, ahead: number, chance: Random): void {
    const { life } = machine;
    const strike = (): void => {
      if (ceased() || machine.life !== life) return;
      end(machine, chance);
      if (times === 1) return restartLater(machine, chance);
      world.start(machine);
      endAsItWrites(machine, times - 1, aim, ahead, chance);
    };
    world.whenWriting(machine, chance.between(1, ahead), strike, aim);
  }

  /** The snapshot that is being saved is one of its whole log, and nothing is written behind that. */
  function savesAll({ life, disk }: Machine): boolean {
    const raft = life?.inspect()?.raft;
    if (raft === undefined || raft.inflight !== null) return false;
    const newest = (snapshot: string): boolean => indexOf(snapshot) === raft.lastIndex;
    return disk
      .files()
      .some((path) => path.startsWith(SNAPSHOT_DIRECTORY) && newest(path.slice(0, path.lastIndexOf("/"))));
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
      const strike = presentEnd(machine, chance);
      if (chance.chance(50)) return world.whenWriting(machine, chance.between(1, OPERATIONS_AHEAD), strike);
      const aim = SELDOM[chance.below(SELDOM.length)];
      world.whenWriting(machine, chance.between(1, SELDOM_AHEAD), strike, aim);
    },
    crashChain: (chance) => {
      const machine = pickUp(chance);
      if (machine === null) return;
      const times = chance.between(2, 4);
      if (chance.chance(META_SHARE)) return endAsItWrites(machine, times, IN_META, META_AHEAD, chance);
      endAsItWrites(machine, times, SELDOM[chance.below(SELDOM.length)]!, SELDOM_AHEAD, chance);
    },
    pausePoint: (chance) => {
      const machine = pickUp(chance);
      if (machine === null) return;
      const { life } = machine;
      const ms = chance.below(PAUSE_MAX_MS);
      const aim = chance.chance(SAVED_SHARE) ? SAVED : SELDOM[chance.below(SELDOM.length)];
      const strike = (): void => {
        if (ceased() || machine.life !== life) return;
        // A snapshot of all there is: what comes meanwhile is written together with the frame that makes it count.
        if (aim === SAVED && !savesAll(machine)) return world.whenWriting(machine, 1, strike, aim);
        world.pause(machine, ms);
        if (chance.chance(50)) world.after(ms + chance.below(AFTER_PAUSE_MS), presentEnd(machine, chance));
      };
      world.whenWriting(machine, 1, strike, aim);
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
