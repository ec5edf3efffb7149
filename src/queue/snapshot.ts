// How does the whole state become bytes and come back? In parts, drawn while the queue goes on; equal states give equal bytes.
//
// A part is [part number, [record…]]. The records of all parts in a row: one header, the sessions in the order of their last
// use, each followed by its answers, then the jobs in blocks. Nothing in them depends on how the state lies in memory.
import { createReader, createWriter, Malformed, type Reader } from "../lib/msgpack.ts";
import { MAX_U48 } from "../lib/u48.ts";
import { isClientId, MAX_NAME_BYTES, NONCE_BYTES } from "./commands.ts";
import {
  blocksOf,
  createJobs,
  type FrozenJobs,
  freezeJobs,
  type JobBlock,
  pushBlock,
  type WaitingJobs,
} from "./jobs.ts";
import { digestOf } from "./digest.ts";
import { assembleQueue, type Queue, STATE_MACHINE_VERSION } from "./queue.ts";
import {
  adopt,
  createSessions,
  freezeSessions,
  keepAnswer,
  type Opening,
  type Session,
  type Sessions,
} from "./sessions.ts";
import type { QueueLimits } from "./types.ts";

const FORMAT = 2;
/** It had fewer limits, too: these are meant where it names none. They never change, whatever new clusters begin with. */
const FORMAT_WITHOUT_DIGEST = 1;
export const LATER_LIMITS = {
  checkpointEntries: 4_096,
  checkpointBytes: 2 ** 20,
  maxReadyBytes: 2 ** 30,
  maxAnswerBytes: 2 ** 28,
} as const satisfies Partial<QueueLimits>;
const RECORD = { header: 1, session: 2, answer: 3, jobs: 4 } as const;
const HEADER_FIELDS = 10;
const MAX_HEADER_FIELDS = 1_000;
const LIMITS_FIELDS = 11;
const FIRST_LIMITS_FIELDS = 7;
const SESSION_FIELDS = 8;
const ANSWER_FIELDS = 4;
const JOBS_FIELDS = 5;
/** Nobody counts so far; from here the counter goes on for centuries before it is no safe integer any more. */
const MAX_JOB_ID = 2 ** 52;
/** More than the part's own head, or the heads of a record of jobs, ever need. */
const HEAD_BYTES = 32;

/** At most, beside its payload, reply or name: what a job, an answer, a session and one of its openings take. */
const JOB_BYTES = 5;
const ANSWER_BYTES = 32;
const SESSION_BYTES = 64;
const OPENING_BYTES = 32;
/** The header, the manifest, and what a file system rounds up. */
const FIXED_BYTES = 16 * 1_024;
/** Heads of parts and blocks, and unused ends of blocks on disk. */
const PART_FACTOR = 1.01;

interface Frozen {
  readonly limits: QueueLimits;
  readonly version: number;
  readonly appliedIndex: number;
  readonly time: number;
  readonly digest: number;
  readonly sessions: readonly Session[];
  readonly jobs: FrozenJobs;
}

export interface FrozenQueue {
  /** Of the state that was frozen. Its header holds it too. */
  readonly digest: number;
  /** The next part, at most `maxPartBytes` long unless one job or answer alone is longer; null after the last. */
  nextPart(): Uint8Array | null;
}

/** Holds on to the present state without copying it. The queue may be changed while the parts are drawn. */
export function freeze(queue: Queue, maxPartBytes: number): FrozenQueue {
  const { limits, version, appliedIndex, time } = queue;
  const digest = digestOf(queue);
  const sessions = freezeSessions(queue.sessions);
  const jobs = freezeJobs(queue.jobs);
  const parts = partsOf({ limits, version, appliedIndex, time, digest, sessions, jobs }, maxPartBytes);
  return {
    digest,
    nextPart: () => {
      const next = parts.next();
      return next.done === true ? null : next.value;
    },
  };
}

/** At least what a snapshot of the present state takes, parts and manifest, without making one. */
export function snapshotBytes({ ready, readyBytes, sessions }: Queue): number {
  let bytes = FIXED_BYTES + readyBytes + ready * JOB_BYTES;
  for (const { clientId, openings, answers, answerBytes } of sessions.present.values()) {
    bytes += SESSION_BYTES + 3 * clientId.length + openings.length * OPENING_BYTES;
    bytes += answerBytes + answers.length * ANSWER_BYTES;
  }
  return Math.ceil(bytes * PART_FACTOR);
}

