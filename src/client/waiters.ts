// Who waits for a final word from this client? Requests with a number, questions without one, and whoever waits for the session to open.
import type { Failure } from "../lib/errors.ts";
import type { Asking } from "./asking.ts";
import type { Line } from "./line.ts";
import type { QueryAnswer } from "./types.ts";
import type { Waiter, Waiting } from "./waiting.ts";

export interface Waiters {
  /** Those who need the session: all but questions. */
  failNumbered(why: Failure): void;
  failAll(why: Failure): void;
  /** Those whose time is over get `met`, what the client met meanwhile, or else `late`. */
  expire(now: number, met: Failure | null, late: Failure): void;
  /** Infinity: nobody waits. */
  nextDeadline(): number;
}

export function createWaiters(
  line: Line,
  openings: Waiting<Waiter<Failure | null>>,
  asking: Asking<QueryAnswer | Failure>,
): Waiters {
  function failNumbered(why: Failure): void {
    line.failAll(why);
    for (const opening of openings.takeAll()) opening.done(why);
  }

  return {
    failNumbered,
    failAll: (why) => {
      failNumbered(why);
      for (const ask of asking.takeAll()) ask.done(why);
    },
    expire: (now, met, late) => {
      line.expire(now, met);
      for (const opening of openings.expired(now)) opening.done(met ?? late);
      for (const ask of asking.expired(now)) ask.done(met ?? late);
    },
    nextDeadline: () => Math.min(line.nextDeadline() ?? Infinity, openings.nextDeadline(), asking.nextDeadline()),
  };
}
