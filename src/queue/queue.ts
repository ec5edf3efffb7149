// What does one committed entry do to the queue? `apply` alone changes it, from the entry alone, so every node computes the same.
import { assert } from "../lib/assert.ts";
import { type Failure, failure, RaftqError } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import { decodeCommand, decodeOpen, decodeTouch, decodeVersion } from "./commands.ts";
import { createJobs, drop, first, push, type WaitingJobs } from "./jobs.ts";
import { encodeReply } from "./replies.ts";
import {
  acknowledge,
  createSessions,
  expire,
  findSession,
  isRefusal,
  isWindowFull,
  openedBy,
  openSession,
  record,
  type Refusal,
  remove,
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
  type QueueLimits,
  type Reply,
} from "./types.ts";

/** The rules of this file. A node that does not know the rules of an entry must not apply it. */
export const STATE_MACHINE_VERSION = 1;
/** The only queue of this version. */
const QUEUE_NAME = "default";

interface State {
  readonly limits: QueueLimits;
  appliedIndex: number;
  /** Cluster time of the last entry, milliseconds. */
  time: number;
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
  readonly sessionCount: number;
}

/** The whole replicated state. Only `apply` changes it. */
export type Queue = Readonly<State>;

export function createQueue(limits: QueueLimits): Queue {
  return assembleQueue(
    limits,
    { appliedIndex: 0, time: 0, version: STATE_MACHINE_VERSION },
    createJobs(1),
    createSessions(),
  );
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
      return sessions.present.size;
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
    case "noop":
    case "config":
    case "tick":
    case "version":
    case "batch":
      return unanswered(entry);
  }
}

/** Whatever this raftq cannot execute as the others do stops it before anything is changed. */
function expectKnown(entry: EntryFields): void {
  const what = newerEntry(entry);
  if (what === null) return;
  throw new RaftqError("VERSION", `entry ${entry.index} holds ${what}, which this version of raftq does not know`);
}

/** What of an entry only a newer raftq can execute; null: nothing. */
export function newerEntry({ flags, kind, body }: Pick<EntryFields, "flags" | "kind" | "body">): string | null {
  if (flags !== 0) return `flags ${flags}`;
  if (kind === "batch") return "a batch";
  const version = kind === "version" ? versionIn(body) : STATE_MACHINE_VERSION;
  if (version === null) return "an unreadable version of the state machine";
  return version > STATE_MACHINE_VERSION
    ? `version ${version} of the state machine, newer than ${STATE_MACHINE_VERSION}`
    : null;
}

/** null: unreadable. */
function versionIn(body: Uint8Array): number | null {
  try {
    return decodeVersion(body);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return null;
  }
}

function advance(state: State, entry: EntryFields): void {
  state.appliedIndex = entry.index;
  state.time = Math.max(state.time, entry.time);
  if (entry.kind === "version") state.version = Math.max(state.version, decodeVersion(entry.body));
  expire(state.sessions, state.time, state.limits.sessionExpiryMs);
}

/** By the entry and the replicated limits alone, so that all members compare at the same indexes. */
function countToCheckpoint(state: State, { index, kind, body }: EntryFields): void {
  const { checkpointEntries, checkpointBytes } = state.limits;
  state.bytesSinceCheckpoint += body.length;
  // A tick says nothing but that it is one.
  const isDue = kind === "tick" || index % checkpointEntries === 0 || state.bytesSinceCheckpoint >= checkpointBytes;
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
  const found = findSession(queue.sessions, entry.session);
  if (isRefusal(found)) return refuse(entry, found);
  const session = use(queue.sessions, found, queue.time);
  const standing = standingOf(session, entry.number, entry.body);
  acknowledge(queue.sessions, session, entry.answeredUpTo);
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
    case "settle":
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
  let room = Math.min(asked.maxBytes, queue.limits.maxPayloadBytes);
  const jobs: Job[] = [];
  while (jobs.length < max) {
    const job = first(queue.jobs);
    if (job === null || (jobs.length > 0 && job.payload.length > room)) break;
    drop(queue.jobs, job);
    jobs.push(job);
    room -= job.payload.length;
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
    return { index: entry.index, reply: openedReply(queue, result.session), duplicate: result.duplicate };
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return refuse(entry, { code: "BAD_REQUEST", message: `this session cannot be opened: ${error.message}` });
  }
}

function openedReply(queue: Queue, { id, numberAtOpen, answeredUpTo: present }: Session): Uint8Array {
  const expiresMs = queue.limits.sessionExpiryMs;
  const answeredUpTo = Math.min(present, numberAtOpen);
  return encodeReply({ type: "opened", index: id, session: id, lastNumber: numberAtOpen, answeredUpTo, expiresMs });
}

/**
 * Nothing is remembered of a closed session, nor its nonces: clients with generated ids come and go without end, and their number in
 * the state must not grow with them. So an OPEN of the same process that lay somewhere and comes into the log behind the CLOSE begins
 * a session once more. Nobody uses that one: it takes one of the places until it expires.
 */
function applyClose(queue: Queue, entry: EntryFields): AppliedEntry {
  const found = findSession(queue.sessions, entry.session);
  if (isRefusal(found)) return refuse(entry, found);
  remove(queue.sessions, found);
  return answered(entry, { type: "closed", index: entry.index });
}

/** Sessions that are gone by now are passed over; a malformed touch touches nobody. */
function applyTouch(queue: Queue, entry: EntryFields): void {
  try {
    for (const id of decodeTouch(entry.body)) {
      const found = findSession(queue.sessions, id);
      if (!isRefusal(found)) use(queue.sessions, found, queue.time);
    }
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
  }
}

/** What the state says to a request before it enters the log. */
export type LookUp =
  | { readonly type: "answered"; readonly reply: Uint8Array }
  /** To be executed, in its order: the last executed number is `lastNumber`. */
  | { readonly type: "next"; readonly lastNumber: number }
  | { readonly type: "refused"; readonly failure: Failure };

export function lookUp(queue: Queue, sessionId: number, number: number, command: Uint8Array): LookUp {
  const found = findSession(queue.sessions, sessionId);
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
export function clientOf(queue: Queue, sessionId: number): string | null {
  return queue.sessions.present.get(sessionId)?.clientId ?? queue.sessions.fenced.get(sessionId) ?? null;
}

/** It opened a session before that is not closed or expired: another OPEN of it makes the state hardly larger. */
export function hasSession(queue: Queue, clientId: string): boolean {
  return queue.sessions.idOf.has(clientId);
}

/** The answer to an OPEN of this very process that was applied before, while its session is the present one. */
export function findOpen(queue: Queue, clientId: string, nonce: Uint8Array): Uint8Array | null {
  const session = openedBy(queue.sessions, { clientId, nonce });
  return session === null ? null : openedReply(queue, session);
}