function* partsOf(frozen: Frozen, maxPartBytes: number): Generator<Uint8Array, undefined> {
  let number = 0;
  let records: Uint8Array[] = [];
  let bytes = HEAD_BYTES;
  for (const record of recordsOf(frozen, Math.max(1, maxPartBytes - 2 * HEAD_BYTES))) {
    if (records.length > 0 && bytes + record.length > maxPartBytes) {
      yield encodePart(number++, records, bytes);
      records = [];
      bytes = HEAD_BYTES;
    }
    records.push(record);
    bytes += record.length;
  }
  yield encodePart(number, records, bytes);
}

function encodePart(number: number, records: readonly Uint8Array[], expectedBytes: number): Uint8Array {
  const writer = createWriter(0, expectedBytes).array(2).uint(number).array(records.length);
  for (const record of records) writer.raw(record);
  return writer.finish();
}

function* recordsOf(frozen: Frozen, maxBlockBytes: number): Generator<Uint8Array> {
  yield encodeHeader(frozen);
  for (const session of frozen.sessions) {
    yield encodeSession(session);
    for (const { commandBytes, commandCrc, reply } of session.answers) {
      const writer = createWriter(0, HEAD_BYTES + reply.length)
        .array(ANSWER_FIELDS)
        .uint(RECORD.answer);
      yield writer.uint(commandBytes).uint(commandCrc).binary(reply).finish();
    }
  }
  for (const block of blocksOf(frozen.jobs, maxBlockBytes)) yield encodeBlock(block);
}

function encodeHeader({ limits, version, appliedIndex, time, digest, sessions, jobs }: Frozen): Uint8Array {
  const writer = createWriter().array(HEADER_FIELDS).uint(RECORD.header).uint(FORMAT).uint(version);
  writer.uint(appliedIndex).uint(time).uint(sessions.length).uint(jobs.firstId).uint(jobs.count);
  writer.array(LIMITS_FIELDS);
  writer.uint(limits.maxSessions).uint(limits.sessionExpiryMs).uint(limits.maxReplies).uint(limits.maxReplyBytes);
  writer.uint(limits.noncesRemembered).uint(limits.maxPayloadBytes).uint(limits.maxJobsPerCommand);
  writer.uint(limits.checkpointEntries).uint(limits.checkpointBytes);
  writer.uint(limits.maxReadyBytes).uint(limits.maxAnswerBytes).uint(digest);
  return writer.finish();
}

function encodeSession(session: Session): Uint8Array {
  const writer = createWriter(0, 128 + session.openings.length * 32);
  writer.array(SESSION_FIELDS).uint(RECORD.session).text(session.clientId).uint(session.id).uint(session.numberAtOpen);
  writer.uint(session.lastNumber).uint(session.answeredUpTo).uint(session.usedAt);
  writer.array(session.openings.length);
  for (const opening of session.openings) writer.array(2).binary(opening.nonce).uint(opening.session);
  return writer.finish();
}

function encodeBlock({ firstId, encodings, lengths, payloads }: JobBlock): Uint8Array {
  const bytes = encodings.length + lengths.length + payloads.length;
  const writer = createWriter(0, HEAD_BYTES + bytes)
    .array(JOBS_FIELDS)
    .uint(RECORD.jobs)
    .uint(firstId);
  return writer.binary(encodings).binary(lengths).binary(payloads).finish();
}

/** No damage: a raftq with a newer format of snapshots, or a newer state machine, wrote this. */
export class NewerState extends Malformed {
  override name = "NewerState";
  /** The version of the state machine is part of the state, so a state that is wrong may have a wrong one; the format is not. */
  readonly isFormat: boolean;
  constructor(what: string, isFormat: boolean) {
    super(what);
    this.isFormat = isFormat;
  }
}

/** What in a state only a newer raftq can read, by the first part; null: nothing, or the part is damaged. */
export function newerState(firstPart: Uint8Array): NewerState | null {
  try {
    const reader = createReader(firstPart);
    reader.array(2, 2);
    reader.uint();
    reader.array(1, firstPart.length);
    restoreRecord(null, reader);
    return null;
  } catch (error) {
    if (error instanceof NewerState) return error;
    if (error instanceof Malformed) return null;
    throw error;
  }
}

/** The queue that all parts of one snapshot, in their order, stand for. Throws Malformed when they are damaged or incomplete. */
export function restore(parts: Iterable<Uint8Array>): Queue {
  let restoring: Restoring | null = null;
  let number = 0;
  for (const part of parts) {
    const reader = createReader(part);
    reader.array(2, 2);
    const found = reader.uint();
    if (found !== number) throw new Malformed(`part ${found} of a snapshot stands where part ${number} is expected`);
    number++;
    const records = reader.array(1, part.length);
    for (let at = 0; at < records; at++) restoring = restoreRecord(restoring, reader);
    reader.end();
  }
  if (restoring === null) throw new Malformed("a snapshot without parts holds no state");
  return finished(restoring);
}

