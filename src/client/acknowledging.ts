// When does the cluster learn which answers were taken? With the next request; and, where answers are acknowledged only once their
// user has them, by a request of its own when the client has nothing else to ask, or leaves.
import type { Clock } from "../lib/clock.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { encodeCommand } from "../queue/commands.ts";
import type { Request, ServerMessage } from "../wire/protocol.ts";
import type { Line, Numbers } from "./line.ts";
import { refusalIn } from "./session.ts";
import { createTimer } from "./timer.ts";
import type { ClientSettings } from "./types.ts";

export interface Acknowledging {
  /** From the session's answer, for the line too. The answer: why this client must not go on, if so. */
  opened(lastNumber: number, answeredUpTo: number): Failure | null;
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

export interface AcknowledgingEvents {
  /** A while after an answer was taken, once nothing else is asked: if that is to be acknowledged then. */
  readonly idle: () => void;
  /** An answer was taken, and requests wait: there may be room in the window for them now. */
  readonly waiting: () => void;
}

const SETTLE = encodeCommand({ type: "settle" });

export function createAcknowledging(
  clock: Clock,
  { clientId, acknowledge, numbered, limits }: ClientSettings,
  line: Line,
  on: AcknowledgingEvents,
): Acknowledging {
  /** The cluster surely knows that these answers were taken. */
  let known = 0;
  let frame: number | null = null;
  /** What the request under way says. */
  let said = 0;
  let left: Numbers | null = null;
  const idleTimer = createTimer(clock);

  function idle(): void {
    if (line.answeredUpTo() <= known) return;
    if (line.waiting() > 0) idleTimer.set(limits.idleMs, idle);
    else on.idle();
  }

  return {
    opened: (lastNumber, answeredUpTo) => {
      known = answeredUpTo;
      line.opened(lastNumber, known);
      if (answeredUpTo === lastNumber) return null;
      left = { first: answeredUpTo + 1, last: lastNumber };
      return acknowledge.earlier === "refused" ? answersLeft(clientId, left) : null;
    },
    left: () => left,
    taken: () => {
      if (acknowledge.whenIdle) idleTimer.set(limits.idleMs, idle);
      if (line.waiting() > 0) on.waiting();
    },
    isOwed: () => {
      if (line.answeredUpTo() <= known) return false;
      // A run that went well leaves its last answers, so that a file that is sent again can be compared with them.
      return !numbered || line.untaken() !== null;
    },
    next: (session, frameId) => {
      const number = line.answeredUpTo();
      if (frame !== null || number <= known) return null;
      frame = frameId;
      said = number;
      // A settle of a number that was executed changes nothing; what it carries counts.
      return { type: "request", frameId, group: 0, session, number, answeredUpTo: number, command: SETTLE };
    },
    get frameId() {
      return frame;
    },
    answered: (message) => {
      frame = null;
      const refused = refusalIn(message);
      if (refused === null || refused.code === "FORGOTTEN") known = Math.max(known, said);
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
