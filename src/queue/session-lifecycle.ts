// How a session begins, becomes dormant and ends. An OPEN makes it live; a CLOSE, or others that need its slot, make it dormant; then, unless
// its client comes back, its answers and at last its client id are forgotten.
import type { Refusal } from "../lib/errors.ts";
import { assert, must } from "../lib/assert.ts";
import type { Open } from "./commands.ts";
import { digestOfSession } from "./digest.ts";
import type { QueueLimits } from "./limits.ts";
import { DUE, type DueKind, firstDue, schedule, unschedule } from "./schedule.ts";
import { fencedRefusal, memoryOf, nonceText, type Session, type SessionDue, type Sessions, use } from "./sessions.ts";

/** Due sessions that keep a new one out are moved while it waits; no more than so many. */
const MAX_MOVED_FOR_ONE = 4_096;
/** Of those that were not used for the longest, so many are considered. */
const MAX_LOOKED_AT = 64;

/** At most, beside its name: what a session, an opening and an answer take in a snapshot. */
const SESSION_BYTES = 80;
const OPENING_BYTES = 32;
export const ANSWER_RECORD_BYTES = 32;

export type OpenResult = { readonly session: Session; readonly duplicate: boolean };

/** Begins session `id` (the index of the OPEN), or finds the one that this process opened before. */
export function openSession(
  sessions: Sessions,
  open: Open,
  id: number,
  time: number,
  limits: QueueLimits,
): OpenResult | Refusal {
  moveIfDue(sessions, open.clientId, time, limits);
  const found = sessionOf(sessions, open.clientId);
  if (found === null) return begin(sessions, open, id, time, limits);
  const isLive = found.dormantAt === null;
  const nonce = nonceText(open.nonce);
  const isNewest = must(found.openings.at(-1), "the newest opening of a client id").nonce === nonce;
  if (isNewest && isLive) return { session: use(sessions, found, time), duplicate: true };
  // An OPEN that was delayed for long begins nothing: only a process that goes on sends `resume`.
  if (isNewest && !open.resume) {
    return { code: "SESSION_EXPIRED", message: `the session of ${JSON.stringify(open.clientId)} is dormant` };
  }
  if (!isNewest && (open.resume || found.openings.some((opening) => opening.nonce === nonce)))
    return fencedRefusal(open.clientId);
  if (!isLive && !freeLivePlace(sessions, time, limits)) return liveFull(limits);
  return { session: succeed(sessions, found, open, id, time, limits), duplicate: false };
}

function begin(sessions: Sessions, open: Open, id: number, time: number, limits: QueueLimits): OpenResult | Refusal {
  const { clientId, nonce, generated, resume } = open;
  if (resume) {
    const message = `client id ${JSON.stringify(clientId)} is not known any more: it was not used for long, or its session was closed`;
    return { code: "SESSION_EXPIRED", message };
  }
  if (!freePlace(sessions, time, limits)) {
    return { code: "SESSIONS_FULL", message: `all ${limits.maxClientIds} client ids are in use` };
  }
  if (!freeLivePlace(sessions, time, limits)) return liveFull(limits);
  const session: Session = {
    clientId,
    generated,
    id,
    lastNumber: 0,
    acknowledgedThrough: 0,
    answers: [],
    answerBytes: 0,
    openings: [{ nonce: nonceText(nonce), session: id }],
    usedAt: time,
    usedSeq: ++sessions.usedSeq,
    dormantAt: null,
    due: dueOf(clientId),
    generation: sessions.generation,
    digest: null,
  };
  adopt(sessions, session, limits);
  return { session, duplicate: false };
}

function liveFull({ maxSessions }: QueueLimits): Refusal {
  return { code: "SESSIONS_FULL", message: `all ${maxSessions} sessions are in use` };
}

export function dueOf(clientId: string): SessionDue {
  return { clientId, dueAt: 0, kind: DUE.clientForgotten, id: 0, slot: -1 };
}

