// What would surely survive a power cut of this disk, at this very moment? What is synced is recovered by the product's storage: read
// in place through a port that writes nothing, or, where a start would move files, as a copy.
import type { LogIndex } from "../../src/raft/types.ts";
import type { NodeId } from "../../src/raft/types.ts";
import { isIncarnation } from "../../src/raft/types.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { NEWER_CONTENT } from "../../src/server/snapshots.ts";
import { openStorage } from "../../src/storage/open.ts";
import type { Recovered, Storage } from "../../src/storage/types.ts";
import type { Disk, DiskFile, Done } from "../../src/storage/disk.ts";
import { must } from "../../src/lib/assert.ts";
import { equalBytes } from "./history.ts";
import { createSimDisk, type SimDisk, STEADY_DISK } from "../kit/simulated-disk.ts";
import { createScheduler, runAll, type Scheduler } from "../kit/scheduler.ts";

const AT_ONCE = { ...STEADY_DISK, operationMaxMs: 0 };
const SPARE_INCARNATION = "0".repeat(16);

/** A text: the directory is refused, with the reason. */
export function recoverDurable(nodeId: NodeId, segmentBytes: number, disk: SimDisk): Recovered | string {
  const scheduler = createScheduler();
  const inPlace = createReader(scheduler, disk);
  const read = openWith(scheduler, inPlace.port, nodeId, segmentBytes);
  const opened = inPlace.movesFiles() ? openCopy(nodeId, segmentBytes, disk, disk.durable) : read;
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
  return openWith(scheduler, copyOf(scheduler, disk, bytesOf), nodeId, segmentBytes);
}

function openWith(scheduler: Scheduler, port: Disk, nodeId: NodeId, segmentBytes: number): Storage | string {
  if (!isIncarnation(SPARE_INCARNATION)) throw new Error("no incarnation");
  let result: Storage | string = "it never opened";
  openStorage(
    port,
    {
      nodeId,
      newIncarnation: SPARE_INCARNATION,
      drawSalt: () => 1,
      onFailure: (error) => {
        result = error.message;
      },
      after: (ms, callback) => scheduler.after(ms, callback),
      newerContent: NEWER_CONTENT,
      reservedBytes: () => 0,
      onSpaceChanged: () => undefined,
      segmentBytes,
    },
    (opened) => {
      result = opened.ok ? opened.storage : `${opened.error.code}: ${opened.error.message}`;
    },
  );
  runAll(scheduler);
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
  const copy = createSimDisk(scheduler, seededRandom(1), AT_ONCE);
  copy.restore(content);
  return copy.restart();
}

/** What is durable on a disk, to be read; a start's own writes are reported as done, and are not. */
function createReader(
  scheduler: Scheduler,
  disk: SimDisk,
): { readonly port: Disk; readonly movesFiles: () => boolean } {
  let movesFiles = false;
  const succeed = (done: Done): void => void scheduler.after(0, () => done(null));
  const opened = (path: string, done: (error: null, file: DiskFile) => void): void =>
    void scheduler.after(0, () => done(null, { path }));
  const port: Disk = {
    list: disk.durableNames,
    read: disk.durable,
    readAt: (path, offset, length) => must(disk.durable(path), path).subarray(offset, offset + length),
    size: (path) => disk.durable(path)?.length ?? null,
    makeDirectory: (_, done) => succeed(done),
    create: (path, _, done) => opened(path, done),
    open: opened,
    write: (_file, _offset, _bytes, done) => succeed(done),
    close: () => undefined,
    syncDirectory: (_, done) => succeed(done),
    rename: () => {
      movesFiles = true;
    },
    remove: (_, done) => succeed(done),
    removeDirectory: (_, done) => succeed(done),
    freeBytes: (done) => void scheduler.after(0, () => done(Infinity)),
    findMissing: (_, done) => void scheduler.after(0, () => done(null)),
    lock: () => undefined,
    unlock: () => undefined,
  };
  return { port, movesFiles: () => movesFiles };
}
