// Which requests travel together? Enqueues that a program makes in one round of the event loop become one command with many
// jobs, and dequeues of one job each become one dequeue of many: one number, one entry in the log, one answer, of which each gets
// its part.
import { assert } from "../lib/assert.ts";
import type { Command, NewJob } from "../queue/types.ts";
import type { Done, Outcome } from "./pipeline.ts";

/** A program has its part once it was delivered. */
const DELIVERED = (): void => {};

export interface Gathering {
  /** Behind all that was given before. */
  submit(command: Command, done: Done): void;
  /** The round is over: hands on what was gathered. */
  flush(): void;
}

export interface GatheringLimits {
  /** Of one command; a larger one that a program made itself is left as it is. */
  readonly gatherJobs: number;
  readonly gatherBytes: number;
}

type Enqueue = Extract<Command, { readonly type: "enqueue" }>;
type Dequeue = Extract<Command, { readonly type: "dequeue" }>;

/** What grows in this round, if anything, and who waits for it. */
type Group =
  | {
      readonly type: "enqueue";
      readonly queue: string;
      readonly jobs: NewJob[];
      bytes: number;
      readonly waiting: Part[];
    }
  | { readonly type: "dequeue"; readonly first: Dequeue; readonly waiting: Done[] };

interface Part {
  readonly done: Done;
  /** Jobs that are its own. */
  readonly count: number;
}

export function createGathering(
  limits: GatheringLimits,
  push: (command: Command, done: (outcome: Outcome) => void) => void,
): Gathering {
  let group: Group | null = null;

  function flush(): void {
    const gathered = group;
    group = null;
    if (gathered === null) return;
    if (gathered.type === "enqueue") {
      const { queue, jobs, waiting } = gathered;
      push({ type: "enqueue", queue, jobs }, (outcome) => shareEnqueued(outcome, waiting));
    } else take(gathered.first, gathered.waiting);
  }

  function take(first: Dequeue, waiting: readonly Done[]): void {
    push({ ...first, max: waiting.length }, (outcome) => {
      const left = shareDequeued(outcome, waiting);
      // Fewer came than were asked for, and the queue may hold more: an answer has its limit in bytes.
      if (left.length > 0) take(first, left);
    });
  }

  function addEnqueue(command: Enqueue, done: Done): void {
    let bytes = 0;
    for (const { payload } of command.jobs) bytes += payload.length;
    if (group?.type !== "enqueue" || !fits(group, command, bytes)) {
      flush();
      group = { type: "enqueue", queue: command.queue, jobs: [], bytes: 0, waiting: [] };
    }
    for (const job of command.jobs) group.jobs.push(job);
    group.bytes += bytes;
    group.waiting.push({ done, count: command.jobs.length });
  }

  function fits(present: Extract<Group, { type: "enqueue" }>, { queue, jobs }: Enqueue, bytes: number): boolean {
    if (present.queue !== queue) return false;
    return present.jobs.length + jobs.length <= limits.gatherJobs && present.bytes + bytes <= limits.gatherBytes;
  }

  function addDequeue(command: Dequeue, done: Done): void {
    if (group?.type !== "dequeue" || !isAlike(group.first, command) || group.waiting.length >= limits.gatherJobs) {
      flush();
      group = { type: "dequeue", first: command, waiting: [] };
    }
    group.waiting.push(done);
  }

  return {
    submit: (command, done) => {
      if (command.type === "enqueue" && command.jobs.length > 0) return addEnqueue(command, done);
      if (command.type === "dequeue" && command.max === 1) return addDequeue(command, done);
      flush();
      push(command, (outcome) => done(outcome, DELIVERED));
    },
    flush,
  };
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

/** In the order in which they asked. Who is left has to ask again: that there is nothing is known only when nothing came. */
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
