// A queue and the log that it is made from: entries as a leader would stamp them, applied one by one, the replies decoded.
import { QUEUE } from "../../src/config.ts";
import { encodeCommand, encodeOpen, encodeTick, encodeTouch, type Open } from "../../src/queue/commands.ts";
import { createJobs } from "../../src/queue/jobs.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import { apply, assembleQueue, type Queue, STATE_MACHINE_VERSION } from "../../src/queue/queue.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import { freeze } from "../../src/queue/snapshot.ts";
import { createSessions } from "../../src/queue/sessions.ts";
import type { AppliedEntry, Command, EntryFields, Reply } from "../../src/queue/types.ts";
import { crc32 } from "../../src/lib/crc32.ts";

export const LIMITS: QueueLimits = QUEUE;

export const text = (value: string): Uint8Array => new TextEncoder().encode(value);
export const hex = (bytes: Uint8Array): string => bytes.toHex();
export const nonce = (value: number): Uint8Array => new Uint8Array(16).fill(value);

export const enqueue = (...values: readonly string[]): Command => ({
  type: "enqueue",
  queue: "default",
  jobs: values.map((value) => ({ encoding: 1, payload: text(value) })),
});
export const dequeue = (max = 1, maxBytes = 1_000_000): Command => ({
  type: "dequeue",
  queues: ["default"],
  max,
  maxBytes,
  leaseMs: 0,
  waitMs: 0,
});
export const resolve: Command = { type: "resolve" };

/** Payloads as text, for short expectations. */
export const values = (reply: Reply): readonly string[] | string =>
  reply.type === "dequeued" ? reply.jobs.map((job) => new TextDecoder().decode(job.payload)) : reply.type;

export interface Answered {
  readonly reply: Reply;
  readonly bytes: Uint8Array;
  readonly duplicate: boolean;
}

/** As after the first version entry, which is the business of a test of its own: the tests' indexes start behind it. */
export function queueWith(limits: QueueLimits): Queue {
  const position = { appliedIndex: 0, time: 0, version: STATE_MACHINE_VERSION };
  return assembleQueue(limits, position, createJobs(1), createSessions());
}

/** A queue and the entries that made it what it is. */
export class Log {
  queue: Queue;
  readonly entries: EntryFields[] = [];
  time = 1_000;

  constructor(limits: QueueLimits = LIMITS) {
    this.queue = queueWith(limits);
  }

  append(fields: Partial<EntryFields>): AppliedEntry {
    const index = this.queue.appliedIndex + 1;
    const blank = {
      index,
      term: 1,
      kind: "noop",
      flags: 0,
      time: this.time,
      wall: 0,
      session: 0,
      number: 0,
      acknowledgedThrough: 0,
    } as const;
    const entry: EntryFields = { ...blank, body: new Uint8Array(0), ...fields };
    this.entries.push(entry);
    return apply(this.queue, entry);
  }

  answered(fields: Partial<EntryFields>): Answered {
    const { reply, duplicate } = this.append(fields);
    return { reply: decodeReply(reply!), bytes: reply!, duplicate };
  }

  open(clientId: string, nonceValue = 1, { generated = false, resume = false }: Partial<Open> = {}): Answered {
    return this.answered({
      kind: "open",
      body: encodeOpen({ clientId, nonce: nonce(nonceValue), generated, resume }),
    });
  }

  /** Opens and gives the session. */
  session(clientId: string, nonceValue = 1, how: Partial<Open> = {}): number {
    const { reply } = this.open(clientId, nonceValue, how);
    if (reply.type !== "opened") throw new Error(`the session was not opened: ${JSON.stringify(reply)}`);
    return reply.session;
  }

  send(session: number, number: number, command: Command | Uint8Array, acknowledgedThrough = 0): Answered {
    const body = command instanceof Uint8Array ? command : encodeCommand(command);
    return this.answered({ kind: "command", session, number, acknowledgedThrough, body });
  }

  close(session: number, acknowledgedThrough = 0): Answered {
    return this.answered({ kind: "close", session, acknowledgedThrough });
  }

  touch(...sessions: readonly number[]): void {
    this.append({ kind: "touch", body: encodeTouch(sessions) });
  }

  /** Lets cluster time pass, by an entry that does nothing else. */
  pass(ms: number): void {
    this.time += ms;
    this.append({ kind: "tick", body: encodeTick("due times") });
  }
}

export const refusal = (answered: Answered): string =>
  answered.reply.type === "refused" ? answered.reply.code : answered.reply.type;

export function partsOf(queue: Queue, maxPartBytes = 64 * 1_024): Uint8Array[] {
  return drawAll(freeze(queue, maxPartBytes));
}

export function drawAll(frozen: { nextPart(): Uint8Array | null }): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let part = frozen.nextPart(); part !== null; part = frozen.nextPart()) parts.push(part);
  return parts;
}

/** The whole state as one text: equal texts are equal states. */
export const stateOf = (queue: Queue): string => partsOf(queue).map(hex).join(" ");

/** One number for the whole state: jobs, sessions, replies, time. */
export const checksumOf = (queue: Queue): number => partsOf(queue).reduce((checksum, part) => crc32(part, checksum), 0);
