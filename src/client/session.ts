// What does a client know of its own session? Whether it is open, which OPEN or CLOSE waits for an answer, and how it goes on after
// others have taken its place. No I/O in here.
import { assert } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import { decodeReply } from "../queue/replies.ts";
import type { Reply } from "../queue/types.ts";
import type { ClientMessage, ServerMessage } from "../wire/protocol.ts";
import type { ClientSettings } from "./types.ts";

export interface ClientSession {
  /** null: it is to be opened before a number can be sent. */
  id: number | null;
  /** It was open once: its numbers are known, and a later answer to OPEN only renews it. */
  wasOpen: boolean;
  /** The client id's last number when this process opened it first. */
  numberAtOpen: number;
  openFrame: number | null;
  closeFrame: number | null;
  /** It is not open any more, as far as this client was answered: the next OPEN goes on with it, or is refused for good. */
  isResuming: boolean;
  /** The present node was asked something in this session, so it keeps the session alive while this client is silent. */
  isAttached: boolean;
}

type Opened = Extract<Reply, { readonly type: "opened" }>;

export function createSession(): ClientSession {
  return {
    id: null,
    wasOpen: false,
    numberAtOpen: 0,
    openFrame: null,
    closeFrame: null,
    isResuming: false,
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
  return { type: "open", frameId, group: 0, clientId, nonce, generated, resume: session.isResuming };
}

/** The answer to OPEN; the failure that it is, or holds. Throws Malformed. */
export function openAnswer(session: ClientSession, message: ServerMessage): Opened | { readonly failure: Failure } {
  session.openFrame = null;
  if (message.type === "failure") return { failure: message.failure };
  assert(message.type === "reply", "a node answers OPEN with a reply or a failure");
  const reply = decodeReply(message.reply);
  if (reply.type === "refused") return { failure: failure(reply.code, reply.message) };
  if (reply.type !== "opened") throw new Malformed(`OPEN was answered with "${reply.type}"`);
  return reply;
}

/** True: it was never open before, so this answer tells its numbers. */
export function enter(session: ClientSession, opened: Opened): boolean {
  const isFirst = !session.wasOpen;
  if (isFirst) session.numberAtOpen = opened.lastNumber;
  session.id = opened.session;
  session.wasOpen = true;
  session.isResuming = false;
  return isFirst;
}

/** Others may have needed its place while it was idle; its numbers and answers are kept for a while. False: it is over. */
export function mayResume(session: ClientSession, why: Failure): boolean {
  if (why.code !== "SESSION_EXPIRED" || session.isResuming) return false;
  session.id = null;
  session.isResuming = true;
  return true;
}

export function connectionLost(session: ClientSession): void {
  session.openFrame = null;
  session.closeFrame = null;
  session.isAttached = false;
}
