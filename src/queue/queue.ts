// The replicated state machine. `apply` alone changes it, from one committed entry alone, so every node computes the same.
import { assert } from "../lib/assert.ts";
import { type Failure, failure, RaftqError, type Refusal } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import { decodeCommand, decodeOpen, decodeTick, decodeTouch, decodeVersion, versionIn } from "./commands.ts";
import { createJobs, drop, first, push, type WaitingJobs } from "./jobs.ts";
import { NO_LIMITS, type QueueLimits } from "./limits.ts";
import { encodeReply } from "./replies.ts";
import { closeSession, firstSessionDue, moveDueSessions, openSession } from "./session-lifecycle.ts";
import {
  acknowledge,
  createSessions,
  findSession,
  isRefusal,
  isWindowFull,
  record,
  type Session,
  type Sessions,
  standingOf,
  use,
} from "./sessions.ts";
import {
  type AppliedEntry,
  type Command,
  type EntryFields,
  type Job,
  JOB_BYTES,
  QUEUE_NAME,
  type Reply,
} from "./types.ts";

/** The rules of this file. A node that does not know the rules of an entry must not apply it. */
export const STATE_MACHINE_VERSION = 1;
/** How many of the things that are due happen at an entry that is made for them, and at any other. */
const MAX_DUE_PER_TICK = 4_096;
const MAX_DUE_PER_ENTRY = 64;

interface State {
  limits: QueueLimits;
  appliedIndex: number;
  /** Cluster time of the last entry, milliseconds. */
  time: number;
  /** 0: no version entry came so far, so there are no limits. */
  version: number;
  /** The last index at which all members compare their states; a snapshot stands for such an index. */
  checkpoint: number;
  /** Bytes of commands since then. */
  bytesSinceCheckpoint: number;
  readonly jobs: WaitingJobs;
  readonly sessions: Sessions;
  /** Jobs that wait, and their payload bytes. */
  readonly ready: number;
  readonly readyBytes: number;
  /** Live ones, and dormant ones. */
  readonly sessionCount: number;
  readonly dormantCount: number;
}

/** The whole replicated state. Only `apply` changes it. */
export type Queue = Readonly<State>;

/** Before the first entry. */
export function createQueue(): Queue {
  return assembleQueue(NO_LIMITS, { appliedIndex: 0, time: 0, version: 0 }, createJobs(1), createSessions());
}

export function assembleQueue(
  limits: QueueLimits,
  position: Pick<Queue, "appliedIndex" | "time" | "version">,
  jobs: WaitingJobs,
  sessions: Sessions,
): Queue {
  return {
    limits,
    ...position,
    checkpoint: position.appliedIndex,
    bytesSinceCheckpoint: 0,
    jobs,
    sessions,
    get ready() {
      return jobs.count;
    },
    get readyBytes() {
      return jobs.bytes;
    },
    get sessionCount() {
      return sessions.live.size;
    },
    get dormantCount() {
      return sessions.dormant.size;
    },
  };
}

/** Applies the committed entry that follows the last one. Throws RaftqError VERSION on an entry from a newer raftq. */
export function apply(queue: Queue, entry: EntryFields): AppliedEntry {
  assert(entry.index === queue.appliedIndex + 1, `entry ${entry.index} is applied right after ${queue.appliedIndex}`);
  expectKnown(entry);
  advance(queue, entry);
  countToCheckpoint(queue, entry);
  switch (entry.kind) {
    case "command":
      return applyCommand(queue, entry);
    case "open":
      return applyOpen(queue, entry);
    case "close":
      return applyClose(queue, entry);
    case "touch":
      applyTouch(queue, entry);
      return unanswered(entry);
    case "version":
      applyVersion(queue, entry.body);
      return unanswered(entry);
    case "noop":
    case "config":
    case "tick":
    case "batch":
      return unanswered(entry);
  }
}

/** An entry that this raftq cannot execute as the others do stops it before anything is changed. */
function expectKnown(entry: EntryFields): void {
  const what = newerEntry(entry);
  if (what === null) return;
  throw new RaftqError("VERSION", `entry ${entry.index} holds ${what}, which this version of raftq does not know`);
}

/** What of an entry only a newer raftq can execute; null: nothing. */
export function newerEntry({ flags, kind, body }: Pick<EntryFields, "flags" | "kind" | "body">): string | null {
  if (flags !== 0) return `flags ${flags}`;
  if (kind === "batch") return "a batch";
  if (kind === "tick" && !isReadable(decodeTick, body)) return "a tick of an unknown purpose";
  if (kind !== "version") return null;
  const version = versionIn(body);
  if (version !== null && version > STATE_MACHINE_VERSION)
    return `version ${version} of the state machine, newer than ${STATE_MACHINE_VERSION}`;
  return isReadable(decodeVersion, body) ? null : "an unreadable version of the state machine";
}

function isReadable(read: (bytes: Uint8Array) => unknown, body: Uint8Array): boolean {
  try {
    read(body);
    return true;
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return false;
  }
}

