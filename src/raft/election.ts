// Elections: the election timer, pre-vote (dissertation section 9.6), votes, and a leader's CheckQuorum.
import { isMember, mayHandOver } from "./admission.ts";
import { formatDuration } from "../lib/durations.ts";
import { nameOf, noteTransition, standsForElection } from "./append.ts";
import { hasQuorum, isVoter, majority } from "./configuration.ts";
import type { Link } from "./effects.ts";
import { lastTerm } from "./log.ts";
import type { RequestVote, RequestVoteReply, TimeoutNow } from "./messages.ts";
import { hardStatePending, OWN_LINK, send } from "./outbox.ts";
import { armElection, becomeCandidate, becomeFollower, becomeLeader } from "./roles.ts";
import type { RaftState } from "./state.ts";
import type { MemberId } from "./types.ts";

/**
 * Bytes of an incomplete message show that the leader is alive, for at most so many election timeouts after its last whole message, if
 * only a heartbeat: what is in flight arrives also when its leadership is over.
 */
const MAX_ELECTION_TIMEOUTS_BY_BYTES = 4;

/** The leader is known to have ended: wait just long enough that two nodes that detected it do not ask at the same moment. */
function armHasty(state: RaftState): void {
  state.electionWait = state.settings.random.between(0, state.settings.heartbeatMs);
}

/**
 * At a start. Where no leader can live there is no silence to wait for: a sole voter is its own majority, and in a cluster that was
 * just founded no node has ever led, so the first of its voters asks at once, for all.
 */
export function armFirstElection(state: RaftState): void {
  const [first, ...others] = state.members.voters;
  const isSole = others.length === 0 && state.members.outgoing.length === 0;
  const isFresh = state.log.lastIndex === 1 && state.currentTerm === 1 && state.votedFor === null;
  if (first === state.self && (isSole || isFresh)) armHasty(state);
  else armElection(state);
}

/** A message came from this term's leader. One whose entries are refused also shows that it is alive. */
export function onLeaderContact(state: RaftState): void {
  state.leaderContacted = true;
  armElection(state);
}

export function leaderLives(state: Readonly<RaftState>): boolean {
  if (state.role === "leader") return true;
  if (state.leader === null) return false;
  return state.leaderContacted || state.now - state.leaderContactAt < state.settings.electionMinMs;
}

/** May it stand for election? A node without a configuration, a learner, or one whose disk hangs or has been full for long may not. */
function promotable(state: RaftState): boolean {
  if (state.role === "leader" || !standsForElection(state)) return false;
  return logStandsStillFor(state) < state.settings.electionMaxMs;
}

/** Its term and its own vote are still being written, so it has asked no other node yet: another term would only make it wait longer. */
function isVotingForItself(state: RaftState): boolean {
  return state.campaign !== null && !state.campaign.preVote && hardStatePending(state);
}

/** Milliseconds for which the disk has not answered, or has had no space. */
function logStandsStillFor({ now, inflight, noSpace }: RaftState): number {
  return Math.max(0, now - Math.min(inflight?.since ?? Infinity, noSpace?.since ?? Infinity));
}

export function tickElection(state: RaftState): void {
  if (state.leaderContacted) {
    state.leaderContacted = false;
    state.leaderContactAt = state.now;
    state.leaderMessageAt = state.now;
  } else if (
    state.leaderBytesReceived &&
    state.now - state.leaderMessageAt < MAX_ELECTION_TIMEOUTS_BY_BYTES * state.settings.electionMaxMs
  ) {
    state.leaderContactAt = state.now;
    armElection(state);
  }
  state.leaderBytesReceived = false;
  startElectionTimer(state);
  if (state.role === "leader" || state.now < state.electionDeadline) return;
  if (promotable(state) && !isVotingForItself(state)) startPreVote(state);
  else armElection(state);
  startElectionTimer(state);
}

/** An armed timer runs from `now`, once `now` is fresh. */
export function startElectionTimer(state: RaftState): void {
  if (state.electionWait === null) return;
  state.electionDeadline = state.now + state.electionWait;
  state.electionWait = null;
}

