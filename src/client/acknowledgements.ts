// When are taken answers acknowledged to the cluster? With the next request; and, where answers are acknowledged only once their
// user has them, by a request of its own when the client has nothing else to send, or leaves.
import type { Clock } from "../lib/clock.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { encodeCommand } from "../queue/commands.ts";
import type { Request, ServerMessage } from "../wire/protocol.ts";
import type { Pipeline, Numbers } from "./pipeline.ts";
import { refusalIn } from "./session.ts";
import { createTimer } from "./timer.ts";
import type { ClientSettings } from "./types.ts";

export interface Acknowledgements {
  /** From the session's answer, for the line too. The answer: why this client must not go on, if so. */
  opened(lastNumber: number, acknowledgedThrough: number): Failure | null;
  /** Numbers whose answers an earlier process has not acknowledged; null: none. */
  left(): Numbers | null;
  /** An answer was taken. */
  taken(): void;
  /** Is there something that the cluster should learn before the client leaves? */
  isOwed(): boolean;
  /** The request that acknowledges what was taken, to be sent now; null: one is under way, or there is nothing new. */
  next(session: number, frameId: number): Request | null;
  readonly frameId: number | null;
  answered(message: ServerMessage): void;
  connectionLost(): void;
  stop(): void;
}

export interface AcknowledgementEvents {
  /** A while after an answer was taken, once nothing else is asked: if that is to be acknowledged then. */
  readonly idle: () => void;
  /** An answer was taken, and requests wait: the window may have space for them now. */
  readonly waiting: () => void;
}

const RESOLVE = encodeCommand({ type: "resolve" });

export function createAcknowledgements(
  clock: Clock,
  { clientId, acknowledge, numbered, limits }: ClientSettings,
  pipeline: Pipeline,
  on: AcknowledgementEvents,
): Acknowledgements {
  /** The cluster surely knows that these answers were taken. */
  let known = 0;
  let frame: number | null = null;
  /** What the pending request acknowledges. */
  let claimed = 0;
  let left: Numbers | null = null;
  const idleTimer = createTimer(clock);

  function idle(): void {
    if (pipeline.acknowledgedThrough() <= known) return;
    if (pipeline.waiting() > 0) idleTimer.set(limits.idleMs, idle);
    else on.idle();
  }

  return {
    opened: (lastNumber, acknowledgedThrough) => {
      known = acknowledgedThrough;
      pipeline.opened(lastNumber, known);
      if (acknowledgedThrough === lastNumber) return null;
      left = { first: acknowledgedThrough + 1, last: lastNumber };
      return acknowledge.earlier === "refused" ? answersLeft(clientId, left) : null;
    },
    left: () => left,
    taken: () => {
      if (acknowledge.whenIdle) idleTimer.set(limits.idleMs, idle);
      if (pipeline.waiting() > 0) on.waiting();
    },
    isOwed: () => {
      if (pipeline.acknowledgedThrough() <= known) return false;
      // A run that went well leaves its last answers, so that a file that is sent again can be compared with them.
      return !numbered || pipeline.untaken() !== null;
    },
    next: (session, frameId) => {
      const number = pipeline.acknowledgedThrough();
      if (frame !== null || number <= known) return null;
      frame = frameId;
      claimed = number;
      // A resolve of a number that was executed changes nothing; what it carries counts.
      return { type: "request", frameId, group: 0, session, number, acknowledgedThrough: number, command: RESOLVE };
    },
    get frameId() {
      return frame;
    },
    answered: (message) => {
      frame = null;
      const refused = refusalIn(message);
      if (refused === null || refused.code === "FORGOTTEN") known = Math.max(known, claimed);
    },
    connectionLost: () => {
      frame = null;
    },
    stop: () => idleTimer.cancel(),
  };
}

function answersLeft(clientId: string, { first, last }: Numbers): Failure {
  const what = first === last ? `the answer to request ${last}` : `the answers to requests ${first} to ${last}`;
  return failure("ANSWERS_LEFT", `an earlier process of client ${clientId} did not acknowledge ${what}`);
}