function advance(state: State, entry: EntryFields): void {
  state.appliedIndex = entry.index;
  state.time = Math.max(state.time, entry.time);
  const isDueTick = entry.kind === "tick" && decodeTick(entry.body) === "due times";
  moveDueSessions(state.sessions, state.time, state.limits, isDueTick ? MAX_DUE_PER_TICK : MAX_DUE_PER_ENTRY);
}

/** The first entry of a version brings its limits; two leaders may both have proposed one. */
function applyVersion(state: State, body: Uint8Array): void {
  const { version, limits } = decodeVersion(body);
  if (version <= state.version) return;
  state.version = version;
  state.limits = limits;
}

/** The cluster time from which something waits to happen that an entry has to bring about; null: nothing does. */
export function firstDueTime(queue: Queue): number | null {
  return firstSessionDue(queue.sessions);
}

/** By the entry and the replicated limits alone, so that all members compare at the same indexes. */
function countToCheckpoint(state: State, { index, kind, body }: EntryFields): void {
  const { checkpointEntries, checkpointBytes } = state.limits;
  state.bytesSinceCheckpoint += body.length;
  const isAsked = kind === "tick" && decodeTick(body) === "checkpoint";
  const isDue = isAsked || index % checkpointEntries === 0 || state.bytesSinceCheckpoint >= checkpointBytes;
  if (!isDue) return;
  state.checkpoint = index;
  state.bytesSinceCheckpoint = 0;
}

/** Is this state to be compared with the others'? */
export function isCheckpoint(queue: Queue): boolean {
  return queue.checkpoint === queue.appliedIndex;
}

function unanswered({ index }: EntryFields): AppliedEntry {
  return { index, reply: null, duplicate: false };
}

function answered({ index }: EntryFields, reply: Reply): AppliedEntry {
  return { index, reply: encodeReply(reply), duplicate: false };
}

function refuse(entry: EntryFields, { code, message }: Refusal): AppliedEntry {
  return answered(entry, { type: "refused", index: entry.index, code, message });
}

/** Only what was executed is recorded; a refusal that comes before leaves the number free. */
function applyCommand(queue: Queue, entry: EntryFields): AppliedEntry {
  const found = sessionOf(queue, entry.session);
  if (isRefusal(found)) return refuse(entry, found);
  const session = use(queue.sessions, found, queue.time);
  const standing = standingOf(session, entry.number, entry.body);
  acknowledge(queue.sessions, session, entry.acknowledgedThrough);
  switch (standing.type) {
    case "answered":
      return { index: entry.index, reply: standing.reply, duplicate: true };
    case "refused":
      return refuse(entry, standing.refusal);
    case "ahead":
      return refuse(entry, {
        code: "OUT_OF_ORDER",
        message: `number ${entry.number} came before number ${session.lastNumber + 1} of its session`,
      });
    case "next":
      return applyNext(queue, session, entry);
  }
}

function applyNext(queue: Queue, session: Session, entry: EntryFields): AppliedEntry {
  if (isWindowFull(queue.sessions, session, queue.limits)) {
    const message = `${session.answers.length} answers (${session.answerBytes} bytes) of this session wait to be acknowledged`;
    return refuse(entry, { code: "WINDOW_FULL", message });
  }
  const reply = encodeReply(executeBytes(queue, entry));
  record(queue.sessions, session, entry.body, reply);
  return { index: entry.index, reply, duplicate: false };
}

// From here on refusals are recorded as the number's answer, so that the numbers behind it can go on. Their texts are part of
// the replicated state: another text is another version of the state machine.

function executeBytes(queue: Queue, { index, body }: EntryFields): Reply {
  let command: Command;
  try {
    command = decodeCommand(body, queue.limits);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return { type: "refused", index, code: "BAD_REQUEST", message: "the command is malformed" };
  }
  return execute(queue, index, command);
}

function execute(queue: Queue, index: number, command: Command): Reply {
  switch (command.type) {
    case "enqueue":
      return command.queue === QUEUE_NAME ? enqueue(queue, index, command) : noQueue(index, command.queue);
    case "dequeue": {
      const unknown = command.queues.find((name) => name !== QUEUE_NAME);
      return unknown === undefined ? dequeue(queue, index, command) : noQueue(index, unknown);
    }
    case "resolve":
      return { type: "void", index };
  }
}

function noQueue(index: number, name: string): Reply {
  const message = `there is no queue ${JSON.stringify(name)}; this version has one queue, "${QUEUE_NAME}"`;
  return { type: "refused", index, code: "NO_QUEUE", message };
}