/** The header's word, and what was read since. */
interface Restoring {
  readonly limits: QueueLimits;
  readonly version: number;
  readonly appliedIndex: number;
  readonly time: number;
  readonly sessionCount: number;
  readonly jobCount: number;
  /** null: written before there were digests. */
  readonly digest: number | null;
  readonly sessions: Sessions;
  readonly jobs: WaitingJobs;
  /** The session whose answers are being read. */
  session: Session | null;
}

function restoreRecord(restoring: Restoring | null, reader: Reader): Restoring {
  // A newer header may have more; its kind, its format and the version of the state machine come first in every format.
  const fields = reader.array(ANSWER_FIELDS, restoring === null ? MAX_HEADER_FIELDS : HEADER_FIELDS);
  const kind = reader.uint();
  if (restoring === null) {
    if (kind !== RECORD.header) throw new Malformed("a snapshot begins with its header");
    return readHeader(reader, fields);
  }
  switch (kind) {
    case RECORD.session:
      expectFields(fields, SESSION_FIELDS);
      readSession(restoring, reader);
      return restoring;
    case RECORD.answer:
      expectFields(fields, ANSWER_FIELDS);
      readAnswer(restoring, reader);
      return restoring;
    case RECORD.jobs:
      expectFields(fields, JOBS_FIELDS);
      readBlock(restoring, reader);
      return restoring;
    default:
      throw new Malformed(`a record of kind ${kind} has no place in a snapshot`);
  }
}

function expectFields(found: number, expected: number): void {
  if (found !== expected) throw new Malformed(`a record has ${found} fields where ${expected} are expected`);
}

function readHeader(reader: Reader, fields: number): Restoring {
  const format = reader.uint();
  if (format > FORMAT)
    throw new NewerState(`snapshot format ${format}, and this raftq knows snapshot format ${FORMAT}`, true);
  if (format !== FORMAT && format !== FORMAT_WITHOUT_DIGEST)
    throw new Malformed(`snapshot format ${format} is not known to this version of raftq`);
  const withDigest = format === FORMAT;
  expectFields(fields, withDigest ? HEADER_FIELDS : HEADER_FIELDS - 1);
  const version = reader.uint();
  if (version > STATE_MACHINE_VERSION) {
    const what = `state machine version ${version}, and this raftq knows version ${STATE_MACHINE_VERSION}`;
    throw new NewerState(what, false);
  }
  const appliedIndex = reader.uint(MAX_U48);
  const time = reader.uint(MAX_U48);
  const sessionCount = reader.uint();
  const firstId = reader.uint(MAX_JOB_ID);
  const jobCount = reader.uint(MAX_U48);
  const limits = readLimits(reader, withDigest);
  const digest = withDigest ? reader.uint() : null;
  if (version < 1 || firstId < 1) throw new Malformed("a snapshot's versions and ids start at 1");
  if (sessionCount > limits.maxSessions)
    throw new Malformed(
      `a snapshot says that it holds ${sessionCount} sessions; its own limit is ${limits.maxSessions}`,
    );
  const sessions = createSessions();
  const jobs = createJobs(firstId);
  return { limits, version, appliedIndex, time, sessionCount, jobCount, digest, sessions, jobs, session: null };
}

/** Without any of them nothing could ever be executed, or a state would come about that cannot be written. */
function readLimits(reader: Reader, complete: boolean): QueueLimits {
  const limits = readLimitFields(reader, complete);
  for (const [name, limit] of Object.entries(limits))
    if (limit < 1) throw new Malformed(`a snapshot has the limit ${name} 0`);
  return limits;
}

function readLimitFields(reader: Reader, complete: boolean): QueueLimits {
  const fields = complete ? LIMITS_FIELDS : FIRST_LIMITS_FIELDS;
  reader.array(fields, fields);
  const first = {
    maxSessions: reader.uint(),
    sessionExpiryMs: reader.uint(),
    maxReplies: reader.uint(),
    maxReplyBytes: reader.uint(),
    noncesRemembered: reader.uint(),
    maxPayloadBytes: reader.uint(),
    maxJobsPerCommand: reader.uint(),
  };
  if (!complete) return { ...first, ...LATER_LIMITS };
  return {
    ...first,
    checkpointEntries: reader.uint(),
    checkpointBytes: reader.uint(),
    maxReadyBytes: reader.uint(),
    maxAnswerBytes: reader.uint(),
  };
}

