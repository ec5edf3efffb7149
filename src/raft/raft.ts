// One Raft node: values in (`step`), values out (`takeEffects`). Everything else in this folder serves these two.
import { assert, must, unreachable } from "../lib/assert.ts";
import { appendDraft, nameOf, standsForElection, useLatestConfiguration } from "./append.ts";
import type { Effects, Input, Token } from "./effects.ts";
import {
  armFirstElection,
  askForVote,
  countOwnVote,
  onLeaderGone,
  onRequestVote,
  onRequestVoteReply,
  onTimeoutNow,
  startElectionTimer,
  tickElection,
  checkQuorum,
} from "./election.ts";
import { RECORD_HEADER_BYTES, timeOf, type Draft, type Entry } from "./entry.ts";
import { onAppendEntries, onHeartbeat, onStaleDisk } from "./follower.ts";
import { checkStep } from "./invariants.ts";
import { entryAt, termAt } from "./log.ts";
import { driveMembership, onChange, onProbe, onProbeReply } from "./membership.ts";
import type { RaftMessage } from "./messages.ts";
import { persisted, releaseWaiting, takePersist, unwritten } from "./outbox.ts";
import { loseLink, type Progress } from "./progress.ts";
import { onRead, serveReads } from "./reads.ts";
import { recoverState } from "./recovery.ts";
import {
  advanceCommit,
  onAppendEntriesReply,
  onHeartbeatReply,
  onInstallSnapshotReply,
  replicate,
  sendHeartbeats,
} from "./replication.ts";
import { armElection, becomeFollower } from "./roles.ts";
import { driveDiskSpace } from "./disk-space.ts";
import { onInstallSnapshot, onPartStored, onSnapshotSaved } from "./snapshot.ts";
import { noEffects, type RaftSettings, type RaftState } from "./state.ts";
import { driveTransfer, onTransfer } from "./transfer.ts";
import type { LogIndex, MemberId, SnapshotMeta, Term } from "./types.ts";

export type { RaftSettings } from "./state.ts";
export type { Progress } from "./progress.ts";

/** One node. Callers read it (status, oracles, checks); only `step` and `takeEffects` change it. */
export interface Raft extends Readonly<RaftState> {
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
  readonly durableIndex: LogIndex;
  entryAt(index: LogIndex): Entry | undefined;
  /** 0 at index 0; undefined where the log has been compacted or has not come yet. */
  termAt(index: LogIndex): Term | undefined;
}

export function createRaft(settings: RaftSettings): Raft {
  const state = recoverState(settings);
  const { log } = state;
  const raft: RaftState & Raft = {
    get firstIndex() {
      return log.firstIndex;
    },
    get lastIndex() {
      return log.lastIndex;
    },
    get durableIndex() {
      return log.durableIndex;
    },
    entryAt: (index) => entryAt(log, index),
    termAt: (index) => termAt(log, index),
    ...state,
  };
  useLatestConfiguration(raft);
  raft.pendingEffects = noEffects();
  armFirstElection(raft);
  startElectionTimer(raft);
  checkStep(raft);
  return raft;
}

export function step(raft: Raft, input: Input): void {
  const state: RaftState = raft;
  switch (input.type) {
    case "tick":
      tick(state, input.now, input.wall);
      break;
    case "message":
      receive(state, input);
      break;
    case "propose":
      propose(state, input.token, input.draft);
      break;
    case "persisted":
      persisted(state, input.seq);
      countOwnVote(state);
      break;
    case "unwritten":
      unwritten(state, input);
      countOwnVote(state);
      break;
    case "spaceFound":
      state.noSpace = null;
      break;
    case "snapshotSaved":
      onSnapshotSaved(state, input.meta);
      break;
    case "partStored":
      onPartStored(state, input);
      break;
    case "read":
      onRead(state, input.token);
      break;
    case "change":
      onChange(state, input.token, input.change);
      break;
    case "transfer":
      onTransfer(state, input.token, input.to);
      break;
    case "linkUp":
      state.linksDown.delete(input.member);
      resetLink(state, input.member);
      askForVote(state, input.member);
      break;
    case "linkDown":
      state.linksDown.add(input.member);
      state.linkRates.delete(input.member);
      resetLink(state, input.member);
      break;
    case "linkProgress":
      onLinkProgress(state, input.member, input.bytesPerSecond);
      break;
    case "bytesReceived":
      if (input.member === state.leader) state.leaderBytesReceived = true;
      break;
    case "leaderGone":
      onLeaderGone(state, input.leader);
      break;
    case "stalled":
      onStalled(state);
      break;
    case "diskLow":
      state.diskLow = input.low;
      break;
    default:
      unreachable(input);
  }
  checkStep(state);
}

function tick(state: RaftState, now: number, wall: number): void {
  const elapsed = Math.max(0, now - state.now);
  state.now += elapsed;
  state.wall = wall;
  if (state.role === "leader") state.clusterTime += Math.min(elapsed, state.settings.electionMaxMs);
  // Infinity: our own loop stalled, so the others' silence is judged from now on.
  if (state.leadership?.quorumFrom === Infinity) state.leadership.quorumFrom = state.now;
  for (const progress of state.progress.values()) {
    if (!progress.contacted) continue;
    progress.contacted = false;
    progress.lastContact = state.now;
  }
  tickElection(state);
  checkQuorum(state, elapsed);
}

function onStalled(state: RaftState): void {
  if (state.leadership === null) armElection(state);
  else state.leadership.quorumFrom = Infinity;
}

function resetLink(state: RaftState, member: MemberId): void {
  const progress = state.progress.get(member);
  if (progress !== undefined) loseLink(progress);
}

