// Opens a data directory: reads and checks all of it, then repairs it, before anything is acknowledged from it.
import { STORAGE } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { type Disk, isNoSpace } from "./disk.ts";
import { corrupt } from "./file-errors.ts";
import { refuseNewerEntries, refuseNewerState, refuseOtherFormats } from "./format-version.ts";
import { beginMeta, type FoundMeta, type Meta, META_PATH, type MetaFile, readMeta } from "./meta.ts";
import { requireOwner, requireRecordedOwner } from "./owner.ts";
import { createStorage } from "./persist.ts";
import { attempt, failWith, removeFile, runSteps, type Steps } from "./steps.ts";
import type { Opened, OpenStorage, Recovered } from "./types.ts";
import { createDamaged, quarantineData } from "./rejoin/damaged.ts";
import { refuseMarked, removeQuarantined, retryWithoutQuarantine } from "./rejoin/quarantine.ts";
import { readRejoinFiles, type Rejoin, type RejoinFiles, removeRejoin } from "./rejoin/rejoin-files.ts";
import {
  type CompleteSnapshot,
  indexOf,
  isIncomplete,
  recoverSnapshot,
  removeSnapshot,
  SNAPSHOT_DIRECTORY,
  snapshotDirectories,
} from "./snapshot/files.ts";
import { type LiveSegments, recoverLiveSegments } from "./wal/live-segments.ts";
import { recoverLog, type RecoveredLog } from "./wal/recovery.ts";
import { replay, type Replayed } from "./wal/replay.ts";
import { LOG_DIRECTORY } from "./wal/segment.ts";
import { beginLog, type LogSettings, type LogWriter } from "./wal/writer.ts";

const BOOTSTRAP_TERM = 1;
const DIRECTORIES = ["g0", LOG_DIRECTORY, SNAPSHOT_DIRECTORY] as const;

/** What the directory holds, before anything is written. */
interface Contents {
  readonly foundMeta: FoundMeta | null;
  readonly recoveredLog: RecoveredLog;
  readonly liveSegments: LiveSegments;
  readonly snapshot: CompleteSnapshot | null;
  /** Directories of snapshots that never counted, or no longer do. */
  readonly otherSnapshots: readonly string[];
  readonly recovered: Recovered;
}

/** Opens a directory: reads it at once, then repairs it, so that nothing is acknowledged that is only in the page cache. */
export function openStorage(disk: Disk, settings: OpenStorage, done: (opened: Opened) => void): void {
  withLock(disk, settings, done, () => openLocked(disk, settings, null, done));
}

/** A running node found that its data are wrong: they cannot be trusted any more, even if they are readable. */
export function openDistrusted(
  disk: Disk,
  settings: OpenStorage,
  found: RaftqError,
  done: (opened: Opened) => void,
): void {
  withLock(disk, settings, done, () => openLocked(disk, settings, found, done));
}

function withLock(disk: Disk, settings: OpenStorage, done: (opened: Opened) => void, open: () => void): void {
  try {
    disk.lock();
  } catch (error) {
    settings.after(0, () => done({ ok: false, error: asRaftqError(error), damaged: null }));
    return;
  }
  open();
}

type Inspection =
  | { readonly type: "intact"; readonly contents: Contents; readonly rejoinFiles: RejoinFiles }
  | { readonly type: "damaged"; readonly error: RaftqError; readonly rejoinFiles: RejoinFiles }
  /** It was damaged, and a majority has agreed that its data are quarantined. */
  | { readonly type: "quarantining"; readonly rejoin: Rejoin };

/** Begins at the recorded stage of a rejoin, so it also goes on with what a crash cut short. */
function openLocked(
  disk: Disk,
  settings: OpenStorage,
  distrusted: RaftqError | null,
  done: (opened: Opened) => void,
): void {
  const refuse = (error: unknown): void => {
    disk.unlock();
    settings.after(0, () => done({ ok: false, error: asRaftqError(error), damaged: null }));
  };
  const reopen = (then: (opened: Opened) => void): void => openLocked(disk, settings, null, then);
  try {
    const found = inspectDirectory(disk, settings, distrusted);
    switch (found.type) {
      case "quarantining":
        return runSteps(quarantineData(disk, found.rejoin), ({ error }) =>
          error === null ? reopen(done) : refuse(error),
        );
      case "damaged": {
        const damaged = createDamaged(disk, settings, found.rejoinFiles, found.error.message, reopen);
        settings.after(0, () => done({ ok: false, error: found.error, damaged }));
        return;
      }
      case "intact":
        return runSteps(repair(disk, settings, found.contents, found.rejoinFiles), ({ error, result: repaired }) => {
          if (error !== null) return refuse(error);
          done({ ok: true, storage: createStorage({ disk, settings, ...found.contents, ...repaired }) });
        });
    }
  } catch (error) {
    refuse(error);
  }
}

