// The whole state to bytes and back: in parts, which are made while the queue goes on; equal states give equal bytes.
//
// A part is [part number, [record…]]. The records of all parts in a row: one header, the live sessions in the order of their last
// use, the dormant ones in the order in which they became so, each followed by its answers, then the jobs in blocks. Nothing in
// them depends on how the state lies in memory.
import { binary, binaryView, boolean, decode, encode, list, nullable, text, tuple, uint } from "../lib/layout.ts";
import { leadingIntegers, Malformed } from "../lib/messagepack.ts";
import { type Kinds, kind, memberOf, union } from "../lib/union.ts";
import { MAX_U48 } from "../lib/u48.ts";
import { isClientId, MAX_NAME_BYTES, SESSION_NONCE_BYTES } from "./commands.ts";
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
import { limitsLayout, type QueueLimits } from "./limits.ts";
import { assembleQueue, type Queue, STATE_MACHINE_VERSION } from "./queue.ts";
import { adopt, ANSWER_RECORD_BYTES, dueOf, freezeSessions, recordBytes } from "./session-lifecycle.ts";
import { type Answer, createSessions, nonceBytes, nonceText, type Session, type Sessions } from "./sessions.ts";

const FORMAT = 4;
const MAX_U32 = 0xffff_ffff;
/** No queue counts so far; from here the counter continues for centuries before it is no safe integer any more. */
const MAX_JOB_ID = 2 ** 52;
/** What holds a snapshot bounds it. */
const ANY = Number.MAX_SAFE_INTEGER;

/** At most, beside its payload: what a job takes. */
const JOB_BYTES = 5;
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
  /** Live ones and dormant ones. */
  readonly sessionCount: number;
  readonly usedSeq: number;
  readonly firstId: number;
  readonly jobCount: number;
  readonly limits: QueueLimits;
  readonly digest: number;
}

interface SessionRecord extends Pick<
  Session,
  "clientId" | "generated" | "id" | "lastNumber" | "acknowledgedThrough" | "usedAt" | "usedSeq" | "dormantAt"
> {
  readonly type: "session";
  /** Records of its answers that follow. */
  readonly answerCount: number;
  readonly openings: readonly OpeningRecord[];
}

interface OpeningRecord {
  readonly nonce: Uint8Array;
  readonly session: number;
}

type AnswerRecord = { readonly type: "answer" } & Omit<Answer, "digest">;
type JobsRecord = { readonly type: "jobs" } & JobBlock;
type StateRecord = Header | SessionRecord | AnswerRecord | JobsRecord;

const u48 = uint(MAX_U48);
const bytesOfBlock = binaryView(ANY);