/** A newer process takes the client id over, or the newest one goes on: numbers and stored answers stay, older sessions are fenced. */
function succeed(
  sessions: Sessions,
  found: Session,
  open: Open,
  id: number,
  time: number,
  limits: QueueLimits,
): Session {
  remove(sessions, found);
  const nonce = nonceText(open.nonce);
  const openings = found.openings.filter((opening) => opening.nonce !== nonce);
  openings.push({ nonce, session: id });
  const session: Session = {
    ...found,
    generated: found.generated && open.generated,
    id,
    answers: found.answers.slice(),
    openings: openings.slice(-limits.noncesRemembered),
    usedAt: time,
    usedSeq: ++sessions.usedSeq,
    dormantAt: null,
    generation: sessions.generation,
    digest: null,
  };
  adopt(sessions, session, limits);
  return session;
}

/** Enters a live record as the last used one, or a dormant one as the last that became so, with everything that is found by it. */
export function adopt(sessions: Sessions, session: Session, limits: QueueLimits): void {
  const { clientId, id } = session;
  if (session.dormantAt === null) {
    sessions.live.set(id, session);
    sessions.idOf.set(clientId, id);
    for (const { session: older } of session.openings) if (older !== id) sessions.fenced.set(older, clientId);
  } else {
    sessions.dormant.set(clientId, session);
    countDormant(sessions, session, 1);
  }
  sessions.answerMemory += memoryOf(session);
  setDue(sessions, session, limits);
}

/** Takes a record out, with everything that is found by it. */
function remove(sessions: Sessions, session: Session): void {
  if (session.dormantAt === null) {
    sessions.live.delete(session.id);
    sessions.idOf.delete(session.clientId);
    for (const { session: older } of session.openings) sessions.fenced.delete(older);
  } else {
    sessions.dormant.delete(session.clientId);
    countDormant(sessions, session, -1);
  }
  sessions.answerMemory -= memoryOf(session);
  unschedule(sessions.schedule, session.due);
}

/** A dormant record is replaced, never changed, so that a million of them need not be looked at again. */
function countDormant(sessions: Sessions, session: Session, sign: 1 | -1): void {
  session.digest ??= digestOfSession(session);
  sessions.dormantDigest = (sessions.dormantDigest + sign * session.digest) | 0;
  sessions.dormantBytes += sign * recordBytes(session);
  sessions.dormantAnswerMemory += sign * memoryOf(session);
}

/** At most so many bytes of a snapshot. */
export function recordBytes({ clientId, openings, answers, answerBytes }: Session): number {
  const answerRecords = answerBytes + answers.length * ANSWER_RECORD_BYTES;
  return SESSION_BYTES + 3 * clientId.length + openings.length * OPENING_BYTES + answerRecords;
}

// ---- The end

/** A client may close only when it has all answers: the refusal names those that are left. */
export function closeSession(sessions: Sessions, session: Session, time: number, limits: QueueLimits): Refusal | null {
  const { acknowledgedThrough, lastNumber, generated } = session;
  if (acknowledgedThrough < lastNumber) {
    const message = `number ${lastNumber} was executed, and answers are acknowledged up to number ${acknowledgedThrough} only`;
    return { code: "OUT_OF_ORDER", message };
  }
  if (generated) remove(sessions, session);
  else makeDormant(sessions, session, time, limits);
  return null;
}

function makeDormant(sessions: Sessions, session: Session, time: number, limits: QueueLimits): void {
  remove(sessions, session);
  adopt(sessions, { ...session, dormantAt: time, generation: sessions.generation, digest: null }, limits);
}

// ---- Places

function freePlace(sessions: Sessions, time: number, limits: QueueLimits): boolean {
  const isFull = (): boolean => sessions.live.size + sessions.dormant.size >= limits.maxClientIds;
  for (let moved = 0; isFull() && moved < MAX_MOVED_FOR_ONE; moved++) if (!moveFirstDue(sessions, time, limits)) break;
  return !isFull();
}

/**
 * When all live sessions' places are taken, the one that was not used for the longest becomes dormant. What ended clients leave behind
 * has its limit: their answers are kept, so where those do not fit any more, one with fewer answers is looked for.
 */
