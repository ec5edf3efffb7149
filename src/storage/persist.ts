// Makes each persist durable, once the directory is open: meta first, then frames; then compaction.
import { STORAGE } from "../config.ts";
import { assert, must } from "../lib/assert.ts";
import { RaftqError } from "../lib/errors.ts";
import type { Persist } from "../raft/effects.ts";
import type { ClusterId, LogIndex } from "../raft/types.ts";
import type { Disk } from "./disk.ts";
import { createFailStop, type FailStop } from "./fail-stop.ts";
import type { MetaFile } from "./meta.ts";
import { isGone } from "./missing-files.ts";
import { createSerialQueue, type SerialQueue } from "./serial-queue.ts";
import { removeFile, runSteps, type Steps } from "./steps.ts";
import type { OpenStorage, Recovered, Storage, Unwritten } from "./types.ts";
import { markDamaged, quarantineNumbers, removeQuarantined } from "./rejoin/quarantine.ts";
import { writeKnownMembers } from "./rejoin/rejoin-files.ts";
import { type CompleteSnapshot, pathsOf, whenRemoved } from "./snapshot/files.ts";
import { receivePart } from "./snapshot/receiver.ts";
import {
  createSnapshotStore,
  makeCurrent,
  readStoredPart,
  saveSnapshot,
  snapshotAt,
  type SnapshotStore,
} from "./snapshot/store.ts";
import {
  cancelRecords,
  createDurableEnd,
  type DurableEnd,
  persistBegan,
  persistEnded,
  recordLast,
  updateMeta,
} from "./wal/durable-end.ts";
import type { FrameContent } from "./wal/frame.ts";
import { dropBelow, type LiveSegments } from "./wal/live-segments.ts";
import { dropRecycled, preallocate, recycleSegments } from "./wal/preallocator.ts";
import type { Segment } from "./wal/segment.ts";
import { append, batchFrames, closeLog, fitsSnapshotFrame, type LogWriter, proveLastFrame } from "./wal/writer.ts";

/** A recovered and repaired directory. */
export interface Directory {
  readonly disk: Disk;
  readonly settings: OpenStorage;
  readonly recovered: Recovered;
  readonly snapshot: CompleteSnapshot | null;
  readonly liveSegments: LiveSegments;
  readonly log: LogWriter;
  readonly meta: MetaFile;
}

/**
 * The directory in use. The log, and what it needs of meta before it, is written in one serial queue; deletions follow in another;
 * the record of the log's durable end, snapshots and the corruption marker are written beside both.
 */
interface OpenDirectory extends Directory {
  readonly failStop: FailStop;
  /** Stands still after a failure. */
  readonly logQueue: SerialQueue;
  readonly deletionQueue: SerialQueue;
  readonly markerQueue: SerialQueue;
  readonly durableEnd: DurableEnd;
  readonly snapshots: SnapshotStore;
  readonly soon: (callback: () => void) => void;
  /** Files were deleted. */
  readonly onFreed: () => void;
  persisting: boolean;
  checkingFiles: boolean;
  /** The other members' addresses as they are on the disk; null: unknown. */
  recordedAddresses: string | null;
  recordingAddresses: boolean;
}

export function createStorage(directory: Directory): Storage {
  const open = openDirectory(directory);
  const { recovered, liveSegments, log, snapshots } = open;
  preallocate(log.preallocator);
  return {
    recovered,
    setCluster: (clusterId, done) => setCluster(open, clusterId, done),
    persist: (batch, done) => persist(open, batch, done),
    whenSpace: (callback) => {
      log.preallocator.spaceWaiters.push(callback);
    },
    saveSnapshot: (meta, source, done) => saveSnapshot(snapshots, meta, source, done),
    storePart: (received, done) => receivePart(snapshots, received, done),
    manifest: (index) => {
      const found = snapshotAt(snapshots, index);
      if (found === null) return null;
      const { manifest, manifestBytes } = found;
      return { meta: manifest.meta, bytes: manifestBytes, parts: manifest.parts.length };
    },
    readPart: (index, part) => readStoredPart(snapshots, index, part),
    recordKnownMembers: (addresses) => recordKnownMembers(open, addresses),
    reclaimSpace: () => reclaimSpace(open),
    logBytes: () => liveSegments.logBytes,
    lacksSpace: () => log.preallocator.lacksSpace,
    snapshotBytes: () => snapshots.current?.manifest.parts.reduce((sum, part) => sum + part.bytes, 0) ?? 0,
    checkFiles: () => checkFiles(open),
    markDamaged: (why) => writeMarker(open, why),
    close: (done) => close(open, done),
  };
}

