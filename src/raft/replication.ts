// The leader's side of replication: brings every follower's log to its own, and commits (sections 5.3 and 5.4).
import { must } from "../lib/assert.ts";
import { commitTo } from "./append.ts";
import { quorumValue } from "./configuration.ts";
import { entryAt, lastAtMostTerm, slice, termAt, type Log } from "./log.ts";
import type { AppendEntriesReply, HeartbeatReply, InstallSnapshotReply } from "./messages.ts";
import { OWN_LINK, send } from "./outbox.ts";
import {
  becomeProbe,
  becomeReplicate,
  becomeSnapshot,
  freeInflight,
  bytesPerMessage,
  sentAppend,
  type Progress,
} from "./progress.ts";
import { sendSnapshotPart } from "./snapshot.ts";
import type { RaftState } from "./state.ts";
import type { LogIndex, MemberId } from "./types.ts";

/** Once per turn: everything that was appended in the turn leaves in as few messages as fit. */
export function replicate(state: RaftState): void {
  for (const progress of state.progress.values()) {
    if (!progress.stale && !state.linksDown.has(progress.id)) sendAppends(state, progress);
  }
}

function sendAppends(state: RaftState, progress: Progress): void {
  const { log } = state;
  while (mayAppend(state, progress)) {
    const prevLogIndex = progress.nextIndex - 1;
    const prevLogTerm = termAt(log, prevLogIndex);
    if (prevLogTerm === undefined) {
      becomeSnapshot(progress, must(state.snapshot, "a snapshot of what was compacted"));
      break;
    }
    const bytes = sendAppend(state, progress, prevLogIndex, prevLogTerm);
    progress.sentAt = state.now;
    if (progress.state === "probe") {
      progress.probing = true;
      return;
    }
    sentAppend(progress, progress.nextIndex - 1, bytes);
  }
  if (progress.state === "snapshot") sendSnapshotPart(state, progress);
}

/** A slow link makes progress step by step: at most two messages of the length that suits it are in flight. */
const MAX_FULL_MESSAGES_IN_FLIGHT = 2;

function mayAppend(state: RaftState, progress: Progress): boolean {
  if (progress.state === "snapshot") return false;
  if (progress.state === "probe") return !progress.probing;
  const { maxInflightMessages } = state.settings;
  const maxInflightBytes = Math.min(
    state.settings.maxInflightBytes,
    MAX_FULL_MESSAGES_IN_FLIGHT * bytesPerMessage(state, progress.id),
  );
  if (progress.inflightLast.length >= maxInflightMessages || progress.inflightTotalBytes >= maxInflightBytes)
    return false;
  return progress.nextIndex <= state.log.lastIndex;
}

/** Sends what fits behind `prevLogIndex`; a follower that replicates is taken to have it. Returns the bytes of its records. */
function sendAppend(state: RaftState, progress: Progress, prevLogIndex: LogIndex, prevLogTerm: number): number {
  const { log } = state;
  const maxBytes = Math.min(state.settings.maxAppendBytes, bytesPerMessage(state, progress.id));
  const fitting = entriesThatFit(log, prevLogIndex + 1, maxBytes);
  send(state, progress.id, OWN_LINK, {
    type: "AppendEntries",
    term: state.currentTerm,
    prevLogIndex,
    prevLogTerm,
    leaderCommit: state.commitIndex,
    entries: slice(log, prevLogIndex + 1, fitting.last),
  });
  if (progress.state === "replicate") progress.nextIndex = fitting.last + 1;
  return fitting.bytes;
}

/** At least one entry, if there is one, and as many as fit into `maxBytes`. */
function entriesThatFit(
  log: Log,
  from: LogIndex,
  maxBytes: number,
): { readonly last: LogIndex; readonly bytes: number } {
  let last = from - 1;
  let bytes = 0;
  while (last < log.lastIndex) {
    const size = must(entryAt(log, last + 1), "an entry behind a known one").record.length;
    if (bytes > 0 && bytes + size > maxBytes) break;
    bytes += size;
    last++;
  }
  return { last, bytes };
}

export function sendHeartbeats(state: RaftState): void {
  if (state.leadership === null) return;
  state.leadership.heartbeatAt = state.now + state.settings.heartbeatMs;
  for (const progress of state.progress.values()) sendHeartbeat(state, progress);
}

