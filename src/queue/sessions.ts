// Who has asked what, and what was the answer? One record per client id: it makes a number execute once, however often it is sent.
import { must } from "../lib/assert.ts";
import { crc32 } from "../lib/crc32.ts";
import type { ErrorCode } from "../lib/errors.ts";
import { isSettle, type Open } from "./commands.ts";
import { ANSWER_BYTES, type QueueLimits } from "./types.ts";

/** The stored answer to one number, and enough of its command to recognise another one. */
export interface Answer {
  readonly commandBytes: number;
  readonly commandCrc: number;
  readonly reply: Uint8Array;
  /** Once it was asked for (see digest.ts). */
  digest: number | null;
}

/** A process of the client (its nonce) and the session that its OPEN began. */
export interface Opening {
  readonly nonce: Uint8Array;
  readonly session: number;
}

/** Lives from a client id's first OPEN to its CLOSE or expiry, through all its processes. */
export interface Session {
  readonly clientId: string;
  /** The index of the newest OPEN: the only session of this client id that may send commands. */
  id: number;
  /** lastNumber when that OPEN was applied: part of its answer, also when it is asked for later. */
  numberAtOpen: number;
  /** The last number executed; the next is one more. */
  lastNumber: number;
  /** The client has these answers: they are dropped. At most lastNumber; never goes back. */
  answeredUpTo: number;
  /** Of the numbers answeredUpTo + 1 to lastNumber, in order, without gaps. */
  readonly answers: Answer[];
  answerBytes: number;
  /** Oldest first, the last one is the present. */
  readonly openings: Opening[];
  /** Cluster time of the last use. */
  usedAt: number;
  /** Which freeze it was last copied after (see `writable`). */
  readonly generation: number;
  /** Once it was asked for (see digest.ts), until the next change. */
  digest: number | null;
}

export interface Sessions {
  /** Present sessions by id, in the order of their last use: the first expires first. */
  readonly present: Map<number, Session>;
  /** The present session's id of each client id. */
  readonly idOf: Map<string, number>;
  /** Sessions that a newer OPEN of their client id has fenced, as far as their nonces are remembered. */
  readonly fenced: Map<number, string>;
  /** Memory of all answers of the present sessions, by the rules. Derived. */
  answerMemory: number;
  /** Rises with every freeze: records of an earlier generation are shared with a frozen view. */
  generation: number;
  /** No session expires before this cluster time. Derived; spares looking on every entry. */
  noExpiryBefore: number;
}

/** Why nothing was executed. */
export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
}

export function createSessions(): Sessions {
  return { present: new Map(), idOf: new Map(), fenced: new Map(), answerMemory: 0, generation: 0, noExpiryBefore: 0 };
}

/** The session's record, to be changed: a copy if a frozen view still shows the old one. */
function writable(sessions: Sessions, session: Session): Session {
  if (session.generation === sessions.generation) {
    session.digest = null;
    return session;
  }
  const { generation } = sessions;
  const copy = {
    ...session,
    answers: session.answers.slice(),
    openings: session.openings.slice(),
    generation,
    digest: null,
  };
  sessions.present.set(copy.id, copy);
  return copy;
}

/** The present session `id`, or why there is none. */
export function findSession(sessions: Sessions, id: number): Session | Refusal {
  const session = sessions.present.get(id);
  if (session !== undefined) return session;
  const clientId = sessions.fenced.get(id);
  if (clientId !== undefined) {
    return {
      code: "SESSION_FENCED",
      message: `client id ${JSON.stringify(clientId)} was opened again by another process`,
    };
  }
  return { code: "SESSION_EXPIRED", message: `session ${id} is not open: it expired, was closed, or never was` };
}

export function isRefusal(found: object): found is Refusal {
  return "code" in found;
}

/** Marks the session as used at cluster time `time`. The record to go on with is the returned one. */
export function use(sessions: Sessions, found: Session, time: number): Session {
  const session = writable(sessions, found);
  session.usedAt = time;
  sessions.present.delete(session.id);
  sessions.present.set(session.id, session);
  return session;
}

/** What a number means to a session: answered before, the next one, or neither. */
export type Standing =
  | { readonly type: "answered"; readonly reply: Uint8Array }
  | { readonly type: "next" }
  | { readonly type: "ahead" }
  | { readonly type: "refused"; readonly refusal: Refusal };

const NEXT: Standing = { type: "next" };
const AHEAD: Standing = { type: "ahead" };

export function standingOf(session: Session, number: number, command: Uint8Array): Standing {
  const { lastNumber, answeredUpTo } = session;
  if (number < 1) return refused("BAD_REQUEST", "the numbers of a session start at 1");
  if (number === lastNumber + 1) return NEXT;
  if (number > lastNumber) return AHEAD;
  if (number <= answeredUpTo) {
    return refused(
      "FORGOTTEN",
      `number ${number} was executed and its answer acknowledged; the answer is no longer kept`,
    );
  }
  const answer = must(session.answers[number - answeredUpTo - 1], `the answer to number ${number}`);
  const same = answer.commandBytes === command.length && answer.commandCrc === crc32(command);
  if (same || isSettle(command)) return { type: "answered", reply: answer.reply };
  return refused("CONFLICT", `number ${number} was used for another command; that one's answer stands`);
}

function refused(code: ErrorCode, message: string): Standing {
  return { type: "refused", refusal: { code, message } };
}

