// Which bugs of elections and replication did others ship? Each with who did, and how many seeds the simulator may need to catch it.
import type { Mutant } from "../mutants.ts";

export const REPLICATION_MUTANTS: readonly Mutant[] = [
  {
    name: "commit-old-term",
    what: "an entry of an earlier term is committed by counting (Raft section 5.4.2, LogCabin#44)",
    within: 10,
    edits: [{ in: "advanceCommit", find: "termAt(log, index) !== state.currentTerm", replace: "false" }],
  },
  {
    name: "forget-vote",
    what: "the vote is not remembered across a restart",
    within: 10,
    edits: [
      {
        in: "recoverState",
        find: "currentTerm === hardState.currentTerm ? hardState.votedFor : null",
        replace: "null",
      },
    ],
  },
  {
    name: "vote-before-durable",
    what: "votes, terms and acknowledgements leave before they are durable",
    within: 10,
    edits: [
      {
        in: "raft/send",
        find: "needIndex <= state.log.durableIndex && !hardStatePending(state)",
        replace: "needIndex <= state.log.lastIndex",
      },
    ],
  },
  {
    name: "count-undurable-leader",
    what: "the leader counts its own entries before its disk has them",
    within: 10,
    edits: [{ in: "advanceCommit", find: "log.durableIndex", replace: "log.lastIndex" }],
  },
  {
    name: "ack-beyond-append",
    what: "a follower acknowledges its whole log, not what the message verified (CCF#6016)",
    within: 10,
    edits: [
      {
        in: "onAppendEntries",
        find: "Math.max(state.commitIndex, message.prevLogIndex + message.entries.length)",
        replace: "state.log.lastIndex",
      }, // Alone it would do no harm: the leader finds the exact point of agreement, and what differs behind it is gone at once.
      { in: "onRefusal", find: "Math.min(rejectedIndex, agreed + 1)", replace: "Math.min(1, agreed)" },
    ],
  },
  {
    name: "commit-unverified",
    what: "a follower commits what a heartbeat names, whatever its own entries are (copycat#265, scylladb#9965, CCF#8172)",
    within: 60,
    edits: [
      { in: "commitVerified", find: "state.verifiedIndex", replace: "state.log.lastIndex" },
      { in: "sendHeartbeat", find: "Math.min(state.commitIndex, progress.matchIndex)", replace: "state.commitIndex" },
    ],
  },
  {
    name: "vote-for-shorter-log",
    what: "a vote is given to a candidate whose log is behind",
    within: 40,
    edits: [
      {
        in: "isUpToDate",
        find: "request.lastLogTerm > own || (request.lastLogTerm === own && request.lastLogIndex >= state.log.lastIndex)",
        replace: "request.lastLogTerm >= own",
      },
    ],
  },
  {
    name: "count-any-vote",
    what: "votes of another round or term count (akka-raft#47)",
    within: 10,
    edits: [
      {
        in: "onRequestVoteReply",
        find: " || round.preVote !== reply.preVote || round.term !== reply.requestedTerm",
        replace: "",
      },
    ],
  },
  {
    name: "unconfirmed-reads",
    what: "reads are answered without a round of heartbeats (etcd#20418)",
    within: 90,
    edits: [{ in: "serveReads", find: "round.context > confirmed", replace: "confirmed < 0" }],
  },
  {
    name: "keep-tail-on-install",
    what: "a snapshot is taken for known because the log is long enough, whatever is in it (hashicorp/raft#697)",
    within: 500,
    edits: [
      {
        in: "onInstallSnapshot",
        find: "termAt(state.log, meta.index) === meta.term",
        replace: "state.log.lastIndex >= meta.index",
      },
    ],
  },
  {
    name: "refusal-counts-as-vote",
    what: "a refusal is counted as a vote (openraft#1220)",
    within: 10,
    edits: [
      {
        in: "onRequestVoteReply",
        find: "(reply.voteGranted ? round.granted : round.refused)",
        replace: "round.granted",
      },
    ],
  },
  {
    name: "vote-counted-twice",
    what: "a vote that is answered twice counts twice",
    within: 60,
    edits: [
      {
        in: "onRequestVoteReply",
        find: "  (reply.voteGranted ? round.granted : round.refused).add(from);",
        replace: `  const again = reply.voteGranted && round.granted.has(from);
  const other = state.members.voters.find((id) => !round.granted.has(id));
  (reply.voteGranted ? round.granted : round.refused).add(again && other !== undefined ? other : from);`,
      },
    ],
  },
  {
    name: "sole-vote-not-durable",
    what: "a sole voter leads before its vote for itself is durable",
    within: 20,
    edits: [{ in: "campaign", find: "preVote ? [state.self] : []", replace: "[state.self]" }],
  },
  {
    name: "vote-again",
    what: "a vote is given to whoever asks, also twice in a term (akka-raft#47)",
    within: 20,
    edits: [{ in: "onVote", find: "state.votedFor === null || state.votedFor === from", replace: "true" }],
  },
  {
    name: "step-down-forgets-vote",
    what: "stepping down in the same term frees the vote (CCF#8094, nebula#2405)",
    within: 10,
    edits: [
      {
        in: "becomeFollower",
        find: "endLeadership(state, why);",
        replace: `endLeadership(state, why);
  if (leader === null) state.votedFor = null;`,
      },
    ],
  },
  {
    name: "heartbeat-acknowledges",
    what: "the answer to a heartbeat counts as having all that was sent (RATIS-2605)",
    within: 10,
    edits: [
      {
        in: "onHeartbeatReply",
        find: "reply.readContext);",
        replace: `reply.readContext);
  if (progress.state === "replicate") onMatch(state, progress, progress.nextIndex - 1);`,
      },
    ],
  },
  {
    name: "acknowledge-before-durable",
    what: "a follower acknowledges entries before its disk has them (yugabyte-db#32875, ra#637)",
    within: 10,
    edits: [{ in: "onAppendEntries", find: "reply, verified)", replace: "reply, 0)" }],
  },
  {
    name: "aba-append",
    what: "the end of an old write vouches for entries that replaced what it wrote (cockroach#124440)",
    within: 300,
    edits: [
      {
        in: "truncate",
        find: "  if (state.inflight !== null) state.inflight.upTo = Math.min(state.inflight.upTo, from - 1);\n",
        replace: "",
      },
    ],
  },
  {
    name: "keep-conflicting-tail",
    what: "entries that conflict with the leader's are kept (section 5.3)",
    within: 10,
    edits: [
      {
        in: "onAppendEntries",
        find: `if (termAt(state.log, entry.index) === entry.term) continue;
      truncate(state, entry.index);`,
        replace: "continue;",
      },
    ],
  },
  {
    name: "previous-term-ignored",
    what: "an AppendEntries fits when the log is long enough, whatever the term of the entry before (Figure 2, receiver 2)",
    within: 10,
    edits: [
      {
        in: "matches",
        find: "termAt(state.log, prevLogIndex) === prevLogTerm",
        replace: "prevLogIndex <= state.log.lastIndex",
      },
    ],
  },
  {
    name: "reply-term-ignored",
    what: "a leader does not notice a higher term in an answer, and counts whoever gives it among its followers",
    within: 70,
    edits: [
      // A refusal of that term must not count either: it would be taken for a stale disk, and its sender for nobody.
      {
        in: "receiveReply",
        find: "  const progress = followerThatAnswers(state, from, reply.term);",
        replace: `  const { term } = reply;
  if (term > state.currentTerm && reply.type !== "HeartbeatReply") return;
  const progress = followerThatAnswers(state, from, Math.min(term, state.currentTerm));`,
      },
    ],
  },
  {
    name: "link-loss-unnoticed",
    what: "what was under way on a lost connection is waited for, for ever (hashicorp/raft#612)",
    within: 40,
    edits: [
      {
        in: "resetLink",
        find: "progress !== undefined",
        replace: 'progress !== undefined && progress.state === "snapshot"',
      },
      {
        in: "onHeartbeatReply",
        find: "!out || state.now - progress.sentAt < 2 * state.settings.electionMaxMs",
        replace: "out || !out",
      },
    ],
  },
  {
    name: "commit-on-leader-alone",
    what: "the leader answers when its own disk has the entry, a majority or not",
    within: 10,
    edits: [{ in: "advanceCommit", find: "quorumValue(", replace: "Math.max(log.durableIndex, 0) || quorumValue(" }],
  },
  {
    name: "skip-noop",
    what: "a leader begins its term without an entry of its own (section 8)",
    within: 10,
    edits: [
      {
        in: "becomeLeader",
        find: `
  appendNoop(state);`,
        replace: "",
      },
    ],
  },
  {
    name: "read-before-noop",
    what: "a new leader answers reads before its first entry has committed (etcd#7331)",
    within: 10,
    edits: [
      { in: "serveReads", find: " && commitIndex >= leadership.noopIndex", replace: "" },
      { in: "createReplica", find: " && ledFrom !== null && queue.appliedIndex >= ledFrom,", replace: "," },
    ],
  },
  {
    name: "time-from-wall-clock",
    what: "entries are stamped with the leader's wall clock (logcabin#210)",
    within: 10,
    edits: [{ in: "appendDraft", find: "state.clusterTime", replace: "state.wall" }],
  },
  {
    name: "transfer-never-ends",
    what: "a transfer of leadership has no deadline (openraft#1747, hashicorp/raft#696)",
    within: 400,
    edits: [
      {
        in: "driveTransfer",
        find: "  else if (state.now >= transfer.deadline) settle(state, transfer, null);\n",
        replace: "",
      },
    ],
  },
  {
    name: "transfer-without-catching-up",
    what: "leadership is handed to a follower that lacks entries",
    within: 200,
    edits: [
      {
        in: "driveTransfer",
        find: " && state.progress.get(transfer.to)?.matchIndex === state.log.lastIndex",
        replace: "",
      },
    ],
  },
  {
    name: "install-acknowledged-before-durable",
    what: "an installed snapshot is acknowledged before it counts on disk",
    within: 10,
    edits: [{ in: "raft/acknowledge", find: "reply, matchIndex)", replace: "reply, 0)" }],
  },
];