function freeLivePlace(sessions: Sessions, time: number, limits: QueueLimits): boolean {
  if (sessions.live.size < limits.maxSessions) return true;
  let lookedAt = 0;
  for (const session of sessions.live.values()) {
    if (session.usedAt + limits.dormantAfterMs > time || ++lookedAt > MAX_LOOKED_AT) return false;
    const isForgotten = session.usedAt + limits.sessionExpiryMs <= time;
    if (!isForgotten && sessions.dormantAnswerMemory + memoryOf(session) > limits.maxAnswerBytes) continue;
    if (isForgotten) remove(sessions, session);
    else makeDormant(sessions, session, time, limits);
    return true;
  }
  return false;
}

// ---- Due times

/** The next thing that happens to a session unless it is used. */
function nextDue(session: Session, limits: QueueLimits): Pick<SessionDue, "dueAt" | "kind"> {
  const { dormantAt, usedAt, generated, answers } = session;
  const expiryMs = dormantAt !== null && generated ? limits.generatedExpiryMs : limits.sessionExpiryMs;
  const clientForgottenAt = usedAt + expiryMs;
  if (dormantAt !== null && answers.length > 0) {
    const answersForgottenAt = dormantAt + limits.dormantAnswersMs;
    if (answersForgottenAt <= clientForgottenAt) return { dueAt: answersForgottenAt, kind: DUE.answersForgotten };
  }
  return { dueAt: clientForgottenAt, kind: DUE.clientForgotten };
}

function setDue(sessions: Sessions, session: Session, limits: QueueLimits): void {
  Object.assign(session.due, nextDue(session, limits));
  session.due.id = session.id;
  schedule(sessions.schedule, session.due);
}

/** Moves at most `most` of what is due, in its order. */
export function moveDueSessions(sessions: Sessions, time: number, limits: QueueLimits, most: number): void {
  for (let moved = 0; moved < most; moved++) if (!moveFirstDue(sessions, time, limits)) return;
}

/** The cluster time at which something is due; null: never. A live session's use may have put it off meanwhile. */
export function firstSessionDue(sessions: Sessions): number | null {
  return firstDue(sessions.schedule)?.dueAt ?? null;
}

/**
 * A due time that a live session's use has put off is corrected first: which one is moved next must not depend on when it was entered,
 * since a restored state enters all of them again.
 */
function moveFirstDue(sessions: Sessions, time: number, limits: QueueLimits): boolean {
  for (;;) {
    const due = firstDue(sessions.schedule);
    if (due === null || due.dueAt > time) return false;
    const session = sessionOf(sessions, due.clientId);
    assert(session !== null, "what is due has a session");
    const { dueAt, kind } = nextDue(session, limits);
    if (due.dueAt === dueAt && due.kind === kind) {
      happen(sessions, session, kind, limits);
      return true;
    }
    setDue(sessions, session, limits);
  }
}

function sessionOf(sessions: Sessions, clientId: string): Session | null {
  const id = sessions.idOf.get(clientId);
  if (id === undefined) return sessions.dormant.get(clientId) ?? null;
  return must(sessions.live.get(id), "the live session of a client id");
}

/** What is due of this client id's session happens now. */
function moveIfDue(sessions: Sessions, clientId: string, time: number, limits: QueueLimits): void {
  for (;;) {
    const session = sessionOf(sessions, clientId);
    if (session === null) return;
    const { dueAt, kind } = nextDue(session, limits);
    if (dueAt > time) return;
    happen(sessions, session, kind, limits);
  }
}

function happen(sessions: Sessions, session: Session, kind: DueKind, limits: QueueLimits): void {
  if (kind === DUE.answersForgotten) forgetAnswers(sessions, session, limits);
  else remove(sessions, session);
}

/** Its place among the dormant ones stays. */
function forgetAnswers(sessions: Sessions, session: Session, limits: QueueLimits): void {
  const without = { ...session, answers: [], answerBytes: 0, generation: sessions.generation, digest: null };
  countDormant(sessions, session, -1);
  countDormant(sessions, without, 1);
  sessions.answerMemory -= memoryOf(session);
  sessions.dormant.set(session.clientId, without);
  setDue(sessions, without, limits);
}

/** The sessions as they are now, in the order of a snapshot. They stay so while the queue goes on. */
export function freezeSessions(sessions: Sessions): readonly Session[] {
  sessions.generation++;
  return [...sessions.live.values(), ...sessions.dormant.values()];
}
