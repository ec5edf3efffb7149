// Which bugs of elections and replication are planted? Each with who once shipped it, if anybody did.
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
    within: 20,
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
    profile: "lateNews",
    edits: [{ in: "serveReads", find: "round.context > confirmed", replace: "confirmed < 0" }],
  },
  {
    name: "keep-tail-on-install",
    what: "a snapshot is taken for known because the log is long enough, whatever is in it (hashicorp/raft#697)",
    within: 40,
    profile: "longTails",
    plan: {
      nodes: 3,
      settings: { keepLogBytes: 0, queueLimits: { checkpointEntries: 1 } },
      faults: { figure8: 600, partition: 0, kill: 0, powerCut: 0 },
    },
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
    within: 60,
    edits: [{ in: "campaign", find: "preVote ? [state.self] : []", replace: "[state.self]" }],
  },
  {
    name: "vote-again",
    what: "a vote is given to every candidate that asks, also twice in a term (akka-raft#47)",
    within: 30,
    edits: [{ in: "onVote", find: "state.votedFor === null || state.votedFor === from", replace: "true" }],
  },
  {
    name: "step-down-forgets-vote",
    what: "stepping down in the same term frees the vote (CCF#8094, nebula#2405)",
    within: 20,
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
    within: 20,
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
    within: 20,
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
    within: 20,
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
    what: "a leader does not notice a higher term in an answer, and counts the member that gave it among its followers",
    within: 20,
    profile: "lateNews",
    plan: { nodes: 3, faults: { heldNews: 200, partition: 0, transfer: 300 } },
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
    within: 40,
    edits: [
      { in: "serveReads", find: " && commitIndex >= leadership.noopIndex", replace: "" },
      { in: "hasAppliedNoop", find: " && ledFrom !== null && queue.appliedIndex >= ledFrom", replace: "" },
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
    within: 10,
    profile: "handovers",
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
    within: 10,
    profile: "handovers",
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
    within: 20,
    edits: [{ in: "raft/acknowledge", find: "reply, matchIndex)", replace: "reply, 0)" }],
  },
  {
    name: "verified-index-outlives-term",
    what: "what an earlier leader verified counts for the next one: entries commit that it has not compared",
    within: 20,
    profile: "longTails",
    // Of five nodes one may share a tail with a leader that is cut off, and later gets what replaces it entry by entry.
    plan: {
      nodes: 5,
      settings: { maxAppendBytes: 1, maxInflightMessages: 1, compactMinBytes: 1 << 20 },
      faults: { partition: 500, kill: 0, powerCut: 0 },
    },
    edits: [
      {
        in: "enterTerm",
        find: `  state.verifiedIndex = 0;
`,
        replace: "",
      },
    ],
  },
  {
    name: "progress-outlives-leadership",
    what: "a new leadership goes on with nextIndex and matchIndex of the earlier one (Figure 2: reinitialized after election)",
    within: 10,
    profile: "shortLeaderships",
    edits: [
      {
        in: "endLeadership",
        find: `  state.progress.clear();
`,
        replace: "",
      },
    ],
  },
  {
    name: "vote-in-known-term-not-durable",
    what: "term and vote are written when the term is new: a vote given later in the term is not",
    within: 50,
    edits: [{ in: "hardStatePending", find: " || state.durable.votedFor !== state.votedFor", replace: "" }],
  },
  {
    name: "longer-log-wins",
    what: "of two logs the longer one is more up to date, whatever the terms of the last entries (section 5.4.1)",
    within: 20,
    edits: [
      {
        in: "isUpToDate",
        find: "request.lastLogTerm > own || (request.lastLogTerm === own && request.lastLogIndex >= state.log.lastIndex)",
        replace: `request.lastLogIndex > state.log.lastIndex ||
    (request.lastLogIndex === state.log.lastIndex && request.lastLogTerm >= own)`,
      },
    ],
  },
  {
    name: "half-is-majority",
    what: "two of four voters are a majority",
    within: 10,
    edits: [{ in: "majority", find: "Math.floor(voters / 2) + 1", replace: "Math.ceil(voters / 2)" }],
  },
  {
    name: "append-always-truncates",
    what: "an AppendEntries drops what lies behind its last entry, in conflict or not: a late one takes back what was acknowledged",
    within: 20,
    profile: "slowLinks",
    edits: [
      {
        in: "onAppendEntries",
        find: "message.prevLogIndex + message.entries.length);",
        replace: `message.prevLogIndex + message.entries.length);
  if (message.entries.length > 0 && state.log.lastIndex > verified) truncate(state, verified + 1);`,
      },
    ],
  },
  {
    name: "time-goes-back-at-election",
    what: "a new leader does not start from the time of its last entry",
    within: 20,
    edits: [
      {
        in: "becomeLeader",
        find: "Math.max(state.clusterTime, lastStamp)",
        replace: "state.clusterTime",
      },
    ],
  },
  {
    name: "stale-term-reply",
    what: "a reply of an earlier term is counted, with what the follower had then",
    within: 10,
    profile: "lateReplies",
    edits: [{ in: "followerThatAnswers", find: "term < state.currentTerm || ", replace: "" }],
  },
  {
    name: "late-heartbeat-confirms",
    what: "the reply to a heartbeat of an earlier term confirms its reads in the present one (seed 9974282)",
    within: 40,
    profile: "lateReplies",
    edits: [
      {
        in: "onHeartbeat",
        find: "if (!followLeader(state, from, link, message.term)) return;",
        replace:
          "if (message.term < state.currentTerm) return sendHeartbeatReply(state, from, link, message.readContext);\n  followLeader(state, from, link, message.term);",
      },
    ],
  },
  {
    name: "read-joins-round",
    what: "a read joins the round of heartbeats that is under way: earlier replies confirm it",
    within: 10,
    profile: "lateReplies",
    edits: [
      {
        in: "serveReads",
        find: "leadership.readContext++;",
        replace: "if (leadership.readRounds.length === 0) leadership.readContext++;",
      },
    ],
  },
  {
    name: "no-check-quorum",
    what: "a leader that no majority answers leads on",
    within: 10,
    profile: "deafLeaders",
    edits: [
      {
        in: "checkQuorum",
        find: "hasQuorum(state.members, alive)",
        replace: "hasQuorum(state.members, alive) || contacted >= 0",
      },
    ],
  },
  {
    name: "write-vouches-after-install",
    what: "a write that began before a snapshot was installed vouches for what the snapshot replaced",
    within: 10,
    profile: "lateWrites",
    edits: [
      {
        in: "raft/install",
        find: `  if (inflight !== null) inflight.upTo = Math.min(inflight.upTo, committedBefore);
`,
        replace: "",
      },
    ],
  },
  {
    name: "stale-disk-counts",
    what: "a follower that rejects what it acknowledged is probed further down and goes on being counted",
    within: 20,
    profile: "oldDisks",
    edits: [
      {
        in: "onRefusal",
        find: `progress.stale = true;
    sendStaleDisk(state, progress);`,
        replace: "becomeProbe(progress, Math.max(1, Math.min(rejectedIndex, reply.hintIndex + 1)));",
      },
    ],
  },
  {
    name: "part-of-another-snapshot",
    what: "the reply to a part of an earlier snapshot moves the transfer of a newer one",
    within: 20,
    profile: "slowLinks",
    edits: [{ in: "onInstallSnapshotReply", find: " || transfer.meta.index !== reply.index", replace: "" }],
  },
  {
    name: "room-ignored",
    what: "a leader takes enqueues whatever room the voters' disks have",
    within: 10,
    profile: "scarceRoom",
    edits: [
      {
        in: "raft/hasDiskSpace",
        find: "countDiskSpace(state, leadership).enough",
        replace: "countDiskSpace(state, leadership).withSpace >= 0",
      },
    ],
  },
];
