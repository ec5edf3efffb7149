// How is each persist made durable, once the directory is recovered? Meta first, then frames; then compaction.
import { assert, must } from "../lib/assert.ts";
import { STORAGE } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import type { Persist } from "../raft/effects.ts";
import type { ClusterId, LogIndex } from "../raft/types.ts";
import type { FrameContent } from "./wal/frame.ts";
import type { Disk } from "./disk.ts";
import type { LiveSegments } from "./wal/live-segments.ts";
import { writeKnownMembers } from "./rejoin/known-members.ts";
import { createChunks } from "./snapshot/chunks.ts";
import { createFailStop, type FailStop } from "./fail-stop.ts";
import { isGone } from "./in-place.ts";
import { batchFrames, type LogWriter } from "./wal/writer.ts";
import { markDamaged } from "./rejoin/corruption-marker.ts";
import type { MetaFile } from "./meta.ts";
import { refuseNewerSnapshot } from "./newer.ts";
import { createProofs, type Proofs } from "./wal/durable-end.ts";
import type { Segment } from "./wal/segment.ts";
import { createSerialQueue, type SerialQueue } from "./serial-queue.ts";
import { quarantineNumbers, removeQuarantined } from "./rejoin/quarantine.ts";
import { type CompleteSnapshot, pathsOf } from "./snapshot/files.ts";
import { openSnapshots, type Snapshots } from "./snapshot/store.ts";
import { removeFile, runSteps, type Steps } from "./steps.ts";
import type { OpenStorage, Recovered, Storage, Unwritten } from "./types.ts";

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
 * proofs, snapshots and the corruption marker are written beside both.
 */
interface OpenDirectory extends Directory {
  readonly failStop: FailStop;
  readonly logQueue: SerialQueue;
  readonly deletionQueue: SerialQueue;
  readonly markerQueue: SerialQueue;
  readonly proofs: Proofs;
  readonly snapshots: Snapshots;
  readonly soon: (callback: () => void) => void;
  /** Files were deleted. */
  readonly onFreed: () => void;
}

export function createStorage(directory: Directory): Storage {
  const { settings, recovered, snapshot, liveSegments, log, meta, disk } = directory;
  // A path that is gone may be found by whatever is made or opened next, before the next check of the files.
  const failStop = createFailStop((error) => settings.onFailure(isGone(error) ? deleted(error.message) : error));
  const writes = createSerialQueue();
  const soon = (callback: () => void): void => {
    settings.after(0, callback);
  };
  const onFreed = (): void => {
    log.prepare();
    settings.onSpaceChanged();
  };
  // After a failure the queue stands still.
  const logQueue: SerialQueue = (task) =>
    writes((release) => {
      if (failStop.isOpen()) task(release);
    });
  const open: OpenDirectory = {
    ...directory,
    failStop,
    soon,
    onFreed,
    logQueue,
    proofs: createProofs({ settings, failStop, logQueue, log, meta }),
    deletionQueue: createSerialQueue(),
    markerQueue: createSerialQueue(),
    snapshots: openSnapshots(disk, snapshot, {
      formatVersion: STORAGE.formatVersion,
      failStop,
      soon,
      onFreed,
      neededByLog: () => (log.canCount() ? 0 : settings.segmentBytes),
    }),
  };
  const { snapshots } = open;
  log.prepare();
  const chunks = createChunks(STORAGE.formatVersion);
  return {
    recovered,
    setCluster: (clusterId, done) => setCluster(open, clusterId, done),
    persist: createPersist(open),
    whenSpace: log.whenSpace,
    saveSnapshot: snapshots.save,
    storePart: (received, done) => {
      // A snapshot that is complete here already needs no chunks: it is answered at once.
      const isHere = snapshots.at(received.meta.index) !== null;
      const next = isHere ? ({ type: "part", part: received } as const) : chunks.add(received);
      if (next.type === "wait") return soon(() => done(next.nextPart, next.nextOffset));
      refuseNewerSnapshot(next.part, settings.newer, STORAGE.formatVersion);
      snapshots.receive(next.part, (nextPart) => done(nextPart, 0));
    },
    manifest: (index) => {
      const found = snapshots.at(index);
      if (found === null) return null;
      const { manifest, manifestBytes } = found;
      return { meta: manifest.meta, bytes: manifestBytes, parts: manifest.parts.length };
    },
    readPart: snapshots.readPart,
    recordKnownMembers: createKnownMembersRecorder(open),
    reclaimSpace: () => {
      dropQuarantined(open);
      const unused = log.dropReused();
      if (unused.length > 0 && failStop.isOpen()) deleteSegments(open, unused);
    },
    logBytes: liveSegments.logBytes,
    lacksSpace: log.lacksSpace,
    snapshotBytes: () => snapshots.counted()?.manifest.parts.reduce((sum, part) => sum + part.bytes, 0) ?? 0,
    checkFiles: createFileCheck(open),
    markDamaged: (why) => writeMarker(open, why),
    close: (done) => close(open, done),
  };
}

