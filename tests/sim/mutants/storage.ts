// Which bugs of durability did others ship? Each with who did, and how many seeds the simulator may need to catch it.
import type { Mutant } from "../mutants.ts";

export const STORAGE_MUTANTS: readonly Mutant[] = [
  {
    name: "ack-before-sync",
    what: "a frame counts as durable when it is written, before the sync",
    within: 40,
    edits: [
      {
        file: "src/storage/log.ts",
        find: "    writeSynced(disk, target.file, offset, bytes, (error) => done(error, pointer));",
        replace: `    disk.write(target.file, offset, bytes, (error) => {
      disk.sync(target.file, () => {});
      done(error, pointer);
    });`,
      },
    ],
  },
  {
    name: "ack-page-cache",
    what: "recovery takes the last frame for durable because it can be read",
    within: 400,
    edits: [
      {
        file: "src/storage/recovery.ts",
        find: "  return { frames: all.slice(0, lastWithContent), copied: last.frame.content, previous: last.frame.previous };",
        replace: "  return { frames: all, copied: null, previous: pointerTo(last) };",
      },
    ],
  },
  {
    name: "no-directory-sync",
    what: "the name of a new segment is not synced",
    within: 40,
    edits: [
      {
        file: "src/storage/log.ts",
        find: "          (step) => disk.syncDirectory(LOG_DIRECTORY, step),",
        replace: "          (step) => step(null),",
      },
    ],
  },
  {
    name: "vote-before-sync",
    what: "term and vote count as durable before the meta slots are synced (sofa-jraft#1241)",
    within: 60,
    edits: [
      {
        file: "src/storage/running.ts",
        find: "      else meta.update({ hardState: batch.hardState }, gate.orFail(write));",
        replace: `      else {
        meta.update({ hardState: batch.hardState }, () => {});
        write();
      }`,
      },
    ],
  },
  {
    name: "snapshot-names-not-synced",
    what: "the files of a snapshot are synced, their names are not (canonical/raft#184)",
    within: 40,
    edits: [
      {
        file: "src/storage/snapshot-files.ts",
        find: "inSequence(names, orFailUnlessNoSpace(named, giveUp));",
        replace: "inSequence(names.slice(0, 0), orFailUnlessNoSpace(named, giveUp));",
      },
    ],
  },
  {
    name: "snapshot-not-synced",
    what: "a snapshot counts before its files are synced (canonical/raft#184)",
    within: 40,
    edits: [
      {
        file: "src/storage/snapshot-files.ts",
        find: "      inSequence([(next) => disk.write(file, 0, bytes, next), (next) => disk.sync(file, next)], (problem) => {",
        replace: "      inSequence([(next) => disk.write(file, 0, bytes, next)], (problem) => {",
      },
    ],
  },
  {
    name: "retry-failed-sync",
    what: "a failed sync is tried again, and the second success believed (cockroach#37102, PostgreSQL 2018)",
    within: 100,
    edits: [
      {
        file: "src/storage/log.ts",
        find: "  disk.write(file, offset, bytes, (error) => (error === null ? disk.sync(file, done) : done(error)));",
        replace: `  disk.write(file, offset, bytes, (error) =>
    error === null ? disk.sync(file, (failed) => (failed === null ? done(null) : disk.sync(file, done))) : done(error),
  );`,
      },
    ],
  },
  {
    name: "delete-before-floor",
    what: "segments are deleted before meta says that the log begins behind them (braft#254)",
    within: 400,
    edits: [
      {
        file: "src/storage/running.ts",
        find: `  lane((release) => {
    const recorded = (): void => {
      release();
      deleteAll();
    };`,
        replace: `  deleteAll();
  lane((release) => {
    const recorded = (): void => {
      release();
    };`,
      },
    ],
  },
  {
    name: "meta-name-not-synced",
    what: "the name of the first meta is not synced (etcd#6368)",
    within: 40,
    edits: [
      {
        file: "src/storage/meta.ts",
        find: '        [(next) => disk.rename(NEW_META_PATH, META_PATH, next), (next) => disk.syncDirectory(".", next)],',
        replace: "        [(next) => disk.rename(NEW_META_PATH, META_PATH, next)],",
      },
    ],
  },
  {
    name: "meta-one-slot",
    what: "only one slot of meta is written: a torn write leaves none",
    within: 400,
    edits: [
      {
        file: "src/storage/meta.ts",
        find: `        SLOTS,
        (at) => encodeMetaSlot(meta, at, formatVersion),`,
        replace: `        [0],
        (at) => encodeMetaSlot(meta, at, formatVersion),`,
      },
    ],
  },
];
