// What does this client owe an outcome, and by when? Requests with a number, queries without one, and callers that wait for the session.
import type { Failure } from "../lib/errors.ts";
import type { Queries } from "./queries.ts";
import type { Pipeline } from "./pipeline.ts";
import type { QueryAnswer } from "./types.ts";
import type { PendingAnswer, DeadlineQueue } from "./deadline-queue.ts";

export interface Deadlines {
  /** Those that need the session: all but queries. */
  failNumbered(why: Failure): void;
  failAll(why: Failure): void;
  /** Those whose time is over get `met`, what the client met meanwhile, or else `late`. */
  expire(now: number, met: Failure | null, late: Failure): void;
  /** Infinity: nobody waits. */
  nextDeadline(): number;
}

export function createDeadlines(
  pipeline: Pipeline,
  openings: DeadlineQueue<PendingAnswer<Failure | null>>,
  queries: Queries<QueryAnswer | Failure>,
): Deadlines {
  function failNumbered(why: Failure): void {
    pipeline.failAll(why);
    for (const opening of openings.takeAll()) opening.done(why);
  }

  return {
    failNumbered,
    failAll: (why) => {
      failNumbered(why);
      for (const ask of queries.takeAll()) ask.done(why);
    },
    expire: (now, met, late) => {
      pipeline.expire(now, met);
      for (const opening of openings.expired(now)) opening.done(met ?? late);
      for (const ask of queries.expired(now)) ask.done(met ?? late);
    },
    nextDeadline: () => Math.min(pipeline.nextDeadline() ?? Infinity, openings.nextDeadline(), queries.nextDeadline()),
  };
}
