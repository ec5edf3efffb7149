// The pending queries of a client: those on the present connection, and those that are still to be sent. A query has no number;
// thousands may be pending at once.
import type { Failure } from "../lib/errors.ts";
import { type Pending, type PendingAnswer, takeAll, takeExpired } from "./deadlines.ts";
import type { Query, QueryAnswer } from "./types.ts";

export interface PendingQuery extends PendingAnswer<QueryAnswer | Failure> {
  readonly query: Query;
  /** null: not on the present connection. */
  frameId: number | null;
}

export interface Queries {
  readonly pending: Pending<PendingQuery>;
  /** On the present connection, by frame. */
  readonly sent: Map<number, PendingQuery>;
  /** Not on the present connection. */
  unsent: Set<PendingQuery>;
}

export const createQueries = (): Queries => ({ pending: new Set(), sent: new Map(), unsent: new Set() });

export function addQuery({ pending, unsent }: Queries, query: PendingQuery): void {
  pending.add(query);
  unsent.add(query);
}

/** Removes and returns those that are not on the present connection. */
export function takeUnsent({ unsent }: Queries): readonly PendingQuery[] {
  const taken = [...unsent];
  unsent.clear();
  return taken;
}

export function markSent({ sent }: Queries, query: PendingQuery, frameId: number): void {
  query.frameId = frameId;
  sent.set(frameId, query);
}

/** The query that was sent in this frame; it is not on the connection any more. */
export function takeSent({ sent }: Queries, frameId: number): PendingQuery | undefined {
  const query = sent.get(frameId);
  if (query === undefined) return undefined;
  sent.delete(frameId);
  query.frameId = null;
  return query;
}

export function resendQuery({ unsent }: Queries, query: PendingQuery): void {
  unsent.add(query);
}

/** The connection is lost: all of them are to be sent once more. */
export function resendQueries(queries: Queries): void {
  queries.sent.clear();
  queries.unsent = new Set(queries.pending);
  for (const query of queries.unsent) query.frameId = null;
}

export function removeQuery(queries: Queries, query: PendingQuery): void {
  forget(queries, query);
  queries.pending.delete(query);
}

function forget({ sent, unsent }: Queries, query: PendingQuery): void {
  if (query.frameId === null) unsent.delete(query);
  else sent.delete(query.frameId);
}

/** Removes and returns those whose time is over. */
export function takeExpiredQueries(queries: Queries, now: number): readonly PendingQuery[] {
  const expired = takeExpired(queries.pending, now);
  for (const query of expired) forget(queries, query);
  return expired;
}

/** Removes and returns all. */
export function takeAllQueries({ pending, sent, unsent }: Queries): readonly PendingQuery[] {
  sent.clear();
  unsent.clear();
  return takeAll(pending);
}
