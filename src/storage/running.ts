// How is one persist after the other made durable, once the directory is recovered? Meta first, then frames; then compaction.
import { assert, must } from "../lib/assert.ts";
import { STORAGE } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import type { Persist } from "../raft/effects.ts";
import type { ClusterId, LogIndex } from "../raft/types.ts";
import type { FrameContent } from "./batch-frame.ts";
import type { Disk, Done } from "./disk.ts";
import type { Extents } from "./extents.ts";
import { writeContacts } from "./contacts.ts";
import { createChunks } from "./chunks.ts";
import { createGate, type Gate } from "./gate.ts";
import { isGone } from "./in-place.ts";
import { batchFrames, type LogWriter } from "./log.ts";
import { markDamaged } from "./mark.ts";
import type { MetaFile } from "./meta.ts";
import { refuseNewerSnapshot } from "./newer.ts";
import { createProofs, type Proofs } from "./proof.ts";
import type { Segment } from "./segment.ts";
import { createLane, inSequence, type Lane } from "./sequence.ts";
import { asideNumbers, removeAsides } from "./set-aside.ts";
import { type CompleteSnapshot, pathsOf } from "./snapshot-files.ts";
import { openSnapshots, type Snapshots } from "./snapshots.ts";
import type { OpenStorage, Recovered, Storage, Unwritten } from "./types.ts";

/** A recovered and repaired directory. */
export interface Directory {
  readonly disk: Disk;
  readonly settings: OpenStorage;
  readonly recovered: Recovered;
  readonly snapshot: CompleteSnapshot | null;
  readonly extents: Extents;
  readonly log: LogWriter;
  readonly meta: MetaFile;
}

/**
 * The directory in use. The log is written in one lane, and with it what it needs of meta first; deletions follow in another; proofs,
 * snapshots and the mark are written beside both.
 */
interface Running extends Directory {
  readonly gate: Gate;
  readonly lane: Lane;
  readonly deletions: Lane;
  readonly marks: Lane;
  readonly proofs: Proofs;
  readonly snapshots: Snapshots;
  readonly soon: (callback: () => void) => void;
  /** Files were deleted. */
  readonly onFreed: () => void;
}