/** A member that acknowledges bytes is alive, and what is in flight to it makes progress, however large it is. */
function onLinkProgress(state: RaftState, member: MemberId, bytesPerSecond: number): void {
  if (state.linksDown.has(member)) return;
  state.linkRates.set(member, bytesPerSecond);
  const progress = state.progress.get(member);
  if (progress === undefined) return;
  progress.contacted = true;
  progress.sentAt = state.now;
}

function propose(state: RaftState, token: Token, draft: Draft): void {
  const { leadership, pendingEffects, settings } = state;
  if (leadership === null) {
    pendingEffects.proposed.push({
      token,
      ok: false,
      refused: { code: "NOT_LEADER", message: "this node does not lead" },
    });
    return;
  }
  const bytes = RECORD_HEADER_BYTES + draft.body.length;
  const full = leadership.uncommittedBytes > 0 && leadership.uncommittedBytes + bytes > settings.maxUncommittedBytes;
  if (full || state.transfer !== null) {
    const message = full
      ? `${leadership.uncommittedBytes} bytes wait for a majority, ${settings.maxUncommittedBytes} are allowed`
      : "leadership is being handed over";
    pendingEffects.proposed.push({ token, ok: false, refused: { code: "OVERLOADED", message } });
    return;
  }
  const { index, term } = appendDraft(state, draft);
  pendingEffects.proposed.push({ token, ok: true, index, term });
}

function receive(state: RaftState, input: Extract<Input, { type: "message" }>): void {
  const { from, link, message } = input;
  switch (message.type) {
    case "AppendEntries":
      return onAppendEntries(state, from, link, message);
    case "Heartbeat":
      return onHeartbeat(state, from, link, message);
    case "RequestVote":
      return onRequestVote(state, from, link, message);
    case "InstallSnapshot":
      return onInstallSnapshot(state, from, link, message);
    case "Probe":
      return onProbe(state, from, link, message);
    case "TimeoutNow":
      return onTimeoutNow(state, from, message);
    case "StaleDisk":
      return onStaleDisk(state, from, message);
    case "RequestVoteReply":
    case "AppendEntriesReply":
    case "HeartbeatReply":
    case "InstallSnapshotReply":
    case "ProbeReply":
      return receiveReply(state, from, message);
    default:
      return unreachable(message);
  }
}

type Reply = Extract<RaftMessage, { type: `${string}Reply` }>;

function receiveReply(state: RaftState, from: MemberId, reply: Reply): void {
  if (reply.type === "RequestVoteReply") return onRequestVoteReply(state, from, reply);
  const progress = followerThatAnswers(state, from, reply.term);
  if (progress === null) return;
  switch (reply.type) {
    case "AppendEntriesReply":
      return onAppendEntriesReply(state, progress, reply);
    case "HeartbeatReply":
      return onHeartbeatReply(state, progress, reply);
    case "InstallSnapshotReply":
      return onInstallSnapshotReply(state, progress, reply);
    case "ProbeReply":
      return onProbeReply(state, from, reply);
    default:
      return unreachable(reply);
  }
}

/** An answer counts only in the term and leadership that asked. A higher term ends ours. */
function followerThatAnswers(state: RaftState, from: MemberId, term: Term): Progress | null {
  if (term > state.currentTerm) {
    becomeFollower(state, term, null, `${nameOf(from)} is in term ${term}`);
    return null;
  }
  const progress = state.progress.get(from);
  if (term < state.currentTerm || progress === undefined) return null;
  progress.contacted = true;
  return progress;
}

/** Once per turn, after the tick: everything that the turn's inputs have led to. The arrays are the caller's to keep. */
export function takeEffects(raft: Raft): Effects {
  const state: RaftState = raft;
  if (state.leadership !== null) {
    advanceCommit(state);
    driveMembership(state);
    driveDiskSpace(state);
  }
  driveTransfer(state);
  if (state.leadership !== null) {
    serveReads(state);
    if (state.now >= state.leadership.heartbeatAt) sendHeartbeats(state);
    replicate(state);
  }
  startElectionTimer(state);
  releaseWaiting(state);
  const persist = takePersist(state);
  const { send, sendParts, storeParts, installSnapshot, committed, proposed, changed, read, transitions, stop } =
    state.pendingEffects;
  state.pendingEffects = noEffects();
  checkStep(state);
  // Every turn of every node comes here, and a spread shows in its profile.
  return {
    persist,
    send,
    sendParts,
    storeParts,
    installSnapshot,
    committed,
    proposed,
    changed,
    read,
    transitions,
    stop,
  };
}

/** The meta of a snapshot of the state after `appliedIndex`: the configuration as of there, never a later or uncommitted one. */
export function metaAt(raft: Raft, appliedIndex: LogIndex): SnapshotMeta {
  const { log, snapshot } = raft;
  assert(
    appliedIndex <= raft.commitIndex,
    `only what is committed (${raft.commitIndex}) is applied, not ${appliedIndex}`,
  );
  if (snapshot !== null && snapshot.index === appliedIndex) return snapshot;
  const entry = must(entryAt(log, appliedIndex), `entry ${appliedIndex}, the last one applied`);
  const at = raft.configurations.findLast((configuration) => configuration.index <= appliedIndex);
  const { index: configurationIndex, configuration } = must(at, "a configuration that was in force");
  return { index: appliedIndex, term: entry.term, configuration, configurationIndex, time: timeOf(entry) };
}

/** Monotonic milliseconds at which the next tick is needed; Infinity when only an input can change anything. */
export function nextTickAt(raft: Raft): number {
  let at = Infinity;
  if (raft.leadership !== null) at = Math.min(raft.leadership.heartbeatAt, raft.leadership.join?.deadline ?? Infinity);
  else if (standsForElection(raft)) at = raft.electionDeadline;
  return Math.min(at, raft.transfer?.deadline ?? Infinity);
}