/** Writes nothing. Throws whatever is no damage: a foreign directory, a newer format, a disk that cannot be read. */
function inspectDirectory(disk: Disk, settings: OpenStorage, distrusted: RaftqError | null): Inspection {
  const rejoinFiles = readRejoinFiles(disk);
  refuseOtherFormats(disk, settings.newerContent, STORAGE.formatVersion);
  const { rejoin } = rejoinFiles;
  if (distrusted !== null) return { type: "damaged", error: distrusted, rejoinFiles };
  if (rejoin !== null) requireRecordedOwner(rejoinFiles, settings.nodeId);
  if (rejoin?.stage === "agreed") return { type: "quarantining", rejoin };
  if (rejoin?.stage === "asking") return { type: "damaged", error: new RaftqError("CORRUPT", rejoin.why), rejoinFiles };
  try {
    return { type: "intact", contents: readDirectory(disk, settings, rejoinFiles), rejoinFiles };
  } catch (error) {
    if (!(error instanceof RaftqError) || error.code !== "CORRUPT") throw error;
    requireRecordedOwner(rejoinFiles, settings.nodeId);
    return { type: "damaged", error, rejoinFiles };
  }
}

const NOT_ALLOWED: readonly unknown[] = ["EACCES", "EPERM", "EROFS"];

function asRaftqError(error: unknown): RaftqError {
  if (error instanceof RaftqError) return error;
  const what = error instanceof Error ? error.message : String(error);
  if (error instanceof Error && isNoSpace(error)) {
    const remedy = "free that much on its file system, outside of the directory, and start the node again";
    return new RaftqError("DISK_FULL", `the disk is too full to open the data directory: ${what}; ${remedy}`, error);
  }
  const code =
    error instanceof Error && "code" in error && NOT_ALLOWED.includes(error.code) ? "UNWRITABLE" : "DISK_FAILED";
  return new RaftqError(code, `the data directory cannot be used: ${what}`, error);
}

/** Throws CORRUPT, NEWER_FORMAT, OLDER_FORMAT, FOREIGN_DIRECTORY. Writes nothing. */
function readDirectory(disk: Disk, settings: OpenStorage, rejoinFiles: RejoinFiles): Contents {
  const { rejoin, knownMembers, wasUsed } = rejoinFiles;
  const foundMeta = readMeta(disk, STORAGE.formatVersion);
  const meta = foundMeta?.meta ?? null;
  if (meta === null) requireRecordedOwner(rejoinFiles, settings.nodeId);
  else requireOwner(meta.nodeId, settings.nodeId);
  refuseMarked(disk);
  const log = recoverLog(disk, meta, STORAGE.blockBytes);
  const contents = log.frames.map(({ frame }) => frame.content);
  const replayed = replay(log.frameToCopy === null ? contents : [...contents, log.frameToCopy]);
  refuseNewerEntries(replayed.entries, settings.newerContent);
  if (replayed.snapshot !== null)
    refuseNewerState(disk, replayed.snapshot, settings.newerContent, STORAGE.formatVersion);
  const snapshot = replayed.snapshot === null ? null : recoverSnapshot(disk, replayed.snapshot, STORAGE.formatVersion);
  if (meta !== null) requireNewerThanLog(meta, replayed);
  const orphan =
    meta === null ? snapshotDirectories(disk).find((directory) => disk.list(directory).length > 0) : undefined;
  if (orphan !== undefined) throw corrupt(`${META_PATH} is missing, but ${orphan} holds a snapshot`);
  const otherSnapshots = snapshotDirectories(disk).filter((directory) => directory !== snapshot?.directory);
  const { entries } = replayed;
  const clusterId = meta?.clusterId ?? rejoin?.clusterId ?? null;
  const incarnation = meta?.incarnation ?? rejoin?.incarnation ?? settings.newIncarnation;
  const torn = log.tornBytes === 0 ? "" : `, torn tail of ${log.tornBytes} bytes cut`;
  const at = snapshot === null ? "" : `, snapshot at ${snapshot.manifest.meta.index}`;
  const recovered: Recovered = {
    identity: { nodeId: settings.nodeId, incarnation, clusterId },
    hardState: meta?.hardState ?? { currentTerm: 0, votedFor: null },
    snapshot: snapshot?.manifest.meta ?? null,
    entries,
    hadData: clusterId !== null || entries.length > 0 || snapshot !== null || wasUsed,
    knownMembers,
    summary: meta === null ? "new directory" : `${entries.length} entries${at}${torn}`,
  };
  const liveSegments = recoverLiveSegments(log.frames);
  return { foundMeta, recoveredLog: log, liveSegments, snapshot, otherSnapshots, recovered };
}

