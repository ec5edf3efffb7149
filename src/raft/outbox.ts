// When may a message leave, and what goes to disk next? Nothing that claims a term, a vote or an entry leaves before it is durable.
import { assert } from "../lib/assert.ts";
import type { Link, Outgoing, Persist } from "./effects.ts";
import type { Entry } from "./entry.ts";
import { compact, slice } from "./log.ts";
import type { RaftMessage } from "./messages.ts";
import type { RaftState, SnapshotToPersist, Waiting } from "./state.ts";
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
  if (needIndex <= state.log.durableIndex && !hardStatePending(state)) state.gathered.send.push(out);
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
  if (sameKind && last.needIndex > state.log.handedIndex && last.needIndex <= needIndex) state.waiting.pop();
  send(state, to, link, message, needIndex);
}

/** The term moved on: what was to be said in the earlier one is void. */
export function dropWaiting(state: RaftState): void {
  state.waiting = [];
}

/** At most one persist is in flight; null while one is, or when there is nothing to write. */
export function takePersist(state: RaftState): Persist | null {
  if (state.inflight !== null) return null;
  const hardState = hardStatePending(state) ? { currentTerm: state.currentTerm, votedFor: state.votedFor } : null;
  const snapshot = nextSnapshot(state);
  const { log } = state;
  // A reset kills everything earlier in the log: entries behind it go with the next write, so their order is never in doubt.
  const withEntries = snapshot === null || !snapshot.reset;
  const hasEntries = withEntries && log.handedIndex < log.lastIndex;
  if (hardState === null && snapshot === null && !hasEntries) return null;
  const entries = hasEntries ? slice(log, log.handedIndex + 1, log.lastIndex) : NO_ENTRIES;
  const upTo = withEntries ? log.lastIndex : log.handedIndex;
  log.handedIndex = upTo;
  const seq = state.nextSeq++;
  state.inflight = { seq, since: state.now, upTo, hardState, snapshot };
  return { seq, hardState, entries, snapshot, sendAfter: takeWaiting(state, upTo) };
}

/** An own snapshot counts only when the log it stands for is durable: recovery never finds a log that ends below it. */
function nextSnapshot(state: RaftState): SnapshotToPersist | null {
  const next = state.snapshotsToPersist[0];
  if (next === undefined || (!next.reset && next.meta.index > state.log.durableIndex)) return null;
  state.snapshotsToPersist.shift();
  return next;
}

/** What may leave together with a write that makes everything up to `upTo` durable. */
function takeWaiting(state: RaftState, upTo: LogIndex): Outgoing[] {
  const after: Outgoing[] = [];
  const kept: Waiting[] = [];
  for (const waiting of state.waiting) {
    if (waiting.needIndex <= upTo) after.push(waiting.out);
    else kept.push(waiting);
  }
  state.waiting = kept;
  return after;
}

/** Moves what has become durable to `send`. */
export function releaseWaiting(state: RaftState): void {
  if (state.waiting.length === 0 || hardStatePending(state)) return;
  const ready = takeWaiting(state, state.log.durableIndex);
  for (const out of ready) state.gathered.send.push(out);
}

export function persisted(state: RaftState, seq: number): void {
  const { inflight, log } = state;
  assert(inflight !== null && inflight.seq === seq, `persist ${seq} is the one in flight`);
  state.inflight = null;
  if (inflight.hardState !== null) state.durable = inflight.hardState;
  if (inflight.upTo > log.durableIndex) {
    log.durableIndex = inflight.upTo;
    if (state.leadership !== null) state.leadership.matchMoved = true;
  }
  const { snapshot } = inflight;
  if (snapshot === null) return;
  if (state.snapshot === null || snapshot.meta.index > state.snapshot.index) {
    state.snapshot = snapshot.meta;
    // Only the last configuration at or below the snapshot still matters.
    let older = 0;
    while ((state.configurations[older + 1]?.index ?? Infinity) <= snapshot.meta.index) older++;
    state.configurations.splice(0, older);
  }
  compact(log, snapshot.keepFrom);
}
