// Does the witness of real clients notice? An answer that matches the log passes, and each way of being wrong is named.
import { beforeEach, expect, test } from "bun:test";
import { QUEUE } from "../../src/config.ts";
import { encodeCommand, encodeOpen, encodeVersion } from "../../src/queue/commands.ts";
import { STATE_MACHINE_VERSION } from "../../src/queue/queue.ts";
import { encodeReply } from "../../src/queue/replies.ts";
import { type Command, ENCODING, type Reply } from "../../src/queue/types.ts";
import { encodeEntry, type EntryKind } from "../../src/raft/entry.ts";
import { type Call, createHistory, type History, type NumberSpace, type Operation } from "./history.ts";
import { createCommittedLog, type CommittedLog } from "./committed-log.ts";
import { createRealWitness, partsOf, type RealWitness } from "./real-witness.ts";

const NONCE = new Uint8Array(16).fill(7);
const SESSION = 2;
/** The answers of a dormant session. */
const KEPT_MS = 1_000;
let committedLog: CommittedLog;
let history: History;
let witness: RealWitness;
let space: NumberSpace;
let failures: string[];

function begin(batches: boolean): void {
  committedLog = createCommittedLog();
  history = createHistory();
  failures = [];
  witness = createRealWitness({
    committedLog,
    history,
    coverage: { hit: () => {} },
    dormantAnswersMs: KEPT_MS,
    fail: (what) => void failures.push(what),
  });
  space = { client: "c1", batches, operations: [] };
  witness.process(NONCE, space);
  commit("version", 0, encodeVersion({ version: STATE_MACHINE_VERSION, limits: QUEUE }));
  commit("open", 0, encodeOpen({ clientId: "c1", nonce: NONCE, generated: false, resume: false }));
}
beforeEach(() => begin(false));

function commit(kind: EntryKind, number: number, body: Uint8Array, acknowledgedThrough = 0, afterMs = 0): Reply {
  const index = committedLog.lastIndex + 1;
  const draft = { kind, session: number === 0 ? 0 : SESSION, number, acknowledgedThrough, body };
  expect(committedLog.commit("n1", encodeEntry({ index, term: 1, time: index + afterMs, wall: 0 }, draft))).toBeNull();
  return committedLog.at(index)?.reply ?? { type: "void", index };
}
const execute = (number: number, command: Command, acknowledgedThrough = 0): Reply =>
  commit("command", number, encodeCommand(command), acknowledgedThrough);

function ask(call: Call, command: Command, number = 0): Operation {
  return history.beginIn(space, { number, call, command: encodeCommand(command) });
}
function enqueue(number = 0): { readonly operation: Operation; readonly command: Command } {
  const { value, payload } = history.newPayload(0);
  const command: Command = { type: "enqueue", queue: "default", jobs: [{ encoding: ENCODING.bytes, payload }] };
  return { operation: ask({ type: "enqueue", values: [value] }, command, number), command };
}
const take = (max: number): Command => ({
  type: "dequeue",
  queues: ["default"],
  max,
  maxBytes: 100,
  leaseMs: 0,
  waitMs: 0,
});
const dequeue = (number = 0): Operation => ask({ type: "dequeue", max: 1 }, take(1), number);
const answer = (operation: Operation, reply: Reply): void => history.answer(operation, reply, encodeReply(reply));
const together = (...commands: Command[]): Command => ({
  type: "enqueue",
  queue: "default",
  jobs: commands.flatMap((command) => (command.type === "enqueue" ? command.jobs : [])),
});

test("answers as the log holds them pass, and unanswered requests get what the log holds for them", () => {
  const [first, second] = [enqueue(1), enqueue()];
  const third = dequeue();
  answer(first.operation, execute(1, first.command));
  execute(2, second.command);
  execute(3, take(1));
  expect(witness.judge()).toBeNull();
  expect(second.operation.reply).toMatchObject({ type: "enqueued", firstId: 2 });
  expect(third.reply).toMatchObject({ type: "dequeued", jobs: [{ id: 1 }] });
});

