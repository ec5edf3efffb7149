// Measures this node's free disk space against two watermarks: below the soft one the log is shortened, below the hard one enqueues
// are refused, and raft learns of that.
import { SERVER } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import { snapshotBytes } from "../queue/snapshot.ts";
import type { Disk } from "../storage/disk.ts";
import type { Storage } from "../storage/types.ts";
import { addInput, type Inbox } from "./inbox.ts";
import type { LogEvent, StateMachine } from "./types.ts";

export interface DiskSpacePorts {
  readonly disk: Pick<Disk, "freeBytes">;
  readonly clock: Clock;
  readonly storage: Pick<Storage, "lacksSpace" | "reclaimSpace">;
  readonly log: (line: LogEvent) => void;
  readonly inbox: Inbox;
  readonly stateMachine: StateMachine;
  /** Bytes of the snapshot that is being written or does not count yet: part of the reserve is in use. */
  readonly snapshots: { readonly writtenBytes: number };
  readonly segmentBytes: number;
}

export interface DiskSpace extends DiskSpacePorts {
  /** As last measured. */
  freeBytes: number;
  /** What a snapshot of the state at that time would take. */
  snapshotBytes: number;
  /** There was no space for a snapshot, whatever the file system reports: none is tried before this time. */
  noSnapshotBefore: number;
  isBelowHardWatermark: boolean;
  /** The space is low, or will be after a few segments more: time to shorten the log. */
  isBelowSoftWatermark: boolean;
  /** The file system is being asked; and, once more: something has changed meanwhile. */
  measuring: "no" | "yes" | "yes, and once more";
  isStopped: boolean;
  cancelTimer: () => void;
}

export function createDiskSpace(ports: DiskSpacePorts): DiskSpace {
  return {
    ...ports,
    freeBytes: Infinity,
    snapshotBytes: 0,
    noSnapshotBefore: 0,
    isBelowHardWatermark: false,
    isBelowSoftWatermark: false,
    measuring: "no",
    isStopped: false,
    cancelTimer: () => undefined,
  };
}

/** At once, and from then on periodically. Also when something was written or deleted that changes the free space by much. */
export function measureDiskSpace(space: DiskSpace): void {
  if (space.isStopped) return;
  if (space.measuring !== "no") {
    space.measuring = "yes, and once more";
    return;
  }
  space.measuring = "yes";
  space.cancelTimer();
  space.disk.freeBytes((bytes) => {
    const again = space.measuring === "yes, and once more";
    space.measuring = "no";
    if (space.isStopped) return;
    space.freeBytes = bytes;
    judgeDiskSpace(space);
    const intervalMs = space.isBelowHardWatermark ? SERVER.lowDiskCheckMs : SERVER.diskCheckMs;
    space.cancelTimer = space.clock.after(intervalMs, () => measureDiskSpace(space));
    if (again) measureDiskSpace(space);
  });
}

/** It ends with one segment more than it began with, so that a node at the edge does not change its mind all the time. */
function judgeDiskSpace(space: DiskSpace): void {
  const { freeBytes, storage, segmentBytes, isBelowHardWatermark: wasBelow } = space;
  const { writtenBytes } = space.snapshots;
  space.snapshotBytes = snapshotBytes(space.stateMachine.queue);
  const segments = wasBelow ? SERVER.hardWatermarkSegments + 1 : SERVER.hardWatermarkSegments;
  const neededBytes = Math.max(0, space.snapshotBytes - writtenBytes) + segments * segmentBytes;
  // A quota is used up although the file system has space: only the failed attempt shows it.
  // A snapshot that does not count yet has used its part of the reserve, and what it will free is still taken.
  const low = freeBytes < neededBytes || storage.lacksSpace() || (wasBelow && writtenBytes > 0);
  space.isBelowSoftWatermark = low || freeBytes < neededBytes + SERVER.softWatermarkSegments * segmentBytes;
  if (space.isBelowSoftWatermark) storage.reclaimSpace();
  if (low === wasBelow) return;
  space.isBelowHardWatermark = low;
  logHardWatermark(space, neededBytes);
  addInput(space.inbox, { type: "diskLow", low });
}

function logHardWatermark({ log, isBelowHardWatermark: low, freeBytes }: DiskSpace, neededBytes: number): void {
  const fields = { freeBytes, neededBytes };
  const figures =
    low && freeBytes >= neededBytes
      ? `no log segment can be made, although ${mebibytes(freeBytes)} are free (a quota?)`
      : `${mebibytes(freeBytes)} free, ${mebibytes(neededBytes)} needed`;
  const consequence = "enqueues are refused while fewer than a majority of the voters have disk space";
  if (low) log({ level: "warn", event: "disk-low", text: `disk low: ${figures}; ${consequence}`, fields });
  else log({ level: "info", event: "disk-space", text: `the disk has space again: ${figures}`, fields });
}

/** By the last measure. */
export function fitsSnapshot({ snapshotBytes: bytes, freeBytes, clock, noSnapshotBefore }: DiskSpace): boolean {
  return bytes <= freeBytes && clock.now() >= noSnapshotBefore;
}

/** How many of so many free bytes the log leaves alone: a snapshot of the present state; when that does not fit anyway, what one of a smaller state may need. */
export function reservedBytes({ stateMachine, snapshots, segmentBytes }: DiskSpace, freeBytes: number): number {
  const rest = Math.max(0, snapshotBytes(stateMachine.queue) - snapshots.writtenBytes);
  return rest <= freeBytes ? rest : segmentBytes;
}

export function snapshotHadNoSpace(space: DiskSpace): void {
  space.noSnapshotBefore = space.clock.now() + SERVER.diskCheckMs;
  measureDiskSpace(space);
}

export function stopMeasuring(space: DiskSpace): void {
  space.isStopped = true;
  space.cancelTimer();
}

const mebibytes = (bytes: number): string =>
  bytes === Infinity ? "unknown" : `${(bytes / (1024 * 1024)).toFixed(bytes < 10 * 1024 * 1024 ? 1 : 0)} MiB`;