/** Drops the answers that the client says it has. */
export function acknowledge(sessions: Sessions, session: Session, answeredUpTo: number): void {
  const until = Math.min(answeredUpTo, session.lastNumber);
  if (until <= session.answeredUpTo) return;
  const before = memoryOf(session);
  for (const answer of session.answers.splice(0, until - session.answeredUpTo))
    session.answerBytes -= answer.reply.length;
  session.answeredUpTo = until;
  sessions.answerMemory -= before - memoryOf(session);
}

function memoryOf(session: Session): number {
  return session.answerBytes + session.answers.length * ANSWER_BYTES;
}

/** With too many answers of all sessions together, only those that keep more than an equal share have to acknowledge first. */
export function isWindowFull(sessions: Sessions, session: Session, limits: QueueLimits): boolean {
  if (session.answers.length >= limits.maxReplies || session.answerBytes >= limits.maxReplyBytes) return true;
  return (
    sessions.answerMemory >= limits.maxAnswerBytes && memoryOf(session) * limits.maxSessions >= limits.maxAnswerBytes
  );
}

/** Keeps the answer to the session's next number. */
export function record(sessions: Sessions, session: Session, command: Uint8Array, reply: Uint8Array): void {
  session.lastNumber++;
  keepAnswer(sessions, session, { commandBytes: command.length, commandCrc: crc32(command), reply, digest: null });
}

/** Appends the stored answer to the next number that lacks one. */
export function keepAnswer(sessions: Sessions, session: Session, answer: Answer): void {
  session.answers.push(answer);
  session.answerBytes += answer.reply.length;
  sessions.answerMemory += answer.reply.length + ANSWER_BYTES;
}

/** The present session that this very process of the client opened. */
export function openedBy(sessions: Sessions, open: Open): Session | null {
  const session = presentOf(sessions, open.clientId);
  const newest = session?.openings.at(-1);
  return session !== null && newest !== undefined && equalBytes(newest.nonce, open.nonce) ? session : null;
}

function presentOf(sessions: Sessions, clientId: string): Session | null {
  const id = sessions.idOf.get(clientId);
  return id === undefined ? null : must(sessions.present.get(id), "the present session of a client id");
}

/** Begins session `id` (the index of the OPEN), or finds the one that this process opened before. */
export function openSession(
  sessions: Sessions,
  open: Open,
  id: number,
  time: number,
  limits: QueueLimits,
): { readonly session: Session; readonly duplicate: boolean } | Refusal {
  const again = openedBy(sessions, open);
  if (again !== null) return { session: use(sessions, again, time), duplicate: true };
  const found = presentOf(sessions, open.clientId);
  if (found === null) {
    if (sessions.present.size >= limits.maxSessions) {
      return { code: "SESSIONS_FULL", message: `all ${limits.maxSessions} sessions are in use` };
    }
    return { session: begin(sessions, open, id, time), duplicate: false };
  }
  if (found.openings.some(({ nonce }) => equalBytes(nonce, open.nonce))) {
    return {
      code: "SESSION_FENCED",
      message: `client id ${JSON.stringify(open.clientId)} was opened again by another process`,
    };
  }
  return { session: succeed(sessions, found, open, id, time, limits), duplicate: false };
}

function begin(sessions: Sessions, open: Open, id: number, time: number): Session {
  const session: Session = {
    clientId: open.clientId,
    id,
    numberAtOpen: 0,
    lastNumber: 0,
    answeredUpTo: 0,
    answers: [],
    answerBytes: 0,
    openings: [{ nonce: open.nonce.slice(), session: id }],
    usedAt: time,
    generation: sessions.generation,
    digest: null,
  };
  adopt(sessions, session);
  return session;
}

/** A newer process takes the client id over: numbers and stored answers go on, the older session is fenced. */
function succeed(
  sessions: Sessions,
  found: Session,
  open: Open,
  id: number,
  time: number,
  limits: QueueLimits,
): Session {
  const session = writable(sessions, found);
  sessions.present.delete(session.id);
  session.openings.push({ nonce: open.nonce.slice(), session: id });
  for (const { session: old } of session.openings.splice(0, session.openings.length - limits.noncesRemembered)) {
    sessions.fenced.delete(old);
  }
  session.id = id;
  session.numberAtOpen = session.lastNumber;
  session.usedAt = time;
  adopt(sessions, session);
  return session;
}

/** Enters a record as the last used one, with everything that is found by it. */
export function adopt(sessions: Sessions, session: Session): void {
  sessions.present.set(session.id, session);
  sessions.idOf.set(session.clientId, session.id);
  for (const { session: id } of session.openings) if (id !== session.id) sessions.fenced.set(id, session.clientId);
}

/** Forgets a client id and everything it asked. */
export function remove(sessions: Sessions, session: Session): void {
  sessions.answerMemory -= memoryOf(session);
  sessions.present.delete(session.id);
  sessions.idOf.delete(session.clientId);
  for (const { session: id } of session.openings) sessions.fenced.delete(id);
}

/** Removes the sessions that nobody used for the expiry time. */
export function expire(sessions: Sessions, time: number, expiryMs: number): void {
  if (time < sessions.noExpiryBefore) return;
  for (const session of sessions.present.values()) {
    if (session.usedAt + expiryMs > time) {
      sessions.noExpiryBefore = session.usedAt + expiryMs;
      return;
    }
    remove(sessions, session);
  }
  sessions.noExpiryBefore = time + expiryMs;
}

/** The sessions as they are now, in the order of their last use. They stay so while the queue goes on. */
export function freezeSessions(sessions: Sessions): readonly Session[] {
  sessions.generation++;
  return [...sessions.present.values()];
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
