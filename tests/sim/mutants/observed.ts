// Which bugs are seen only by who watches what answers do not show, or in worlds made for them? Realistic ones, planted by a reader of
// raftq who looked for what its simulator would miss, and found it.
import type { Mutant } from "../mutants.ts";

export const OBSERVED_MUTANTS: readonly Mutant[] = [
  {
    name: "stale-term-reply",
    what: "a reply that was given in an earlier term of the leader is counted",
    within: 60,
    edits: [
      {
        file: "src/raft/raft.ts",
        find: "  if (term < state.currentTerm || progress === undefined) return null;",
        replace: "  if (progress === undefined) return null;",
      },
    ],
  },
  {
    name: "read-joins-round",
    what: "a read joins the round of heartbeats that is under way: earlier replies confirm it",
    within: 250,
    edits: [
      {
        file: "src/raft/reads.ts",
        find: "    leadership.readContext++;",
        replace: "    if (leadership.readRounds.length === 0) leadership.readContext++;",
      },
    ],
  },
  {
    name: "no-check-quorum",
    what: "a leader that no majority answers leads on",
    within: 20,
    edits: [
      {
        file: "src/raft/election.ts",
        find: "  if (hasQuorum(state.members, alive)) return;",
        replace: "  if (hasQuorum(state.members, alive) || heard >= 0) return;",
      },
    ],
  },
  {
    name: "answer-memory-leak",
    what: "a session that ends does not give back the memory of its answers",
    within: 20,
    edits: [
      {
        file: "src/queue/session-lifecycle.ts",
        find: "  sessions.answerMemory -= memoryOf(session);\n  unschedule(",
        replace: "  unschedule(",
      },
    ],
  },
  {
    name: "digest-without-answers",
    what: "the digest that members compare does not cover the stored answers",
    within: 300,
    edits: [
      {
        file: "src/queue/digest.ts",
        find: "    answer.digest ??= digestOfAnswer(answer);\n    hash = mix(hash, answer.digest);",
        replace: "    answer.digest ??= digestOfAnswer(answer);",
      },
    ],
  },
  {
    name: "snapshot-unconfirmed",
    what: "a snapshot counts before a majority has reported its digest",
    within: 10,
    edits: [
      {
        file: "src/server/snapshots.ts",
        find: "    if (pending === null || !pending.isSaved || !pending.isConfirmed) return;",
        replace: "    if (pending === null || !pending.isSaved) return;",
      },
    ],
  },
  {
    name: "writes-in-dispute",
    what: "writes go on while no majority agrees on the state",
    within: 100,
    edits: [
      {
        file: "src/server/clients.ts",
        find: "    if (dispute !== null && isWrite(message)) return refuse(asked, dispute);",
        replace: "    if (dispute !== null && isWrite(message) && message.frameId < 0) return refuse(asked, dispute);",
      },
    ],
  },
  {
    name: "room-ignored",
    what: "a leader takes enqueues whatever room the voters' disks have",
    within: 150,
    edits: [
      {
        file: "src/raft/room.ts",
        find: "  return !isLow || countRoom(state, leadership).enough;",
        replace: "  return !isLow || countRoom(state, leadership).room >= 0;",
      },
    ],
  },
  {
    name: "part-of-another-snapshot",
    what: "the reply to a part of an earlier snapshot moves the transfer of a newer one",
    within: 60,
    edits: [
      {
        file: "src/raft/replication.ts",
        find: "  if (transfer === null || transfer.meta.index !== reply.index) return;",
        replace: "  if (transfer === null) return;",
      },
    ],
  },
];
