// Can the checker be trusted? It is compared with a search through every possible order of small histories.
import { expect, test } from "bun:test";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import { fifoViolation, type FifoOperation } from "./fifo-checker.ts";

/** Tries every order that respects real time. Exponential: for a handful of operations only. */
function hasLinearization(history: readonly FifoOperation[], queue: readonly number[] = []): boolean {
  if (history.every((operation) => operation.returned === Infinity)) return true;
  const firstReturn = Math.min(...history.map((operation) => operation.returned));
  return history.some((operation) => {
    if (operation.invoked > firstReturn) return false;
    const rest = history.filter((other) => other !== operation);
    switch (operation.type) {
      case "enqueue":
        return hasLinearization(rest, [...queue, operation.value]);
      case "dequeue":
        return queue[0] === operation.value && hasLinearization(rest, queue.slice(1));
      case "empty":
        return queue.length === 0 && hasLinearization(rest, queue);
    }
  });
}

function randomHistory(random: Random, operations: number): FifoOperation[] {
  const stamps = Array.from({ length: 2 * operations }, (_, stamp) => stamp);
  for (let at = stamps.length - 1; at > 0; at--) {
    const other = random.below(at + 1);
    [stamps[at], stamps[other]] = [stamps[other]!, stamps[at]!];
  }
  const enqueues = 1 + random.below(operations - 1);
  return Array.from({ length: operations }, (_, at): FifoOperation => {
    const [a, b] = [stamps[2 * at]!, stamps[2 * at + 1]!];
    const interval = { invoked: Math.min(a, b), returned: Math.max(a, b) };
    if (at < enqueues) return { type: "enqueue", value: at, ...interval };
    if (random.chance(25)) return { type: "empty", ...interval };
    return { type: "dequeue", value: random.below(enqueues), ...interval };
  });
}

test("the checker agrees with an exhaustive search on random histories", () => {
  const random = seededRandom(1);
  let linearizable = 0;
  for (let run = 0; run < 20_000; run++) {
    const history = randomHistory(random, random.between(2, 6));
    const possible = hasLinearization(history);
    if (possible) linearizable++;
    if (possible !== (fifoViolation(history) === null)) {
      throw new Error(`search: ${possible}, checker: ${fifoViolation(history)}: ${JSON.stringify(history)}`);
    }
  }
  expect(linearizable).toBeGreaterThan(2_000);
  expect(linearizable).toBeLessThan(18_000);
});

const step = (type: "enqueue" | "dequeue", value: number, at: number): FifoOperation => ({
  type,
  value,
  invoked: at,
  returned: at + 0.5,
});

test("each kind of violation is named", () => {
  expect(fifoViolation([step("dequeue", 1, 1)])).toContain("UNEXPECTED");
  expect(fifoViolation([step("enqueue", 1, 1), step("dequeue", 1, 2), step("dequeue", 1, 3)])).toContain("DUPLICATE");
  expect(
    fifoViolation([step("enqueue", 1, 1), step("enqueue", 2, 2), step("dequeue", 2, 3), step("dequeue", 1, 4)]),
  ).toContain("ORDER");
  expect(fifoViolation([step("enqueue", 1, 1), step("enqueue", 2, 2), step("dequeue", 2, 3)])).toContain(
    "never dequeued",
  );
  expect(
    fifoViolation([step("enqueue", 1, 1), { type: "empty", invoked: 2, returned: 3 }, step("dequeue", 1, 4)]),
  ).toContain("EMPTY");
});

test("an enqueue without an answer may take effect at any later time, or never", () => {
  const open: FifoOperation = { type: "enqueue", value: 1, invoked: 1, returned: Infinity };
  expect(fifoViolation([open, step("enqueue", 2, 2), step("dequeue", 2, 3), step("dequeue", 1, 4)])).toBeNull();
  expect(fifoViolation([open, step("enqueue", 2, 2), step("dequeue", 2, 3)])).toBeNull();
});

test("200,000 operations are checked in well under two seconds", () => {
  const history: FifoOperation[] = [];
  for (let value = 0; value < 100_000; value++) {
    history.push({ type: "enqueue", value, invoked: 4 * value, returned: 4 * value + 3 });
    history.push({ type: "dequeue", value, invoked: 4 * value + 1, returned: 4 * value + 9.5 });
  }
  const began = performance.now();
  expect(fifoViolation(history)).toBeNull();
  expect(performance.now() - began).toBeLessThan(2_000);
});
