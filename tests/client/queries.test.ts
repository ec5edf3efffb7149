// Who still waits, and whose time is over?
import { expect, test } from "bun:test";
import { createQueries } from "../../src/client/queries.ts";
import { createDeadlineQueue, type PendingAnswer } from "../../src/client/deadline-queue.ts";

const until = (deadline: number): PendingAnswer<string> => ({ deadline, done: () => {} });

test("those whose time is over leave in the order they came, the others stay", () => {
  const waiting = createDeadlineQueue<string, PendingAnswer<string>>();
  const [one, two, three, four] = [until(10), until(20), until(20), until(30)] as const;
  for (const waiter of [one, two, three, four]) waiting.add(waiter);
  waiting.remove(two);
  expect(waiting.nextDeadline()).toBe(10);
  expect(waiting.expired(9)).toEqual([]);
  expect(waiting.expired(20)).toEqual([one, three]);
  expect([...waiting.all()]).toEqual([four]);
  expect(waiting.takeAll()).toEqual([four]);
  expect([waiting.count, waiting.nextDeadline()]).toEqual([0, Infinity]);
});

test("a question is sent once on a connection, again on the next one, and not any more when its time is over", () => {
  const queries = createQueries<string>();
  const ask = (deadline: number) => ({ ...until(deadline), query: { type: "peek" } as const, frameId: null });
  const [one, two, three] = [ask(10), ask(20), ask(30)] as const;
  for (const asked of [one, two, three]) queries.add(asked);
  for (const [at, asked] of queries.takeUnsent().entries()) queries.sent(asked, at + 1);
  expect([queries.takeUnsent(), queries.inFlight, queries.count]).toEqual([[], 3, 3]);
  expect(queries.answered(2)).toBe(two);
  queries.remove(two);
  expect([queries.answered(2), queries.inFlight]).toEqual([undefined, 2]);
  expect(queries.expired(15)).toEqual([one]);
  expect([queries.answered(1), queries.inFlight]).toEqual([undefined, 1]);
  queries.connectionLost();
  expect([queries.inFlight, queries.answered(3)]).toEqual([0, undefined]);
  expect(queries.takeUnsent()).toEqual([three]);
  queries.add(ask(40));
  expect(queries.takeAll()).toHaveLength(2);
  expect([queries.takeUnsent(), queries.count]).toEqual([[], 0]);
});