/** One check at a time. From the first missing file on nothing is written: another process's files may be there by now. */
function createFileCheck({ disk, failStop, liveSegments, snapshots }: OpenDirectory): Storage["checkFiles"] {
  let checking = false;
  const files = (): readonly string[] => {
    const snapshot = snapshots.counted();
    return [...liveSegments.all().map(({ path }) => path), ...(snapshot === null ? [] : pathsOf(snapshot))];
  };
  return () => {
    if (checking || !failStop.isOpen()) return;
    checking = true;
    disk.findMissing(files, (path) => {
      checking = false;
      if (path !== null) failStop.fail(deleted(`${path} is not the file that was there`));
    });
  };
}

function deleted(why: string): RaftqError {
  const what = `the data directory was deleted or replaced while the node ran: ${why}`;
  const next =
    "put back all of it as it was, or let the node come back empty: an empty --data, and --join with other members";
  return new RaftqError("DISK_FAILED", `${what}; ${next}`);
}

/** One write at a time. A failed one is tried again with the next report of the addresses: nothing depends on it. */
function createKnownMembersRecorder({
  disk,
  meta,
  failStop,
  recovered,
  deletionQueue,
}: OpenDirectory): Storage["recordKnownMembers"] {
  let recorded = recovered.knownMembers?.addresses.join() ?? null;
  let writing = false;
  return (addresses) => {
    const { nodeId, clusterId } = meta.current();
    if (clusterId === null || writing || addresses.join() === recorded || !failStop.isOpen()) return;
    writing = true;
    // Beside the log, like the deletions, and like them waited for when the directory is closed.
    deletionQueue((release) =>
      runSteps(writeKnownMembers(disk, { nodeId, clusterId, addresses }, STORAGE.formatVersion), ({ error }) => {
        writing = false;
        if (error === null) recorded = addresses.join();
        release();
      }),
    );
  };
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

function createPersist(open: OpenDirectory): Storage["persist"] {
  const { settings, snapshots, logQueue, proofs, failStop } = open;
  let persisting = false;
  return (batch, done) => {
    assert(!persisting, "one persist at a time");
    persisting = true;
    proofs.stir();
    const contents = framesOf(batch, settings.segmentBytes, snapshots);
    logQueue((release) =>
      failStop.run(makeDurable(open, batch, contents), (written) => {
        persisting = false;
        release();
        const unwritten = unwrittenOf(contents.slice(written));
        if (batch.snapshot !== null && unwritten?.snapshot !== true) {
          const { index } = batch.snapshot.meta;
          snapshots.count(index);
          compact(open, Math.min(batch.snapshot.keepFrom, index + 1));
        }
        proofs.arm();
        done(unwritten);
      }),
    );
  };
}

/** How many of the frames are durable: there may be no space for more. */
function* makeDurable(
  { log, proofs, soon }: OpenDirectory,
  batch: Persist,
  contents: readonly FrameContent[],
): Steps<number> {
  const { hardState } = batch;
  if (hardState !== null) yield (done) => proofs.update({ hardState }, () => done(null));
  if (contents.length > 0) return yield* log.append(contents);
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
function framesOf(batch: Persist, segmentBytes: number, snapshots: Snapshots): readonly FrameContent[] {
  const entries = batchFrames(batch.entries, segmentBytes, STORAGE.blockBytes);
  if (batch.snapshot === null) return entries;
  const { meta, reset } = batch.snapshot;
  const stored = snapshots.at(meta.index);
  assert(
    stored !== null && stored.manifest.meta.term === meta.term,
    `the snapshot at ${meta.index} is stored before it counts`,
  );
  const frame: FrameContent = { kind: "snapshot", index: meta.index, term: meta.term, manifestCrc: stored.crc, reset };
  return [frame, ...entries];
}

/** No entry of a segment is needed: first meta records where the log begins, then its file is reused or deleted, oldest first. */
function compact(open: OpenDirectory, keepFrom: LogIndex): void {
  const { liveSegments, logQueue, log, proofs } = open;
  const dropped = liveSegments.dropBelow(keepFrom);
  if (dropped.length === 0) return;
  const floorSegment = must(liveSegments.oldest(), "the segment being written stays").segment;
  logQueue((release) => {
    const recorded = (): void => {
      release();
      deleteSegments(open, log.reuse(dropped));
    };
    proofs.update({ floorSegment }, recorded);
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

function setCluster({ logQueue, meta, proofs }: OpenDirectory, clusterId: ClusterId, done: () => void): void {
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
    proofs.update({ clusterId }, finish);
  });
}

/** After a failure there is nothing to wait for but the corruption marker. */
function close(open: OpenDirectory, done: () => void): void {
  const { disk, logQueue, deletionQueue, markerQueue, proofs, log, meta, snapshots, failStop, soon } = open;
  let ended = false;
  const end = (): void => {
    if (ended) return;
    ended = true;
    proofs.cancel();
    markerQueue(() => {
      failStop.shut();
      disk.unlock();
      done();
    });
  };
  if (!failStop.isOpen()) return soon(end);
  failStop.onFailure(() => soon(end));
  const closeFiles = (): void =>
    log.close(() => {
      meta.close();
      deletionQueue(() => snapshots.settle(end));
    });
  logQueue(() => failStop.run(log.appendClosing(), () => proofs.finish(closeFiles)));
}
