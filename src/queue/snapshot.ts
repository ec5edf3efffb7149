// How does the whole state become bytes and come back? In parts, drawn while the queue goes on; equal states give equal bytes.
//
// A part is [part number, [record…]]. The records of all parts in a row: one header, the sessions in the order of their last
// use, each followed by its answers, then the jobs in blocks. Nothing in them depends on how the state lies in memory.
import { binary, binaryView, decode, encode, list, text, tuple, uint } from "../lib/layout.ts";
import { leadingIntegers, Malformed } from "../lib/messagepack.ts";
import { type Kinds, kind, memberOf, union } from "../lib/union.ts";
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
  type Answer,
  createSessions,
  freezeSessions,
  keepAnswer,
  type Opening,
  type Session,
  type Sessions,
} from "./sessions.ts";
import type { QueueLimits } from "./types.ts";

const FORMAT = 3;
const MAX_U32 = 0xffff_ffff;
/** Nobody counts so far; from here the counter goes on for centuries before it is no safe integer any more. */
const MAX_JOB_ID = 2 ** 52;
/** What holds a snapshot bounds it. */
const ANY = Number.MAX_SAFE_INTEGER;

/** At most, beside its payload, reply or name: what a job, an answer, a session and one of its openings take. */
const JOB_BYTES = 5;
const ANSWER_BYTES = 32;
const SESSION_BYTES = 64;
const OPENING_BYTES = 32;
/** The header, the manifest, and what a file system rounds up. */
const FIXED_BYTES = 16 * 1_024;
/** Heads of parts and blocks, and unused ends of blocks on disk. */
const PART_FACTOR = 1.01;
/** More than the part's own head, or the heads of a record of jobs, ever need. */
const HEAD_BYTES = 32;
/** More than a header ever needs. */
const HEADER_BYTES = 256;

interface Header {
  readonly type: "header";
  readonly format: number;
  readonly version: number;
  readonly appliedIndex: number;
  readonly time: number;
  readonly sessionCount: number;
  readonly firstId: number;
  readonly jobCount: number;
  readonly limits: QueueLimits;
  readonly digest: number;
}

interface SessionRecord extends Pick<
  Session,
  "clientId" | "id" | "numberAtOpen" | "lastNumber" | "answeredUpTo" | "usedAt"
> {
  readonly type: "session";
  readonly openings: readonly Opening[];
}

type AnswerRecord = { readonly type: "answer" } & Omit<Answer, "digest">;
type JobsRecord = { readonly type: "jobs" } & JobBlock;
type StateRecord = Header | SessionRecord | AnswerRecord | JobsRecord;

const u48 = uint(MAX_U48);
/** Without any of them nothing could ever be executed, or a state would come about that cannot be written. */
const limit = uint(ANY, 1);
const bytesOfBlock = binaryView(ANY);

/** The kind, the format and the version of the state machine come first in every format. */
const RECORDS: Kinds<StateRecord> = {
  header: kind<Header>("header", 1, {
    format: uint(FORMAT, FORMAT),
    version: limit,
    appliedIndex: u48,
    time: u48,
    sessionCount: uint(),
    firstId: uint(MAX_JOB_ID, 1),
    jobCount: u48,
    limits: tuple<QueueLimits>("limits", {
      maxSessions: limit,
      sessionExpiryMs: limit,
      maxReplies: limit,
      maxReplyBytes: limit,
      noncesRemembered: limit,
      maxPayloadBytes: limit,
      maxJobsPerCommand: limit,
      checkpointEntries: limit,
      checkpointBytes: limit,
      maxReadyBytes: limit,
      maxAnswerBytes: limit,
    }),
    digest: uint(),
  }),
  session: kind<SessionRecord>("session", 2, {
    clientId: text(MAX_NAME_BYTES),
    id: uint(),
    numberAtOpen: u48,
    lastNumber: u48,
    answeredUpTo: u48,
    usedAt: uint(),
    openings: list(tuple<Opening>("an opening", { nonce: binary(NONCE_BYTES, NONCE_BYTES), session: uint() }), ANY, 1),
  }),
  answer: kind<AnswerRecord>("answer", 3, { commandBytes: uint(), commandCrc: uint(MAX_U32), reply: binary(ANY) }),
  jobs: kind<JobsRecord>("jobs", 4, {
    firstId: uint(),
    encodings: bytesOfBlock,
    lengths: bytesOfBlock,
    payloads: bytesOfBlock,
  }),
};

