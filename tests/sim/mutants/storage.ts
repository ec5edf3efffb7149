// Which bugs of durability are planted? Each with who once shipped it, if anybody did.
import type { Edit } from "../anchors.ts";
import type { Mutant } from "../mutants.ts";

/**
 * A durable write is one call, so a bug that was "no sync" or "another sync" needs its halves. The simulated disk has them; this plants
 * them into the real one, so that the same bug can be built and tortured.
 */
const REAL_HALVES: Edit = {
  in: "createRealDisk",
  find: "close: (file) => {",
  replace: `writeCached: (file, offset, bytes, done) => {
      fs.open(fullPath(file.path), O_RDWR, (failed, cached) => {
        if (failed !== null) done(failed);
        else writeAll(cached, offset, bytes, (error) => fs.close(cached, () => done(error)));
      });
    },
    sync: (file, done) => fs.fdatasync(descriptorsOf(disk, file).buffered, (error) => done(error)),
    close: (file) => {`,
};

const RECYCLE_AFTER_META = `  logQueue((release) => {
    const recorded = (): void => {
      release();
      deleteSegments(open, recycleSegments(log.preallocator, dropped));
    };`;

export const STORAGE_MUTANTS: readonly Mutant[] = [
  {
    name: "ack-before-sync",
    what: "a frame counts as durable when it is written, before the sync",
    within: 10,
    edits: [
      REAL_HALVES,
      {
        in: "writeFrame",
        find: "  yield (done) => log.disk.write(file, offset, bytes, done);",
        replace: `  yield (done) =>
    log.disk.writeCached(file, offset, bytes, (error) => {
      log.disk.sync(file, () => {});
      done(error);
    });`,
      },
    ],
  },
  {
    name: "ack-page-cache",
    what: "recovery takes the last frame for durable because it can be read",
    within: 50,
    edits: [
      {
        in: "splitLast",
        find: "frames: all.slice(0, lastWithContent), frameToCopy: last.frame.content, previous: last.frame.previous",
        replace: "frames: all, frameToCopy: null, previous: pointerTo(last)",
      },
    ],
  },
  {
    name: "no-space-is-durable",
    what: "a write that a full disk cut short counts as a whole one",
    within: 10,
    profile: "tightDisks",
    edits: [
      { in: "unwritten", find: "Math.min(inflight.upTo, entriesFrom - 1)", replace: "Math.max(inflight.upTo, 0)" },
    ],
  },
  {
    name: "no-directory-sync",
    what: "the name of a new segment is not synced",
    within: 10,
    edits: [{ in: "beginSegment", find: "disk.syncDirectory(LOG_DIRECTORY, done)", replace: "done(null)" }],
  },
  {
    name: "vote-before-sync",
    what: "term and vote count as durable before the meta slots are synced (sofa-jraft#1241)",
    within: 20,
    edits: [
      {
        in: "makeDurable",
        find: "yield (done) => updateMeta(durableEnd, { hardState }, () => done(null));",
        replace: "updateMeta(durableEnd, { hardState }, () => {});",
      },
    ],
  },
  {
    name: "snapshot-names-not-synced",
    what: "the files of a snapshot are synced, their names are not (canonical/raft#184)",
    within: 10,
    edits: [{ in: "snapshot/syncNames", find: "disk.syncDirectory(path, done)", replace: "done(null)" }],
  },
  {
    name: "snapshot-not-synced",
    what: "a snapshot counts before its files are synced (canonical/raft#184)",
    within: 10,
    edits: [
      REAL_HALVES,
      { in: "writePart", find: "writeNewFile(writer.disk, ", replace: "writeCachedFile(writer.disk, " },
      {
        in: "removeIfPresent",
        find: "function* removeIfPresent",
        replace: `function* writeCachedFile(disk, path, bytes) {
  let made;
  yield (done) =>
    disk.create(path, 0, (error, file) => {
      made = file;
      done(error);
    });
  yield (done) => disk.writeCached(made, 0, bytes, done);
  disk.close(made);
}

function* removeIfPresent`,
      },
    ],
  },
  {
    name: "retry-failed-sync",
    what: "a failed sync is tried again, and the second success believed (cockroach#37102, PostgreSQL 2018)",
    within: 20,
    plan: { faults: { diskError: 400, powerCut: 1_000 } },
    edits: [
      REAL_HALVES,
      {
        in: "writeFrame",
        find: "  yield (done) => log.disk.write(file, offset, bytes, done);",
        replace: `  yield (done) =>
    log.disk.writeCached(file, offset, bytes, (error) =>
      error === null
        ? log.disk.sync(file, (failed) => (failed === null ? done(null) : log.disk.sync(file, done)))
        : done(error),
    );`,
      },
    ],
  },
  {
    name: "recycle-before-meta",
    what: "the file of a segment is used again before meta holds that the log begins behind it",
    within: 60,
    edits: [
      {
        in: "storage/compact",
        find: RECYCLE_AFTER_META,
        replace: `  deleteSegments(open, recycleSegments(log.preallocator, dropped));
  logQueue((release) => {
    const recorded = (): void => {
      release();
    };`,
      },
    ],
  },
  {
    name: "delete-before-meta",
    what: "segments are deleted before meta holds that the log begins behind them (braft#254)",
    within: 60,
    edits: [
      {
        in: "storage/compact",
        find: RECYCLE_AFTER_META,
        replace: `  deleteSegments(open, dropped);
  logQueue((release) => {
    const recorded = (): void => {
      release();
    };`,
      },
    ],
  },
  {
    name: "meta-name-not-synced",
    what: "the name of the first meta is not synced (etcd#6368)",
    within: 10,
    edits: [{ in: "beginMeta", find: 'disk.syncDirectory(".", done)', replace: "done(null)" }],
  },
  {
    name: "durable-frame-ignored",
    what: "a log that ends before the frame that meta holds as durable is taken for one with a torn tail",
    within: 30,
    plan: { faults: { damage: 300 } },
    edits: [{ in: "requireDurableFrame", find: "durableFrame) return;", replace: "0) return;" }],
  },
  {
    name: "meta-one-slot",
    what: "only one slot of meta is written: a torn write leaves none",
    within: 100,
    edits: [{ in: "metaFile", find: "file, SLOTS,", replace: "file, [0]," }],
  },
  {
    name: "last-frame-dropped",
    what: "recovery drops a whole last frame unless a closing one proves it durable, instead of writing it again",
    within: 10,
    edits: [{ in: "splitLast", find: "frameToCopy: last.frame.content", replace: "frameToCopy: null" }],
  },
  {
    name: "truncation-not-replayed",
    what: "entries behind a later frame with a smaller first index come back at recovery",
    within: 20,
    profile: "longTails",
    // A long tail is replaced entry by entry, not by a snapshot, and its node dies meanwhile.
    plan: {
      nodes: 5,
      settings: { maxAppendBytes: 1, maxInflightMessages: 1, compactMinBytes: 1 << 20 },
      faults: { kill: 300, powerCutAll: 600 },
    },
    edits: [
      {
        in: "replay",
        find: `entries.length = Math.min(entries.length, kept);
        for (const entry of content.entries) entries.push(entry);
        lastIndex = content.entries`,
        replace: `entries.splice(Math.min(entries.length, kept), content.entries.length, ...content.entries);
        lastIndex = entries`,
      },
    ],
  },
  {
    name: "compact-one-too-many",
    what: "a segment whose last entry is the first one to keep is dropped",
    within: 10,
    profile: "longTails",
    edits: [{ in: "dropBelow", find: "lastLive >= index", replace: "lastLive > index" }],
  },
  {
    name: "meta-durable-slot-first",
    what: "recovery writes the slot of meta first that is durable for sure, while the other may be only in the page cache",
    within: 30,
    edits: [{ in: "readMeta", find: "newest === a ? 0 : 1", replace: "newest === a ? 1 : 0" }],
  },
  {
    name: "damage-is-torn-tail",
    what: "an unreadable frame is cut off as a torn tail although a whole one follows it",
    within: 10,
    edits: [{ in: "checkTail", find: "wholeFrame !== null", replace: "wholeFrame !== null && wholeFrame < 0" }],
  },
  {
    name: "snapshot-frame-deleted",
    what: "the segment with the frame that makes the snapshot count is dropped with the others",
    within: 30,
    profile: "suspensions",
    edits: [{ in: "dropBelow", find: " || segment === snapshotSegment", replace: "" }],
  },
  {
    name: "writes-after-failure",
    what: "a failed write is reported, and later ones go on",
    within: 30,
    profile: "failingDisks",
    edits: [
      {
        in: "createFailStop",
        find: `open = false;
    report`,
        replace: "report",
      },
    ],
  },
];
