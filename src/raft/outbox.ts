// What is sent and what goes to disk next. Nothing that claims a term, a vote or an entry leaves before that is durable.
import { assert } from "../lib/assert.ts";
import type { Input, Link, Persist } from "./effects.ts";
import type { Entry } from "./entry.ts";
import { compact, slice } from "./log.ts";
import type { RaftMessage } from "./messages.ts";
import type { InflightPersist, RaftState, SnapshotToPersist, WaitingMessage } from "./state.ts";
import type { LogIndex, MemberId } from "./types.ts";

/** Our own link to a member, as opposed to the connection a request came on. */
export const OWN_LINK: Link = 0;

const NO_ENTRIES: readonly Entry[] = [];

export function hardStatePending(state: RaftState): boolean {
  return state.durable.currentTerm !== state.currentTerm || state.durable.votedFor !== state.votedFor;
}

/** `needIndex`: entries up to there must be durable first; 0: only the present term and vote. */
export function send(state: RaftState, to: MemberId, link: Link, message: RaftMessage, needIndex: LogIndex = 0): void {
  const out = { to, link, message };
  if (needIndex <= state.log.durableIndex && !hardStatePending(state)) state.pendingEffects.send.push(out);
  else state.waiting.push({ out, needIndex });
}

/** An acknowledgement: one that no write has picked up yet is replaced by a later one of the same connection. */
export function sendAcknowledgement(
  state: RaftState,
  to: MemberId,
  link: Link,
  message: RaftMessage,
  needIndex: LogIndex,
): void {
  const last = state.waiting.at(-1);
  const sameKind =
    last !== undefined && last.out.to === to && last.out.link === link && last.out.message.type === message.type;
  if (sameKind && last.needIndex > state.log.submittedIndex && last.needIndex <= needIndex) state.waiting.pop();
  send(state, to, link, message, needIndex);
}

/** The term moved on: what was to be sent in the earlier one is void. */
export function dropWaiting(state: RaftState): void {
  state.waiting = [];
}

/** At most one persist is in flight; null while one is, or when there is nothing to write. */
export function takePersist(state: RaftState): Persist | null {
  if (state.inflight !== null) return null;
  const hardState = hardStatePending(state) ? { currentTerm: state.currentTerm, votedFor: state.votedFor } : null;
  const snapshot = nextSnapshot(state);
  const { log } = state;
  const isReset = snapshot !== null && snapshot.reset;
  // A reset ends everything earlier in the log: entries behind it go with the next write, so their order is unambiguous.
  if (isReset) log.submittedIndex = Math.max(log.submittedIndex, snapshot.meta.index);
  const withEntries = state.noSpace === null && !isReset;
  const hasEntries = withEntries && log.submittedIndex < log.lastIndex;
  if (hardState === null && snapshot === null && !hasEntries) return null;
  const entries = hasEntries ? slice(log, log.submittedIndex + 1, log.lastIndex) : NO_ENTRIES;
  if (withEntries) log.submittedIndex = log.lastIndex;
  // A write without either vouches for nothing new: an installed snapshot that had no space is still to be written.
  const upTo = withEntries || isReset ? log.submittedIndex : log.durableIndex;
  const seq = state.nextSeq++;
  const waiting = takeWaiting(state, upTo);
  state.inflight = { seq, since: state.now, upTo, hardState, snapshot, waiting };
  return { seq, hardState, entries, snapshot, sendAfter: waiting.map(({ out }) => out) };
}

/**
 * An own snapshot counts only when the log it stands for is durable: recovery never finds a log that ends below it. A log without
 * space does not get there: then the snapshot takes its place, as one from the leader does, and what it frees lets the log go on.
 */
function nextSnapshot(state: RaftState): SnapshotToPersist | null {
  const { log, noSpace } = state;
  const next = state.snapshotsToPersist[0];
  if (next === undefined || noSpace?.snapshots === true) return null;
  const isAhead = next.meta.index > log.durableIndex;
  if (!next.reset && isAhead && noSpace === null) return null;
  state.snapshotsToPersist.shift();
  if (next.reset || noSpace === null) return next;
  return { meta: next.meta, reset: isAhead, keepFrom: next.meta.index + 1 };
}

/** What may leave together with a write that makes everything up to `upTo` durable. */
function takeWaiting(state: RaftState, upTo: LogIndex): readonly WaitingMessage[] {
  const after: WaitingMessage[] = [];
  const kept: WaitingMessage[] = [];
  for (const waiting of state.waiting) {
    if (waiting.needIndex <= upTo) after.push(waiting);
    else kept.push(waiting);
  }
  state.waiting = kept;
  return after;
}

/** Moves what has become durable to `send`. */
export function releaseWaiting(state: RaftState): void {
  if (state.waiting.length === 0 || hardStatePending(state)) return;
  const ready = takeWaiting(state, state.log.durableIndex);
  for (const { out } of ready) state.pendingEffects.send.push(out);
}

export function persisted(state: RaftState, seq: number): void {
  const { snapshot } = endPersist(state, seq);
  if (snapshot !== null) count(state, snapshot);
}

/**
 * The disk is full. What was not written waits here, not in storage: terms and votes go on without it, and so does a snapshot,
 * which may be what gives space back.
 */
export function unwritten(state: RaftState, ended: Extract<Input, { type: "unwritten" }>): void {
  const { inflight, log } = state;
  const { seq, entriesFrom } = ended;
  assert(inflight !== null && inflight.seq === seq, `persist ${seq} is the one in flight`);
  // A snapshot's frame comes first: without it nothing was written.
  if (ended.snapshot) inflight.upTo = log.durableIndex;
  else if (entriesFrom !== null) inflight.upTo = Math.min(inflight.upTo, entriesFrom - 1);
  const { snapshot, waiting } = endPersist(state, seq);
  log.submittedIndex = Math.max(log.durableIndex, log.firstIndex - 1);
  // What was to be sent in an earlier term is void.
  state.waiting.unshift(...waiting.filter(({ out }) => out.message.term >= state.currentTerm));
  state.noSpace = { since: state.noSpace?.since ?? state.now, snapshots: ended.snapshot };
  if (snapshot === null) return;
  if (!ended.snapshot) return count(state, snapshot);
  // A later one stands for it as well; but only a reset leads to a log that begins behind it.
  const [next] = state.snapshotsToPersist;
  if (next === undefined || (snapshot.reset && !next.reset)) state.snapshotsToPersist.unshift(snapshot);
}

function endPersist(state: RaftState, seq: number): InflightPersist {
  const { inflight, log } = state;
  assert(inflight !== null && inflight.seq === seq, `persist ${seq} is the one in flight`);
  state.inflight = null;
  if (inflight.hardState !== null) state.durable = inflight.hardState;
  if (inflight.upTo > log.durableIndex) {
    log.durableIndex = inflight.upTo;
    if (state.leadership !== null) state.leadership.matchMoved = true;
  }
  return inflight;
}

/** It is durable, and stands for the entries up to its index. */
function count(state: RaftState, snapshot: SnapshotToPersist): void {
  const { log } = state;
  if (state.snapshot === null || snapshot.meta.index > state.snapshot.index) {
    state.snapshot = snapshot.meta;
    // Only the last configuration at or below the snapshot still matters.
    let older = 0;
    while ((state.configurations[older + 1]?.index ?? Infinity) <= snapshot.meta.index) older++;
    state.configurations.splice(0, older);
  }
  compact(log, snapshot.keepFrom);
}
