// Refuses data that another version of raftq wrote, before they are checked for damage or changed: what this version cannot read is not
// damaged, and the version that wrote it can still use it.
import { STORAGE } from "../config.ts";
import { crc32 } from "../lib/crc32.ts";
import { RaftqError } from "../lib/errors.ts";
import type { Entry } from "../raft/entry.ts";
import type { Disk } from "./disk.ts";
import { newerThan, refuseOtherFormat } from "./file-errors.ts";
import { refuseNewerMeta } from "./meta.ts";
import type { NewerContent, ReceivedPart } from "./types.ts";
import { directoryOf, manifestPath, partPath, snapshotDirectories } from "./snapshot/files.ts";
import { decodeManifest, manifestVersion } from "./snapshot/manifest.ts";
import type { SnapshotFrame } from "./wal/replay.ts";
import { LOG_DIRECTORY, parseSegmentName, SEGMENT_HEADER_BYTES, segmentVersion } from "./wal/segment.ts";

/** Throws NEWER_FORMAT, OLDER_FORMAT: of meta, segments and snapshots, also where others of them are damaged. The files of a rejoin are read before. */
export function refuseOtherFormats(disk: Disk, newer: NewerContent, formatVersion: number): void {
  refuseNewerMeta(disk, formatVersion);
  for (const name of disk.list(LOG_DIRECTORY)) {
    const named = parseSegmentName(name);
    if (named === null) continue;
    const path = `${LOG_DIRECTORY}/${name}`;
    const version = segmentVersion(named, disk.readAt(path, 0, SEGMENT_HEADER_BYTES));
    if (version !== null) refuseOtherFormat(path, version, formatVersion);
  }
  for (const directory of snapshotDirectories(disk)) refuseNewerFiles(disk, directory, newer, formatVersion, false);
}

/** Throws NEWER_FORMAT. */
export function refuseNewerEntries(entries: readonly Entry[], newer: NewerContent): void {
  for (const entry of entries) {
    const what = newer.entry(entry);
    if (what !== null) throw new RaftqError("NEWER_FORMAT", `${LOG_DIRECTORY} holds entry ${entry.index} with ${what}`);
  }
}

/**
 * Throws NEWER_FORMAT. The snapshot counts, so a majority has the same state: a newer state machine made it. Of another one that is
 * unknown: it may be of a state that was found to be wrong.
 */
export function refuseNewerState(disk: Disk, counted: SnapshotFrame, newer: NewerContent, formatVersion: number): void {
  refuseNewerFiles(disk, directoryOf(counted), newer, formatVersion, true);
}

/** A part has no checksum of its own: the manifest shows whether it is as it was written. */
function refuseNewerFiles(
  disk: Disk,
  directory: string,
  newer: NewerContent,
  formatVersion: number,
  counts: boolean,
): void {
  const path = manifestPath(directory);
  const bytes = readUpTo(disk, path, STORAGE.maxManifestBytes);
  if (bytes === null) return;
  const version = manifestVersion(bytes);
  if (version !== null) refuseOtherFormat(path, version, formatVersion);
  const expected = decodeManifest(bytes, formatVersion)?.parts[0];
  const first = partPath(directory, 0);
  const part = expected === undefined ? null : readUpTo(disk, first, expected.bytes);
  if (part === null || crc32(part) !== expected?.crc) return;
  const state = newer.state(part);
  if (state !== null && (counts || state.isFormat))
    throw new RaftqError("NEWER_FORMAT", `${first} holds ${state.message}`);
}

/** null: it is not there, or larger than it can be. */
function readUpTo(disk: Disk, path: string, bytes: number): Uint8Array | null {
  return (disk.size(path) ?? Infinity) > bytes ? null : disk.read(path);
}

/** Throws VERSION: what another member sends is of a newer format. Asked of the first part, before any of it is written. */
export function refuseNewerSnapshot(received: ReceivedPart, newer: NewerContent, formatVersion: number): void {
  if (received.part !== 0) return;
  const version = manifestVersion(received.manifest);
  if (version !== null && version > formatVersion)
    throw refusal(received, `a manifest with ${newerThan(version, formatVersion)}`);
  const crc = decodeManifest(received.manifest, formatVersion)?.parts[0]?.crc;
  const state = crc === crc32(received.bytes) ? newer.state(received.bytes) : null;
  if (state !== null) throw refusal(received, state.message);
}

function refusal({ meta }: ReceivedPart, what: string): RaftqError {
  const why = `the leader's snapshot at index ${meta.index} has ${what}`;
  return new RaftqError("VERSION", `${why}; nothing of it was written, start this node with the leader's raftq`);
}
