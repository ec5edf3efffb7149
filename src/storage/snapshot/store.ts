// Which snapshots does this node have, and which one counts? Saved from its own state or received, complete before it may count.
import { assert } from "../../lib/assert.ts";
import { crc32 } from "../../lib/crc32.ts";
import type { LogIndex, SnapshotMeta } from "../../raft/types.ts";
import { missing } from "../corrupt.ts";
import type { Disk } from "../disk.ts";
import type { FailStop } from "../fail-stop.ts";
import { encodeManifest, manifestCrc, type Part } from "./manifest.ts";
import { createReceiver, type Receiver } from "./receiver.ts";
import { createSerialQueue } from "../serial-queue.ts";
import { type CompleteSnapshot, createSnapshotWriter, directoryOf, readPart, type SnapshotWriter } from "./files.ts";
import type { Steps } from "../steps.ts";
import { MAX_PART_BYTES, type SnapshotSource } from "../types.ts";

export interface Snapshots {
  /** `done(false)`: there was no space; nothing of it is left. */
  readonly save: (meta: SnapshotMeta, source: SnapshotSource, done: (isSaved: boolean) => void) => void;
  readonly receive: Receiver["store"];
  /** A complete snapshot. */
  readonly at: (index: LogIndex) => CompleteSnapshot | null;
  readonly readPart: (index: LogIndex, part: number) => Uint8Array;
  /** The snapshot that counts, by a durable snapshot frame. */
  readonly counted: () => CompleteSnapshot | null;
  /** From now on this one counts: older ones are deleted. */
  readonly count: (index: LogIndex) => void;
  /** Waits for the deletions that were begun. */
  readonly settle: (done: () => void) => void;
}

export interface SnapshotSettings {
  readonly formatVersion: number;
  readonly failStop: FailStop;
  /** Runs `callback` from a later event. */
  readonly soon: (callback: () => void) => void;
  /** A snapshot was deleted. */
  readonly onFreed: () => void;
  /** What the log waits for: a snapshot from another node must leave so much, or the frame that makes it count has no place. */
  readonly neededByLog: () => number;
}

export function openSnapshots(disk: Disk, recovered: CompleteSnapshot | null, settings: SnapshotSettings): Snapshots {
  const { formatVersion, failStop, soon, onFreed, neededByLog } = settings;
  const writer = createSnapshotWriter(disk);
  const { run } = failStop;
  const remove = (directory: string): void => run(writer.remove(directory), onFreed);
  const complete = new Map<LogIndex, CompleteSnapshot>();
  let counted = recovered;
  if (recovered !== null) complete.set(recovered.manifest.meta.index, recovered);

  const onComplete = (snapshot: CompleteSnapshot): void => {
    const { index } = snapshot.manifest.meta;
    const superseded = counted !== null && index < counted.manifest.meta.index;
    if (superseded) remove(snapshot.directory);
    else complete.set(index, snapshot);
  };

  const writeQueue = createSerialQueue();
  const receiver = createReceiver({
    writer,
    writeQueue,
    run,
    formatVersion,
    soon,
    neededByLog,
    isComplete: ({ meta, manifest }) => {
      const stored = complete.get(meta.index);
      if (stored === undefined || stored.manifest.meta.term !== meta.term) return false;
      return stored === counted || stored.crc === manifestCrc(manifest);
    },
    onBegin: ({ meta }) => {
      complete.delete(meta.index);
    },
    onComplete,
  });

  return {
    save: (meta, source, done) => {
      writeQueue((release) => {
        // A leader may have sent the very snapshot that this node's own state has reached meanwhile, whole or in part.
        if (complete.get(meta.index)?.manifest.meta.term === meta.term) {
          release();
          return soon(() => done(true));
        }
        receiver.forget(directoryOf(meta));
        run(save(writer, meta, source, formatVersion), (snapshot) => {
          if (snapshot !== null) onComplete(snapshot);
          release();
          done(snapshot !== null);
        });
      });
    },
    receive: receiver.store,
    at: (index) => complete.get(index) ?? null,
    readPart: (index, part) => {
      const snapshot = complete.get(index);
      if (snapshot === undefined) throw missing(`there is no snapshot at ${index}`);
      return readPart(disk, snapshot, part);
    },
    counted: () => counted,
    count: (index) => {
      const snapshot = complete.get(index);
      assert(snapshot !== undefined, `the snapshot at ${index} is complete before it counts`);
      counted = snapshot;
      for (const [other, { directory }] of complete) {
        if (other >= index) continue;
        complete.delete(other);
        remove(directory);
      }
    },
    settle: writer.settle,
  };
}

/** One part after the other, each durable before the next is drawn: the log's own writes never wait for a big one. null: no space. */
function* save(
  writer: SnapshotWriter,
  meta: SnapshotMeta,
  source: SnapshotSource,
  formatVersion: number,
): Steps<CompleteSnapshot | null> {
  const directory = directoryOf(meta);
  const parts: Part[] = [];
  if (!(yield* writer.begin(directory, 0))) return null;
  for (let bytes = source.nextPart(); bytes !== null; bytes = source.nextPart()) {
    assert(bytes.length <= MAX_PART_BYTES, `a part has at most ${MAX_PART_BYTES} bytes, not ${bytes.length}`);
    parts.push({ bytes: bytes.length, crc: crc32(bytes) });
    if (!(yield* writer.part(directory, parts.length - 1, bytes))) return null;
  }
  assert(parts.length > 0, "a snapshot has at least one part");
  const manifest = { meta, parts };
  return yield* writer.complete(directory, manifest, encodeManifest(manifest, formatVersion));
}
