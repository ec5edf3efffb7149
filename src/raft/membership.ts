// Adds and removes members, and replaces one by a new incarnation: learners first, then one joint change (dissertation chapter 4).
import type { Refusal } from "../lib/errors.ts";
import { unreachable } from "../lib/assert.ts";
import { appendConfiguration, nameOf } from "./append.ts";
import { isJoint, isVoter, majority, MAX_REMOVED, namesNode } from "./configuration.ts";
import type { Link, MembershipChange, Token } from "./effects.ts";
import { stepDown } from "./election.ts";
import { followLeader } from "./follower.ts";
import type { Probe, ProbeReply } from "./messages.ts";
import { OWN_LINK, send } from "./outbox.ts";
import type { Progress } from "./progress.ts";
import { sendHeartbeat } from "./replication.ts";
import { addProgress } from "./roles.ts";
import type { Leadership, RaftState } from "./state.ts";
import { bestFollower } from "./transfer.ts";
import {
  memberId,
  type Configuration,
  type Learner,
  type Member,
  type MemberId,
  type NodeId,
  type Removed,
} from "./types.ts";

type Join = Extract<MembershipChange, { readonly type: "join" }>;

/** An earlier incarnation must have been silent for this many election timeouts before another may take its place. */
const SILENT_TIMEOUTS = 10;

export function onChange(state: RaftState, token: Token, change: MembershipChange): void {
  const { leadership } = state;
  if (leadership === null) {
    refuse(state, token, "NOT_LEADER", "only the leader changes the membership");
    return;
  }
  const busy = busyWith(state, leadership);
  if (busy !== null) {
    refuse(state, token, "CHANGE_IN_PROGRESS", busy);
    return;
  }
  switch (change.type) {
    case "join":
      return join(state, leadership, token, change);
    case "remove":
      return remove(state, leadership, token, change.ids);
    case "readmit":
      return readmit(state, leadership, token, change.id);
    default:
      return unreachable(change);
  }
}

function refuse(state: RaftState, token: Token, code: Refusal["code"], message: string): void {
  state.pendingEffects.changed.push({ token, ok: false, refused: { code, message } });
}

/** One change at a time, and none before this term has committed anything (the bug of 2015 in single-server changes). */
function busyWith(state: RaftState, leadership: Leadership): string | null {
  if (state.commitIndex < leadership.noopIndex) return "the new leader has not committed its first entry yet";
  if (isJoint(state.members) || state.configurationIndex > state.commitIndex) {
    return `the change of membership in entry ${state.configurationIndex} is not finished`;
  }
  if (leadership.join !== null) return `${leadership.join.member.id} is just asking to be let in`;
  if (state.transfer !== null) return `leadership is being handed to ${nameOf(state.transfer.to)}`;
  return null;
}

function change(state: RaftState, configuration: Configuration): void {
  appendConfiguration(state, configuration);
  addProgress(state);
}

function join(state: RaftState, leadership: Leadership, token: Token, joining: Join): void {
  const { member, comesBack, byAdministrator } = joining;
  const { configuration } = state;
  const id = memberId(member);
  const present = [...configuration.voters, ...configuration.learners].find((other) => memberId(other) === id);
  if (present !== undefined && present.address === member.address) {
    state.pendingEffects.changed.push({ token, ok: true, index: state.configurationIndex });
    return;
  }
  if (present !== undefined) {
    leadership.changeToken = token;
    change(state, withAddress(configuration, id, member.address));
    return;
  }
  const removed = configuration.removed.find(({ id }) => id === member.id);
  const isReadmitted = removed === undefined || removed.readmitted || byAdministrator;
  if ((comesBack && !namesNode(configuration, member.id)) || !isReadmitted) {
    refuse(state, token, "REMOVED", `${member.id} is no member of this cluster any more: it was removed`);
    return;
  }
  const earlier = configuration.voters.find((voter) => voter.id === member.id);
  if (earlier === undefined) {
    leadership.changeToken = token;
    change(state, withLearner(configuration, member, null));
  } else if (memberId(earlier) === state.self) {
    refuse(state, token, "CONFLICT", `${member.id} is the id of the leader itself, at ${earlier.address}`);
  } else {
    askEarlier(state, leadership, token, member, memberId(earlier));
  }
}

/** A node joins under a known id with another disk: is the earlier incarnation lost (wiped disk) or running (copied id)? */
function askEarlier(state: RaftState, leadership: Leadership, token: Token, member: Member, earlier: MemberId): void {
  leadership.probeToken++;
  const { probeToken } = leadership;
  leadership.join = { token, member, earlier, probeToken, deadline: state.now + state.settings.electionMinMs };
  send(state, earlier, OWN_LINK, { type: "Probe", term: state.currentTerm, token: probeToken });
}