const part = tuple<{ readonly number: number; readonly records: readonly StateRecord[] }>("a part", {
  number: uint(),
  records: list(memberOf("a record", union<StateRecord>("record", RECORDS)), ANY, 1),
});

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
  for (const session of sessions.present.values()) {
    const { answers, answerBytes } = session;
    bytes += sessionBytes(session) + answerBytes + answers.length * ANSWER_BYTES;
  }
  return Math.ceil(bytes * PART_FACTOR);
}

function sessionBytes({ clientId, openings }: Session): number {
  return SESSION_BYTES + 3 * clientId.length + openings.length * OPENING_BYTES;
}

/** `bytes`: at most so many it takes in a part. */
interface Sized {
  readonly record: StateRecord;
  readonly bytes: number;
}

function* partsOf(frozen: Frozen, maxPartBytes: number): Generator<Uint8Array, undefined> {
  let number = 0;
  let records: StateRecord[] = [];
  let filled = HEAD_BYTES;
  for (const { record, bytes } of recordsOf(frozen, Math.max(1, maxPartBytes - 2 * HEAD_BYTES))) {
    if (records.length > 0 && filled + bytes > maxPartBytes) {
      yield encode(part, { number: number++, records });
      records = [];
      filled = HEAD_BYTES;
    }
    records.push(record);
    filled += bytes;
  }
  yield encode(part, { number, records });
}

function* recordsOf(frozen: Frozen, maxBlockBytes: number): Generator<Sized> {
  yield { record: headerOf(frozen), bytes: HEADER_BYTES };
  for (const session of frozen.sessions) {
    yield { record: { ...session, type: "session" }, bytes: sessionBytes(session) };
    for (const answer of session.answers)
      yield { record: { ...answer, type: "answer" }, bytes: answer.reply.length + ANSWER_BYTES };
  }
  for (const block of blocksOf(frozen.jobs, maxBlockBytes)) {
    const bytes = HEAD_BYTES + block.encodings.length + block.lengths.length + block.payloads.length;
    yield { record: { ...block, type: "jobs" }, bytes };
  }
}

function headerOf({ limits, version, appliedIndex, time, digest, sessions, jobs }: Frozen): Header {
  return {
    type: "header",
    format: FORMAT,
    version,
    appliedIndex,
    time,
    sessionCount: sessions.length,
    firstId: jobs.firstId,
    jobCount: jobs.count,
    limits,
    digest,
  };
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
  const [, record, format, version] = leadingIntegers(firstPart, 4);
  if (record !== RECORDS.header.number || format === undefined) return null;
  if (format > FORMAT)
    return new NewerState(`snapshot format ${format}, and this raftq knows snapshot format ${FORMAT}`, true);
  if (version === undefined || version <= STATE_MACHINE_VERSION) return null;
  const what = `state machine version ${version}, and this raftq knows version ${STATE_MACHINE_VERSION}`;
  return new NewerState(what, false);
}