function openDirectory(directory: Directory): OpenDirectory {
  const { settings, recovered, snapshot, log, meta, disk } = directory;
  const { after } = settings;
  // A missing path may be detected by the next operation that makes or opens a file, before the next check of the files.
  const failStop = createFailStop((error) =>
    settings.onFailure(isGone(error) ? directoryDeleted(error.message) : error),
  );
  const writes = createSerialQueue();
  const logQueue: SerialQueue = (task) =>
    writes((release) => {
      if (failStop.isOpen()) task(release);
    });
  const soon = (callback: () => void): void => {
    after(0, callback);
  };
  const onFreed = (): void => {
    preallocate(log.preallocator);
    settings.onSpaceChanged();
  };
  return {
    ...directory,
    failStop,
    soon,
    onFreed,
    logQueue,
    deletionQueue: createSerialQueue(),
    markerQueue: createSerialQueue(),
    durableEnd: createDurableEnd({
      after,
      failStop,
      logQueue,
      meta,
      durableFrame: () => log.lastContentFrame,
      proveLastFrame: () => proveLastFrame(log),
    }),
    snapshots: createSnapshotStore(disk, snapshot, {
      formatVersion: STORAGE.formatVersion,
      newerContent: settings.newerContent,
      failStop,
      soon,
      onFreed,
      neededByLog: () => (fitsSnapshotFrame(log) ? 0 : settings.segmentBytes),
    }),
    persisting: false,
    checkingFiles: false,
    recordedAddresses: recovered.knownMembers?.addresses.join() ?? null,
    recordingAddresses: false,
  };
}

function persist(open: OpenDirectory, batch: Persist, done: (unwritten: Unwritten | null) => void): void {
  const { settings, snapshots, logQueue, durableEnd, failStop } = open;
  assert(!open.persisting, "one persist at a time");
  open.persisting = true;
  persistBegan(durableEnd);
  const contents = framesOf(batch, settings.segmentBytes, snapshots);
  logQueue((release) =>
    failStop.run(makeDurable(open, batch, contents), (written) => {
      open.persisting = false;
      release();
      const unwritten = unwrittenOf(contents.slice(written));
      if (batch.snapshot !== null && unwritten?.snapshot !== true) {
        const { index } = batch.snapshot.meta;
        makeCurrent(snapshots, index);
        compact(open, Math.min(batch.snapshot.keepFrom, index + 1));
      }
      persistEnded(durableEnd);
      done(unwritten);
    }),
  );
}

/** Returns how many of the frames are durable: there may be no space for more. */
function* makeDurable(
  { log, durableEnd, soon }: OpenDirectory,
  { hardState }: Persist,
  contents: readonly FrameContent[],
): Steps<number> {
  if (hardState !== null) yield (done) => updateMeta(durableEnd, { hardState }, () => done(null));
  if (contents.length > 0) return yield* append(log, contents);
  // Nothing answers from inside the call.
  if (hardState === null) yield (done) => soon(() => done(null));
  return 0;
}

function unwrittenOf(rest: readonly FrameContent[]): Unwritten | null {
  if (rest.length === 0) return null;
  const batches = rest.filter((content) => content.kind === "batch");
  return { entriesFrom: batches[0]?.entries[0]?.index ?? null, snapshot: batches.length < rest.length };
}

/** The frames of one persist. A snapshot comes first: it stands for earlier entries only, and may have space when those have not. */
function framesOf(batch: Persist, segmentBytes: number, snapshots: SnapshotStore): readonly FrameContent[] {
  const entries = batchFrames(batch.entries, segmentBytes, STORAGE.blockBytes);
  if (batch.snapshot === null) return entries;
  const { meta, reset } = batch.snapshot;
  const stored = snapshotAt(snapshots, meta.index);
  assert(
    stored !== null && stored.manifest.meta.term === meta.term,
    `the snapshot at ${meta.index} is stored before it counts`,
  );
  const frame: FrameContent = { kind: "snapshot", index: meta.index, term: meta.term, manifestCrc: stored.crc, reset };
  return [frame, ...entries];
}

/** No entry of a segment is needed: first meta records where the log begins, then its file is recycled or deleted, oldest first. */
function compact(open: OpenDirectory, keepFrom: LogIndex): void {
  const { liveSegments, logQueue, log, durableEnd } = open;
  const dropped = dropBelow(liveSegments, keepFrom);
  if (dropped.length === 0) return;
  const oldest = must(liveSegments.segments[0], "the segment being written stays").segment;
  logQueue((release) => {
    const recorded = (): void => {
      release();
      deleteSegments(open, recycleSegments(log.preallocator, dropped));
    };
    updateMeta(durableEnd, { oldestSegment: oldest.number }, recorded);
  });
}

