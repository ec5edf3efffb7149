// Which bugs does the simulator not catch yet? Each misses a fault or something that watches, which is named before it.
import type { Mutant } from "../mutants.ts";

/**
 * `--mutants` leaves these out, `--mutant NAME` finds them; none was caught by 200 seeds. The list only holds them until the simulator
 * has what they miss: then they join the others, and when it is empty it goes.
 */
export const NOT_YET_CAUGHT: readonly Mutant[] = [
  // Replies that are one or two election timeouts late, in one direction only.
  {
    name: "stale-term-reply",
    what: "a reply of an earlier term is counted, with what the follower had then",
    within: 200,
    edits: [{ in: "followerThatAnswers", find: "term < state.currentTerm || ", replace: "" }],
  },
  // The same.
  {
    name: "read-joins-round",
    what: "a read joins the round of heartbeats that is under way: earlier replies confirm it",
    within: 200,
    edits: [
      {
        in: "serveReads",
        find: "leadership.readContext++;",
        replace: "if (leadership.readRounds.length === 0) leadership.readContext++;",
      },
    ],
  },
  // A leader that hears nobody for several election timeouts while it is heard.
  {
    name: "no-check-quorum",
    what: "a leader that no majority answers leads on",
    within: 200,
    edits: [
      {
        in: "tickLeaderDoubts",
        find: "hasQuorum(state.members, alive)",
        replace: "hasQuorum(state.members, alive) || heard >= 0",
      },
    ],
  },
  // A log that hangs while a snapshot is installed.
  {
    name: "write-vouches-after-install",
    what: "a write that began before a snapshot was installed vouches for what the snapshot replaced",
    within: 200,
    edits: [
      {
        in: "raft/install",
        find: `  if (inflight !== null) inflight.upTo = Math.min(inflight.upTo, committedBefore);
`,
        replace: "",
      },
    ],
  },
  // An old copy of a running member's disk, put back.
  {
    name: "stale-disk-counts",
    what: "a follower that rejects what it acknowledged is probed further down and goes on being counted",
    within: 200,
    edits: [
      {
        in: "onRefusal",
        find: `progress.stale = true;
    tellStale(state, progress);`,
        replace: "becomeProbe(progress, Math.max(1, Math.min(rejectedIndex, reply.hintIndex + 1)));",
      },
    ],
  },
  // A snapshot that is smaller than what was sent of the one before, on a slow link.
  {
    name: "part-of-another-snapshot",
    what: "the reply to a part of an earlier snapshot moves the transfer of a newer one",
    within: 200,
    edits: [{ in: "onInstallSnapshotReply", find: " || transfer.meta.index !== reply.index", replace: "" }],
  },
  // Less room than the reserve on the disks of a majority, and enough for the log to go on.
  {
    name: "room-ignored",
    what: "a leader takes enqueues whatever room the voters' disks have",
    within: 200,
    edits: [
      {
        in: "raft/hasRoom",
        find: "countRoom(state, leadership).enough",
        replace: "countRoom(state, leadership).room >= 0",
      },
    ],
  },
  // A kill between the two slots of meta, then a power cut during the next start.
  {
    name: "meta-durable-slot-first",
    what: "recovery writes the slot of meta first that is durable for sure, while the other may be only in the page cache",
    within: 200,
    edits: [{ in: "readMeta", find: "newest === a ? 0 : 1", replace: "newest === a ? 1 : 0" }],
  },
  // Damage in front of frames that meta does not prove yet.
  {
    name: "damage-is-torn-tail",
    what: "an unreadable frame is cut off as a torn tail although a whole one follows it",
    within: 200,
    edits: [{ in: "judgeTail", find: "follower !== null", replace: "follower !== null && follower < 0" }],
  },
  // A log that goes on for segments behind its last snapshot while entries before that are still kept.
  {
    name: "snapshot-frame-deleted",
    what: "the segment with the frame that makes the snapshot count is dropped with the others",
    within: 200,
    edits: [{ in: "dropBelow", find: " || segment === snapshotSegment", replace: "" }],
  },
  // A write that fails while others are under way, and a power cut before the node has stopped.
  {
    name: "writes-after-failure",
    what: "a failed write is reported, and later ones go on",
    within: 200,
    edits: [
      {
        in: "createGate",
        find: `open = false;
    report`,
        replace: "report",
      },
    ],
  },
  // A small limit for the memory of all answers.
  {
    name: "answer-memory-leak",
    what: "a session that ends does not give back the memory of its answers",
    within: 200,
    edits: [
      {
        in: "queue/remove",
        find: `  sessions.answerMemory -= memoryOf(session);
`,
        replace: "",
      },
    ],
  },
  // States that go wrong in an answer only.
  {
    name: "digest-without-answers",
    what: "the digest that members compare does not cover the stored answers",
    within: 200,
    edits: [
      {
        in: "digestOfSession",
        find: `    hash = mix(hash, answer.digest);
`,
        replace: "",
      },
    ],
  },
  // More committed entries than a turn applies, or a smaller limit for what it applies.
  {
    name: "read-before-applied",
    what: "a confirmed read is answered before its index is applied",
    within: 200,
    edits: [
      { in: "answerReads", find: "read.index <= queue.appliedIndex", replace: "read.index >= 0" },
      { in: "answerReads", find: "read.index > queue.appliedIndex", replace: "read.index < 0" },
    ],
  },
  // States of which no two agree; that nothing is accepted meanwhile.
  {
    name: "writes-in-dispute",
    what: "writes go on while no majority agrees on the state",
    within: 200,
    edits: [
      {
        in: "whileLeading",
        find: "dispute !== null && isWrite(message)",
        replace: "dispute !== null && isWrite(message) && message.frameId < 0",
      },
    ],
  },
  // That no session expires, or becomes dormant, whose client is connected to the leader.
  {
    name: "sessions-not-touched",
    what: "a session that is connected but silent is not kept alive",
    within: 200,
    edits: [{ in: "touch", find: "now < touchedAt + interval", replace: "now >= touchedAt" }],
  },
];
