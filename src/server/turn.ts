// The turn: take the inbox, step raft, persist, send, apply, reply. What sockets, the disk and timers bring waits in the inbox until then:
// nothing else steps raft or applies entries.
import { assert, must } from "../lib/assert.ts";
import { type Failure, failure, RaftqError, type Refusal } from "../lib/errors.ts";
import { digestOf } from "../queue/digest.ts";
import { apply, isCheckpoint } from "../queue/queue.ts";
import type { Effects, Persist } from "../raft/effects.ts";
import { type Entry, fieldsOf } from "../raft/entry.ts";
import { nextTickAt, step, takeEffects } from "../raft/raft.ts";
import type { LogIndex, SnapshotMeta } from "../raft/types.ts";
import { completeWaiter } from "./answers.ts";
import { flushAnswers } from "./clients.ts";
import { addInput, type Inbox, type ReadFinished, wake } from "./inbox.ts";
import { flushPeers, sendToMember } from "./peers.ts";
import type { EntryOutcome } from "./proposals.ts";
import { isLoss } from "./rejoin.ts";
import type { Replica } from "./replica.ts";
import { takeRequests, wantsTurn } from "./requests.ts";
import { considerSnapshot, partToSend, restoreSnapshot, storePart } from "./snapshots.ts";
import { addTime, beginTurn, endTurn, entriesCommitted, entriesProposed, forgetUncommitted, lap } from "./stages.ts";
import { checkpointReached, digestsReceived, judgeStates, withDigests } from "./state-check.ts";

/** A read that raft has confirmed: it is answered once `index` is applied. */
export interface ConfirmedRead {
  readonly index: LogIndex;
  readonly readers: readonly ReadFinished[];
}

export interface TurnTimer {
  /** When raft has something to do. */
  dueAt: number;
  /** When the timer that is set will fire: not later than that. */
  setFor: number;
  cancel: () => void;
}

export function createTurnTimer(): TurnTimer {
  return { dueAt: Number.POSITIVE_INFINITY, setFor: Number.POSITIVE_INFINITY, cancel: () => undefined };
}

/** A named error (a damaged snapshot, an entry of a newer version) stops the node; a broken invariant goes on up. */
export function takeTurn(replica: Replica): void {
  try {
    turn(replica);
  } catch (error) {
    if (!(error instanceof RaftqError)) throw error;
    stopFor(replica, { code: error.code, message: error.message });
  }
}

/**
 * The order of the steps matters:
 * - Messages before requests: these are routed by what the messages have shown of the leader.
 * - The tick last of raft's inputs (raft/effects.ts): its timers judge by all that has come, and what is proposed leaves in this turn.
 * - The write begins before messages are sent: the leader's disk works while its entries travel (Raft dissertation, section 10.2.1).
 * - The snapshot before the committed entries: it takes the place of all that was committed before it, and they follow it.
 * - Proposals before transitions: if leadership has ended in this very turn, the waiters of this turn's proposals must fail with the others.
 * - Transitions before the committed entries are applied: no waiter gets the outcome of another leader's entry at its index.
 * - Reads after apply: they are answered in the turn in which their index is applied.
 * - Answers last: if the run ends here (`stopFor` halts the inbox), those of this turn may be wrong and are not sent.
 */
function turn(replica: Replica): void {
  const { inbox, raft, stages, clock } = replica;
  inbox.isTurnPlanned = false;
  if (inbox.isHalted) return;
  beginTurn(stages);
  takeInbox(replica);
  lap(stages, "raft");
  takeRequests(replica);
  lap(stages, "propose");
  step(raft, { type: "tick", now: clock.now(), wall: clock.wall() });
  const effects = takeEffects(raft);
  lap(stages, "raft");
  persist(replica, effects.persist);
  lap(stages, "persist");
  send(replica, effects);
  storeParts(replica, effects);
  flushPeers(replica.peers);
  lap(stages, "send");
  if (effects.installSnapshot !== null) install(replica, effects.installSnapshot);
  for (const entry of effects.committed) replica.committed.push(entry);
  answerProposals(replica, effects);
  answerChanges(replica, effects);
  followTransitions(replica, effects);
  applyCommitted(replica);
  answerReads(replica, effects);
  const stop = effects.stop ?? judgeStates(replica.stateCheck);
  if (stop !== null) stopFor(replica, stop);
  if (inbox.isHalted) return;
  takeSnapshot(replica);
  lap(stages, "apply");
  flushAnswers(replica.clients);
  if (wantsTurn(replica)) wake(inbox);
  lap(stages, "reply");
  setTimer(replica);
  endTurn(stages);
}

