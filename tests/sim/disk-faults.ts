// Which misfortunes come from disks? Errors, no room, slowness, rot, and directories that were mixed up, or are older than they were.
import type { Random } from "../../src/lib/random.ts";
import type { Raft } from "../../src/raft/raft.ts";
import type { MemberId, SnapshotMeta } from "../../src/raft/types.ts";
import { LOG_DIRECTORY } from "../../src/storage/wal/segment.ts";
import type { FaultTools, Strike } from "./faults.ts";
import { copyOfMember, missedSince } from "./old-disk.ts";
import type { DiskFaultClass } from "./plan.ts";
import type { Machine } from "./world.ts";

const HANG_MAX_MS = 2_000;
/** One in ten hangs is longer than any election timeout. */
const LONG_HANG_MAX_MS = 6_000;
const FULL_MAX_MS = 5_000;
/** Longer than a node takes to notice. */
const SCARCE_MIN_MS = 2_000;
const CORRUPT_SHARE = 70;
/** How long at most a leader stays cut off until another one's snapshot may replace what it is writing, in election timeouts. */
const OVERTAKEN_MAX = 8;
/** A machine that dies so soon after its log went on writes what had gathered meanwhile. */
const AFTER_HANG_MS = 60;
/** How old a copy of a disk may be, and how soon its machine starts from it. */
const COPY_MAX_MS = 500;
const COPY_START_MS = 200;

export function diskFaults(tools: FaultTools): Record<DiskFaultClass, Strike> {
  const { world, plan, pickUp, restartLater, end, presentEnd, mayRemove, ceased } = tools;

  /** Down, by a stop as asked or not; then `then`, unless something else started it meanwhile. */
  function takeDown(machine: Machine, chance: Random, then: () => void): void {
    const ifDown = (): void => {
      if (machine.life === null) then();
    };
    if (chance.chance(30)) return world.stop(machine, ifDown);
    end(machine, chance);
    ifDown();
  }

  /** May what this machine knows be taken from it? Beyond what is survivable only in worlds that are made for it. */
  function mayDamage(machine: Machine): boolean {
    if (machine.self === null || machine.retired || world.configurations().length === 0) return false;
    if (plan.beyond) return true;
    return isFounded() && !mayRemove() && world.mayLoseDisk(machine);
  }

  /** Where the first entry is on one disk only, the others can neither have it nor know that nobody has. */
  const isFounded = (): boolean => world.presentVoters().length > 0;

  const inLog = (path: string): boolean => path.startsWith(LOG_DIRECTORY);
  const raftOf = ({ life }: Machine): Raft | undefined => life?.inspect()?.raft;
  /** The newest of those who think so. */
  const leading = (): Machine | undefined =>
    world.machines
      .filter((machine) => raftOf(machine)?.role === "leader")
      .toSorted((a, b) => (raftOf(b)?.currentTerm ?? 0) - (raftOf(a)?.currentTerm ?? 0))[0];

  /** One at a time: the others must be able to elect. */
  let overtaking = false;

  /**
   * A leader is cut off, and its last write hangs until another one leads, has gone on from less, and compacted that: the first that
   * it is sent is a snapshot, which replaces what is still being written.
   */
  function overtake(leader: Machine, chance: Random): void {
    const { life } = leader;
    const longestMs = OVERTAKEN_MAX * plan.settings.electionMaxMs;
    const heal = world.cut(`${leader.id} leads on alone`, (from, to) => from === leader || to === leader, true);
    let over = false;
    overtaking = true;
    world.after(longestMs, () => {
      over = true;
      overtaking = false;
      heal();
    });
    let goOn = (): void => undefined;
    world.after(chance.below(plan.settings.electionMinMs), () => {
      if (leader.life === life) goOn = world.hangDisk(leader, longestMs, inLog);
    });
    const mayBeSent = (raft: Raft, self: MemberId): boolean => {
      const next = raft.progress.get(self)?.nextIndex;
      return raft.role === "leader" && next !== undefined && raft.termAt(next - 1) === undefined;
    };
    /** Its snapshot when it was connected again; null: it is not. */
    let before: { readonly snapshot: SnapshotMeta | null } | null = null;
    world.watch((machine) => {
      const replaced = raftOf(leader);
      if (over || ceased() || leader.life !== life || replaced === undefined) return true;
      if (before !== null) {
        if (replaced.snapshot === before.snapshot) return false;
        world.after(chance.below(2 * AFTER_HANG_MS), goOn);
        return true;
      }
      const raft = raftOf(machine);
      if (machine === leader || raft === undefined || !mayBeSent(raft, replaced.self)) return false;
      before = { snapshot: replaced.snapshot };
      heal();
      world.reset(machine, leader);
      return false;
    });
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
    lateWrite: (chance) => {
      if (overtaking) return;
      const leader = leading();
      if (leader !== undefined && chance.chance(50)) return overtake(leader, chance);
      const machine = pickUp(chance);
      if (machine === null) return;
      // Whatever else the disk does goes on, and nobody doubts its leader yet.
      const ms = chance.below(plan.settings.electionMinMs);
      world.hangDisk(machine, ms, inLog);
      if (chance.chance(50)) world.after(ms + chance.below(AFTER_HANG_MS), presentEnd(machine, chance));
    },
    oldDisk: (chance) => {
      const leader = leading();
      const others = world.machines.filter((machine) => machine !== leader && machine.life !== null);
      const machine = others[chance.below(Math.max(1, others.length))];
      if (machine === undefined || leader === undefined) return;
      const copy = copyOfMember(machine, leader);
      if (copy === null) return;
      world.after(chance.below(COPY_MAX_MS), () => {
        if (ceased() || !isFounded() || mayRemove() || !world.mayLoseDisk(machine)) return;
        const outdated = missedSince(machine, copy);
        if (outdated === null) return;
        end(machine, chance);
        world.putBack(machine, copy.content, outdated);
        world.after(chance.below(COPY_START_MS), () => world.start(machine));
      });
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
