// What does a node do in one turn? Take the inbox → step raft → persist → send → apply → reply. Everything else only fills the inbox.
import type { Clock } from "../lib/clock.ts";
import { type Failure, failure, RaftqError } from "../lib/errors.ts";
import { assert, must, unreachable } from "../lib/assert.ts";
import { digestOf } from "../queue/digest.ts";
import { apply, isCheckpoint, type Queue } from "../queue/queue.ts";
import type { AppliedEntry } from "../queue/types.ts";
import type { Effects, Input, Link, MembershipChange, Outgoing, Persist, RaftRefusal, Token } from "../raft/effects.ts";
import { type Draft, type Entry, fieldsOf } from "../raft/entry.ts";
import type { RaftMessage } from "../raft/messages.ts";
import { nextTickAt, type Raft, step, takeEffects } from "../raft/raft.ts";
import type { LogIndex, MemberId, NodeId } from "../raft/types.ts";
import type { Storage } from "../storage/types.ts";
import { createStateCheck, type StateCheck } from "./state-check.ts";
import { isLoss } from "./rejoin.ts";
import type { Snapshots } from "./snapshots.ts";
import type { Stages } from "./stages.ts";
import { createTraces, type Traces } from "./traces.ts";
import type { LogEvent } from "./types.ts";

/** How a proposed entry ended for its waiter. */
export type EntryOutcome =
  { readonly type: "applied"; readonly applied: AppliedEntry } | { readonly type: "failed"; readonly failure: Failure };

/** Waits for a proposed entry. An object instead of a function, because a busy leader makes one for every request. */
export interface Waiter {
  complete(outcome: EntryOutcome): void;
}

type Finished<T> = (result: T) => void;

/** The connections, as the turn sees them: it sends into them and flushes each once. */
export interface Links {
  send(outgoing: Outgoing): void;
  /** One socket write per connection; dials who is new in the configuration and drops who is gone. */
  flush(): void;
}

/** Where the turn takes client requests from (see clients.ts): they propose and read in their order. */
export interface RequestSource {
  /** Called at the start of the turn, before raft's own timers. */
  takeRequests(): void;
  /** Leadership, leader or readiness changed. */
  leadershipChanged(): void;
  flush(): void;
}

export interface ReplicaPorts {
  readonly clock: Clock;
  readonly storage: Storage;
  readonly snapshots: Snapshots;
  readonly links: Links;
  readonly stages: Stages;
  readonly log: (line: LogEvent) => void;
  /** raft or the queue found that this node must stop. */
  readonly onFatal: (refused: RaftRefusal) => void;
  readonly heartbeatMs: number;
  readonly maxAppliedPerTurn: number;
}

export interface Replica {
  readonly raft: Raft;
  readonly traces: Traces;
  readonly stages: Stages;
  readonly stateCheck: StateCheck;
  queue(): Queue;
  appliedIndex(): LogIndex;
  /** This node leads and has applied its term's first entry, so what it knows of sessions is complete. */
  hasAppliedNoop(): boolean;
  /** And the cluster has a version and limits, so that it can serve. */
  isReadyLeader(): boolean;
  receive(from: MemberId, link: Link, message: RaftMessage): void;
  /** That member acknowledged bulk on our link to it. No reason to take a turn. */
  linkProgress(member: MemberId, bytesPerSecond: number): void;
  /** Bytes of an incomplete message of that member were received. No reason to take a turn. */
  bytesReceived(member: MemberId): void;
  /** Only inside `RequestSource.takeRequests`: enters the log in this very turn or is refused. */
  propose(draft: Draft, waiter: Waiter): void;
  /** `finished(null)` once the applied state shows everything acknowledged before this call. */
  read(finished: Finished<Failure | null>): void;
  change(change: MembershipChange, finished: Finished<LogIndex | Failure>): void;
  transfer(to: NodeId | null, finished: Finished<LogIndex | Failure>): void;
  input(input: Input): void;
  /** Asks for a turn at the end of this round of the event loop. */
  wake(): void;
  setRequestSource(requestSource: RequestSource): void;
  /** No more turns. */
  halt(): void;
}

const asFailure = (refused: RaftRefusal): Failure => failure(refused.code, refused.message);

