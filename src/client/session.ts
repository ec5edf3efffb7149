// What does a client know of its own session? Whether it is open, which OPEN or CLOSE waits for an answer, and how it goes on after
// others have taken its place. No I/O in here.
import { assert } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import type { Random } from "../lib/random.ts";
import { decodeReply } from "../queue/replies.ts";
import type { Reply } from "../queue/types.ts";
import type { ClientMessage, ServerMessage } from "../wire/protocol.ts";
import type { ClientSettings } from "./types.ts";

export interface ClientSession {
  /** null: an OPEN must be answered before a number can be sent. */
  id: number | null;
  /** It was open once: its numbers are known, and a later answer to OPEN only renews it. */
  wasOpen: boolean;
  /** From the first answer to OPEN on, every other one goes on with that session or is refused: nothing may begin anew under its numbers. */
  resumes: boolean;
  /** The client id's last number when this process opened it first. */
  numberAtOpen: number;
  openFrame: number | null;
  closeFrame: number | null;
  /** CLOSEs sent: the answer to the first one may have been lost. */
  closes: number;
  /** OPENs refused in a row because there is no place. */
  refusedOpens: number;
  /** The present node was asked something in this session, so it keeps the session alive while this client is silent. */
  isAttached: boolean;
}

type OpenedReply = Extract<Reply, { readonly type: "opened" }>;

export function createSession(): ClientSession {
  return {
    id: null,
    wasOpen: false,
    resumes: false,
    numberAtOpen: 0,
    openFrame: null,
    closeFrame: null,
    closes: 0,
    refusedOpens: 0,
    isAttached: false,
  };
}

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
export function enter(session: ClientSession, opened: OpenedReply): boolean {
  const isFirst = !session.wasOpen;
  if (isFirst) session.numberAtOpen = opened.lastNumber;
  session.id = opened.session;
  session.wasOpen = true;
  session.resumes = true;
  session.refusedOpens = 0;
  return isFirst;
}

/** The session that this very OPEN began before may be dormant by now: once more, to go on with it. False: it is over. */
export function mayResume(session: ClientSession, why: Failure): boolean {
  if (why.code !== "SESSION_EXPIRED" || session.resumes) return false;
  session.resumes = true;
  return true;
}

/** After the next OPEN that finds no place: longer each time, since each of them is an entry in the log. */
export function openPauseMs(
  session: ClientSession,
  { retryMinMs, openRetryMaxMs }: ClientSettings["limits"],
  random: Random,
): number {
  return random.between(1, Math.min(openRetryMaxMs, retryMinMs * 2 ** ++session.refusedOpens));
}

export function connectionLost(session: ClientSession): void {
  session.openFrame = null;
  session.closeFrame = null;
  session.isAttached = false;
}
