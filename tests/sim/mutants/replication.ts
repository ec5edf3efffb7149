// Which bugs of elections and replication did others ship? Each with who did, and how many seeds the simulator may need to catch it.
import type { Mutant } from "../mutants.ts";

export const REPLICATION_MUTANTS: readonly Mutant[] = [
  {
    name: "commit-old-term",
    what: "an entry of an earlier term is committed by counting (Raft section 5.4.2, LogCabin#44)",
    within: 10,
    edits: [
      {
        file: "src/raft/replication.ts",
        find: "termAt(log, index) !== state.currentTerm) return false;",
        replace: "false) return false;",
      },
    ],
  },
  {
    name: "forget-vote",
    what: "the vote is not remembered across a restart",
    within: 10,
    edits: [
      {
        file: "src/raft/recovery.ts",
        find: "    votedFor: currentTerm === hardState.currentTerm ? hardState.votedFor : null,",
        replace: "    votedFor: null,",
      },
    ],
  },
  {
    name: "vote-before-durable",
    what: "votes, terms and acknowledgements leave before they are durable",
    within: 10,
    edits: [
      {
        file: "src/raft/outbox.ts",
        find: "  if (needIndex <= state.log.durableIndex && !hardStatePending(state)) state.gathered.send.push(out);",
        replace: "  if (needIndex <= state.log.lastIndex) state.gathered.send.push(out);",
      },
    ],
  },
  {
    name: "count-undurable-leader",
    what: "the leader counts its own entries before its disk has them",
    within: 10,
    edits: [
      {
        file: "src/raft/replication.ts",
        find: "    if (id === state.self) return log.durableIndex;",
        replace: "    if (id === state.self) return log.lastIndex;",
      },
    ],
  },
  {
    name: "ack-beyond-append",
    what: "a follower acknowledges its whole log, not what the message verified (CCF#6016)",
    within: 10,
    edits: [
      {
        file: "src/raft/following.ts",
        find: "  const verified = Math.max(state.commitIndex, message.prevLogIndex + message.entries.length);",
        replace: "  const verified = state.log.lastIndex;",
      },
      // Alone it would do no harm: the leader finds the exact point of agreement, and what differs behind it is gone at once.
      {
        file: "src/raft/replication.ts",
        find: "becomeProbe(progress, Math.max(progress.matchIndex + 1, Math.min(rejectedIndex, agreed + 1)));",
        replace: "becomeProbe(progress, Math.max(progress.matchIndex + 1, Math.min(1, agreed)));",
      },
    ],
  },
  {
    name: "commit-unverified",
    what: "a follower commits what a heartbeat names, whatever its own entries are (copycat#265, scylladb#9965, CCF#8172)",
    within: 60,
    edits: [
      {
        file: "src/raft/following.ts",
        find: "  const index = Math.min(leaderCommit, state.verifiedIndex);",
        replace: "  const index = Math.min(leaderCommit, state.log.lastIndex);",
      },
      {
        file: "src/raft/replication.ts",
        find: "    leaderCommit: Math.min(state.commitIndex, progress.matchIndex),",
        replace: "    leaderCommit: state.commitIndex,",
      },
    ],
  },
  {
    name: "vote-for-shorter-log",
    what: "a vote is given to a candidate whose log is behind",
    within: 40,
    edits: [
      {
        file: "src/raft/election.ts",
        find: "  return request.lastLogTerm > own || (request.lastLogTerm === own && request.lastLogIndex >= state.log.lastIndex);",
        replace: "  return request.lastLogTerm >= own;",
      },
    ],
  },
  {
    name: "count-any-vote",
    what: "votes of another round or term count (akka-raft#47)",
    within: 10,
    edits: [
      {
        file: "src/raft/election.ts",
        find: "  if (round === null || round.preVote !== reply.preVote || round.term !== reply.requestedTerm) return;",
        replace: "  if (round === null) return;",
      },
    ],
  },
  {
    name: "unconfirmed-reads",
    what: "reads are answered without a round of heartbeats (etcd#20418)",
    within: 90,
    edits: [
      {
        file: "src/raft/reads.ts",
        find: "    if (round === undefined || round.context > confirmed) return;",
        replace: "    if (round === undefined || confirmed < 0) return;",
      },
    ],
  },
  {
    name: "keep-tail-on-install",
    what: "a snapshot is taken for known because the log is long enough, whatever is in it (hashicorp/raft#697)",
    within: 500,
    edits: [
      {
        file: "src/raft/snapshot.ts",
        find: "  if (state.commitIndex < meta.index && termAt(state.log, meta.index) === meta.term) {",
        replace: "  if (state.commitIndex < meta.index && state.log.lastIndex >= meta.index) {",
      },
    ],
  },
  {
    name: "refusal-counts-as-vote",
    what: "a refusal is counted as a vote (openraft#1220)",
    within: 10,
    edits: [
      {
        file: "src/raft/election.ts",
        find: "  (reply.voteGranted ? round.granted : round.refused).add(from);",
        replace: "  round.granted.add(from);",
      },
    ],
  },
  {
    name: "vote-counted-twice",
    what: "a vote that is answered twice counts twice",
    within: 60,
    edits: [
      {
        file: "src/raft/election.ts",
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
    edits: [
      {
        file: "src/raft/election.ts",
        find: "  const granted = new Set(preVote ? [state.self] : []);",
        replace: "  const granted = new Set([state.self]);",
      },
    ],
  },
  {
    name: "vote-again",
    what: "a vote is given to whoever asks, also twice in a term (akka-raft#47)",
    within: 20,
    edits: [
      {
        file: "src/raft/election.ts",
        find: "  const free = state.votedFor === null || state.votedFor === from;",
        replace: "  const free = true;",
      },
    ],
  },
  {
    name: "step-down-forgets-vote",
    what: "stepping down in the same term frees the vote (CCF#8094, nebula#2405)",
    within: 10,
    edits: [
      {
        file: "src/raft/roles.ts",
        find: "  if (state.leadership !== null) endLeadership(state, why);",
        replace: `  if (state.leadership !== null) endLeadership(state, why);
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
        file: "src/raft/replication.ts",
        find: "  progress.readContext = Math.max(progress.readContext, reply.readContext);",
        replace: `  progress.readContext = Math.max(progress.readContext, reply.readContext);
  if (progress.state === "replicate") onMatch(state, progress, progress.nextIndex - 1);`,
      },
    ],
  },
  {
    name: "acknowledge-before-durable",
    what: "a follower acknowledges entries before its disk has them (yugabyte-db#32875, ra#637)",
    within: 10,
    edits: [
      {
        file: "src/raft/following.ts",
        find: "  sendAcknowledgement(state, from, link, reply, verified);",
        replace: "  sendAcknowledgement(state, from, link, reply, 0);",
      },
    ],
  },
  {
    name: "aba-append",
    what: "the end of an old write vouches for entries that replaced what it wrote (cockroach#124440)",
    within: 300,
    edits: [
      {
        file: "src/raft/append.ts",
        find: `  if (state.inflight !== null) state.inflight.upTo = Math.min(state.inflight.upTo, from - 1);
`,
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
        file: "src/raft/following.ts",
        find: `      if (termAt(state.log, entry.index) === entry.term) continue;
      truncate(state, entry.index);`,
        replace: "      continue;",
      },
    ],
  },
  {
    name: "previous-term-ignored",
    what: "an AppendEntries fits when the log is long enough, whatever the term of the entry before (Figure 2, receiver 2)",
    within: 10,
    edits: [
      {
        file: "src/raft/following.ts",
        find: "  return termAt(state.log, prevLogIndex) === prevLogTerm;",
        replace: "  return prevLogIndex <= state.log.lastIndex;",
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
        file: "src/raft/raft.ts",
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
        file: "src/raft/raft.ts",
        find: "  if (progress !== undefined) loseLink(progress);",
        replace: '  if (progress !== undefined && progress.state === "snapshot") loseLink(progress);',
      },
      {
        file: "src/raft/replication.ts",
        find: "  if (!out || state.now - progress.sentAt < 2 * state.settings.electionMaxMs) return;",
        replace: "  if (out || !out) return;",
      },
    ],
  },
  {
    name: "commit-on-leader-alone",
    what: "the leader answers when its own disk has the entry, a majority or not",
    within: 10,
    edits: [
      {
        file: "src/raft/replication.ts",
        find: "  const index = quorumValue(state.members, (id: MemberId) => {",
        replace: "  const index = Math.max(log.durableIndex, 0) || quorumValue(state.members, (id: MemberId) => {",
      },
    ],
  },
  {
    name: "skip-noop",
    what: "a leader begins its term without an entry of its own (section 8)",
    within: 10,
    edits: [
      {
        file: "src/raft/roles.ts",
        find: `  noteTransition(state, why);
  appendNoop(state);`,
        replace: "  noteTransition(state, why);",
      },
      {
        file: "src/raft/roles.ts",
        find: "import { appendNoop, nameOf,",
        replace: "import { nameOf,",
      },
    ],
  },
  {
    name: "read-before-noop",
    what: "a new leader answers reads before its first entry has committed (etcd#7331)",
    within: 10,
    edits: [
      {
        file: "src/raft/reads.ts",
        find: "leadership.readsAsked.length > 0 && commitIndex >= leadership.noopIndex",
        replace: "leadership.readsAsked.length > 0",
      },
      {
        file: "src/server/replica.ts",
        find: 'raft.role === "leader" && ledFrom !== null && queue.appliedIndex >= ledFrom,',
        replace: 'raft.role === "leader",',
      },
    ],
  },
  {
    name: "time-from-wall-clock",
    what: "entries are stamped with the leader's wall clock (logcabin#210)",
    within: 10,
    edits: [
      {
        file: "src/raft/append.ts",
        find: "    time: Math.floor(state.clusterTime),",
        replace: "    time: Math.floor(state.wall),",
      },
    ],
  },
  {
    name: "transfer-never-ends",
    what: "a transfer of leadership has no deadline (openraft#1747, hashicorp/raft#696)",
    within: 400,
    edits: [
      {
        file: "src/raft/transfer.ts",
        find: `  else if (state.now >= transfer.deadline) settle(state, transfer, null);
`,
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
        file: "src/raft/transfer.ts",
        find: "  if (leads && !transfer.sent && state.progress.get(transfer.to)?.matchIndex === state.log.lastIndex) {",
        replace: "  if (leads && !transfer.sent) {",
      },
    ],
  },
  {
    name: "install-acknowledged-before-durable",
    what: "an installed snapshot is acknowledged before it counts on disk",
    within: 10,
    edits: [
      {
        file: "src/raft/snapshot.ts",
        find: "  sendAcknowledgement(state, to, link, reply, matchIndex);",
        replace: "  sendAcknowledgement(state, to, link, reply, 0);",
      },
    ],
  },
];