/** They are no part of the log any more. */
function deleteSegments({ disk, deletionQueue, failStop, onFreed }: OpenDirectory, segments: readonly Segment[]): void {
  deletionQueue((release) =>
    failStop.run(removeSegments(disk, segments), () => {
      release();
      onFreed();
    }),
  );
}

function* removeSegments(disk: Disk, segments: readonly Segment[]): Steps {
  for (const { path } of segments) yield* removeFile(disk, path);
}

function setCluster({ logQueue, meta, durableEnd }: OpenDirectory, clusterId: ClusterId, done: () => void): void {
  logQueue((release) => {
    const known = meta.current().clusterId;
    assert(
      known === null || known === clusterId,
      `a directory never changes its cluster, from ${known} to ${clusterId}`,
    );
    const finish = (): void => {
      release();
      done();
    };
    updateMeta(durableEnd, { clusterId }, finish);
  });
}

/** One check at a time. From the first missing file on nothing is written: another process's files may be there by now. */
function checkFiles(open: OpenDirectory): void {
  const { disk, failStop } = open;
  if (open.checkingFiles || !failStop.isOpen()) return;
  open.checkingFiles = true;
  disk.findMissing(
    () => filesInUse(open),
    (path) => {
      open.checkingFiles = false;
      if (path !== null) failStop.fail(directoryDeleted(`${path} is not the file that was there`));
    },
  );
}

function filesInUse({ liveSegments, snapshots }: OpenDirectory): readonly string[] {
  const snapshot = snapshots.current;
  return [...liveSegments.segments.map(({ segment }) => segment.path), ...(snapshot === null ? [] : pathsOf(snapshot))];
}

function directoryDeleted(why: string): RaftqError {
  const what = `the data directory was deleted or replaced while the node ran: ${why}`;
  const next =
    "put back all of it as it was, or let the node come back empty: an empty --data, and --join with other members";
  return new RaftqError("DISK_FAILED", `${what}; ${next}`);
}

/** One write at a time. A failed one is tried again with the next report of the addresses: nothing depends on it. */
function recordKnownMembers(open: OpenDirectory, addresses: readonly string[]): void {
  const { disk, meta, failStop, deletionQueue } = open;
  const { nodeId, clusterId } = meta.current();
  const joined = addresses.join();
  if (clusterId === null || open.recordingAddresses || joined === open.recordedAddresses || !failStop.isOpen()) return;
  open.recordingAddresses = true;
  // Beside the log, like the deletions, and like them waited for when the directory is closed.
  deletionQueue((release) =>
    runSteps(writeKnownMembers(disk, { nodeId, clusterId, addresses }), ({ error }) => {
      open.recordingAddresses = false;
      if (error === null) open.recordedAddresses = joined;
      release();
    }),
  );
}

/** It does not depend on the log, so it waits for no write of that, and is tried even after one has failed. */
function writeMarker({ disk, markerQueue, failStop }: OpenDirectory, why: string): void {
  markerQueue((release) =>
    runSteps(markDamaged(disk, why), ({ error }) => {
      if (error !== null) failStop.fail(error);
      release();
    }),
  );
}

function reclaimSpace(open: OpenDirectory): void {
  dropQuarantined(open);
  const dropped = dropRecycled(open.log.preallocator);
  if (dropped.length > 0 && open.failStop.isOpen()) deleteSegments(open, dropped);
}

function dropQuarantined({ disk, settings, deletionQueue, failStop }: OpenDirectory): void {
  const before = quarantineNumbers(disk).length;
  if (before === 0 || !failStop.isOpen()) return;
  deletionQueue((release) =>
    runSteps(removeQuarantined(disk, 0), () => {
      release();
      // Files that a person put in there stay: nothing is reported then, or the space would be measured again and again.
      if (quarantineNumbers(disk).length < before) settings.onSpaceChanged();
    }),
  );
}

/** After a failure there is nothing to wait for but the corruption marker. */
function close(open: OpenDirectory, done: () => void): void {
  const { disk, logQueue, deletionQueue, markerQueue, durableEnd, log, meta, snapshots, failStop, soon } = open;
  let ended = false;
  const end = (): void => {
    if (ended) return;
    ended = true;
    cancelRecords(durableEnd);
    markerQueue(() => {
      failStop.close();
      disk.unlock();
      done();
    });
  };
  if (!failStop.isOpen()) return soon(end);
  failStop.onFailure(() => soon(end));
  const closeFiles = (): void =>
    closeLog(log, () => {
      meta.close();
      deletionQueue(() => whenRemoved(snapshots.writer, end));
    });
  logQueue(() => failStop.run(proveLastFrame(log), () => recordLast(durableEnd, closeFiles)));
}