function takeInbox({ inbox, raft, clock, timer, settings, stateCheck }: Replica): void {
  const { inputs, linkRates, receivedFrom } = inbox;
  inbox.inputs = [];
  inbox.newReads = null;
  // The silence was our own if the timer that should have woken us is long overdue.
  if (clock.now() - timer.dueAt > settings.heartbeatMs) step(raft, { type: "stalled" });
  for (const input of inputs) {
    step(raft, input);
    // Not before: raft judges whether it comes from the leader.
    if (input.type === "message") digestsReceived(stateCheck, input.from, input.message);
  }
  for (const [member, bytesPerSecond] of linkRates) step(raft, { type: "linkProgress", member, bytesPerSecond });
  for (const member of receivedFrom) step(raft, { type: "bytesReceived", member });
  linkRates.clear();
  receivedFrom.clear();
}

/** At most one is in flight: raft gives none while one is. */
function persist(replica: Replica, writes: Persist | null): void {
  if (writes === null) return;
  const { clock, storage, inbox, stages, traces, raft } = replica;
  const began = clock.now();
  storage.persist(writes, (unwritten) => {
    if (inbox.isHalted) return;
    addTime(stages, "disk", clock.now() - began);
    if (unwritten !== null) {
      // Raft keeps what was to be sent after it: it gives all of it again, in a later persist.
      storage.whenSpace(() => addInput(inbox, { type: "spaceFound" }));
      return addInput(inbox, { type: "unwritten", seq: writes.seq, ...unwritten });
    }
    for (const outgoing of writes.sendAfter) replica.released.push(outgoing);
    traces.durable(raft.self, writes.entries.at(-1)?.index ?? 0);
    addInput(inbox, { type: "persisted", seq: writes.seq });
  });
}

function send(replica: Replica, effects: Effects): void {
  const { peers, raft, snapshots, stateCheck, released } = replica;
  replica.released = [];
  // Released by the disk since the last turn; a reply that waited for it is void when the term moved on meanwhile.
  for (const outgoing of released)
    if (outgoing.message.term >= raft.currentTerm) sendToMember(peers, withDigests(stateCheck, outgoing));
  for (const outgoing of effects.send) sendToMember(peers, withDigests(stateCheck, outgoing));
  for (const wanted of effects.sendParts) {
    const message = partToSend(snapshots, wanted);
    if (message !== null) sendToMember(peers, { to: wanted.to, link: 0, message });
  }
}

/** Of the leader's snapshot. */
function storeParts({ snapshots }: Replica, effects: Effects): void {
  for (const part of effects.storeParts) storePart(snapshots, part);
}

/** The leader's snapshot takes the place of the applied state. */
function install(replica: Replica, meta: SnapshotMeta): void {
  replica.stateMachine.queue = restoreSnapshot(replica.snapshots, meta);
  replica.stateCheck.replacedTo = meta.index;
  replica.committed = [];
  replica.nextToApply = 0;
  const text = `installed the leader's snapshot at index ${meta.index}`;
  replica.log({ level: "info", event: "snapshot-installed", text });
}

function answerProposals(replica: Replica, { proposed }: Effects): void {
  const { proposals, traces, stages } = replica;
  const waiters = proposals.ofThisTurn;
  proposals.ofThisTurn = [];
  assert(proposed.length === waiters.length, "every proposal is answered in its turn");
  let last: LogIndex = 0;
  for (const [at, result] of proposed.entries()) {
    const waiter = must(waiters[at], "what waits for this proposal");
    if (result.ok) {
      proposals.byIndex.set(result.index, waiter);
      last = result.index;
    } else completeWaiter(replica, waiter, { type: "failed", failure: asFailure(result.refused) });
  }
  if (last === 0) return;
  traces.taken(last);
  entriesProposed(stages, last);
}

function answerChanges({ inbox: { changes } }: Replica, { changed }: Effects): void {
  for (const result of changed) {
    const finished = must(changes.get(result.token), "who asked for this change");
    changes.delete(result.token);
    finished(result.ok ? result.index : asFailure(result.refused));
  }
}

function followTransitions(replica: Replica, { transitions }: Effects): void {
  if (transitions.length === 0) return;
  const { raft, proposals, traces, requests, inbox, log } = replica;
  for (const { role, term, leader, why } of transitions) {
    const fields = { role, term, leader: leader ?? null, why };
    log({ level: "info", event: "role", text: `${role} in term ${term}: ${why}`, fields });
    if (role !== "leader" && proposals.ledFrom !== null) loseLeadership(replica, why);
  }
  if (raft.role === "leader" && proposals.ledFrom === null) {
    proposals.ledFrom = must(raft.leadership, "a leader's leadership").noopIndex;
    traces.reset(proposals.ledFrom);
  }
  if (requests.deferred.length > 0) wake(inbox);
}