export function createReplica(raft: Raft, firstQueue: Queue, ports: ReplicaPorts): Replica {
  const { clock, storage, snapshots, links, stages } = ports;
  const traces = createTraces(clock);
  let queue = firstQueue;
  const report = (level: LogEvent["level"], text: string): void => ports.log({ level, event: "digest", text });
  const stateCheck = createStateCheck(raft, () => queue.appliedIndex, snapshots.confirm, report);
  let requestSource: RequestSource | null = null;
  let inbox: Input[] = [];
  let planned = false;
  let halted = false;
  let cancelTimer: (() => void) | null = null;
  let timerDueAt = Number.POSITIVE_INFINITY;
  /** When the timer that is set will fire: not later than what is due. */
  let timerSetFor = Number.POSITIVE_INFINITY;
  /** What happened on links since the last turn. */
  const linkRates = new Map<MemberId, number>();
  const receivedFrom = new Set<MemberId>();
  let nextToken: Token = 1;
  /** Those whose proposals raft answers in this turn, in their order. */
  let proposing: Waiter[] = [];
  const changes = new Map<Token, Finished<LogIndex | Failure>>();
  /** To raft all reads that come between two turns are one. */
  const reads = new Map<Token, readonly Finished<Failure | null>[]>();
  /** Those that the next turn takes; null: none so far. */
  let newReads: Finished<Failure | null>[] | null = null;
  /** Confirmed reads that wait until their index is applied, in order of index. */
  let confirmedReads: { readonly index: LogIndex; readonly readers: readonly Finished<Failure | null>[] }[] = [];
  /** Empty unless this node leads: then the entries are of its own term. */
  const waiting = new Map<LogIndex, Waiter>();
  /** Committed entries that are not applied yet, oldest first, from `toApplyAt` on. */
  let toApply: Entry[] = [];
  let toApplyAt = 0;
  let released: Outgoing[] = [];
  /** The first index of this node's present leadership: its no-op. */
  let ledFrom: LogIndex | null = null;

  const wake = (): void => {
    if (planned || halted) return;
    planned = true;
    clock.soon(guardedTurn);
  };

  /** A named error (a damaged snapshot, an entry of a newer version) stops the node; a broken invariant goes on up. */
  function guardedTurn(): void {
    try {
      turn();
    } catch (error) {
      if (!(error instanceof RaftqError)) throw error;
      stopFor({ code: error.code, message: error.message });
    }
  }

  function turn(): void {
    planned = false;
    if (halted) return;
    stages.beginTurn();
    takeInbox();
    stages.lap("raft");
    requestSource?.takeRequests();
    stages.lap("propose");
    step(raft, { type: "tick", now: clock.now(), wall: clock.wall() });
    const effects = takeEffects(raft);
    stages.lap("raft");
    persist(effects.persist);
    stages.lap("persist");
    send(effects);
    stages.lap("send");
    if (effects.installSnapshot !== null) install(effects);
    for (const entry of effects.committed) toApply.push(entry);
    answerProposals(effects);
    noteTransitions(effects);
    applyCommitted();
    answerReads(effects);
    const stop = effects.stop ?? stateCheck.judge();
    if (stop !== null) stopFor(stop);
    if (halted) return;
    // What could not be begun when a checkpoint was reached may be possible now.
    snapshots.consider(raft, queue, stateCheck.ownAt(queue.appliedIndex));
    stages.lap("apply");
    links.flush();
    stages.lap("send");
    requestSource?.flush();
    stages.lap("reply");
    planTimer();
    stages.endTurn();
  }

  /** Data that are wrong are not served any more, and not started from again, also if this process is killed now. */
  function stopFor(refused: RaftRefusal): void {
    if (isLoss(refused)) storage.markDamaged(refused.message);
    ports.onFatal(refused);
  }

  function takeInbox(): void {
    const inputs = inbox;
    inbox = [];
    newReads = null;
    // The silence was our own if the timer that should have woken us is long overdue.
    if (clock.now() - timerDueAt > ports.heartbeatMs) step(raft, { type: "stalled" });
    for (const input of inputs) {
      step(raft, input);
      // Not before: raft judges whether it comes from the leader.
      if (input.type === "message") stateCheck.received(input.from, input.message);
    }
    for (const [member, bytesPerSecond] of linkRates) step(raft, { type: "linkProgress", member, bytesPerSecond });
    for (const member of receivedFrom) step(raft, { type: "bytesReceived", member });
    linkRates.clear();
    receivedFrom.clear();
  }

  function persist(batch: Persist | null): void {
    if (batch === null) return;
    const began = clock.now();
    storage.persist(batch, (unwritten) => {
      if (halted) return;
      stages.add("disk", clock.now() - began);
      if (unwritten !== null) {
        storage.whenSpace(() => replica.input({ type: "spaceFound" }));
        return replica.input({ type: "unwritten", seq: batch.seq, ...unwritten });
      }
      for (const outgoing of batch.sendAfter) released.push(outgoing);
      inbox.push({ type: "persisted", seq: batch.seq });
      traces.durable(raft.self, batch.entries.at(-1)?.index ?? 0);
      wake();
    });
  }

  function send(effects: Effects): void {
    const after = released;
    released = [];
    // A reply that waited for the disk is void when the term moved on meanwhile.
    for (const outgoing of after)
      if (outgoing.message.term >= raft.currentTerm) links.send(stateCheck.withDigests(outgoing));
    for (const outgoing of effects.send) links.send(stateCheck.withDigests(outgoing));
    for (const wanted of effects.sendParts) {
      const message = snapshots.partToSend(wanted);
      if (message !== null) links.send({ to: wanted.to, link: 0, message });
    }
    for (const part of effects.storeParts) snapshots.storePart(part);
  }

  function install(effects: Effects): void {
    const meta = must(effects.installSnapshot, "the snapshot to install");
    queue = snapshots.restore(meta);
    stateCheck.replaced(meta.index);
    toApply = [];
    toApplyAt = 0;
    ports.log({
      level: "info",
      event: "snapshot-installed",
      text: `installed the leader's snapshot at index ${meta.index}`,
    });
  }

  function answerProposals(effects: Effects): void {
    let last: LogIndex = 0;
    const waiters = proposing;
    proposing = [];
    assert(effects.proposed.length === waiters.length, "every proposal is answered in its turn");
    for (const [at, result] of effects.proposed.entries()) {
      const waiter = must(waiters[at], "who proposed this");
      if (result.ok) {
        waiting.set(result.index, waiter);
        last = result.index;
      } else waiter.complete({ type: "failed", failure: asFailure(result.refused) });
    }
    if (last > 0) {
      traces.taken(last);
      stages.proposed(last);
    }
    for (const result of effects.changed) {
      const finished = must(changes.get(result.token), "who asked for this change");
      changes.delete(result.token);
      finished(result.ok ? result.index : asFailure(result.refused));
    }
  }

  function noteTransitions(effects: Effects): void {
    if (effects.transitions.length === 0) return;
    for (const { role, term, leader, why } of effects.transitions) {
      const fields = { role, term, leader: leader ?? null, why };
      ports.log({ level: "info", event: "role", text: `${role} in term ${term}: ${why}`, fields });
      if (role !== "leader" && ledFrom !== null) loseLeadership(why);
    }
    if (raft.role === "leader" && ledFrom === null) {
      ledFrom = must(raft.leadership, "a leader's leadership").noopIndex;
      traces.reset(ledFrom);
    }
    requestSource?.leadershipChanged();
  }

  /** It is unknown whether the next leader keeps the entries that are waited for. */
  function loseLeadership(why: string): void {
    ledFrom = null;
    stages.forget();
    const outcome: EntryOutcome = {
      type: "failed",
      failure: failure("LEADER_CHANGED", `this node stopped leading before the entry was committed (${why})`),
    };
    const all = [...waiting.values()];
    waiting.clear();
    for (const waiter of all) waiter.complete(outcome);
  }

  function applyCommitted(): void {
    const until = Math.min(toApply.length, toApplyAt + ports.maxAppliedPerTurn);
    if (toApplyAt < until) {
      traces.committed(raft.commitIndex);
      stages.committed(raft.commitIndex);
    }
    while (toApplyAt < until) {
      const entry = must(toApply[toApplyAt++], "a committed entry");
      assert(
        entry.index === queue.appliedIndex + 1,
        `entries are applied one by one: ${entry.index} after ${queue.appliedIndex}`,
      );
      const applied = apply(queue, fieldsOf(entry));
      if (isCheckpoint(queue)) {
        const digest = digestOf(queue);
        stateCheck.reached({ index: entry.index, digest });
        snapshots.consider(raft, queue, digest);
      }
      const waiter = waiting.get(entry.index);
      if (waiter === undefined) continue;
      waiting.delete(entry.index);
      assert(entry.term === raft.currentTerm, "a leader's own entries are not replaced while it leads");
      waiter.complete({ type: "applied", applied });
    }
    if (toApplyAt < toApply.length) return wake();
    toApply = [];
    toApplyAt = 0;
  }

  function answerReads(effects: Effects): void {
    for (const result of effects.read) {
      const readers = must(reads.get(result.token), "who asked for this read");
      reads.delete(result.token);
      if (result.ok) confirmedReads.push({ index: result.index, readers });
      else for (const finished of readers) finished(asFailure(result.refused));
    }
    if (confirmedReads.length === 0) return;
    const ready = confirmedReads.filter((read) => read.index <= queue.appliedIndex);
    if (ready.length === 0) return;
    confirmedReads = confirmedReads.filter((read) => read.index > queue.appliedIndex);
    for (const { readers } of ready) for (const finished of readers) finished(null);
  }

  /** One that is set early enough stays: a busy follower's election moves away with every message, a turn too early is cheap. */
  function planTimer(): void {
    timerDueAt = nextTickAt(raft);
    if (timerSetFor <= timerDueAt) return;
    cancelTimer?.();
    timerSetFor = timerDueAt;
    cancelTimer = clock.after(Math.max(0, timerDueAt - clock.now()), timerFired);
  }

  function timerFired(): void {
    timerSetFor = Number.POSITIVE_INFINITY;
    cancelTimer = null;
    if (clock.now() < timerDueAt) planTimer();
    else wake();
  }

  const replica: Replica = {
    raft,
    traces,
    stages,
    stateCheck,
    queue: () => queue,
    appliedIndex: () => queue.appliedIndex,
    hasAppliedNoop: () => raft.role === "leader" && ledFrom !== null && queue.appliedIndex >= ledFrom,
    isReadyLeader: () => replica.hasAppliedNoop() && queue.version > 0,
    receive: (from, link, message) => {
      inbox.push({ type: "message", from, link, message });
      if (message.type === "AppendEntriesReply" && message.success) traces.durable(from, message.matchIndex);
      if (!canWait(raft, from, message)) wake();
    },
    linkProgress: (member, bytesPerSecond) => void linkRates.set(member, bytesPerSecond),
    bytesReceived: (member) => void receivedFrom.add(member),
    propose: (draft, waiter) => {
      proposing.push(waiter);
      step(raft, { type: "propose", token: nextToken++, draft });
    },
    read: (finished) => {
      if (newReads !== null) return void newReads.push(finished);
      const token = nextToken++;
      newReads = [finished];
      reads.set(token, newReads);
      replica.input({ type: "read", token });
    },
    change: (change, finished) => {
      const token = nextToken++;
      changes.set(token, finished);
      replica.input({ type: "change", token, change });
    },
    transfer: (to, finished) => {
      const token = nextToken++;
      changes.set(token, finished);
      replica.input({ type: "transfer", token, to });
    },
    input: (input) => {
      inbox.push(input);
      wake();
    },
    wake,
    setRequestSource: (given) => {
      requestSource = given;
    },
    halt: () => {
      halted = true;
      cancelTimer?.();
    },
  };
  wake();
  return replica;
}

/** For callers that get an index or a failure. */
export function isFailure(result: LogIndex | Failure): result is Failure {
  if (typeof result === "number") return false;
  if (typeof result === "object") return true;
  return unreachable(result);
}

/**
 * The last ones to acknowledge what has committed already change nothing that is urgent: a busy leader is spared a turn for each of
 * them, and an idle one receives them at its next heartbeat.
 */
function canWait(raft: Raft, from: MemberId, message: RaftMessage): boolean {
  if (message.type !== "AppendEntriesReply" || !message.success || message.term !== raft.currentTerm) return false;
  const progress = raft.progress.get(from);
  if (progress === undefined || progress.state !== "replicate" || progress.diskLow !== message.diskLow) return false;
  if (raft.transfer !== null || raft.configuration.learners.length > 0) return false;
  const hasAll = progress.nextIndex > raft.lastIndex;
  return hasAll && message.matchIndex <= raft.commitIndex && raft.configurationIndex <= message.matchIndex;
}