function readSession(restoring: Restoring, reader: Reader): void {
  const { sessions, limits, sessionCount } = restoring;
  expectAllAnswers(restoring);
  // At once, not at the end: what a snapshot may make us hold is what its header says.
  if (sessions.present.size >= sessionCount)
    throw new Malformed(`a snapshot holds more than the ${sessionCount} sessions that its header says`);
  if (restoring.jobs.count > 0) throw new Malformed("a session stands behind the jobs");
  const session: Session = {
    clientId: reader.text(MAX_NAME_BYTES),
    id: reader.uint(restoring.appliedIndex),
    numberAtOpen: reader.uint(MAX_U48),
    lastNumber: reader.uint(MAX_U48),
    answeredUpTo: reader.uint(MAX_U48),
    answers: [],
    answerBytes: 0,
    usedAt: reader.uint(restoring.time),
    openings: readOpenings(reader, limits.noncesRemembered),
    generation: sessions.generation,
    digest: null,
  };
  const { clientId, id, lastNumber } = session;
  const newest = session.openings.at(-1);
  const previous = restoring.session;
  if (!isClientId(clientId) || sessions.idOf.has(clientId))
    throw new Malformed("a client id is invalid or stands there twice");
  if (newest?.session !== id) throw new Malformed(`session ${id} is not the one that its client opened last`);
  if (
    session.openings.some((opening) => sessions.present.has(opening.session) || sessions.fenced.has(opening.session))
  ) {
    throw new Malformed(`a session of ${JSON.stringify(clientId)} belongs to another client as well`);
  }
  if (session.numberAtOpen > lastNumber || session.answeredUpTo > lastNumber) {
    throw new Malformed(`session ${id} speaks of numbers that were not executed`);
  }
  if (missingAnswers(session) > limits.maxReplies)
    throw new Malformed(`session ${id} keeps more answers than the limit`);
  if (previous !== null && previous.usedAt > session.usedAt)
    throw new Malformed("sessions are not in the order of their last use");
  adopt(sessions, session);
  restoring.session = session;
}

function readOpenings(reader: Reader, max: number): Opening[] {
  const count = reader.array(1, max);
  const openings: Opening[] = [];
  let previous = 0;
  for (let at = 0; at < count; at++) {
    reader.array(2, 2);
    const nonce = reader.binary(NONCE_BYTES);
    const session = reader.uint();
    if (nonce.length !== NONCE_BYTES || session <= previous)
      throw new Malformed("the openings of a client are damaged");
    openings.push({ nonce: nonce.slice(), session });
    previous = session;
  }
  return openings;
}

function readAnswer({ limits, sessions, session }: Restoring, reader: Reader): void {
  if (session === null || missingAnswers(session) === 0) throw new Malformed("an answer belongs to no number");
  // As `isWindowFull`: the answer that reaches the limit is still kept, none behind it.
  if (session.answerBytes >= limits.maxReplyBytes)
    throw new Malformed(`session ${session.id} keeps more bytes of answers than the limit of ${limits.maxReplyBytes}`);
  const commandBytes = reader.uint();
  const commandCrc = reader.uint(0xffff_ffff);
  const reply = reader.binary(Number.MAX_SAFE_INTEGER).slice();
  keepAnswer(sessions, session, { commandBytes, commandCrc, reply, digest: null });
}

function missingAnswers({ lastNumber, answeredUpTo, answers }: Session): number {
  return lastNumber - answeredUpTo - answers.length;
}

function expectAllAnswers({ session }: Restoring): void {
  if (session !== null && missingAnswers(session) > 0)
    throw new Malformed(`answers of session ${session.id} are missing`);
}

function readBlock(restoring: Restoring, reader: Reader): void {
  expectAllAnswers(restoring);
  const block: JobBlock = {
    firstId: reader.uint(),
    encodings: reader.binary(Number.MAX_SAFE_INTEGER),
    lengths: reader.binary(Number.MAX_SAFE_INTEGER),
    payloads: reader.binary(Number.MAX_SAFE_INTEGER),
  };
  const { jobs, jobCount } = restoring;
  if (block.encodings.length > jobCount - jobs.count)
    throw new Malformed(`a snapshot holds more than the ${jobCount} jobs that its header says`);
  const problem = pushBlock(jobs, block, restoring.limits.maxPayloadBytes);
  if (problem !== null) throw new Malformed(problem);
}

function finished(restoring: Restoring): Queue {
  const { limits, version, appliedIndex, time, digest, sessions, jobs, sessionCount, jobCount } = restoring;
  expectAllAnswers(restoring);
  if (sessions.present.size !== sessionCount) {
    throw new Malformed(`a snapshot holds ${sessions.present.size} sessions where its header says ${sessionCount}`);
  }
  if (jobs.count !== jobCount)
    throw new Malformed(`a snapshot holds ${jobs.count} jobs where its header says ${jobCount}`);
  const queue = assembleQueue(limits, { appliedIndex, time, version }, jobs, sessions);
  if (digest !== null && digest !== digestOf(queue))
    throw new Malformed(`a snapshot's state has the digest ${digestOf(queue)} where its header says ${digest}`);
  return queue;
}