/** It is unknown whether the next leader keeps the entries that are waited for. */
function loseLeadership(replica: Replica, reason: string): void {
  const { proposals, stages } = replica;
  proposals.ledFrom = null;
  forgetUncommitted(stages);
  const why = `this node stopped leading before the entry was committed (${reason})`;
  const outcome: EntryOutcome = { type: "failed", failure: failure("LEADER_CHANGED", why) };
  const all = [...proposals.byIndex.values()];
  proposals.byIndex.clear();
  for (const waiter of all) completeWaiter(replica, waiter, outcome);
}

/** A long backlog takes several turns, since heartbeats must not wait for it. */
function applyCommitted(replica: Replica): void {
  const { committed, raft, traces, stages, settings } = replica;
  const until = Math.min(committed.length, replica.nextToApply + settings.maxAppliedPerTurn);
  if (replica.nextToApply < until) {
    traces.committed(raft.commitIndex);
    entriesCommitted(stages, raft.commitIndex);
  }
  while (replica.nextToApply < until) applyEntry(replica, must(committed[replica.nextToApply++], "a committed entry"));
  if (replica.nextToApply < committed.length) return wake(replica.inbox);
  replica.committed = [];
  replica.nextToApply = 0;
}

function applyEntry(replica: Replica, entry: Entry): void {
  const { raft, proposals, stateCheck } = replica;
  const { queue } = replica.stateMachine;
  const { index } = entry;
  assert(index === queue.appliedIndex + 1, `entries are applied one by one: ${index} after ${queue.appliedIndex}`);
  const applied = apply(queue, fieldsOf(entry));
  if (isCheckpoint(queue)) {
    const digest = digestOf(queue);
    checkpointReached(stateCheck, { index, digest });
    considerSnapshot(replica.snapshots, replica.diskSpace, raft, queue, digest);
  }
  const waiter = proposals.byIndex.get(index);
  if (waiter === undefined) return;
  proposals.byIndex.delete(index);
  assert(entry.term === raft.currentTerm, "a leader's own entries are not replaced while it leads");
  completeWaiter(replica, waiter, { type: "applied", applied });
}

function answerReads(replica: Replica, { read }: Effects): void {
  const {
    inbox: { reads },
    confirmedReads,
  } = replica;
  if (read.length === 0 && confirmedReads.length === 0) return;
  const confirmed = [...confirmedReads];
  for (const result of read) {
    const readers = must(reads.get(result.token), "who asked for this read");
    reads.delete(result.token);
    if (result.ok) confirmed.push({ index: result.index, readers });
    else for (const finished of readers) finished(asFailure(result.refused));
  }
  const { appliedIndex } = replica.stateMachine.queue;
  replica.confirmedReads = confirmed.filter(({ index }) => index > appliedIndex);
  for (const { index, readers } of confirmed) if (index <= appliedIndex) for (const finished of readers) finished(null);
}

/** Begins the snapshot of the last checkpoint if it could not begin when that was reached: another one was being written, or had no space. */
function takeSnapshot({ snapshots, diskSpace, raft, stateMachine: { queue }, stateCheck }: Replica): void {
  considerSnapshot(snapshots, diskSpace, raft, queue, stateCheck.own.get(queue.appliedIndex) ?? null);
}

/** Where the data are lost, the disk records that first: they are not started from again, even if this process is killed now. */
function stopFor({ storage, onFatal }: Replica, { code, message }: Refusal): void {
  if (isLoss({ code })) storage.markDamaged(message);
  onFatal(new RaftqError(code, message));
}

/**
 * A timer that is set for an earlier time stays, and is set again when it fires: every message of the leader postpones the election, and
 * to set a timer for each would cost more.
 */
function setTimer(replica: Replica): void {
  const { timer, clock, raft } = replica;
  timer.dueAt = nextTickAt(raft);
  if (timer.setFor <= timer.dueAt) return;
  timer.cancel();
  timer.setFor = timer.dueAt;
  timer.cancel = clock.after(Math.max(0, timer.dueAt - clock.now()), () => timerFired(replica));
}

function timerFired(replica: Replica): void {
  const { timer, clock, inbox } = replica;
  timer.setFor = Number.POSITIVE_INFINITY;
  if (clock.now() < timer.dueAt) setTimer(replica);
  else wake(inbox);
}

/** No more turns. */
export function haltTurns(inbox: Inbox, timer: TurnTimer): void {
  inbox.isHalted = true;
  timer.cancel();
}

const asFailure = ({ code, message }: Refusal): Failure => failure(code, message);
