// Which queries are sent, still wait, or have timed out?
import { expect, test } from "bun:test";
import {
  addQuery,
  createQueries,
  markSent,
  type PendingQuery,
  removeQuery,
  resendQueries,
  takeAllQueries,
  takeExpiredQueries,
  takeSent,
  takeUnsent,
} from "../../src/client/queries.ts";

test("a question is sent once on a connection, again on the next one, and not any more when its time is over", () => {
  const queries = createQueries();
  const ask = (deadline: number): PendingQuery => ({
    deadline,
    done: () => {},
    query: { type: "peek" },
    frameId: null,
  });
  const [one, two, three] = [ask(10), ask(20), ask(30)] as const;
  for (const asked of [one, two, three]) addQuery(queries, asked);
  for (const [at, asked] of takeUnsent(queries).entries()) markSent(queries, asked, at + 1);
  expect([takeUnsent(queries), queries.sent.size, queries.pending.size]).toEqual([[], 3, 3]);
  expect(takeSent(queries, 2)).toBe(two);
  removeQuery(queries, two);
  expect([takeSent(queries, 2), queries.sent.size]).toEqual([undefined, 2]);
  expect(takeExpiredQueries(queries, 15)).toEqual([one]);
  expect([takeSent(queries, 1), queries.sent.size]).toEqual([undefined, 1]);
  resendQueries(queries);
  expect([queries.sent.size, takeSent(queries, 3)]).toEqual([0, undefined]);
  expect(takeUnsent(queries)).toEqual([three]);
  addQuery(queries, ask(40));
  expect(takeAllQueries(queries)).toHaveLength(2);
  expect([takeUnsent(queries), queries.pending.size]).toEqual([[], 0]);
});
