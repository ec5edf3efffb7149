// What would surely survive a power cut of this disk, at this very moment? A copy of what is synced is recovered by the product's storage.
import type { LogIndex } from "../../src/raft/types.ts";
import type { NodeId } from "../../src/raft/types.ts";
import { isIncarnation } from "../../src/raft/types.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { NEWER_CONTENT } from "../../src/server/snapshots.ts";
import { openStorage } from "../../src/storage/storage.ts";
import type { Recovered, Storage } from "../../src/storage/types.ts";
import type { Disk } from "../../src/storage/disk.ts";
import { equalBytes } from "./history.ts";
import { createSimDisk, type SimDisk } from "./disk.ts";
import { createScheduler, type Scheduler } from "./scheduler.ts";

const CALM = { operationMaxMs: 0, slowSyncPercent: 0, slowSyncMaxMs: 0 };
const SPARE_INCARNATION = "0".repeat(16);

/** A text: the directory is refused, with the reason. */
export function recoverDurable(nodeId: NodeId, segmentBytes: number, disk: SimDisk): Recovered | string {
  const opened = openCopy(nodeId, segmentBytes, disk, disk.durable);
  return typeof opened === "string" ? opened : opened.recovered;
}

/** Opens a copy of the disk as `bytesOf` gives its files. A text: the directory is refused, with the reason. */
export function openCopy(
  nodeId: NodeId,
  segmentBytes: number,
  disk: SimDisk,
  bytesOf: (path: string) => Uint8Array | null,
): Storage | string {
  const scheduler = createScheduler();
  const copy = copyOf(scheduler, disk, bytesOf);
  if (!isIncarnation(SPARE_INCARNATION)) throw new Error("no incarnation");
  let result: Storage | string = "it never opened";
  openStorage(
    copy,
    {
      nodeId,
      newIncarnation: SPARE_INCARNATION,
      drawSalt: () => 1,
      onFailure: (error) => {
        result = error.message;
      },
      after: (ms, callback) => scheduler.after(ms, callback),
      newer: NEWER_CONTENT,
      bytesKept: () => 0,
      onSpaceChanged: () => undefined,
      segmentBytes,
    },
    (opened) => {
      result = opened.ok ? opened.storage : `${opened.error.code}: ${opened.error.message}`;
    },
  );
  while (scheduler.step());
  return result;
}

export function durableHolds({ entries, snapshot }: Recovered, index: LogIndex, record: Uint8Array): boolean {
  if (snapshot !== null && snapshot.index >= index) return true;
  const first = entries[0];
  const entry = first === undefined ? undefined : entries[index - first.index];
  return entry !== undefined && equalBytes(entry.record, record);
}

function copyOf(scheduler: Scheduler, disk: SimDisk, bytesOf: (path: string) => Uint8Array | null): Disk {
  const content = new Map<string, Uint8Array | null>();
  for (const path of disk.files()) {
    const bytes = bytesOf(path);
    if (bytes === null) continue;
    const steps = path.split("/").slice(0, -1);
    for (let depth = 1; depth <= steps.length; depth++) content.set(steps.slice(0, depth).join("/"), null);
    content.set(path, bytes);
  }
  const copy = createSimDisk(scheduler, seededRandom(1), CALM);
  copy.restore(content);
  return copy.restart();
}