function startPreVote(state: RaftState): void {
  const why = reasonToCampaign(state);
  if (state.role !== "follower" || state.leader !== null) {
    state.role = "follower";
    state.leader = null;
    noteTransition(state, why);
  }
  campaign(state, true, false, why);
}

function reasonToCampaign(state: RaftState): string {
  if (state.leader !== null) {
    return `leader ${nameOf(state.leader)} silent for ${formatDuration(state.now - state.leaderContactAt)}`;
  }
  if (state.role === "candidate") return `no majority in term ${state.currentTerm}`;
  return state.campaign?.why ?? "no leader known";
}

/**
 * The caller has made sure that the term and the own vote belong to this campaign. A pre-vote promises nothing, a vote counts once it
 * is durable.
 */
function campaign(state: RaftState, preVote: boolean, transfer: boolean, why: string): void {
  const term = preVote ? state.currentTerm + 1 : state.currentTerm;
  const granted = new Set(preVote ? [state.self] : []);
  state.campaign = { preVote, transfer, term, granted, refused: new Set(), why };
  armElection(state);
  for (const id of state.members.all) if (id !== state.self && isVoter(state.members, id)) askForVote(state, id);
  countVotes(state);
}

/** Also used when a link comes up during a campaign. */
export function askForVote(state: RaftState, to: MemberId): void {
  if (state.campaign === null || !isVoter(state.members, to)) return;
  const { preVote, transfer, term } = state.campaign;
  const { lastIndex } = state.log;
  send(state, to, OWN_LINK, {
    type: "RequestVote",
    term,
    preVote,
    transfer,
    lastLogIndex: lastIndex,
    lastLogTerm: lastTerm(state.log),
  });
}

function elect(state: RaftState, transfer: boolean, why: string): void {
  becomeCandidate(state, why);
  campaign(state, false, transfer, why);
}

/** After a write. A sole voter leads by this vote alone: not before, or a crash would let it vote for another one in the term that it led. */
export function countOwnVote(state: RaftState): void {
  const round = state.campaign;
  if (round === null || round.preVote || hardStatePending(state)) return;
  round.granted.add(state.self);
  countVotes(state);
}

function countVotes(state: RaftState): void {
  const round = state.campaign;
  if (round === null) return;
  if (hasQuorum(state.members, (id) => round.granted.has(id))) {
    const voters = state.members.all.filter((id) => isVoter(state.members, id));
    const votes = `${voters.filter((id) => round.granted.has(id)).length} of ${voters.length}`;
    if (round.preVote) elect(state, false, `${round.why}; pre-vote ${votes}`);
    else becomeLeader(state, `elected with ${votes} votes`);
    return;
  }
  const lost = !hasQuorum(state.members, (id) => !round.refused.has(id));
  if (!lost) return;
  state.campaign = null;
  if (round.preVote && state.now < state.fastElectionUntil) armHasty(state);
}

export function onRequestVote(state: RaftState, from: MemberId, link: Link, request: RequestVote): void {
  if (request.preVote) onPreVote(state, from, link, request);
  else onVote(state, from, link, request);
}

/** Changes nothing here, so it may be granted to several. */
function onPreVote(state: RaftState, from: MemberId, link: Link, request: RequestVote): void {
  const granted = request.term > state.currentTerm && !leaderLives(state) && isUpToDate(state, request);
  if (granted && state.fastElectionUntil > state.now) {
    // Another node was faster after the leader's end: let it win instead of splitting the vote. Once only: a node that receives no replies
    // could otherwise delay this one without end.
    state.fastElectionUntil = state.now;
    // Two that ask each other at the same moment: the smaller id goes first.
    if (from < state.self) state.campaign = null;
    armElection(state);
  }
  replyToVote(state, from, link, request, granted);
}

