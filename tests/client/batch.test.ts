// Which commands become one, and how one answer is shared.
import { describe, expect, test } from "bun:test";
import { addToBatch, createBatcher, flushBatch } from "../../src/client/batch.ts";
import type { Done, Outcome } from "../../src/client/client.ts";
import { failure } from "../../src/lib/errors.ts";
import type { Command } from "../../src/queue/types.ts";

const pushed: { readonly command: Command; readonly done: (outcome: Outcome) => void }[] = [];
const start = () => {
  pushed.length = 0;
  return createBatcher({ maxBatchJobs: 4, maxBatchBytes: 10 }, (command, done) => pushed.push({ command, done }));
};
const jobs = (...sizes: number[]) => sizes.map((size) => ({ encoding: 0, payload: new Uint8Array(size) }));
const enqueue = (queue: string, ...sizes: number[]): Command => ({ type: "enqueue", queue, jobs: jobs(...sizes) });
const shape = (): unknown[] =>
  pushed.map(({ command }) => (command.type === "enqueue" ? [command.queue, command.jobs.length] : command.type));
const ignore: Done = () => {};

test("what is batched stays within its limits, in one queue, and in the order it was given", () => {
  const batcher = start();
  for (const size of [1, 1, 1, 1, 1]) addToBatch(batcher, enqueue("a", size), ignore);
  addToBatch(batcher, enqueue("b", 4, 4), ignore);
  addToBatch(batcher, enqueue("b", 4), ignore);
  addToBatch(batcher, { type: "resolve" }, ignore);
  addToBatch(batcher, enqueue("b", 99, 99, 99, 99, 99), ignore);
  addToBatch(batcher, enqueue("b", 1), ignore);
  addToBatch(batcher, enqueue("b"), ignore);
  flushBatch(batcher);
  flushBatch(batcher);
  expect(shape()).toEqual([["a", 4], ["a", 1], ["b", 2], ["b", 1], "resolve", ["b", 5], ["b", 1], ["b", 0]]);
});

test("each gets its part of the answer, or the whole failure", () => {
  const batcher = start();
  const outcomes: Outcome[] = [];
  const answer = (outcome: Outcome): void => {
    for (const count of [1, 2, 1])
      addToBatch(batcher, enqueue("a", ...Array(count).fill(1)), (one) => outcomes.push(one));
    flushBatch(batcher);
    pushed.pop()!.done(outcome);
  };
  answer({ ok: true, number: 5, reply: { type: "enqueued", index: 9, firstId: 40, count: 4 }, duplicate: true });
  const part = (firstId: number, count: number) => ({
    ok: true,
    number: 5,
    reply: { type: "enqueued", index: 9, firstId, count },
    duplicate: true,
  });
  expect(outcomes.splice(0)).toEqual([part(40, 1), part(41, 2), part(43, 1)] as Outcome[]);
  const refused = { ok: false, number: 6, failure: failure("QUEUE_FULL", "scripted") } as const;
  answer(refused);
  expect(outcomes).toEqual([refused, refused, refused]);
});

describe("dequeues of one job", () => {
  const DEQUEUE = { type: "dequeue", queues: ["a"], max: 1, maxBytes: 100, leaseMs: 0, waitMs: 0 } as const;
  const job = (id: number) => ({ id, encoding: 0, payload: new Uint8Array([id]) });
  const dequeued = (...ids: number[]): Outcome => ({
    ok: true,
    number: 7,
    reply: { type: "dequeued", index: 9, jobs: ids.map(job) },
    duplicate: false,
  });
  const maxima = (): unknown[] =>
    pushed.map(({ command }) => (command.type === "dequeue" ? command.max : command.type));

  test("of one round are one request, in their place among the others", () => {
    const batcher = start();
    for (let count = 0; count < 6; count++) addToBatch(batcher, DEQUEUE, ignore);
    addToBatch(batcher, { ...DEQUEUE, maxBytes: 5 }, ignore);
    addToBatch(batcher, enqueue("a", 1), ignore);
    addToBatch(batcher, DEQUEUE, ignore);
    addToBatch(batcher, { ...DEQUEUE, max: 3 }, ignore);
    addToBatch(batcher, { ...DEQUEUE, queues: ["b"] }, ignore);
    flushBatch(batcher);
    expect(maxima()).toEqual([4, 2, 1, "enqueue", 1, 3, 1]);
  });

  test("each gets its own job, in the order in which they asked; who gets none asks again until nothing comes", () => {
    const batcher = start();
    const got: string[] = [];
    for (const who of ["one", "two", "three", "four"]) {
      addToBatch(batcher, DEQUEUE, (outcome) => {
        if (!outcome.ok || outcome.reply.type !== "dequeued") throw new Error("no answer");
        got.push(`${who} ${outcome.reply.jobs.map(({ id }) => id).join(" ")}`);
      });
    }
    flushBatch(batcher);
    pushed.shift()!.done(dequeued(11, 12));
    expect([got, maxima()]).toEqual([["one 11", "two 12"], [2]]);
    pushed.shift()!.done(dequeued(13));
    expect(maxima()).toEqual([1]);
    pushed.shift()!.done(dequeued());
    expect([got.slice(2), pushed]).toEqual([["three 13", "four "], []]);
  });

  test("all callers get a failure, and none asks again", () => {
    const batcher = start();
    const outcomes: Outcome[] = [];
    for (let count = 0; count < 3; count++) addToBatch(batcher, DEQUEUE, (outcome) => outcomes.push(outcome));
    flushBatch(batcher);
    const refused = { ok: false, number: 6, failure: failure("TIMEOUT", "scripted") } as const;
    pushed.shift()!.done(refused);
    expect([outcomes, pushed]).toEqual([[refused, refused, refused], []]);
  });
});