export function createStorage(directory: Directory): Storage {
  const { settings, recovered, snapshot, extents, log, meta, disk } = directory;
  // A path that is gone is met by whatever is made or opened next, perhaps before the next look.
  const gate = createGate((error) => settings.onFailure(isGone(error) ? deleted(error.message) : error));
  const writes = createLane();
  const soon = (callback: () => void): void => {
    settings.after(0, callback);
  };
  const onFreed = (): void => {
    log.prepare();
    settings.onSpaceChanged();
  };
  // After a failure the lane stands still.
  const lane: Lane = (task) =>
    writes((release) => {
      if (gate.isOpen()) task(release);
    });
  const running: Running = {
    ...directory,
    gate,
    soon,
    onFreed,
    lane,
    proofs: createProofs({ settings, gate, lane, log, meta }),
    deletions: createLane(),
    marks: createLane(),
    snapshots: openSnapshots(disk, snapshot, {
      formatVersion: STORAGE.formatVersion,
      gate,
      soon,
      onFreed,
      neededByLog: () => (log.canCount() ? 0 : settings.segmentBytes),
    }),
  };
  const { snapshots } = running;
  log.prepare();
  const chunks = createChunks(STORAGE.formatVersion);
  return {
    recovered,
    setCluster: (clusterId, done) => setCluster(running, clusterId, done),
    persist: createPersist(running),
    whenSpace: log.whenSpace,
    saveSnapshot: snapshots.save,
    storePart: (received, done) => {
      // What is here already is not gathered: it is answered at once.
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
    noteContacts: createContactsKeeper(running),
    reclaimSpace: () => {
      dropSetAside(running);
      const unused = log.giveUp();
      if (unused.length > 0 && gate.isOpen()) deleteSegments(running, unused);
    },
    logBytes: extents.logBytes,
    lacksSpace: log.lacksSpace,
    snapshotBytes: () => snapshots.counted()?.manifest.parts.reduce((sum, part) => sum + part.bytes, 0) ?? 0,
    lookForFiles: createLook(running),
    markDamaged: (why) => mark(running, why),
    close: (done) => close(running, done),
  };
}

/** One look at a time. From the first miss on nothing is written: another one's files may be there by now. */
function createLook({ disk, gate, extents, snapshots }: Running): Storage["lookForFiles"] {
  let looking = false;
  const files = (): readonly string[] => {
    const snapshot = snapshots.counted();
    return [...extents.all().map(({ path }) => path), ...(snapshot === null ? [] : pathsOf(snapshot))];
  };
  return () => {
    if (looking || !gate.isOpen()) return;
    looking = true;
    disk.findMissing(files, (path) => {
      looking = false;
      gate.orFail(() => undefined)(path === null ? null : deleted(`${path} is not the file that was there`));
    });
  };
}

function deleted(why: string): RaftqError {
  const what = `the data directory was deleted or replaced while the node ran: ${why}`;
  const next =
    "put back all of it as it was, or let the node come back empty: an empty --data, and --join with other members";
  return new RaftqError("DISK_FAILED", `${what}; ${next}`);
}

/** One write at a time. One that fails is tried again when the addresses are told the next time: nothing hangs on it. */
function createContactsKeeper({ disk, meta, gate, recovered, deletions }: Running): Storage["noteContacts"] {
  let noted = recovered.contacts?.addresses.join() ?? null;
  let writing = false;
  return (addresses) => {
    const { nodeId, clusterId } = meta.current();
    if (clusterId === null || writing || addresses.join() === noted || !gate.isOpen()) return;
    writing = true;
    // Beside the log, like the deletions, and like them waited for when the directory is closed.
    deletions((release) =>
      writeContacts(disk, { nodeId, clusterId, addresses }, STORAGE.formatVersion, (error) => {
        writing = false;
        if (error === null) noted = addresses.join();
        release();
      }),
    );
  };
}

/** It says nothing about the log, so it waits for no write of that, and is tried although one has failed. */
function mark({ disk, marks, gate }: Running, why: string): void {
  marks((release) =>
    markDamaged(disk, why, (error) => {
      gate.orFail(() => undefined)(error);
      release();
    }),
  );
}

function dropSetAside({ disk, settings, deletions, gate }: Running): void {
  const before = asideNumbers(disk).length;
  if (before === 0 || !gate.isOpen()) return;
  deletions((release) =>
    removeAsides(disk, 0, () => {
      release();
      // What a person put in there stays: no news, or the room would be measured again at once, and again.
      if (asideNumbers(disk).length < before) settings.onSpaceChanged();
    }),
  );
}

function createPersist(running: Running): Storage["persist"] {
  const { settings, snapshots, lane, log, proofs, gate, soon } = running;
  let persisting = false;
  return (batch, done) => {
    assert(!persisting, "one persist at a time");
    persisting = true;
    proofs.stir();
    const contents = framesOf(batch, settings.segmentBytes, snapshots);
    lane((release) => {
      const finish = (written: number): void => {
        persisting = false;
        release();
        const unwritten = unwrittenOf(contents.slice(written));
        if (batch.snapshot !== null && unwritten?.snapshot !== true) {
          const { index } = batch.snapshot.meta;
          snapshots.count(index);
          compact(running, Math.min(batch.snapshot.keepFrom, index + 1));
        }
        proofs.arm();
        done(unwritten);
      };
      const nothing = (): void => finish(0);
      const write = (): void => {
        if (contents.length > 0) log.append(contents, (error, written) => gate.orFail(() => finish(written))(error));
        else if (batch.hardState === null) soon(() => gate.orFail(nothing)(null));
        else nothing();
      };
      if (batch.hardState === null) write();
      else proofs.update({ hardState: batch.hardState }, write);
    });
  };
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

/** No entry of a segment is needed: first meta says where the log begins, then its file is used again, or goes, oldest first. */
function compact(running: Running, keepFrom: LogIndex): void {
  const { extents, lane, log, proofs } = running;
  const dropped = extents.dropBelow(keepFrom);
  if (dropped.length === 0) return;
  const floorSegment = must(extents.oldest(), "the segment being written stays").segment;
  lane((release) => {
    const recorded = (): void => {
      release();
      deleteSegments(running, log.reuse(dropped));
    };
    proofs.update({ floorSegment }, recorded);
  });
}

/** They are no part of the log any more. */
function deleteSegments({ disk, deletions, gate, onFreed }: Running, segments: readonly Segment[]): void {
  const removals = segments.map(
    ({ path }) =>
      (next: Done) =>
        disk.remove(path, next),
  );
  deletions((release) => {
    const deleted = (): void => {
      release();
      onFreed();
    };
    inSequence(removals, gate.orFail(deleted));
  });
}

function setCluster({ lane, meta, proofs }: Running, clusterId: ClusterId, done: () => void): void {
  lane((release) => {
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

/** After a failure there is nothing to wait for but the mark. */
function close(running: Running, done: () => void): void {
  const { disk, lane, deletions, marks, proofs, log, meta, snapshots, gate, soon } = running;
  let ended = false;
  const end = (): void => {
    if (ended) return;
    ended = true;
    proofs.cancel();
    marks(() => {
      gate.shut();
      disk.unlock();
      done();
    });
  };
  if (!gate.isOpen()) return soon(end);
  gate.onFailure(() => soon(end));
  const closeFiles = (): void =>
    log.close(() => {
      meta.close();
      deletions(() => snapshots.settle(end));
    });
  lane(() => log.appendClosing(gate.orFail(() => proofs.finish(closeFiles))));
}
