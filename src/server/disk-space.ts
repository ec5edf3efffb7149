// How much space does this node's disk have? Measured now and then against two watermarks: below the soft one the log is shortened,
// below the hard one enqueues are refused, and raft learns of that.
import { SERVER } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import type { Queue } from "../queue/queue.ts";
import { snapshotBytes } from "../queue/snapshot.ts";
import type { Input } from "../raft/effects.ts";
import type { Disk } from "../storage/disk.ts";
import type { Storage } from "../storage/types.ts";
import type { LogEvent, NodeSettings } from "./types.ts";

/** The soft watermark lies so much above the hard one: the log is shortened early, so that nobody is refused if that is enough. */
const SOFT_WATERMARK_SEGMENTS = 2;
/** The hard watermark is the reserve: what a snapshot of the present state would take, and so many segments: one to go on in while it is written, one for what is pending meanwhile. */
const HARD_WATERMARK_SEGMENTS = 2;

export interface DiskSpacePorts {
  readonly disk: Pick<Disk, "freeBytes">;
  readonly clock: Clock;
  readonly storage: Pick<Storage, "lacksSpace" | "reclaimSpace">;
  readonly log: (line: LogEvent) => void;
  readonly input: (input: Input) => void;
  readonly queue: () => Queue;
  /** Bytes of the snapshot that is being written or does not count yet: part of the reserve is in use. */
  readonly writtenBytes: () => number;
}

export interface DiskSpace {
  /** Measures soon: something was written or deleted that changes the free space by much. */
  measure(): void;
  isBelowHardWatermark(): boolean;
  /** The space is low, or will be after a few segments more: time to shorten the log. */
  isBelowSoftWatermark(): boolean;
  /** By the last measure: a snapshot of the state at that time would take so much, and it fits. */
  snapshotBytes(): number;
  fitsSnapshot(): boolean;
  /** How many of so many free bytes the log leaves alone: a snapshot of the present state; when that does not fit anyway, what one of a smaller state may need. */
  bytesKept(freeBytes: number): number;
  /** There was no space for a snapshot, whatever the file system reports: none is tried for a while. */
  snapshotFailed(): void;
  stop(): void;
}

export function createDiskSpace(
  ports: DiskSpacePorts,
  { segmentBytes }: Pick<NodeSettings, "segmentBytes">,
): DiskSpace {
  const { disk, clock, storage } = ports;
  let free = Infinity;
  let snapshot = 0;
  let noSnapshotBefore = 0;
  let isBelowHardWatermark = false;
  let isBelowSoftWatermark = false;
  let isAsking = false;
  let askAgain = false;
  let stopped = false;
  let cancel: (() => void) | null = null;

  function ask(): void {
    if (stopped) return;
    if (isAsking) {
      askAgain = true;
      return;
    }
    isAsking = true;
    cancel?.();
    disk.freeBytes((bytes) => {
      isAsking = false;
      if (stopped) return;
      free = bytes;
      judge();
      cancel = clock.after(isBelowHardWatermark ? SERVER.lowDiskCheckMs : SERVER.diskCheckMs, ask);
      if (!askAgain) return;
      askAgain = false;
      ask();
    });
  }

  /** It ends with one segment more than it began with, so that a node at the edge does not change its mind all the time. */
  function judge(): void {
    snapshot = snapshotBytes(ports.queue());
    const segments = isBelowHardWatermark ? HARD_WATERMARK_SEGMENTS + 1 : HARD_WATERMARK_SEGMENTS;
    const needed = Math.max(0, snapshot - ports.writtenBytes()) + segments * segmentBytes;
    // A quota is used up although the file system has space: only the failed attempt shows it.
    // A snapshot that does not count yet has used its part of the reserve, and what it will free is still taken.
    const low = free < needed || storage.lacksSpace() || (isBelowHardWatermark && ports.writtenBytes() > 0);
    isBelowSoftWatermark = low || free < needed + SOFT_WATERMARK_SEGMENTS * segmentBytes;
    if (isBelowSoftWatermark) storage.reclaimSpace();
    if (low === isBelowHardWatermark) return;
    isBelowHardWatermark = low;
    const fields = { freeBytes: free, neededBytes: needed };
    const figures =
      low && free >= needed
        ? `no log segment can be made, although ${mebibytes(free)} are free (a quota?)`
        : `${mebibytes(free)} free, ${mebibytes(needed)} needed`;
    ports.log(
      low
        ? {
            level: "warn",
            event: "disk-low",
            text: `disk low: ${figures}; enqueues are refused while fewer than a majority of the voters have disk space`,
            fields,
          }
        : { level: "info", event: "disk-space", text: `the disk has space again: ${figures}`, fields },
    );
    ports.input({ type: "diskLow", low });
  }

  ask();
  return {
    measure: ask,
    isBelowHardWatermark: () => isBelowHardWatermark,
    isBelowSoftWatermark: () => isBelowSoftWatermark,
    snapshotBytes: () => snapshot,
    fitsSnapshot: () => snapshot <= free && clock.now() >= noSnapshotBefore,
    bytesKept: (freeBytes) => {
      const rest = Math.max(0, snapshotBytes(ports.queue()) - ports.writtenBytes());
      return rest <= freeBytes ? rest : segmentBytes;
    },
    snapshotFailed: () => {
      noSnapshotBefore = clock.now() + SERVER.diskCheckMs;
      ask();
    },
    stop: () => {
      stopped = true;
      cancel?.();
    },
  };
}

const mebibytes = (bytes: number): string =>
  bytes === Infinity ? "unknown" : `${(bytes / (1024 * 1024)).toFixed(bytes < 10 * 1024 * 1024 ? 1 : 0)} MiB`;