/** The kind, the format and the version of the state machine come first in every format. */
const RECORDS: Kinds<StateRecord> = {
  header: kind<Header>("header", 1, {
    format: uint(FORMAT, FORMAT),
    version: uint(ANY, 1),
    appliedIndex: u48,
    time: u48,
    sessionCount: uint(),
    usedSeq: u48,
    firstId: uint(MAX_JOB_ID, 1),
    jobCount: u48,
    limits: limitsLayout,
    digest: uint(),
  }),
  session: kind<SessionRecord>("session", 2, {
    clientId: text(MAX_NAME_BYTES),
    generated: boolean,
    id: uint(),
    lastNumber: u48,
    acknowledgedThrough: u48,
    usedAt: uint(),
    usedSeq: uint(ANY, 1),
    dormantAt: nullable(uint()),
    answerCount: uint(),
    openings: list(
      tuple<OpeningRecord>("an opening", { nonce: binary(SESSION_NONCE_BYTES, SESSION_NONCE_BYTES), session: uint() }),
      ANY,
      1,
    ),
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
  readonly usedSeq: number;
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
  const { usedSeq } = queue.sessions;
  const sessions = freezeSessions(queue.sessions);
  const jobs = freezeJobs(queue.jobs);
  const parts = partsOf({ limits, version, appliedIndex, time, digest, usedSeq, sessions, jobs }, maxPartBytes);
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
  let bytes = FIXED_BYTES + readyBytes + ready * JOB_BYTES + sessions.dormantBytes;
  for (const session of sessions.live.values()) bytes += recordBytes(session);
  return Math.ceil(bytes * PART_FACTOR);
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
    const { answers } = session;
    const openings = session.openings.map((opening) => ({ ...opening, nonce: nonceBytes(opening.nonce) }));
    const record = { ...session, type: "session", answerCount: answers.length, openings } as const;
    yield { record, bytes: recordBytes({ ...session, answers: [], answerBytes: 0 }) };
    for (const answer of answers)
      yield { record: { ...answer, type: "answer" }, bytes: answer.reply.length + ANSWER_RECORD_BYTES };
  }
  for (const block of blocksOf(frozen.jobs, maxBlockBytes)) {
    const bytes = HEAD_BYTES + block.encodings.length + block.lengths.length + block.payloads.length;
    yield { record: { ...block, type: "jobs" }, bytes };
  }
}

function headerOf({ limits, version, appliedIndex, time, digest, usedSeq, sessions, jobs }: Frozen): Header {
  return {
    type: "header",
    format: FORMAT,
    version,
    appliedIndex,
    time,
    sessionCount: sessions.length,
    usedSeq,
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

/** What the header states, and what was read since. */
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
  /** The session whose answers are being read: it enters the sessions with the last of them. */
  session: { readonly record: SessionRecord; readonly answers: Answer[]; answerBytes: number } | null;
  /** The record that entered the sessions last. */
  previous: Session | null;
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

function begun(header: Header): Restoring {
  const { limits, version, appliedIndex, time, sessionCount, usedSeq, firstId, jobCount, digest } = header;
  if (sessionCount > limits.maxClientIds)
    throw new Malformed(`a snapshot claims ${sessionCount} sessions; its own limit is ${limits.maxClientIds}`);
  const sessions = createSessions();
  sessions.usedSeq = usedSeq;
  const position = { limits, version, appliedIndex, time, sessionCount, jobCount, digest };
  return { ...position, sessions, jobs: createJobs(firstId), session: null, previous: null };
}

function restoreSession(restoring: Restoring, record: SessionRecord): void {
  const { sessions, sessionCount, jobs } = restoring;
  adoptSession(restoring);
  // At once, not at the end: a snapshot may not make us hold more than its header claims.
  if (sessions.live.size + sessions.dormant.size >= sessionCount)
    throw new Malformed(`a snapshot holds more than the ${sessionCount} sessions that its header claims`);
  if (jobs.count > 0) throw new Malformed("a session stands behind the jobs");
  const problem = problemWith(record, restoring);
  if (problem !== null) throw new Malformed(problem);
  restoring.session = { record, answers: [], answerBytes: 0 };
}

function problemWith(record: SessionRecord, { sessions, limits, appliedIndex, time, previous }: Restoring) {
  const { clientId, id, lastNumber, acknowledgedThrough, usedAt, usedSeq, dormantAt, answerCount, openings } = record;
  if (id > appliedIndex || usedAt > time || (dormantAt ?? 0) > time)
    return `session ${id} comes from behind the snapshot`;
  if (openings.length > limits.noncesRemembered || !areRising(openings)) return "the openings of a client are damaged";
  if (!isClientId(clientId) || sessions.idOf.has(clientId) || sessions.dormant.has(clientId))
    return "a client id is invalid or stands there twice";
  if (openings.at(-1)?.session !== id) return `session ${id} is not the one that its client opened last`;
  if (openings.some(({ session }) => sessions.live.has(session) || sessions.fenced.has(session)))
    return `a session of ${JSON.stringify(clientId)} belongs to another client as well`;
  if (acknowledgedThrough > lastNumber || answerCount > lastNumber - acknowledgedThrough)
    return `session ${id} speaks of numbers that were not executed`;
  if (answerCount > limits.maxReplies) return `session ${id} keeps more answers than the limit`;
  if (dormantAt === null && sessions.live.size >= limits.maxSessions)
    return `more sessions are live than the limit of ${limits.maxSessions}`;
  if (usedSeq > sessions.usedSeq || (dormantAt !== null && usedAt > dormantAt))
    return `session ${id} was used after its end`;
  return previous === null || isBehind(record, previous) ? null : "sessions are not in the order of a snapshot";
}

/** Live sessions by their last use, then dormant ones by when they became so. */
function isBehind(record: SessionRecord, previous: Session): boolean {
  if (record.dormantAt !== null) return record.dormantAt >= (previous.dormantAt ?? 0);
  return previous.dormantAt === null && record.usedSeq > previous.usedSeq && record.usedAt >= previous.usedAt;
}

function areRising(openings: readonly OpeningRecord[]): boolean {
  return openings.every(({ session }, at) => session > (openings[at - 1]?.session ?? 0));
}

function restoreAnswer({ limits, session }: Restoring, { commandBytes, commandCrc, reply }: AnswerRecord): void {
  if (session === null || session.answers.length === session.record.answerCount)
    throw new Malformed("an answer belongs to no number");
  // As `isWindowFull`: the answer that reaches the limit is still kept, none behind it.
  if (session.answerBytes >= limits.maxReplyBytes) {
    const { id } = session.record;
    throw new Malformed(`session ${id} keeps more bytes of answers than the limit of ${limits.maxReplyBytes}`);
  }
  session.answers.push({ commandBytes, commandCrc, reply, digest: null });
  session.answerBytes += reply.length;
}

/** The session that was read, with its answers, enters the sessions. */
function adoptSession(restoring: Restoring): void {
  const { session: read, sessions, limits } = restoring;
  if (read === null) return;
  const { record, answers, answerBytes } = read;
  const { clientId, generated, id, lastNumber, acknowledgedThrough, usedAt, usedSeq, dormantAt, answerCount } = record;
  if (answers.length < answerCount) throw new Malformed(`answers of session ${id} are missing`);
  const numbers = { clientId, generated, id, lastNumber, acknowledgedThrough, usedAt, usedSeq, dormantAt };
  const openings = record.openings.map(({ nonce, session }) => ({ nonce: nonceText(nonce), session }));
  const { generation } = sessions;
  const session = { ...numbers, answers, answerBytes, openings, due: dueOf(clientId), generation, digest: null };
  adopt(sessions, session, limits);
  if (sessions.dormantAnswerMemory > limits.maxAnswerBytes)
    throw new Malformed(`dormant sessions keep more answers than the limit of ${limits.maxAnswerBytes} bytes`);
  restoring.session = null;
  restoring.previous = session;
}

function restoreBlock(restoring: Restoring, block: JobsRecord): void {
  adoptSession(restoring);
  const { jobs, jobCount } = restoring;
  if (block.encodings.length > jobCount - jobs.count)
    throw new Malformed(`a snapshot holds more than the ${jobCount} jobs that its header claims`);
  const problem = pushBlock(jobs, block, restoring.limits.maxPayloadBytes);
  if (problem !== null) throw new Malformed(problem);
}

function finished(restoring: Restoring): Queue {
  const { limits, version, appliedIndex, time, digest, sessions, jobs, sessionCount, jobCount } = restoring;
  adoptSession(restoring);
  const found = sessions.live.size + sessions.dormant.size;
  if (found !== sessionCount)
    throw new Malformed(`a snapshot holds ${found} sessions where its header claims ${sessionCount}`);
  if (jobs.count !== jobCount)
    throw new Malformed(`a snapshot holds ${jobs.count} jobs where its header claims ${jobCount}`);
  const queue = assembleQueue(limits, { appliedIndex, time, version }, jobs, sessions);
  if (digest !== digestOf(queue))
    throw new Malformed(`a snapshot's state has the digest ${digestOf(queue)} where its header claims ${digest}`);
  return queue;
}
