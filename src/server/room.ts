// Is there room on this node's disk? Asked of the file system now and then; raft is told when it becomes low, and when it is over.
import { SERVER } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import type { Queue } from "../queue/queue.ts";
import { snapshotBytes } from "../queue/snapshot.ts";
import type { Input } from "../raft/effects.ts";
import type { Disk } from "../storage/disk.ts";
import type { Storage } from "../storage/types.ts";
import type { LogEvent, NodeSettings } from "./types.ts";

/** So much more than the reserve is when the log is shortened early, so that nobody is refused if that is enough. */
const TIGHT_SEGMENTS = 2;
/** The reserve is what a snapshot of the present state would take, and so many segments: one to go on in while it is written, one for what is under way meanwhile. */
const RESERVED_SEGMENTS = 2;

export interface RoomPorts {
  readonly disk: Pick<Disk, "freeBytes">;
  readonly clock: Clock;
  readonly storage: Pick<Storage, "lacksSpace" | "giveRoom">;
  readonly log: (line: LogEvent) => void;
  readonly input: (input: Input) => void;
  readonly queue: () => Queue;
  /** Bytes of the snapshot that is being written or does not count yet: part of the reserve is in use. */
  readonly writtenBytes: () => number;
}

export interface Room {
  /** Soon: something was written or deleted that changes the room by much. */
  measure(): void;
  isLow(): boolean;
  /** It is low, or will be after a few segments more: time to shorten the log. */
  isTight(): boolean;
  /** By the last measure: a snapshot of the state at that time would take so much, and it fits. */
  snapshotBytes(): number;
  fitsSnapshot(): boolean;
  /** How many of so many free bytes the log leaves alone: a snapshot of the present state; when that does not fit anyway, what one of a smaller state may need. */
  bytesKept(freeBytes: number): number;
  /** There was no space for a snapshot, whatever the file system says: none is tried for a while. */
  ranOut(): void;
  stop(): void;
}

export function createRoom(ports: RoomPorts, { segmentBytes }: Pick<NodeSettings, "segmentBytes">): Room {
  const { disk, clock, storage } = ports;
  let free = Infinity;
  let snapshot = 0;
  let noSnapshotBefore = 0;
  let isLow = false;
  let isTight = false;
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
      cancel = clock.after(isLow ? SERVER.lowRoomCheckMs : SERVER.roomCheckMs, ask);
      if (!askAgain) return;
      askAgain = false;
      ask();
    });
  }

  /** It ends with one segment more than it began with, so that a node at the edge does not change its mind all the time. */
  function judge(): void {
    snapshot = snapshotBytes(ports.queue());
    const segments = isLow ? RESERVED_SEGMENTS + 1 : RESERVED_SEGMENTS;
    const needed = Math.max(0, snapshot - ports.writtenBytes()) + segments * segmentBytes;
    // A quota is used up although the file system has room: only the failed attempt shows it.
    // A snapshot that does not count yet has used its part of the reserve, and what it will free is still taken.
    const low = free < needed || storage.lacksSpace() || (isLow && ports.writtenBytes() > 0);
    isTight = low || free < needed + TIGHT_SEGMENTS * segmentBytes;
    if (isTight) storage.giveRoom();
    if (low === isLow) return;
    isLow = low;
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
            text: `disk low: ${figures}; enqueues are refused while fewer than a majority of the voters have room`,
            fields,
          }
        : { level: "info", event: "disk-room", text: `the disk has room again: ${figures}`, fields },
    );
    ports.input({ type: "diskLow", low });
  }

  ask();
  return {
    measure: ask,
    isLow: () => isLow,
    isTight: () => isTight,
    snapshotBytes: () => snapshot,
    fitsSnapshot: () => snapshot <= free && clock.now() >= noSnapshotBefore,
    bytesKept: (freeBytes) => {
      const rest = Math.max(0, snapshotBytes(ports.queue()) - ports.writtenBytes());
      return rest <= freeBytes ? rest : segmentBytes;
    },
    ranOut: () => {
      noSnapshotBefore = clock.now() + SERVER.roomCheckMs;
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
