// Keeps track of the snapshots that this node has, its own and received ones, and of the one that counts; saves one of its own state.
import { STORAGE } from "../../config.ts";
import { assert } from "../../lib/assert.ts";
import { crc32 } from "../../lib/crc32.ts";
import type { LogIndex, SnapshotMeta } from "../../raft/types.ts";
import type { Disk } from "../disk.ts";
import type { FailStop } from "../fail-stop.ts";
import { corrupt } from "../file-errors.ts";
import { createSerialQueue, type SerialQueue } from "../serial-queue.ts";
import type { Steps } from "../steps.ts";
import type { NewerContent, SnapshotSource } from "../types.ts";
import {
  beginSnapshot,
  type CompleteSnapshot,
  completeSnapshot,
  createSnapshotWriter,
  directoryOf,
  readPart,
  queueRemoval,
  type SnapshotWriter,
  writePart,
} from "./files.ts";
import { encodeManifest, type Manifest, type Part } from "./manifest.ts";

export interface SnapshotSettings {
  readonly formatVersion: number;
  readonly newerContent: NewerContent;
  readonly failStop: FailStop;
  /** Runs `callback` from a later event. */
  readonly soon: (callback: () => void) => void;
  /** A snapshot was deleted. */
  readonly onFreed: () => void;
  /** What the log waits for: a snapshot from another node must leave so much, or the frame that makes it count does not fit. */
  readonly neededByLog: () => number;
}

export interface SnapshotStore {
  readonly disk: Disk;
  readonly settings: SnapshotSettings;
  readonly writer: SnapshotWriter;
  /** For own and received ones: two may be of the same index, and then have the same directory. */
  readonly writeQueue: SerialQueue;
  /** All whose files are durable, by index, unless they are older than the one that counts. */
  readonly complete: Map<LogIndex, CompleteSnapshot>;
  /** The snapshot that counts, by a durable snapshot frame. */
  current: CompleteSnapshot | null;
  /** The one that another node sends. */
  receiving: ReceivedSnapshot | null;
  /** The last part of which a chunk came. */
  chunks: ChunkedPart | null;
}

/** Its parts from 0 to `nextPart` are written. */
export interface ReceivedSnapshot {
  readonly directory: string;
  readonly manifest: Manifest;
  readonly manifestBytes: Uint8Array;
  nextPart: number;
}

export interface ChunkedPart {
  readonly meta: SnapshotMeta;
  readonly part: number;
  /** As long as the part, with the first `filled` bytes of it. */
  readonly bytes: Uint8Array;
  filled: number;
}

export function createSnapshotStore(
  disk: Disk,
  recovered: CompleteSnapshot | null,
  settings: SnapshotSettings,
): SnapshotStore {
  return {
    disk,
    settings,
    writer: createSnapshotWriter(disk),
    writeQueue: createSerialQueue(),
    complete: new Map(recovered === null ? [] : [[recovered.manifest.meta.index, recovered]]),
    current: recovered,
    receiving: null,
    chunks: null,
  };
}

/** A complete snapshot. */
export function snapshotAt({ complete }: SnapshotStore, index: LogIndex): CompleteSnapshot | null {
  return complete.get(index) ?? null;
}

export function readStoredPart(store: SnapshotStore, index: LogIndex, part: number): Uint8Array {
  const snapshot = snapshotAt(store, index);
  if (snapshot === null) throw corrupt(`there is no snapshot at ${index}`);
  return readPart(store.disk, snapshot, part);
}

/** From now on this one counts: older ones are deleted. */
export function makeCurrent(store: SnapshotStore, index: LogIndex): void {
  const snapshot = snapshotAt(store, index);
  assert(snapshot !== null, `the snapshot at ${index} is complete before it counts`);
  store.current = snapshot;
  for (const [other, { directory }] of store.complete) {
    if (other >= index) continue;
    store.complete.delete(other);
    remove(store, directory);
  }
}

/** `done(false)`: there was no space; nothing of it is left. */
export function saveSnapshot(
  store: SnapshotStore,
  meta: SnapshotMeta,
  source: SnapshotSource,
  done: (isSaved: boolean) => void,
): void {
  const { failStop, soon } = store.settings;
  store.writeQueue((release) => {
    // A leader may have sent the very snapshot that this node's own state has reached meanwhile, whole or in part.
    if (snapshotAt(store, meta.index)?.manifest.meta.term === meta.term) {
      release();
      return soon(() => done(true));
    }
    if (store.receiving?.directory === directoryOf(meta)) store.receiving = null;
    failStop.run(writeSnapshot(store, meta, source), (snapshot) => {
      if (snapshot !== null) addComplete(store, snapshot);
      release();
      done(snapshot !== null);
    });
  });
}

/** One part after the other, each durable before the next is drawn: the log's own writes never wait for a big one. null: no space. */
function* writeSnapshot(
  { writer, settings }: SnapshotStore,
  meta: SnapshotMeta,
  source: SnapshotSource,
): Steps<CompleteSnapshot | null> {
  const { maxPartBytes } = STORAGE;
  const directory = directoryOf(meta);
  const parts: Part[] = [];
  if (!(yield* beginSnapshot(writer, directory, 0))) return null;
  for (let bytes = source.nextPart(); bytes !== null; bytes = source.nextPart()) {
    assert(bytes.length <= maxPartBytes, `a part has at most ${maxPartBytes} bytes, not ${bytes.length}`);
    parts.push({ bytes: bytes.length, crc: crc32(bytes) });
    if (!(yield* writePart(writer, directory, parts.length - 1, bytes))) return null;
  }
  assert(parts.length > 0, "a snapshot has at least one part");
  const manifest = { meta, parts };
  return yield* completeSnapshot(writer, directory, manifest, encodeManifest(manifest, settings.formatVersion));
}

/** It may count from now on, unless a newer one does already. */
export function addComplete(store: SnapshotStore, snapshot: CompleteSnapshot): void {
  const { index } = snapshot.manifest.meta;
  const isSuperseded = store.current !== null && index < store.current.manifest.meta.index;
  if (isSuperseded) remove(store, snapshot.directory);
  else store.complete.set(index, snapshot);
}

function remove({ settings, writer }: SnapshotStore, directory: string): void {
  settings.failStop.run(queueRemoval(writer, directory), settings.onFreed);
}
