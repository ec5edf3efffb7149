// Names, writes, reads and removes the files of a snapshot: numbered parts and a manifest, in a directory of its own. It is complete once the
// manifest is there.
import { STORAGE } from "../../config.ts";
import { crc32 } from "../../lib/crc32.ts";
import { RaftqError } from "../../lib/errors.ts";
import type { LogIndex, SnapshotMeta } from "../../raft/types.ts";
import { type Disk, isNoSpace } from "../disk.ts";
import { corrupt, corruptAt } from "../file-errors.ts";
import { createSerialQueue, type SerialQueue } from "../serial-queue.ts";
import { attempt, failWith, freeBytes, removeFile, runSteps, type Steps, writeNewFile } from "../steps.ts";
import type { SnapshotFrame } from "../wal/replay.ts";
import { decodeManifest, manifestCrc, type Manifest } from "./manifest.ts";

export const SNAPSHOT_DIRECTORY = "g0/snapshot";

/** Parts, manifest and names are durable. */
export interface CompleteSnapshot {
  readonly directory: string;
  readonly manifest: Manifest;
  readonly manifestBytes: Uint8Array;
  readonly crc: number;
}

type Named = Pick<SnapshotMeta, "index" | "term">;

export const directoryOf = ({ index, term }: Named): string => `${SNAPSHOT_DIRECTORY}/${index}-${term}`;
const SNAPSHOT_NAME = /^\d+-\d+$/;
/** The index of the snapshot in that directory. */
export const indexOf = (directory: string): LogIndex => Number.parseInt(directory.split("/").at(-1) ?? "", 10);

/** The directories of all snapshots, complete or not; of those that were quarantined in `directory`, if one is given. */
export function snapshotDirectories(disk: Disk, directory: string | null = null): readonly string[] {
  const parent = directory === null ? SNAPSHOT_DIRECTORY : `${directory}/${SNAPSHOT_DIRECTORY}`;
  const names = disk.list(parent).filter((name) => SNAPSHOT_NAME.test(name));
  return names.map((name) => `${parent}/${name}`);
}

/** It was never completed, or its deletion has begun: no state of the disk counts on it. */
export function isIncomplete(disk: Disk, directory: string): boolean {
  return disk.size(manifestPath(directory)) === null;
}

export const partPath = (directory: string, part: number): string =>
  `${directory}/part-${String(part).padStart(6, "0")}`;
export const manifestPath = (directory: string): string => `${directory}/manifest`;

export function pathsOf({ directory, manifest }: CompleteSnapshot): readonly string[] {
  return [manifestPath(directory), ...manifest.parts.map((_, part) => partPath(directory, part))];
}

/** The snapshot that the log's last snapshot frame names. Throws CORRUPT unless it is complete and intact. */
export function recoverSnapshot(disk: Disk, frame: SnapshotFrame, formatVersion: number): CompleteSnapshot {
  const directory = directoryOf(frame);
  const path = manifestPath(directory);
  const size = disk.size(path);
  if (size !== null && size > STORAGE.maxManifestBytes)
    throw corruptAt(path, STORAGE.maxManifestBytes, `the file has ${size} bytes, more than a manifest can have`);
  const manifestBytes = size === null ? null : disk.read(path);
  if (manifestBytes === null) throw corrupt(`${path} is missing; the log counts on this snapshot`);
  const crc = manifestCrc(manifestBytes);
  if (crc !== frame.manifestCrc) throw corruptAt(path, 0, "the manifest is not the one that the log names");
  const manifest = decodeManifest(manifestBytes, formatVersion);
  if (manifest === null) throw corruptAt(path, 0, "the manifest is unreadable");
  const snapshot = { directory, manifest, manifestBytes, crc };
  // All of it, now: a node must know that its state is whole before it votes, not when the part is needed.
  manifest.parts.forEach((_, part) => readPart(disk, snapshot, part));
  return snapshot;
}

/** Removes a snapshot; the manifest first, so that what is left of it after a crash is not complete. */
export function* removeSnapshot(disk: Disk, directory: string): Steps {
  const names = disk.list(directory);
  const manifest = names.filter((name) => name === "manifest");
  const parts = names.filter((name) => name !== "manifest");
  for (const name of [...manifest, ...parts]) yield* removeFile(disk, `${directory}/${name}`);
  yield (done) => disk.removeDirectory(directory, done);
}

