// Snapshots that replace a piece of the log, here and on a follower that is too far behind (section 7, in parts).
import { commitTo, useLatestConfiguration } from "./append.ts";
import type { Effects, Input, Link } from "./effects.ts";
import { followLeader } from "./follower.ts";
import { emptyLog, tailStart, termAt } from "./log.ts";
import type { InstallSnapshot, InstallSnapshotReply } from "./messages.ts";
import { send, sendAcknowledgement } from "./outbox.ts";
import { becomeSnapshot, bytesPerMessage, type Progress } from "./progress.ts";
import type { RaftState } from "./state.ts";
import type { LogIndex, MemberId, SnapshotMeta } from "./types.ts";

/** Our own snapshot is stored: it is to count, and the log before it may go. Not when something newer counts already. */
export function onSnapshotSaved(state: RaftState, meta: SnapshotMeta): void {
  const newest = state.snapshotsToPersist.at(-1)?.meta ?? state.inflight?.snapshot?.meta ?? state.snapshot;
  if (newest !== null && meta.index <= newest.index) return;
  // The tail serves followers that are a little behind; on a full disk none is kept.
  const keepFrom = tailStart(state.log, meta.index, state.diskLow ? 0 : state.settings.keepLogBytes);
  state.snapshotsToPersist.push({ meta, reset: false, keepFrom });
}

/** Leader: one part at a time, or what of it the link carries in a second; from the beginning when a newer snapshot has replaced the one being sent. */
export function sendSnapshotPart(state: RaftState, progress: Progress): void {
  const newest = state.snapshot;
  if (progress.snapshot === null || newest === null) return;
  if (progress.snapshot.meta.index !== newest.index) becomeSnapshot(progress, newest);
  const transfer = progress.snapshot;
  if (transfer.sent) return;
  transfer.sent = true;
  progress.sentAt = state.now;
  const part: Effects["sendParts"][number] = {
    to: progress.id,
    term: state.currentTerm,
    meta: transfer.meta,
    part: transfer.nextPart,
    offset: transfer.nextOffset,
    maxBytes: bytesPerMessage(state, progress.id),
  };
  state.pendingEffects.sendParts.push(part);
}

export function onInstallSnapshot(state: RaftState, from: MemberId, link: Link, message: InstallSnapshot): void {
  const { meta, manifest, part, parts, offset, bytes } = message;
  if (!followLeader(state, from, link, message.term)) return;
  if (state.commitIndex < meta.index && termAt(state.log, meta.index) === meta.term) {
    // The log holds what the snapshot stands for, and it is committed on the leader: nothing to install.
    state.verifiedIndex = Math.max(state.verifiedIndex, meta.index);
    commitTo(state, meta.index);
  }
  if (!isWanted(state, meta)) acknowledge(state, from, link, meta, parts, state.commitIndex);
  else state.pendingEffects.storeParts.push({ from, link, meta, manifest, part, parts, offset, bytes });
}

/** It leads further; or the disk has no space for the entries that it stands for, which then need none. */
function isWanted({ commitIndex, noSpace, log }: RaftState, meta: SnapshotMeta): boolean {
  return meta.index > commitIndex || (noSpace !== null && meta.index > log.durableIndex);
}

/** The position: everything up to `matchIndex` is here, and durable before this leaves. */
function acknowledge(
  state: RaftState,
  to: MemberId,
  link: Link,
  meta: SnapshotMeta,
  parts: number,
  matchIndex: LogIndex,
): void {
  const { currentTerm: term } = state;
  const reply: InstallSnapshotReply = {
    type: "InstallSnapshotReply",
    term,
    index: meta.index,
    nextPart: parts,
    nextOffset: 0,
    matchIndex,
  };
  sendAcknowledgement(state, to, link, reply, matchIndex);
}

export function onPartStored(state: RaftState, stored: Extract<Input, { type: "partStored" }>): void {
  const { from, link, meta, nextPart, nextOffset, parts } = stored;
  // The leadership that sent it may be over; the next leader starts its own transfer.
  if (state.leader !== from || state.role === "leader") return;
  if (isWanted(state, meta)) {
    if (nextPart < parts) {
      send(state, from, link, {
        type: "InstallSnapshotReply",
        term: state.currentTerm,
        index: meta.index,
        nextPart,
        nextOffset,
        matchIndex: 0,
      });
      return;
    }
    if (meta.index > state.commitIndex) install(state, meta);
    else onSnapshotSaved(state, meta);
  }
  acknowledge(state, from, link, meta, parts, state.commitIndex);
}

/** All parts are here: the snapshot replaces the applied state, and the log if that does not lead through (index, term). */
function install(state: RaftState, meta: SnapshotMeta): void {
  if (termAt(state.log, meta.index) === meta.term) {
    // Caught up while the parts came: the entries behind it stay, the state gets there by applying.
    commitTo(state, meta.index);
    onSnapshotSaved(state, meta);
    return;
  }
  const { pendingEffects, inflight } = state;
  const committedBefore = state.commitIndex;
  const durableBefore = Math.min(state.log.durableIndex, committedBefore);
  // The committed prefix stays valid under the snapshot; nothing else that a write under way contains counts any more.
  if (inflight !== null) inflight.upTo = Math.min(inflight.upTo, committedBefore);
  Object.assign(state.log, emptyLog(meta.index, meta.term), { durableIndex: durableBefore });
  state.commitIndex = meta.index;
  state.verifiedIndex = meta.index;
  state.snapshot = meta;
  state.clusterTime = Math.max(state.clusterTime, meta.time);
  state.snapshotsToPersist = [{ meta, reset: true, keepFrom: meta.index + 1 }];
  // From the snapshot, never from entries that it superseded.
  state.configurations = [{ index: meta.configurationIndex, configuration: meta.configuration }];
  useLatestConfiguration(state);
  pendingEffects.installSnapshot = meta;
  pendingEffects.committed = [];
}
