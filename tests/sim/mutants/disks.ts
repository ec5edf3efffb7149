// Which bugs of meta, of the last frames, of failing and of old disks would a group survive for long? Each with the number of seeds
// within which the simulator must catch it.
import type { Mutant } from "../mutants.ts";

export const DISK_MUTANTS: readonly Mutant[] = [
  {
    name: "meta-durable-slot-first",
    what: "a start writes the slot of meta that is surely durable first, not the one that may be in the page cache only",
    within: 120,
    edits: [
      {
        file: "src/storage/meta.ts",
        find: "firstSlot: newest === a ? 0 : 1 };",
        replace: "firstSlot: newest === a ? 1 : 0 };",
      },
    ],
  },
  {
    name: "write-vouches-after-install",
    what: "a write under way still vouches for entries that an installed snapshot replaced",
    within: 120,
    edits: [
      {
        file: "src/raft/snapshot.ts",
        find: "  if (inflight !== null) inflight.upTo = Math.min(inflight.upTo, committedBefore);\n",
        replace: "  void inflight;\n",
      },
    ],
  },
  {
    name: "stale-disk-counts",
    what: "a follower that lacks what it acknowledged is probed further, and still counted",
    within: 120,
    edits: [
      {
        file: "src/raft/replication.ts",
        find: "    progress.stale = true;\n    tellStale(state, progress);\n    return;",
        replace: "    becomeProbe(progress, Math.max(1, Math.min(rejectedIndex, reply.hintIndex + 1)));\n    return;",
      },
    ],
  },
  {
    name: "snapshot-frame-deleted",
    what: "the segment with the frame that makes the snapshot count is deleted with the others",
    within: 120,
    edits: [
      {
        file: "src/storage/extents.ts",
        find: " || segment === snapshotSegment || segment === newest,",
        replace: " || segment === newest,",
      },
    ],
  },
  {
    name: "writes-after-failure",
    what: "a failed write is reported, and the next ones go on",
    within: 120,
    edits: [
      {
        file: "src/storage/gate.ts",
        find: "    if (error === null) return then();\n    open = false;",
        replace: "    if (error === null) return then();",
      },
    ],
  },
  {
    name: "answers-shared-with-snapshot",
    what: "copy on write copies the session, and shares the list of its answers with a snapshot under way",
    within: 120,
    edits: [
      {
        file: "src/queue/sessions.ts",
        find: "    answers: session.answers.slice(),",
        replace: "    answers: session.answers,",
      },
    ],
  },
  {
    name: "last-frame-dropped",
    what: "recovery drops the last valid frame unless a closing frame follows",
    within: 120,
    edits: [
      {
        file: "src/storage/recovery.ts",
        find: "  return { frames: all.slice(0, lastWithContent), copied: last.frame.content, previous: last.frame.previous };",
        replace: "  return { frames: all.slice(0, lastWithContent), copied: null, previous: last.frame.previous };",
      },
    ],
  },
  {
    name: "truncation-not-replayed",
    what: "a truncation is not replayed: entries behind a shorter later frame come back",
    within: 120,
    edits: [
      {
        file: "src/storage/replay.ts",
        find: "        entries.length = Math.min(entries.length, kept);\n        for (const entry of content.entries) entries.push(entry);\n        lastIndex = content.entries.at(-1)?.index ?? 0;",
        replace:
          "        entries.splice(Math.min(entries.length, kept), content.entries.length, ...content.entries);\n        lastIndex = Math.max(lastIndex ?? 0, content.entries.at(-1)?.index ?? 0);",
      },
    ],
  },
  {
    name: "damage-is-torn-tail",
    what: "a whole frame behind an unreadable one is cut off as a torn tail",
    within: 120,
    edits: [
      {
        file: "src/storage/recovery.ts",
        find: "  if (follower !== null) {\n    throw corrupt(segment.path, last.end,",
        replace: "  if (follower !== null && follower < 0) {\n    throw corrupt(segment.path, last.end,",
      },
    ],
  },
  {
    name: "compact-one-too-many",
    what: "the segment that ends exactly with the first entry to keep is deleted",
    within: 120,
    edits: [
      {
        file: "src/storage/extents.ts",
        find: "lastLive >= index ||",
        replace: "lastLive > index ||",
      },
    ],
  },
  {
    name: "snapshot-with-newest-configuration",
    what: "a snapshot is labelled with the newest configuration, committed or not",
    within: 120,
    edits: [
      {
        file: "src/raft/raft.ts",
        find: "  const at = raft.configurations.findLast((configuration) => configuration.index <= appliedIndex);",
        replace:
          "  const newest = raft.configurations.at(-1);\n  const at = newest === undefined ? newest : { ...newest, index: Math.min(newest.index, appliedIndex) };",
      },
    ],
  },
  {
    name: "link-to-any-incarnation",
    what: "a link to a member is used although another incarnation answers at its address",
    within: 120,
    edits: [
      {
        file: "src/server/peers.ts",
        find: "    if (clusterId !== ports.clusterId || memberId(node) !== link.id) {",
        replace: "    if (clusterId !== ports.clusterId || node.id !== link.member.id) {",
      },
    ],
  },
];