/** One part, its checksum verified. Throws CORRUPT, and DISK_FAILED when it cannot be read. */
export function readPart(disk: Disk, { directory, manifest }: CompleteSnapshot, part: number): Uint8Array {
  const path = partPath(directory, part);
  const expected = manifest.parts[part];
  const size = orDiskFailed(path, () => disk.size(path));
  if (size === null || expected === undefined) throw corrupt(`${path} is missing; the log counts on this snapshot`);
  // Before it is read: no memory is made for what the manifest does not know of.
  if (size !== expected.bytes) throw corruptAt(path, size, `the part has ${size} bytes instead of ${expected.bytes}`);
  const bytes = orDiskFailed(path, () => disk.read(path));
  if (bytes !== null && crc32(bytes) === expected.crc) return bytes;
  throw corruptAt(path, 0, "the part does not match the manifest's checksum");
}

function orDiskFailed<T>(path: string, ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    throw new RaftqError("DISK_FAILED", `${path} cannot be read: ${what}`, error);
  }
}

/** Writes and removes the files of snapshots. When there is no space for one, nothing of it is left. */
export interface SnapshotWriter {
  readonly disk: Disk;
  /** One after the other. One that fails stops those behind it. */
  readonly removals: SerialQueue;
}

export function createSnapshotWriter(disk: Disk): SnapshotWriter {
  return { disk, removals: createSerialQueue() };
}

/** Makes an empty directory, whatever an earlier attempt left there. False: less than `bytes` are free. */
export function* beginSnapshot(writer: SnapshotWriter, directory: string, bytes: number): Steps<boolean> {
  yield* queueRemoval(writer, directory);
  const free = yield* freeBytes(writer.disk);
  return free >= bytes && (yield* withSpace(writer, directory, makeDirectory(writer.disk, directory)));
}

/** False: there is no space. */
export function writePart(writer: SnapshotWriter, directory: string, part: number, bytes: Uint8Array): Steps<boolean> {
  return withSpace(writer, directory, writeNewFile(writer.disk, partPath(directory, part), bytes));
}

/** Writes the manifest and makes all names durable. null: there is no space. */
export function* completeSnapshot(
  writer: SnapshotWriter,
  directory: string,
  manifest: Manifest,
  manifestBytes: Uint8Array,
): Steps<CompleteSnapshot | null> {
  const { disk } = writer;
  if (!(yield* withSpace(writer, directory, writeNewFile(disk, manifestPath(directory), manifestBytes)))) return null;
  if (!(yield* withSpace(writer, directory, syncNames(disk, directory)))) return null;
  return { directory, manifest, manifestBytes, crc: manifestCrc(manifestBytes) };
}

export function* queueRemoval({ disk, removals }: SnapshotWriter, directory: string): Steps {
  yield (done) =>
    removals((release) =>
      runSteps(removeIfPresent(disk, directory), ({ error }) => {
        if (error === null) release();
        done(error);
      }),
    );
}

/** Calls back when the removals that were begun have ended. */
export function whenRemoved({ removals }: SnapshotWriter, callback: () => void): void {
  removals((release) => {
    release();
    callback();
  });
}

function* withSpace(writer: SnapshotWriter, directory: string, steps: Steps): Steps<boolean> {
  const { error } = yield* attempt(steps);
  if (error === null) return true;
  if (!isNoSpace(error)) return yield* failWith(error);
  yield* queueRemoval(writer, directory);
  return false;
}

function* makeDirectory(disk: Disk, directory: string): Steps {
  yield (done) => disk.makeDirectory(directory, done);
}

function* syncNames(disk: Disk, directory: string): Steps {
  for (const path of [directory, SNAPSHOT_DIRECTORY]) yield (done) => disk.syncDirectory(path, done);
}

function* removeIfPresent(disk: Disk, directory: string): Steps {
  if (disk.list(directory).length > 0) yield* removeSnapshot(disk, directory);
}