function enqueue(queue: Queue, index: number, { jobs }: Extract<Command, { type: "enqueue" }>): Reply {
  const { maxPayloadBytes, maxReadyBytes } = queue.limits;
  for (const { payload } of jobs) {
    if (payload.length <= maxPayloadBytes) continue;
    const message = `a payload of ${payload.length} bytes is longer than the ${maxPayloadBytes} allowed`;
    return { type: "refused", index, code: "TOO_LARGE", message };
  }
  const { count, bytes, nextId: firstId } = queue.jobs;
  const more = jobs.reduce((sum, { payload }) => sum + payload.length + JOB_BYTES, 0);
  if (bytes + count * JOB_BYTES + more > maxReadyBytes) {
    const message = `${count} jobs wait, and with these their memory would exceed the ${maxReadyBytes} bytes allowed`;
    return { type: "refused", index, code: "QUEUE_FULL", message };
  }
  for (const { encoding, payload } of jobs) push(queue.jobs, encoding, payload);
  return { type: "enqueued", index, firstId, count: jobs.length };
}

/** What is asked for beyond the limits is cut to them: a reply always fits a frame. */
function dequeue(queue: Queue, index: number, asked: Extract<Command, { type: "dequeue" }>): Reply {
  const max = Math.min(asked.max, queue.limits.maxJobsPerCommand);
  let bytesLeft = Math.min(asked.maxBytes, queue.limits.maxPayloadBytes);
  const jobs: Job[] = [];
  while (jobs.length < max) {
    const job = first(queue.jobs);
    if (job === null || (jobs.length > 0 && job.payload.length > bytesLeft)) break;
    drop(queue.jobs, job);
    jobs.push(job);
    bytesLeft -= job.payload.length;
  }
  return { type: "dequeued", index, jobs };
}

/** The oldest job that waits, as the next dequeue will find it; null: there is none. Its payload stays true. */
export function peek(queue: Queue): Job | null {
  return first(queue.jobs);
}

function applyOpen(queue: Queue, entry: EntryFields): AppliedEntry {
  try {
    const result = openSession(queue.sessions, decodeOpen(entry.body), entry.index, queue.time, queue.limits);
    if (isRefusal(result)) return refuse(entry, result);
    const { id: session, lastNumber, acknowledgedThrough } = result.session;
    const { sessionExpiryMs: expiresMs } = queue.limits;
    const reply = { type: "opened", index: entry.index, session, lastNumber, acknowledgedThrough, expiresMs } as const;
    return { ...answered(entry, reply), duplicate: result.duplicate };
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return refuse(entry, { code: "BAD_REQUEST", message: `this session cannot be opened: ${error.message}` });
  }
}

function applyClose(queue: Queue, entry: EntryFields): AppliedEntry {
  const found = sessionOf(queue, entry.session);
  if (isRefusal(found)) return refuse(entry, found);
  const session = use(queue.sessions, found, queue.time);
  acknowledge(queue.sessions, session, entry.acknowledgedThrough);
  const refusal = closeSession(queue.sessions, session, queue.time, queue.limits);
  return refusal === null ? answered(entry, { type: "closed", index: entry.index }) : refuse(entry, refusal);
}

const sessionOf = ({ sessions, time, limits }: Queue, id: number): Session | Refusal =>
  findSession(sessions, id, time, limits);

/** Sessions that have ended by now are skipped; a malformed touch touches none. */
function applyTouch(queue: Queue, entry: EntryFields): void {
  try {
    for (const id of decodeTouch(entry.body)) {
      const found = sessionOf(queue, id);
      if (!isRefusal(found)) use(queue.sessions, found, queue.time);
    }
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
  }
}

/** What the state decides about a request before it enters the log. */
export type LookUp =
  | { readonly type: "answered"; readonly reply: Uint8Array }
  /** To be executed, in its order: the last executed number is `lastNumber`. */
  | { readonly type: "next"; readonly lastNumber: number }
  | { readonly type: "refused"; readonly failure: Failure };

export function lookUp(queue: Queue, sessionId: number, number: number, command: Uint8Array): LookUp {
  const found = sessionOf(queue, sessionId);
  if (isRefusal(found)) return { type: "refused", failure: failure(found.code, found.message) };
  const standing = standingOf(found, number, command);
  switch (standing.type) {
    case "answered":
      return { type: "answered", reply: standing.reply };
    case "next":
    case "ahead":
      return { type: "next", lastNumber: found.lastNumber };
    case "refused":
      return { type: "refused", failure: failure(standing.refusal.code, standing.refusal.message) };
  }
}

/** Whose session this is or was: for people. */
export function clientOf({ sessions }: Queue, sessionId: number): string | null {
  return sessions.live.get(sessionId)?.clientId ?? sessions.fenced.get(sessionId) ?? null;
}

/** It may send commands. */
export const isLive = ({ sessions }: Queue, session: number): boolean => sessions.live.has(session);

/** Would a command of this session with this `acknowledgedThrough` acknowledge anything? */
export const acknowledges = ({ sessions }: Queue, session: number, acknowledgedThrough: number): boolean =>
  acknowledgedThrough > (sessions.live.get(session)?.acknowledgedThrough ?? Infinity);

/** It opened a session before that is not forgotten: another OPEN of it makes the state hardly larger. */
export function isKnownClient({ sessions }: Queue, clientId: string): boolean {
  return sessions.idOf.has(clientId) || sessions.dormant.has(clientId);
}
