// Who still waits, and whose time is over?
import { expect, test } from "bun:test";
import { createAsking } from "../../src/client/asking.ts";
import { createWaiting, type Waiter } from "../../src/client/waiting.ts";

const until = (deadline: number): Waiter<string> => ({ deadline, done: () => {} });

test("those whose time is over leave in the order they came, the others stay", () => {
  const waiting = createWaiting<string, Waiter<string>>();
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
  const asking = createAsking<string>();
  const ask = (deadline: number) => ({ ...until(deadline), query: { type: "peek" } as const, frameId: null });
  const [one, two, three] = [ask(10), ask(20), ask(30)] as const;
  for (const asked of [one, two, three]) asking.add(asked);
  for (const [at, asked] of asking.takeUnsent().entries()) asking.sent(asked, at + 1);
  expect([asking.takeUnsent(), asking.underWay, asking.count]).toEqual([[], 3, 3]);
  expect(asking.answered(2)).toBe(two);
  asking.remove(two);
  expect([asking.answered(2), asking.underWay]).toEqual([undefined, 2]);
  expect(asking.expired(15)).toEqual([one]);
  expect([asking.answered(1), asking.underWay]).toEqual([undefined, 1]);
  asking.connectionLost();
  expect([asking.underWay, asking.answered(3)]).toEqual([0, undefined]);
  expect(asking.takeUnsent()).toEqual([three]);
  asking.add(ask(40));
  expect(asking.takeAll()).toHaveLength(2);
  expect([asking.takeUnsent(), asking.count]).toEqual([[], 0]);
});