/** A term is in meta before any frame of it is written; only a founder's first entry comes before every election. */
function requireNewerThanLog({ hardState }: Meta, { entries, snapshot }: Replayed): void {
  const written = Math.max(entries.at(-1)?.term ?? 0, snapshot?.term ?? 0);
  if (written <= Math.max(hardState.currentTerm, BOOTSTRAP_TERM)) return;
  throw corrupt(
    `${META_PATH} is older than the log: it knows term ${hardState.currentTerm}, and the log holds entries of term ${written}`,
  );
}

interface Repaired {
  readonly log: LogWriter;
  readonly meta: MetaFile;
}

/** Directories, a new segment with a copy of the last frame, meta; only then what is no longer needed is deleted. */
function* repair(disk: Disk, settings: OpenStorage, contents: Contents, rejoinFiles: RejoinFiles): Steps<Repaired> {
  const { recoveredLog, otherSnapshots, liveSegments, foundMeta, recovered } = contents;
  yield* retryWithoutQuarantine(disk, () => makeDirectories(disk));
  const log = yield* beginLogWithSpace(disk, contents, {
    segmentBytes: settings.segmentBytes,
    blockBytes: STORAGE.blockBytes,
    formatVersion: STORAGE.formatVersion,
    drawSalt: settings.drawSalt,
    liveSegments,
    after: settings.after,
    reservedBytes: settings.reservedBytes,
    onSpaceChanged: settings.onSpaceChanged,
  });
  const { segmentAtOpen } = log;
  const content: Meta = {
    ...recovered.identity,
    hardState: recovered.hardState,
    segmentAtOpen,
    oldestSegment: liveSegments.segments[0]?.segment.number ?? segmentAtOpen,
    durableFrame: log.lastContentFrame,
  };
  const meta = yield* retryWithoutQuarantine(disk, () => beginMeta(disk, content, foundMeta, STORAGE.formatVersion));
  // From now on meta holds the identity. Before anything is acknowledged: a later damage must not find an old agreement.
  if (rejoinFiles.wasUsed) yield* removeRejoin(disk);
  // On a full disk some of these went before.
  for (const path of recoveredLog.unused) if (disk.size(path) !== null) yield* removeFile(disk, path);
  for (const directory of otherSnapshots)
    if (snapshotDirectories(disk).includes(directory)) yield* removeSnapshot(disk, directory);
  return { log, meta };
}

function* makeDirectories(disk: Disk): Steps {
  for (const path of DIRECTORIES) yield (done) => disk.makeDirectory(path, done);
  for (const path of [".", ...DIRECTORIES]) yield (done) => disk.syncDirectory(path, done);
}

/**
 * On a full disk, what an earlier run left unfinished is deleted first: without a first frame, a manifest, or a frame that makes it
 * count, it means nothing in any state of the disk, even if what was read is only in the page cache.
 */
function* beginLogWithSpace(disk: Disk, contents: Contents, settings: LogSettings): Steps<LogWriter> {
  const { recoveredLog, otherSnapshots, snapshot } = contents;
  const currentIndex = snapshot?.manifest.meta.index ?? 0;
  const { error, result: log } = yield* attempt(beginLog(disk, recoveredLog, settings));
  if (error === null) return log;
  if (!isNoSpace(error)) return yield* failWith(error);
  const unfinished = otherSnapshots.filter(
    (directory) => isIncomplete(disk, directory) || indexOf(directory) > currentIndex,
  );
  // Quarantined data are kept for people only while there is space for them.
  yield* attempt(removeQuarantined(disk, 0));
  for (const path of recoveredLog.preallocated) yield* removeFile(disk, path);
  for (const directory of unfinished) yield* removeSnapshot(disk, directory);
  // Each attempt uses up a number: a file of the first one may come back with a power cut, and of two with one number the wrong one
  // could be taken for log.
  return yield* beginLog(disk, { ...recoveredLog, nextSegment: recoveredLog.nextSegment + 1 }, settings);
}