test("an answer to another number, or of an index that holds something else, is caught", () => {
  const { operation, command } = enqueue(4);
  answer(operation, execute(1, command));
  expect(witness.judge()).toMatch(/another number/);
  begin(false);
  answer(enqueue(1).operation, { type: "enqueued", index: 2, firstId: 1, count: 1 });
  expect(witness.judge()).toMatch(/told index 2, and the log holds something else/);
});

test("another answer than the log's is caught", () => {
  const { operation, command } = enqueue(1);
  answer(operation, { type: "enqueued", index: execute(1, command).index, firstId: 5, count: 1 });
  expect(witness.judge()).toMatch(/something else was told/);
});

test("what was surely not executed, and is in the log, is caught", () => {
  const { operation, command } = enqueue(1);
  operation.fate = "never";
  execute(1, command);
  expect(witness.judge()).toMatch(/surely not executed/);
});

test("requests that were executed in another order than they were made are caught", () => {
  const [first, second] = [enqueue(2), enqueue(1)];
  answer(second.operation, execute(1, second.command));
  answer(first.operation, execute(2, first.command));
  expect(witness.judge()).toMatch(/asked for what happened at 4 before what happened at 3/);
});

test("an acknowledgement counts when the user has the answer, or the report that it is gone, and is caught before", () => {
  const commands = [1, 2, 3, 4].map((number) => enqueue(number).command);
  const replies = commands.slice(0, 2).map((command, at) => execute(at + 1, command));
  witness.taken(replies[0]?.index ?? 0);
  witness.forgotten("c1", 2);
  execute(3, commands[2] ?? take(1), 2);
  expect(failures).toEqual([]);
  execute(4, commands[3] ?? take(1), 3);
  expect(failures).toEqual(["c1 acknowledged the answer to #3 at 6, and its user has not had it"]);
});

test("an acknowledgement counts without that when the answer was kept for as long as it is of a dormant session", () => {
  for (const [afterMs, isFound] of [
    [KEPT_MS - 2, true],
    [KEPT_MS, false],
  ] as const) {
    begin(false);
    execute(1, enqueue(1).command);
    commit("command", 2, encodeCommand(enqueue(2).command), 1, afterMs);
    expect(failures.length > 0).toBe(isFound);
  }
});

test("an answer to a number that was fetched or came late is compared with the log", () => {
  witness.reported("c1", 1, execute(1, enqueue(1).command));
  expect(witness.judge()).toBeNull();
  begin(false);
  witness.reported("c1", 2, execute(1, enqueue(1).command));
  expect(witness.judge()).toMatch(/told of #2 what the log does not hold/);
});

test("requests that share a number get their own parts, and nothing of them is lost", () => {
  begin(true);
  const [first, second] = [enqueue(1), enqueue(1)];
  const reply = execute(1, together(first.command, second.command));
  const shared = [first.operation, second.operation];
  expect(partsOf(reply, shared)).toMatchObject([{ firstId: 1 }, { firstId: 2 }]);
  for (const [at, part] of (partsOf(reply, shared) ?? []).entries()) if (part !== null) answer(shared[at]!, part);
  const takers = [dequeue(2), dequeue(2), dequeue(3)];
  const jobs = execute(2, take(3));
  for (const [at, part] of (partsOf(jobs, takers) ?? []).entries()) if (part !== null) answer(takers[at]!, part);
  answer(takers[2]!, execute(3, take(1)));
  expect(witness.judge()).toBeNull();

  begin(true);
  const [third, fourth] = [enqueue(1), enqueue(1)];
  const both = execute(1, together(third.command, fourth.command));
  for (const { operation } of [third, fourth]) answer(operation, { ...both, count: 1 } as Reply);
  expect(witness.judge()).toMatch(/something else was told/);

  begin(true);
  const one = enqueue(1);
  answer(one.operation, execute(1, together(one.command, enqueue(1).command)));
  expect(witness.judge()).toMatch(/does not fit/);
});
