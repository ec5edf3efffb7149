// The follower's side of AppendEntries and Heartbeat (Figure 2, receiver implementation).
import { assert } from "../lib/assert.ts";
import { isMember } from "./admission.ts";
import { appendEntry, commitTo, nameOf, truncate } from "./append.ts";
import type { Link } from "./effects.ts";
import { onLeaderContact } from "./election.ts";
import { lastAtMostTerm, termAt } from "./log.ts";
import type { AppendEntries, Heartbeat, StaleDisk } from "./messages.ts";
import { send, sendAcknowledgement } from "./outbox.ts";
import { becomeFollower } from "./roles.ts";
import type { RaftState } from "./state.ts";
import type { LogIndex, MemberId, Term } from "./types.ts";

/**
 * False when the sender's term is over, which has been reported to it. Otherwise it is our leader from here on, and its silence ends.
 * The report is the reply that claims nothing: one of the request's own kind would carry the present term, and if the sender leads that
 * one too, a request of its earlier leadership would confirm a read, or refuse an entry, of this one (seed 9974282).
 */
export function followLeader(state: RaftState, from: MemberId, link: Link, term: Term): boolean {
  if (term < state.currentTerm) {
    sendHeartbeatReply(state, from, link, 0);
    return false;
  }
  assert(term > state.currentTerm || state.role !== "leader", `${from} and ${state.self} both lead term ${term}`);
  assert(
    term > state.currentTerm || state.leader === null || state.leader === from,
    `${from} and ${state.leader} both lead term ${term}`,
  );
  if (term > state.currentTerm || state.leader !== from || state.campaign !== null) {
    becomeFollower(state, term, from, `${nameOf(from)} leads term ${term}`);
  }
  onLeaderContact(state);
  return true;
}

export function onAppendEntries(state: RaftState, from: MemberId, link: Link, message: AppendEntries): void {
  if (!followLeader(state, from, link, message.term)) return;
  if (!matches(state, message.prevLogIndex, message.prevLogTerm)) {
    refuse(state, from, link, message);
    return;
  }
  for (const entry of message.entries) {
    // Committed entries cannot differ, and may be compacted: nothing to compare.
    if (entry.index <= state.commitIndex) continue;
    if (entry.index <= state.log.lastIndex) {
      if (termAt(state.log, entry.index) === entry.term) continue;
      truncate(state, entry.index);
    }
    appendEntry(state, entry);
  }
  const verified = Math.max(state.commitIndex, message.prevLogIndex + message.entries.length);
  state.verifiedIndex = Math.max(state.verifiedIndex, verified);
  commitVerified(state, message.leaderCommit);
  const reply = {
    type: "AppendEntriesReply",
    term: state.currentTerm,
    success: true,
    matchIndex: verified,
    rejectedIndex: 0,
    hintIndex: 0,
    hintTerm: 0,
    diskLow: state.diskLow,
  } as const;
  sendAcknowledgement(state, from, link, reply, verified);
}

function matches(state: RaftState, prevLogIndex: LogIndex, prevLogTerm: Term): boolean {
  if (prevLogIndex <= state.commitIndex) {
    const own = termAt(state.log, prevLogIndex);
    assert(
      own === undefined || own === prevLogTerm,
      `committed entry ${prevLogIndex} is of term ${own} here and on the leader`,
    );
    return true;
  }
  return termAt(state.log, prevLogIndex) === prevLogTerm;
}

/** The hint names where agreement is possible, so that each term in conflict costs one round trip and not each entry. */
function refuse(state: RaftState, from: MemberId, link: Link, message: AppendEntries): void {
  const { log } = state;
  state.refusedIndex = Math.min(state.refusedIndex ?? Infinity, message.prevLogIndex);
  const hintIndex = lastAtMostTerm(log, message.prevLogIndex, message.prevLogTerm, state.commitIndex);
  send(state, from, link, {
    type: "AppendEntriesReply",
    term: state.currentTerm,
    success: false,
    matchIndex: 0,
    rejectedIndex: message.prevLogIndex,
    hintIndex,
    hintTerm: termAt(log, hintIndex) ?? 0,
    diskLow: state.diskLow,
  });
}

/** Never more than the leader of this term has verified here: behind that, our own entries may belong to an abandoned branch. */
function commitVerified(state: RaftState, leaderCommit: LogIndex): void {
  const index = Math.min(leaderCommit, state.verifiedIndex);
  if (index > state.commitIndex) commitTo(state, index);
}

export function onHeartbeat(state: RaftState, from: MemberId, link: Link, message: Heartbeat): void {
  if (!followLeader(state, from, link, message.term)) return;
  state.clusterTime = Math.max(state.clusterTime, message.time);
  commitVerified(state, message.leaderCommit);
  sendHeartbeatReply(state, from, link, message.readContext);
}

function sendHeartbeatReply(state: RaftState, to: MemberId, link: Link, readContext: number): void {
  const { currentTerm: term, diskLow } = state;
  send(state, to, link, { type: "HeartbeatReply", term, readContext, diskLow });
}

/**
 * Only from this term's leader, and only if what this node has shows it: its log ends earlier, or it refused entries of this leader at
 * or before that index. (An old disk does not know what was acknowledged with a newer one.)
 */
export function onStaleDisk(state: RaftState, from: MemberId, message: StaleDisk): void {
  if (message.term !== state.currentTerm || state.leader !== from || !isMember(state, from)) return;
  const lacks = message.acknowledgedIndex > state.log.lastIndex;
  if (!lacks && message.acknowledgedIndex < (state.refusedIndex ?? Infinity)) return;
  state.pendingEffects.stop = {
    code: "STALE_DISK",
    message: `${nameOf(from)} had this node's acknowledgement up to entry ${message.acknowledgedIndex}, and its log lacks some of it (last entry ${state.log.lastIndex}): the disk is older than what it promised`,
  };
}
