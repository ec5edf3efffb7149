// A client's own session: whether it is open, which OPEN, CLOSE or acknowledgement waits for an answer, and how it is resumed
// after it became dormant. No I/O in here.
import { assert } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import type { Random } from "../lib/random.ts";
import { RESOLVE } from "../queue/commands.ts";
import { decodeReply } from "../queue/replies.ts";
import type { Reply } from "../queue/types.ts";
import type { ClientMessage, Request, ServerMessage } from "../wire/protocol.ts";
import type { ClientSettings, Numbers } from "./types.ts";

export interface ClientSession {
  state: SessionState;
  /** From the first answer to OPEN on, every other one goes on with that session or is refused: no new session may begin under its numbers. */
  resumes: boolean;
  /** The client id's last number when this process opened it first; 0 before that. */
  numberAtOpen: number;
  /** The numbers whose answers were not acknowledged then; null: none, or it was not open yet. */
  unacknowledgedAtOpen: Numbers | null;
  /** The frame of the OPEN that has no answer yet. */
  openFrame: number | null;
  /** OPENs refused in a row because all sessions are in use. */
  refusedOpens: number;
  /** The present node was asked something in this session, so it keeps the session alive while this client is silent. */
  isAttached: boolean;
  /** The cluster has confirmed that the answers to all numbers up to this one are acknowledged. */
  confirmedThrough: number;
  /** The acknowledgement that has no answer yet: a request of its own. */
  acknowledgement: { readonly frameId: number; readonly through: number } | null;
  closeFrame: number | null;
  /** CLOSEs sent: the answer to the first one may have been lost. */
  closes: number;
}

export type SessionState =
  /** No OPEN was answered yet. */
  | { readonly type: "unopened" }
  | { readonly type: "open"; readonly id: number }
  /** It was open. Its numbers and answers are kept; an OPEN must be answered before a number can be sent. */
  | { readonly type: "dormant" }
  /** No request of this client can succeed any more. */
  | { readonly type: "over"; readonly failure: Failure };

type OpenedReply = Extract<Reply, { readonly type: "opened" }>;

export function createSession(): ClientSession {
  return {
    state: { type: "unopened" },
    resumes: false,
    numberAtOpen: 0,
    unacknowledgedAtOpen: null,
    openFrame: null,
    refusedOpens: 0,
    isAttached: false,
    confirmedThrough: 0,
    acknowledgement: null,
    closeFrame: null,
    closes: 0,
  };
}

/** It was opened, and is not over: it has its numbers. */
export function isLive({ state }: ClientSession): boolean {
  return state.type === "open" || state.type === "dormant";
}

/** The connection is lost: what was sent on it has no answer. */
export function detach(session: ClientSession): void {
  session.openFrame = null;
  session.closeFrame = null;
  session.isAttached = false;
  session.acknowledgement = null;
}

// ---- OPEN

/** Begins the session, goes on with it, or shows the node that it is in use. */
export function openMessage(
  session: ClientSession,
  { clientId, nonce, generated }: ClientSettings,
  frameId: number,
): ClientMessage {
  session.openFrame = frameId;
  session.isAttached = true;
  return { type: "open", frameId, group: 0, clientId, nonce, generated, resume: session.resumes };
}

/** Why a request was refused, by the node or by its entry; null: it was not. Throws Malformed. */
export function refusalIn(message: ServerMessage): Failure | null {
  if (message.type === "failure") return message.failure;
  if (message.type !== "reply") return null;
  const reply = decodeReply(message.reply);
  return reply.type === "refused" ? failure(reply.code, reply.message) : null;
}

/** The answer to OPEN, or why it was refused. Throws Malformed. */
export function openAnswer(
  session: ClientSession,
  message: ServerMessage,
): OpenedReply | { readonly failure: Failure } {
  session.openFrame = null;
  const refused = refusalIn(message);
  if (refused !== null) return { failure: refused };
  assert(message.type === "reply", "a node answers OPEN with a reply or a failure");
  const reply = decodeReply(message.reply);
  if (reply.type !== "opened") throw new Malformed(`OPEN was answered with "${reply.type}"`);
  return reply;
}

/** True: it was never open before, so this answer holds its numbers. */
export function enter(session: ClientSession, { session: id, lastNumber, acknowledgedThrough }: OpenedReply): boolean {
  const { state } = session;
  session.resumes = true;
  session.refusedOpens = 0;
  if (state.type === "over") return false;
  session.state = { type: "open", id };
  if (state.type !== "unopened") return false;
  session.numberAtOpen = lastNumber;
  session.confirmedThrough = acknowledgedThrough;
  if (acknowledgedThrough !== lastNumber)
    session.unacknowledgedAtOpen = { first: acknowledgedThrough + 1, last: lastNumber };
  return true;
}

/** The session that this very OPEN began before may be dormant by now: sends it again, to resume it. False: it is over. */
export function mayResume(session: ClientSession, why: Failure): boolean {
  if (why.code !== "SESSION_EXPIRED" || session.resumes) return false;
  session.resumes = true;
  return true;
}

/** Milliseconds until the next OPEN after one that found all sessions in use: longer each time, since each of them is an entry in the log. */
export function openPauseMs(
  session: ClientSession,
  { retryMinMs, openRetryMaxMs }: ClientSettings["limits"],
  random: Random,
): number {
  return random.between(1, Math.min(openRetryMaxMs, retryMinMs * 2 ** ++session.refusedOpens));
}

/** It became dormant while it was idle. */
export function becomeDormant(session: ClientSession): void {
  if (session.state.type === "open") session.state = { type: "dormant" };
}

// ---- Acknowledgements: taken answers are acknowledged with the next request; where there is none, by a request of their own

/** The request that acknowledges the answers up to number `through`; null: one is under way, or there is nothing new. */
export function acknowledgeMessage(
  session: ClientSession,
  id: number,
  through: number,
  frameId: number,
): Request | null {
  if (session.acknowledgement !== null || through <= session.confirmedThrough) return null;
  session.acknowledgement = { frameId, through };
  // A resolve of a number that was executed changes nothing; what it carries counts.
  return {
    type: "request",
    frameId,
    group: 0,
    session: id,
    number: through,
    acknowledgedThrough: through,
    command: RESOLVE,
  };
}

/** Throws Malformed. */
export function acknowledgementAnswered(session: ClientSession, message: ServerMessage): void {
  const through = session.acknowledgement?.through ?? 0;
  session.acknowledgement = null;
  const refused = refusalIn(message);
  if (refused === null || refused.code === "FORGOTTEN")
    session.confirmedThrough = Math.max(session.confirmedThrough, through);
}

/** Why a client that does not fetch the answers of an earlier process must not go on. */
export function answersLeft(clientId: string, { first, last }: Numbers): Failure {
  const what = first === last ? `the answer to request ${last}` : `the answers to requests ${first} to ${last}`;
  return failure("ANSWERS_LEFT", `an earlier process of client ${clientId} did not acknowledge ${what}`);
}

// ---- CLOSE

export function closeMessage(
  session: ClientSession,
  id: number,
  acknowledgedThrough: number,
  frameId: number,
): ClientMessage {
  session.closeFrame = frameId;
  session.closes++;
  return { type: "close", frameId, group: 0, session: id, acknowledgedThrough };
}
