// Becoming follower, candidate or leader, and what ends with the role (Figure 2, rules for servers).
import { assert } from "../lib/assert.ts";
import { appendNoop, nameOf, noteTransition, standsForElection } from "./append.ts";
import { timeOf } from "./entry.ts";
import { entryAt } from "./log.ts";
import { dropWaiting } from "./outbox.ts";
import { newProgress } from "./progress.ts";
import type { RaftState } from "./state.ts";
import type { MemberId, Term } from "./types.ts";

/** The election timer starts afresh, with a new random length, from the coming tick on. */
export function armElection(state: RaftState): void {
  const { random, electionMinMs, electionMaxMs } = state.settings;
  state.electionWait = random.between(electionMinMs, electionMaxMs);
}

/** A new term: the vote in it is free, and what waits to be sent in the old one is void. */
function enterTerm(state: RaftState, term: Term, votedFor: MemberId | null): void {
  assert(term > state.currentTerm, `term ${term} is behind ${state.currentTerm}`);
  state.currentTerm = term;
  state.votedFor = votedFor;
  state.verifiedIndex = 0;
  state.refusedIndex = null;
  dropWaiting(state);
}

/** The vote stays when the term stays: forgetting it would allow two leaders in one term. */
export function becomeFollower(state: RaftState, term: Term, leader: MemberId | null, why: string): void {
  const before = { role: state.role, term: state.currentTerm, leader: state.leader };
  if (term > state.currentTerm) enterTerm(state, term, null);
  if (state.leadership !== null) endLeadership(state, why);
  state.campaign = null;
  state.role = standsForElection(state) ? "follower" : "learner";
  state.leader = leader;
  if (leader === null) state.leaderContacted = false;
  if (before.role !== state.role || before.term !== term || before.leader !== leader) noteTransition(state, why);
}

export function becomeCandidate(state: RaftState, why: string): void {
  enterTerm(state, state.currentTerm + 1, state.self);
  state.role = "candidate";
  state.leader = null;
  noteTransition(state, why);
}

export function becomeLeader(state: RaftState, why: string): void {
  assert(state.role === "candidate" && state.votedFor === state.self, "a leader is a candidate that voted for itself");
  const { log, now } = state;
  state.role = "leader";
  state.leader = state.self;
  state.campaign = null;
  let uncommittedBytes = 0;
  for (let at = state.commitIndex + 1; at <= log.lastIndex; at++)
    uncommittedBytes += entryAt(log, at)?.record.length ?? 0;
  state.leadership = {
    since: now,
    noopIndex: log.lastIndex + 1,
    heartbeatAt: now,
    quorumFrom: now,
    uncommittedBytes,
    matchMoved: true,
    readContext: 0,
    readsAsked: [],
    readRounds: [],
    changeToken: null,
    join: null,
    probeToken: 0,
    handOverFrom: now,
    hadDiskSpace: true,
  };
  addProgress(state);
  const last = entryAt(log, log.lastIndex);
  const lastStamp = last === undefined ? (state.snapshot?.time ?? 0) : timeOf(last);
  state.clusterTime = Math.max(state.clusterTime, lastStamp);
  noteTransition(state, why);
  appendNoop(state);
}

/** The leader follows every other member of the configuration in force. */
export function addProgress(state: RaftState): void {
  for (const id of state.members.all) {
    const known = id === state.self || state.progress.has(id);
    if (!known) state.progress.set(id, newProgress(id, state.log.lastIndex + 1, state.now));
  }
}

function endLeadership(state: RaftState, why: string): void {
  const { leadership, pendingEffects } = state;
  if (leadership === null) return;
  const message = `${nameOf(state.self)} leads no more: ${why}`;
  const tokens = leadership.readRounds.flatMap((round) => round.tokens);
  for (const token of [...tokens, ...leadership.readsAsked]) {
    pendingEffects.read.push({ token, ok: false, refused: { code: "NOT_LEADER", message } });
  }
  for (const token of [leadership.changeToken, leadership.join?.token ?? null]) {
    if (token !== null) pendingEffects.changed.push({ token, ok: false, refused: { code: "LEADER_CHANGED", message } });
  }
  state.leadership = null;
  state.progress.clear();
  armElection(state);
}