/** The queue that all parts of one snapshot, in their order, stand for. Throws Malformed when they are damaged or incomplete. */
export function restore(parts: Iterable<Uint8Array>): Queue {
  let restoring: Restoring | null = null;
  let number = 0;
  for (const bytes of parts) {
    const newer = number === 0 ? newerState(bytes) : null;
    if (newer !== null) throw newer;
    const read = decode(part, bytes);
    if (read.number !== number)
      throw new Malformed(`part ${read.number} of a snapshot stands where part ${number} is expected`);
    number++;
    for (const record of read.records) restoring = restoreRecord(restoring, record);
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
  readonly digest: number;
  readonly sessions: Sessions;
  readonly jobs: WaitingJobs;
  /** The session whose answers are being read. */
  session: Session | null;
}

function restoreRecord(restoring: Restoring | null, record: StateRecord): Restoring {
  if (record.type === "header") {
    if (restoring !== null) throw new Malformed("a snapshot has one header");
    return begun(record);
  }
  if (restoring === null) throw new Malformed("a snapshot begins with its header");
  switch (record.type) {
    case "session":
      restoreSession(restoring, record);
      return restoring;
    case "answer":
      restoreAnswer(restoring, record);
      return restoring;
    case "jobs":
      restoreBlock(restoring, record);
      return restoring;
  }
}

function begun({ limits, version, appliedIndex, time, sessionCount, firstId, jobCount, digest }: Header): Restoring {
  if (sessionCount > limits.maxSessions)
    throw new Malformed(
      `a snapshot says that it holds ${sessionCount} sessions; its own limit is ${limits.maxSessions}`,
    );
  const sessions = createSessions();
  const jobs = createJobs(firstId);
  return { limits, version, appliedIndex, time, sessionCount, jobCount, digest, sessions, jobs, session: null };
}

function restoreSession(restoring: Restoring, record: SessionRecord): void {
  const { sessions, limits, sessionCount, appliedIndex, time } = restoring;
  expectAllAnswers(restoring);
  // At once, not at the end: what a snapshot may make us hold is what its header says.
  if (sessions.present.size >= sessionCount)
    throw new Malformed(`a snapshot holds more than the ${sessionCount} sessions that its header says`);
  if (restoring.jobs.count > 0) throw new Malformed("a session stands behind the jobs");
  const { clientId, id, numberAtOpen, lastNumber, answeredUpTo, usedAt, openings } = record;
  if (id > appliedIndex || usedAt > time) throw new Malformed(`session ${id} comes from behind the snapshot`);
  if (openings.length > limits.noncesRemembered || !areRising(openings))
    throw new Malformed("the openings of a client are damaged");
  const session: Session = {
    clientId,
    id,
    numberAtOpen,
    lastNumber,
    answeredUpTo,
    answers: [],
    answerBytes: 0,
    usedAt,
    openings: [...openings],
    generation: sessions.generation,
    digest: null,
  };
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

function areRising(openings: readonly Opening[]): boolean {
  return openings.every(({ session }, at) => session > (openings[at - 1]?.session ?? 0));
}

function restoreAnswer({ limits, sessions, session }: Restoring, record: AnswerRecord): void {
  if (session === null || missingAnswers(session) === 0) throw new Malformed("an answer belongs to no number");
  // As `isWindowFull`: the answer that reaches the limit is still kept, none behind it.
  if (session.answerBytes >= limits.maxReplyBytes)
    throw new Malformed(`session ${session.id} keeps more bytes of answers than the limit of ${limits.maxReplyBytes}`);
  const { commandBytes, commandCrc, reply } = record;
  keepAnswer(sessions, session, { commandBytes, commandCrc, reply, digest: null });
}

function missingAnswers({ lastNumber, answeredUpTo, answers }: Session): number {
  return lastNumber - answeredUpTo - answers.length;
}

function expectAllAnswers({ session }: Restoring): void {
  if (session !== null && missingAnswers(session) > 0)
    throw new Malformed(`answers of session ${session.id} are missing`);
}

function restoreBlock(restoring: Restoring, block: JobsRecord): void {
  expectAllAnswers(restoring);
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
  if (digest !== digestOf(queue))
    throw new Malformed(`a snapshot's state has the digest ${digestOf(queue)} where its header says ${digest}`);
  return queue;
}
