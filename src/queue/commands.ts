// What does a client ask of the queue, byte for byte? The bodies of command, open, touch and version entries, both directions.
// Accepted bytes are part of the log for ever: what one version of raftq accepts and another refuses would split a cluster.
import { createReader, createWriter, Malformed, type Reader } from "../lib/msgpack.ts";
import type { Command, NewJob, QueueLimits } from "./types.ts";

const OP = { enqueue: 1, dequeue: 2, settle: 3 } as const;
const ENQUEUE_FIELDS = 3;
const DEQUEUE_FIELDS = 6;
const SETTLE_FIELDS = 1;
const JOB_FIELDS = 8;
const MAX_ENCODING = 0xff;

/** Client ids and queue names, in bytes of UTF-8. */
export const MAX_NAME_BYTES = 64;
export const NONCE_BYTES = 16;

/** What a client says when it opens a session; the nonce stands for its process. */
export interface Open {
  readonly clientId: string;
  readonly nonce: Uint8Array;
}

export function encodeCommand(command: Command): Uint8Array {
  switch (command.type) {
    case "enqueue": {
      const payloadBytes = command.jobs.reduce((sum, job) => sum + job.payload.length, 0);
      const writer = createWriter(0, MAX_NAME_BYTES + payloadBytes + command.jobs.length * (JOB_FIELDS + 8));
      writer.array(ENQUEUE_FIELDS).uint(OP.enqueue).text(command.queue).array(command.jobs.length);
      for (const job of command.jobs) {
        writer.array(JOB_FIELDS).uint(job.encoding).binary(job.payload);
        writer.nil().uint(0).uint(0).uint(0).nil().nil();
      }
      return writer.finish();
    }
    case "dequeue": {
      const writer = createWriter();
      writer.array(DEQUEUE_FIELDS).uint(OP.dequeue).array(command.queues.length);
      for (const queue of command.queues) writer.text(queue);
      return writer.uint(command.max).uint(command.maxBytes).uint(command.leaseMs).uint(command.waitMs).finish();
    }
    case "settle":
      return createWriter().array(SETTLE_FIELDS).uint(OP.settle).finish();
  }
}

/** The command in `bytes`; payloads are views of them. Throws Malformed on anything that this version does not execute. */
export function decodeCommand(bytes: Uint8Array, limits: Pick<QueueLimits, "maxJobsPerCommand">): Command {
  const reader = createReader(bytes);
  const fields = reader.array(SETTLE_FIELDS, DEQUEUE_FIELDS);
  const op = reader.uint();
  const command = decodeFields(reader, op, fields, limits.maxJobsPerCommand);
  reader.end();
  return command;
}

function decodeFields(reader: Reader, op: number, fields: number, maxJobs: number): Command {
  switch (op) {
    case OP.enqueue: {
      expectFields("enqueue", fields, ENQUEUE_FIELDS);
      const queue = reader.text(MAX_NAME_BYTES);
      const count = reader.array(1, maxJobs);
      const jobs: NewJob[] = [];
      for (let at = 0; at < count; at++) jobs.push(decodeJob(reader));
      return { type: "enqueue", queue, jobs };
    }
    case OP.dequeue: {
      expectFields("dequeue", fields, DEQUEUE_FIELDS);
      reader.array(1, 1);
      const queues = [reader.text(MAX_NAME_BYTES)];
      const max = reader.uint();
      if (max === 0) throw new Malformed("a dequeue asks for at least one job");
      const maxBytes = reader.uint();
      expectZero(reader, "leaseMs");
      expectZero(reader, "waitMs");
      return { type: "dequeue", queues, max, maxBytes, leaseMs: 0, waitMs: 0 };
    }
    case OP.settle:
      expectFields("settle", fields, SETTLE_FIELDS);
      return { type: "settle" };
    default:
      throw new Malformed(`${op} is not the number of a command that this version knows`);
  }
}

