// Batching: enqueues that a program makes in one round of the event loop become one command with many jobs, and dequeues of one job
// each become one dequeue of many: one number, one entry in the log, one answer, of which each request gets its part.
import { assert } from "../lib/assert.ts";
import type { Command, NewJob } from "../queue/types.ts";
import type { ClientLimits, Done, Outcome } from "./types.ts";

/** A program has its part once it was delivered. */
const DELIVERED = (): void => {};

export interface Batcher {
  /** Of one command; a larger one that a program made itself is left as it is. */
  readonly limits: Pick<ClientLimits, "maxBatchJobs" | "maxBatchBytes">;
  /** Takes what is to be sent as one request. */
  readonly push: (command: Command, done: (outcome: Outcome) => void) => void;
  /** What grows in this round of the event loop; null: nothing yet. */
  batch: Batch | null;
}

type Enqueue = Extract<Command, { readonly type: "enqueue" }>;
type Dequeue = Extract<Command, { readonly type: "dequeue" }>;

type Batch = EnqueueBatch | { readonly type: "dequeue"; readonly first: Dequeue; readonly waiting: Done[] };

interface EnqueueBatch {
  readonly type: "enqueue";
  readonly queue: string;
  readonly jobs: NewJob[];
  /** Of the payloads. */
  bytes: number;
  readonly waiting: Part[];
}

interface Part {
  readonly done: Done;
  /** Jobs that are its own. */
  readonly count: number;
}

export function createBatcher(limits: Batcher["limits"], push: Batcher["push"]): Batcher {
  return { limits, push, batch: null };
}

/** Behind all that was added before. */
export function addToBatch(batcher: Batcher, command: Command, done: Done): void {
  if (command.type === "enqueue" && command.jobs.length > 0) return addEnqueue(batcher, command, done);
  if (command.type === "dequeue" && command.max === 1) return addDequeue(batcher, command, done);
  flushBatch(batcher);
  batcher.push(command, (outcome) => done(outcome, DELIVERED));
}

function addEnqueue(batcher: Batcher, command: Enqueue, done: Done): void {
  let bytes = 0;
  for (const { payload } of command.jobs) bytes += payload.length;
  let { batch } = batcher;
  if (batch?.type !== "enqueue" || !fits(batcher, batch, command, bytes)) {
    flushBatch(batcher);
    batch = { type: "enqueue", queue: command.queue, jobs: [], bytes: 0, waiting: [] };
    batcher.batch = batch;
  }
  for (const job of command.jobs) batch.jobs.push(job);
  batch.bytes += bytes;
  batch.waiting.push({ done, count: command.jobs.length });
}

function fits({ limits }: Batcher, batch: EnqueueBatch, { queue, jobs }: Enqueue, bytes: number): boolean {
  if (batch.queue !== queue) return false;
  return batch.jobs.length + jobs.length <= limits.maxBatchJobs && batch.bytes + bytes <= limits.maxBatchBytes;
}

function addDequeue(batcher: Batcher, command: Dequeue, done: Done): void {
  let { batch } = batcher;
  const isFull = batch !== null && batch.waiting.length >= batcher.limits.maxBatchJobs;
  if (batch?.type !== "dequeue" || !isAlike(batch.first, command) || isFull) {
    flushBatch(batcher);
    batch = { type: "dequeue", first: command, waiting: [] };
    batcher.batch = batch;
  }
  batch.waiting.push(done);
}

/** The round is over: hands on what was batched. */
export function flushBatch(batcher: Batcher): void {
  const { batch } = batcher;
  batcher.batch = null;
  if (batch === null) return;
  if (batch.type === "dequeue") return pushDequeue(batcher, batch.first, batch.waiting);
  const { queue, jobs, waiting } = batch;
  batcher.push({ type: "enqueue", queue, jobs }, (outcome) => shareEnqueued(outcome, waiting));
}

function pushDequeue(batcher: Batcher, first: Dequeue, waiting: readonly Done[]): void {
  batcher.push({ ...first, max: waiting.length }, (outcome) => {
    const left = shareDequeued(outcome, waiting);
    // Fewer came than were asked for, and the queue may hold more: an answer has its limit in bytes.
    if (left.length > 0) pushDequeue(batcher, first, left);
  });
}

function isAlike(one: Dequeue, other: Dequeue): boolean {
  if (one.maxBytes !== other.maxBytes || one.leaseMs !== other.leaseMs || one.waitMs !== other.waitMs) return false;
  return one.queues.length === other.queues.length && one.queues.every((queue, at) => queue === other.queues[at]);
}

function shareEnqueued(outcome: Outcome, waiting: readonly Part[]): void {
  if (!outcome.ok || outcome.reply.type !== "enqueued") {
    for (const { done } of waiting) done(outcome, DELIVERED);
    return;
  }
  const { reply } = outcome;
  let { firstId } = reply;
  for (const { done, count } of waiting) {
    done({ ...outcome, reply: { ...reply, firstId, count } }, DELIVERED);
    firstId += count;
  }
}

/** In the order in which they asked. Those that are returned have to ask again: that there is nothing is known only when nothing came. */
function shareDequeued(outcome: Outcome, waiting: readonly Done[]): readonly Done[] {
  if (!outcome.ok || outcome.reply.type !== "dequeued" || outcome.reply.jobs.length === 0) {
    for (const done of waiting) done(outcome, DELIVERED);
    return [];
  }
  const { reply } = outcome;
  assert(reply.jobs.length <= waiting.length, "a dequeue gives no more jobs than it was asked for");
  for (const [at, job] of reply.jobs.entries())
    waiting[at]?.({ ...outcome, reply: { ...reply, jobs: [job] } }, DELIVERED);
  return waiting.slice(reply.jobs.length);
}
