// Does the check of a torture run's history find every kind of error? Small histories, each with one thing wrong.
import { expect, test } from "bun:test";
import type { Operation } from "./history.ts";
import { indexViolation } from "./index-witness.ts";
import { payloadOf, valueIn, valueOf } from "./payload.ts";
import { createService, hasConnectedMajority } from "./service.ts";
import { reckon, violations } from "./verdict.ts";

const [A, B] = [valueOf(1, 1), valueOf(1, 2)];

let clock = 0;
function operation(
  client: string,
  number: number,
  type: Operation["type"],
  value: number | null,
  index: number,
  jobId: number,
): Operation {
  clock += 10;
  return { client, number, type, value, index, jobId, invoked: clock, returned: clock + 5 };
}

/** Two values in, both out, one look into the empty queue. */
function good(): Operation[] {
  return [
    operation("p1", 1, "enqueue", A, 3, 1),
    operation("p1", 2, "enqueue", B, 4, 2),
    operation("c1", 1, "dequeue", A, 5, 1),
    operation("c1", 2, "dequeue", B, 6, 2),
    operation("c1", 3, "dequeue", null, 7, 0),
  ];
}

test("a history in which everything went well has no violation", () => {
  expect(violations(good())).toEqual([]);
  expect(reckon(good())).toEqual({ enqueued: 2, dequeued: 2, empty: 1, lost: 0, duplicated: 0, misordered: 0 });
});

test("an acknowledged value that never comes out is lost", () => {
  const history = good();
  history.splice(3, 1);
  expect(reckon(history).lost).toBe(1);
  expect(violations(history)).not.toEqual([]);
});

test("a value that comes out twice is a duplicate", () => {
  const history = [...good(), operation("c2", 1, "dequeue", A, 8, 1)];
  expect(reckon(history).duplicated).toBe(1);
  expect(violations(history)).not.toEqual([]);
});

test("two values of one producer that change places are out of order", () => {
  const history = good();
  [history[2]!.value, history[3]!.value] = [B, A];
  expect(reckon(history).misordered).toBe(1);
  expect(violations(history)).not.toEqual([]);
});

test("a request without an answer is a violation of its own", () => {
  const history = good();
  history[4]!.returned = Infinity;
  expect(violations(history)).toEqual(["1 requests have no definite answer"]);
});

test.each([
  ["two operations at one index", (history: Operation[]) => (history[1]!.index = 3)],
  ["a number executed after a gap", (history: Operation[]) => history.shift()],
  ["an empty answer while something was inside", (history: Operation[]) => (history[4]!.index = 4.5)],
  ["a job id that falls", (history: Operation[]) => (history[1]!.jobId = 1)],
])("the index witness notices %s", (_, spoil) => {
  const history = good();
  expect(indexViolation(history)).toBeNull();
  spoil(history);
  expect(indexViolation(history)).not.toBeNull();
});

test("the index witness notices an index below that of an answer that came before the request was sent", () => {
  const history = [operation("p1", 1, "enqueue", A, 4, 2), operation("p2", 1, "enqueue", valueOf(2, 1), 3, 1)];
  expect(indexViolation(history)).toBe("p2 #1 at index 3 was sent after the answer of index 4");
  expect(indexViolation(history.toReversed().map((one, i) => ({ ...one, invoked: i, returned: i + 0.5 })))).toBeNull();
});

test("a payload with one wrong byte is not taken for a value", () => {
  for (let n = 1; n <= 200; n++) {
    const payload = payloadOf(valueOf(2, n));
    expect(valueIn(payload)).toBe(valueOf(2, n));
    payload[n % payload.length]! ^= 1;
    expect(valueIn(payload)).toBeNull();
  }
});

test("silence counts only while a majority was healthy and connected", () => {
  const service = createService();
  service.look(0, false, "x");
  service.answered(100);
  service.look(1_000, true, "x");
  service.answered(1_300);
  service.look(1_400, true, "x");
  service.look(1_500, false, "x");
  service.answered(9_000);
  expect(service.longest().ms).toBe(300);
});

test("a majority is connected only if every two of it are", () => {
  const all = ["a", "b", "c", "d", "e"];
  const ring = (x: string, y: string): boolean => [1, 4].includes(Math.abs(all.indexOf(x) - all.indexOf(y)));
  expect(hasConnectedMajority(5, all, () => true)).toBe(true);
  expect(hasConnectedMajority(5, all.slice(0, 2), () => true)).toBe(false);
  expect(hasConnectedMajority(5, all, ring)).toBe(false);
});