function onVote(state: RaftState, from: MemberId, link: Link, request: RequestVote): void {
  // While there is a live leader, not even the term of a vote request counts (section 4.2.3), unless the leader itself asked for it.
  const isHandover = request.transfer && isMember(state, from);
  if (request.term > state.currentTerm && (isHandover || !leaderLives(state))) {
    becomeFollower(state, request.term, null, `${nameOf(from)} asks for votes in term ${request.term}`);
  }
  const free = state.votedFor === null || state.votedFor === from;
  const granted = request.term === state.currentTerm && free && state.role !== "leader" && isUpToDate(state, request);
  if (granted) {
    // Even if our own configuration does not name us: we may not know yet that we are a voter.
    state.votedFor = from;
    state.campaign = null;
    armElection(state);
  }
  replyToVote(state, from, link, request, granted);
}

function replyToVote(state: RaftState, from: MemberId, link: Link, request: RequestVote, voteGranted: boolean): void {
  const { term: requestedTerm, preVote } = request;
  send(state, from, link, { type: "RequestVoteReply", term: state.currentTerm, preVote, requestedTerm, voteGranted });
}

function isUpToDate(state: RaftState, request: RequestVote): boolean {
  const own = lastTerm(state.log);
  return request.lastLogTerm > own || (request.lastLogTerm === own && request.lastLogIndex >= state.log.lastIndex);
}

export function onRequestVoteReply(state: RaftState, from: MemberId, reply: RequestVoteReply): void {
  if (reply.term > state.currentTerm) {
    // A refused pre-vote also carries the term: without it the node with the longest log could stay at the lowest term forever.
    becomeFollower(state, reply.term, null, `${nameOf(from)} is in term ${reply.term}`);
    return;
  }
  const round = state.campaign;
  if (round === null || round.preVote !== reply.preVote || round.term !== reply.requestedTerm) return;
  (reply.voteGranted ? round.granted : round.refused).add(from);
  countVotes(state);
}

/** The leader hands over: campaign at once, without pre-vote. */
export function onTimeoutNow(state: RaftState, from: MemberId, message: TimeoutNow): void {
  // Of this term and of this term's leader only: a late one of an earlier leadership must not disturb.
  if (message.term !== state.currentTerm || state.leader !== from || !mayHandOver(state, from)) return;
  if (!promotable(state)) return;
  elect(state, true, `${nameOf(from)} hands over`);
}

/** No process listens where the leader was: forget it and ask at once, a little apart from the others who see the same. */
export function onLeaderGone(state: RaftState, leader: MemberId): void {
  if (state.leader !== leader || state.role === "leader") return;
  becomeFollower(state, state.currentTerm, null, `leader ${nameOf(leader)} is gone: its address refuses connections`);
  state.fastElectionUntil = state.now + state.settings.electionMinMs;
  armHasty(state);
}

/** A leader that no majority answers, or whose own disk or loop stood still, cannot lead (CheckQuorum; hung write; SIGSTOP). */
export function checkQuorum(state: RaftState, sinceLastTick: number): void {
  const { leadership, progress, settings, now } = state;
  if (leadership === null) return;
  const limit = settings.electionMaxMs;
  // A node alone has no other that could have taken over meanwhile.
  if (sinceLastTick > limit && !hasQuorum(state.members, (id) => id === state.self)) {
    stepDown(state, `it stood still for ${formatDuration(sinceLastTick)}, and the others have a leader by now`);
    return;
  }
  const stillFor = logStandsStillFor(state);
  if (stillFor > limit) {
    const why = state.noSpace === null ? "has not answered" : "has had no space for the log";
    stepDown(state, `own disk ${why} for ${formatDuration(stillFor)}`);
    return;
  }
  let contacted = 0;
  const alive = (id: MemberId): boolean => {
    if (id === state.self) return true;
    const follower = progress.get(id);
    const lives =
      follower !== undefined && !follower.stale && now - Math.max(follower.lastContact, leadership.quorumFrom) <= limit;
    if (lives) contacted++;
    return lives;
  };
  if (hasQuorum(state.members, alive)) return;
  const voters = state.members.voters.length;
  stepDown(
    state,
    `only ${contacted} of ${voters} voters answered within ${formatDuration(limit)}, ${majority(voters)} needed`,
  );
}

export function stepDown(state: RaftState, why: string): void {
  becomeFollower(state, state.currentTerm, null, why);
}