export function onProbe(state: RaftState, from: MemberId, link: Link, probe: Probe): void {
  if (!followLeader(state, from, link, probe.term)) return;
  send(state, from, link, { type: "ProbeReply", term: state.currentTerm, token: probe.token });
}

export function onProbeReply(state: RaftState, from: MemberId, reply: ProbeReply): void {
  const { leadership } = state;
  const pending = leadership?.join ?? null;
  if (leadership === null || pending === null || pending.earlier !== from || pending.probeToken !== reply.token) return;
  leadership.join = null;
  refuse(
    state,
    pending.token,
    "CONFLICT",
    `${nameOf(from)} is alive under another incarnation (${from}): two nodes use one id`,
  );
}

function settleJoin(state: RaftState, leadership: Leadership): void {
  const pending = leadership.join;
  if (pending === null || state.now < pending.deadline) return;
  leadership.join = null;
  const silentFor = state.now - (state.progress.get(pending.earlier)?.lastContact ?? leadership.since);
  if (silentFor < SILENT_TIMEOUTS * state.settings.electionMaxMs) {
    const message = `the earlier incarnation ${pending.earlier} has not been silent for long enough to be replaced`;
    refuse(state, pending.token, "CHANGE_IN_PROGRESS", message);
    return;
  }
  leadership.changeToken = pending.token;
  change(state, withLearner(state.configuration, pending.member, pending.earlier));
}

function withAddress(configuration: Configuration, id: MemberId, address: string): Configuration {
  const move = <M extends Member>(member: M): M => (memberId(member) === id ? { ...member, address } : member);
  return { ...configuration, voters: configuration.voters.map(move), learners: configuration.learners.map(move) };
}

/** A learner takes the place of a learner under the same id. One that was removed is let in by an administrator, now or before. */
function withLearner(configuration: Configuration, member: Member, replaces: MemberId | null): Configuration {
  const others = configuration.learners.filter((learner) => learner.id !== member.id);
  const removed = withReadmitted(configuration.removed, member.id, true);
  return { ...configuration, learners: [...others, { ...member, replaces }], removed };
}

function withReadmitted(removed: readonly Removed[], id: NodeId, readmitted: boolean): readonly Removed[] {
  return removed.map((one) => (one.id === id ? { id, readmitted } : one));
}

/** An administrator lets a node id that was removed join again: its certificate alone does not suffice for that. */
function readmit(state: RaftState, leadership: Leadership, token: Token, id: NodeId): void {
  const { configuration } = state;
  const removed = configuration.removed.find((one) => one.id === id);
  if (removed === undefined && !namesNode(configuration, id)) {
    refuse(state, token, "UNKNOWN_NODE", `${id} was not removed from this cluster: it may join`);
    return;
  }
  if (removed === undefined || removed.readmitted) {
    state.pendingEffects.changed.push({ token, ok: true, index: state.configurationIndex });
    return;
  }
  leadership.changeToken = token;
  change(state, { ...configuration, removed: withReadmitted(configuration.removed, id, true) });
}

function remove(state: RaftState, leadership: Leadership, token: Token, ids: readonly NodeId[]): void {
  const { configuration } = state;
  const isKnown = (id: NodeId): boolean =>
    configuration.removed.some((removed) => removed.id === id) ||
    state.configurations.some((earlier) => namesNode(earlier.configuration, id));
  const unknown = ids.filter((id) => !isKnown(id));
  if (unknown.length > 0 || ids.length === 0) {
    const message = ids.length === 0 ? "no node is named" : `${unknown.join(", ")}: no member of this cluster`;
    refuse(state, token, "UNKNOWN_NODE", message);
    return;
  }
  const removed = withRemoved(configuration, ids);
  const isReadmitted = configuration.removed.some((one) => one.readmitted && ids.includes(one.id));
  if (!isReadmitted && !ids.some((id) => namesNode(configuration, id))) {
    // Asked for again, because the first answer was lost.
    state.pendingEffects.changed.push({ token, ok: true, index: state.configurationIndex });
    return;
  }
  const voters = configuration.voters.filter((voter) => !ids.includes(voter.id));
  const learners = configuration.learners.filter((learner) => !ids.includes(learner.id));
  const answering = voters.filter((voter) => answersLately(state, memberId(voter))).length;
  if (answering < majority(voters.length)) {
    const left = `${voters.length} voters would be left and ${answering} of them answer`;
    refuse(state, token, "NO_QUORUM_LEFT", `${left}, ${majority(voters.length)} needed`);
    return;
  }
  // A new leader counts every member as in contact at first; a lost disk among those left would block the change forever.
  const contacted = voters.filter((voter) => hasAnswered(state, leadership, memberId(voter))).length;
  if (contacted < majority(voters.length)) {
    refuse(
      state,
      token,
      "CHANGE_IN_PROGRESS",
      `the new leader has had contact with ${contacted} of the ${voters.length} voters that would be left`,
    );
    return;
  }
  leadership.changeToken = token;
  const outgoing = voters.length === configuration.voters.length ? [] : configuration.voters;
  change(state, { voters, outgoing, learners, removed });
}

