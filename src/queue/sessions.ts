// Each client's requests and their replies: one record per client id, by which a number is executed once, however often it is sent.
// How a record comes and goes is in `session-lifecycle.ts`.
import { must } from "../lib/assert.ts";
import { crc32 } from "../lib/crc32.ts";
import type { ErrorCode, Refusal } from "../lib/errors.ts";
import { isResolve } from "./commands.ts";
import type { QueueLimits } from "./limits.ts";
import { createSchedule, type DueItem, type Schedule } from "./schedule.ts";
import { ANSWER_BYTES } from "./types.ts";

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
  /** One character for each byte (`nonceText`): a small array costs several times as much, and a million client ids have up to 16 each. */
  readonly nonce: string;
  readonly session: number;
}

export const nonceText = (nonce: Uint8Array): string => String.fromCharCode(...nonce);
export const nonceBytes = (nonce: string): Uint8Array => Uint8Array.from(nonce, (byte) => byte.charCodeAt(0));

/** When the next thing happens to a session by itself. */
export interface SessionDue extends DueItem {
  readonly clientId: string;
}

/** Kept from a client id's first OPEN until it is forgotten, through all its processes. */
export interface Session {
  readonly clientId: string;
  /** Its id was generated: no other process will ever use it. */
  readonly generated: boolean;
  /** The index of the newest OPEN: the only session of this client id that may send commands. */
  id: number;
  /** The last number executed; the next is one more. */
  lastNumber: number;
  /** The client has these answers: they are dropped. At most lastNumber; never goes back. */
  acknowledgedThrough: number;
  /** Of the newest numbers, up to lastNumber, without gaps: of all above acknowledgedThrough, unless they were forgotten while it was dormant. */
  readonly answers: Answer[];
  answerBytes: number;
  /** Oldest first, the last one is the present. */
  readonly openings: Opening[];
  /** Cluster time of the last use. */
  usedAt: number;
  /** Of the last use: higher than that of every earlier use of any session. */
  usedSeq: number;
  /** Cluster time since when it is dormant; null: it is live. */
  dormantAt: number | null;
  /** The next due time of a dormant one; of a live one perhaps an earlier one, since its use puts it off. Shared with frozen copies, which never read it. */
  readonly due: SessionDue;
  /** Which freeze it was last copied after (see `writable`). */
  readonly generation: number;
  /** Once it was asked for (see digest.ts), until the next change. */
  digest: number | null;
}

export interface Sessions {
  /** Live sessions by id, in the order of their last use: the first becomes dormant first. */
  readonly live: Map<number, Session>;
  /** The live session's id of each client id that has one. */
  readonly idOf: Map<string, number>;
  /** Dormant sessions by client id, in the order in which they became dormant. */
  readonly dormant: Map<string, Session>;
  /** Sessions that a newer OPEN of their client id has fenced, as far as their nonces are remembered, while that id's session is live. */
  readonly fenced: Map<number, string>;
  /** The highest usedSeq that was given. */
  usedSeq: number;
  /** Memory of all answers, by the rules; and of those of the dormant sessions. Derived. */
  answerMemory: number;
  dormantAnswerMemory: number;
  /** The sum of the dormant sessions' digests, once it was asked for; changed with them. Derived. */
  dormantDigest: number;
  /** What the dormant sessions take in a snapshot at most. Derived. */
  dormantBytes: number;
  /** Every session once. Derived. */
  readonly schedule: Schedule<SessionDue>;
  /** Rises with every freeze: records of an earlier generation are shared with a frozen view. */
  generation: number;
}

export function createSessions(): Sessions {
  return {
    live: new Map(),
    idOf: new Map(),
    dormant: new Map(),
    fenced: new Map(),
    usedSeq: 0,
    answerMemory: 0,
    dormantAnswerMemory: 0,
    dormantDigest: 0,
    dormantBytes: 0,
    schedule: createSchedule(),
    generation: 0,
  };
}

/** The live session's record, to be changed: a copy if a frozen view still shows the old one. */
export function writable(sessions: Sessions, session: Session): Session {
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
  sessions.live.set(copy.id, copy);
  return copy;
}

/** The live session `id`, or why there is none. */
export function findSession(sessions: Sessions, id: number, time: number, limits: QueueLimits): Session | Refusal {
  const session = sessions.live.get(id);
  // What is due acts as if it had happened.
  if (session !== undefined && session.usedAt + limits.sessionExpiryMs > time) return session;
  const clientId = sessions.fenced.get(id);
  if (clientId !== undefined) return fencedRefusal(clientId);
  return {
    code: "SESSION_EXPIRED",
    message: `session ${id} is not open: it was not used for long, was closed, or never was`,
  };
}

export function fencedRefusal(clientId: string): Refusal {
  return {
    code: "SESSION_FENCED",
    message: `client id ${JSON.stringify(clientId)} was opened again by another process`,
  };
}

export function isRefusal(found: object): found is Refusal {
  return "code" in found;
}

/** Marks the session as used at cluster time `time`. The record to go on with is the returned one. */
export function use(sessions: Sessions, found: Session, time: number): Session {
  const session = writable(sessions, found);
  session.usedAt = time;
  session.usedSeq = ++sessions.usedSeq;
  sessions.live.delete(session.id);
  sessions.live.set(session.id, session);
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
  const { lastNumber, acknowledgedThrough } = session;
  if (number < 1) return refused("BAD_REQUEST", "the numbers of a session start at 1");
  if (number === lastNumber + 1) return NEXT;
  if (number > lastNumber) return AHEAD;
  if (number <= acknowledgedThrough) {
    return refused(
      "FORGOTTEN",
      `number ${number} was executed and its answer acknowledged; the answer is no longer kept`,
    );
  }
  const forgottenUpTo = lastForgotten(session);
  if (number <= forgottenUpTo) {
    const message = `number ${number} was executed, and its answer was not fetched for long; the answer is no longer kept`;
    return refused("FORGOTTEN", message);
  }
  const answer = must(session.answers[number - forgottenUpTo - 1], `the answer to number ${number}`);
  const same = answer.commandBytes === command.length && answer.commandCrc === crc32(command);
  if (same || isResolve(command)) return { type: "answered", reply: answer.reply };
  return refused("CONFLICT", `number ${number} was used for another command; that one's answer stands`);
}

function refused(code: ErrorCode, message: string): Standing {
  return { type: "refused", refusal: { code, message } };
}

/** Drops the answers that the client has acknowledged. */
export function acknowledge(sessions: Sessions, session: Session, acknowledgedThrough: number): void {
  const until = Math.min(acknowledgedThrough, session.lastNumber);
  if (until <= session.acknowledgedThrough) return;
  const dropped = Math.max(0, until - lastForgotten(session));
  const before = memoryOf(session);
  for (const answer of session.answers.splice(0, dropped)) session.answerBytes -= answer.reply.length;
  session.acknowledgedThrough = until;
  sessions.answerMemory -= before - memoryOf(session);
}

/** Numbers up to this one have no answer any more. */
function lastForgotten({ lastNumber, answers }: Session): number {
  return lastNumber - answers.length;
}

export function memoryOf(session: Session): number {
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