export function sendHeartbeat(state: RaftState, progress: Progress): void {
  send(state, progress.id, OWN_LINK, {
    type: "Heartbeat",
    term: state.currentTerm,
    leaderCommit: Math.min(state.commitIndex, progress.matchIndex),
    time: Math.floor(state.clusterTime),
    readContext: state.leadership?.readContext ?? 0,
  });
}

export function onAppendEntriesReply(state: RaftState, progress: Progress, reply: AppendEntriesReply): void {
  progress.diskLow = reply.diskLow;
  if (progress.stale) return;
  if (reply.success) onMatch(state, progress, reply.matchIndex);
  else onRefusal(state, progress, reply);
}

/** The follower has durably what the leader has, up to `matchIndex`. */
function onMatch(state: RaftState, progress: Progress, matchIndex: LogIndex): void {
  if (matchIndex > state.log.lastIndex) return;
  if (matchIndex > progress.matchIndex) {
    progress.matchIndex = matchIndex;
    progress.sentAt = state.now;
    if (state.leadership !== null) state.leadership.matchMoved = true;
  }
  freeInflight(progress, matchIndex);
  const caughtUp = progress.state === "snapshot" && termAt(state.log, progress.matchIndex) !== undefined;
  if (progress.state === "probe" || caughtUp) becomeReplicate(progress);
}

function onRefusal(state: RaftState, progress: Progress, reply: AppendEntriesReply): void {
  const { rejectedIndex } = reply;
  if (rejectedIndex <= progress.matchIndex && progress.matchIndex > 0) {
    // Its acknowledgements and this refusal come in order on one connection, and its log only grows within the term.
    progress.stale = true;
    sendStaleDisk(state, progress);
    return;
  }
  // A late refusal of an earlier probe adds nothing.
  if (progress.state === "probe" && rejectedIndex !== progress.nextIndex - 1) return;
  if (progress.state === "snapshot") return;
  const agreed = lastAtMostTerm(state.log, reply.hintIndex, reply.hintTerm, progress.matchIndex);
  becomeProbe(progress, Math.max(progress.matchIndex + 1, Math.min(rejectedIndex, agreed + 1)));
}

export function sendStaleDisk(state: RaftState, progress: Progress): void {
  const { currentTerm: term } = state;
  send(state, progress.id, OWN_LINK, { type: "StaleDisk", term, acknowledgedIndex: progress.matchIndex });
}

export function onHeartbeatReply(state: RaftState, progress: Progress, reply: HeartbeatReply): void {
  progress.diskLow = reply.diskLow;
  if (progress.stale) {
    sendStaleDisk(state, progress);
    return;
  }
  progress.readContext = Math.max(progress.readContext, reply.readContext);
  // It is alive, but what was sent has made no progress for long: it was lost, so probe again for the point of agreement.
  const out = progress.probing || progress.inflightLast.length > 0 || progress.snapshot?.sent === true;
  if (!out || state.now - progress.sentAt < 2 * state.settings.electionMaxMs) return;
  progress.sentAt = state.now;
  if (progress.snapshot !== null) progress.snapshot.sent = false;
  else becomeProbe(progress, progress.state === "replicate" ? progress.matchIndex + 1 : progress.nextIndex);
}

export function onInstallSnapshotReply(state: RaftState, progress: Progress, reply: InstallSnapshotReply): void {
  if (progress.stale) return;
  if (reply.matchIndex > 0) {
    onMatch(state, progress, reply.matchIndex);
    if (progress.state !== "snapshot") return;
  }
  const transfer = progress.snapshot;
  if (transfer === null || transfer.meta.index !== reply.index) return;
  transfer.nextPart = reply.nextPart;
  transfer.nextOffset = reply.nextOffset;
  transfer.sent = false;
}

/** Counts only what is durable, the leader's own log included, and only entries of its own term (section 5.4.2). */
export function advanceCommit(state: RaftState): boolean {
  const { leadership, progress, log } = state;
  if (leadership === null || !leadership.matchMoved) return false;
  leadership.matchMoved = false;
  const index = quorumValue(state.members, (id: MemberId) => {
    if (id === state.self) return log.durableIndex;
    const follower = progress.get(id);
    return follower === undefined || follower.stale ? 0 : follower.matchIndex;
  });
  if (index <= state.commitIndex || termAt(log, index) !== state.currentTerm) return false;
  commitTo(state, index);
  return true;
}