function withRemoved({ removed }: Configuration, ids: readonly NodeId[]): readonly Removed[] {
  const others = removed.filter(({ id }) => !ids.includes(id));
  return [...others, ...ids.map((id) => ({ id, readmitted: false }))].slice(-MAX_REMOVED);
}

function answersLately(state: RaftState, id: MemberId): boolean {
  if (id === state.self) return true;
  const progress = state.progress.get(id);
  if (progress === undefined || progress.stale || state.linksDown.has(id)) return false;
  return state.now - progress.lastContact <= state.settings.electionMaxMs;
}

function hasAnswered(state: RaftState, leadership: Leadership, id: MemberId): boolean {
  return id === state.self || (state.progress.get(id)?.lastContact ?? 0) > leadership.since;
}

/** Once per turn, after commits. Works from the log alone, so that a new leader finishes what an old one began. */
export function driveMembership(state: RaftState): void {
  const { leadership, configuration } = state;
  if (leadership === null || state.commitIndex < leadership.noopIndex) return;
  if (state.configurationIndex > state.commitIndex) return;
  if (isJoint(state.members)) {
    change(state, { ...configuration, outgoing: [] });
    return;
  }
  releaseRemoved(state);
  if (leadership.changeToken !== null) {
    state.pendingEffects.changed.push({ token: leadership.changeToken, ok: true, index: state.configurationIndex });
    leadership.changeToken = null;
  }
  if (!isVoter(state.members, state.self)) {
    leave(state);
    return;
  }
  settleJoin(state, leadership);
  if (busyWith(state, leadership) === null) promoteLearners(state);
}

/** A removed member stays in `progress` until it knows that its removal has committed, so that it does not campaign, or until it is silent. */
function releaseRemoved(state: RaftState): void {
  const { progress, members, configurationIndex } = state;
  for (const [id, removed] of progress) {
    if (members.all.includes(id)) continue;
    const knows = removed.matchIndex >= configurationIndex;
    if (knows) sendHeartbeat(state, removed);
    if (knows || !answersLately(state, id)) progress.delete(id);
  }
}

/** The removal of the leader itself has committed: the best follower may campaign at once. */
function leave(state: RaftState): void {
  const transferee = bestFollower(state);
  if (transferee !== null) send(state, transferee, OWN_LINK, { type: "TimeoutNow", term: state.currentTerm });
  stepDown(state, `removed from the cluster by entry ${state.configurationIndex}`);
}

/** All that have caught up become voters in one joint change; who replaces an earlier incarnation takes its seat. */
function promoteLearners(state: RaftState): void {
  const { configuration } = state;
  if (configuration.learners.length === 0) return;
  const ready = configuration.learners.filter((learner) => {
    const progress = state.progress.get(memberId(learner));
    return progress !== undefined && hasCaughtUp(state, progress) && everyVoterKnows(state, learner);
  });
  if (ready.length === 0) return;
  const readyIds = ready.map((learner) => learner.id);
  const promoted = ready.map(({ id, incarnation, address }): Member => ({ id, incarnation, address }));
  change(state, {
    voters: [...configuration.voters.filter((voter) => !readyIds.includes(voter.id)), ...promoted],
    outgoing: configuration.voters,
    learners: configuration.learners.filter((learner) => !readyIds.includes(learner.id)),
    removed: configuration.removed.filter(({ id }) => !readyIds.includes(id)),
  });
}

/**
 * A voter that knows of a removal, and not that the node was let in again, refuses it. If only these two were left later,
 * no leader could be elected: so such a node becomes a voter when all voters have the entry that made it a learner,
 * and would have it after a crash.
 */
function everyVoterKnows(
  { configuration, configurationIndex, self, progress, log }: RaftState,
  learner: Learner,
): boolean {
  if (!configuration.removed.some(({ id }) => id === learner.id)) return true;
  return configuration.voters.every((voter) => {
    const id = memberId(voter);
    const durable = id === self ? log.durableIndex : (progress.get(id)?.matchIndex ?? 0);
    return durable >= configurationIndex;
  });
}

/** Rounds (section 4.2.1): a round is what the log held at its start; one that takes less than an election timeout is the last. */
function hasCaughtUp(state: RaftState, progress: Progress): boolean {
  progress.round ??= { target: state.log.lastIndex, startedAt: state.now };
  if (progress.matchIndex < progress.round.target || !answersLately(state, progress.id)) return false;
  const quick = state.now - progress.round.startedAt < state.settings.electionMinMs;
  progress.round = { target: state.log.lastIndex, startedAt: state.now };
  return quick;
}