function decodeJob(reader: Reader): NewJob {
  reader.array(JOB_FIELDS, JOB_FIELDS);
  const encoding = reader.uint(MAX_ENCODING);
  // Its size is judged when it is applied, so that the refusal is the number's answer.
  const payload = reader.binary(Number.MAX_SAFE_INTEGER);
  expectNil(reader, "headers");
  expectZero(reader, "delay");
  expectZero(reader, "priority");
  expectZero(reader, "ttl");
  expectNil(reader, "group");
  expectNil(reader, "key");
  return { encoding, payload };
}

function expectFields(command: string, found: number, expected: number): void {
  if (found !== expected) throw new Malformed(`${command} has ${found} fields where ${expected} are expected`);
}

function expectZero(reader: Reader, field: string): void {
  if (reader.uint() !== 0) throw new Malformed(`${field} is not supported in this version: send 0`);
}

function expectNil(reader: Reader, field: string): void {
  if (!reader.nil()) throw new Malformed(`${field} is not supported in this version: send nil`);
}

/** Is this a settle, in whatever valid form it is written? */
export function isSettle(command: Uint8Array): boolean {
  try {
    return decodeCommand(command, { maxJobsPerCommand: 0 }).type === "settle";
  } catch (error) {
    if (error instanceof Malformed) return false;
    throw error;
  }
}

/** May it be executed while there is no room? What takes jobs out, or settles: not what adds any, nor what cannot be read. */
export function needsNoRoom(command: Uint8Array): boolean {
  try {
    return decodeCommand(command, { maxJobsPerCommand: 0 }).type !== "enqueue";
  } catch (error) {
    if (error instanceof Malformed) return false;
    throw error;
  }
}

// Control characters, line and paragraph separators, and marks that reverse or hide text. Written out, not taken from the
// engine's Unicode tables: nodes with another engine must judge alike.
// oxlint-disable-next-line no-control-regex -- these are what a client id must not hold
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;

/** 1 to 64 bytes of text that can be shown as it is. */
export function isClientId(text: string): boolean {
  if (text.length === 0 || text.length > MAX_NAME_BYTES || !text.isWellFormed()) return false;
  return !UNPRINTABLE.test(text) && new TextEncoder().encode(text).length <= MAX_NAME_BYTES;
}

export function encodeOpen(open: Open): Uint8Array {
  return createWriter().array(2).text(open.clientId).binary(open.nonce).finish();
}

export function decodeOpen(bytes: Uint8Array): Open {
  const reader = createReader(bytes);
  reader.array(2, 2);
  const clientId = reader.text(MAX_NAME_BYTES);
  if (!isClientId(clientId)) throw new Malformed(`a client id is 1 to ${MAX_NAME_BYTES} bytes of printable text`);
  const nonce = reader.binary(NONCE_BYTES);
  if (nonce.length !== NONCE_BYTES) throw new Malformed(`a nonce has ${NONCE_BYTES} bytes, not ${nonce.length}`);
  reader.end();
  return { clientId, nonce };
}

/** The sessions whose clients are connected but idle. */
export function encodeTouch(sessions: readonly number[]): Uint8Array {
  const writer = createWriter().array(sessions.length);
  for (const session of sessions) writer.uint(session);
  return writer.finish();
}

export function decodeTouch(bytes: Uint8Array): number[] {
  const reader = createReader(bytes);
  const count = reader.array(0, bytes.length);
  const sessions: number[] = [];
  for (let at = 0; at < count; at++) sessions.push(reader.uint());
  reader.end();
  return sessions;
}

/** The version of the state machine from this entry on. */
export function encodeVersion(version: number): Uint8Array {
  return createWriter().array(1).uint(version).finish();
}

export function decodeVersion(bytes: Uint8Array): number {
  const reader = createReader(bytes);
  reader.array(1, 1);
  const version = reader.uint();
  reader.end();
  return version;
}
