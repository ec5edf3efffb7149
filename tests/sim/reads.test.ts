// Does the judge of reads judge? Right answers pass, and each way of being wrong is named.
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/lib/random.ts";
import { QUEUE } from "../../src/config.ts";
import { encodeCommand, encodeOpen, encodeVersion } from "../../src/queue/commands.ts";
import { STATE_MACHINE_VERSION } from "../../src/queue/queue.ts";
import type { Command } from "../../src/queue/types.ts";
import { encodeEntry, type EntryKind } from "../../src/raft/entry.ts";
import type { Peeked, ServerMessage } from "../../src/wire/protocol.ts";
import { createCommittedLog } from "./committed-log.ts";
import { createReads } from "./reads.ts";
import type { Answered } from "./sim-caller.ts";

const SESSION = 2;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const enqueue = (...texts: string[]): Command => ({
  type: "enqueue",
  queue: "default",
  jobs: texts.map((text) => ({ encoding: 0, payload: bytes(text) })),
});
const DEQUEUE: Command = { type: "dequeue", queues: ["default"], max: 2, maxBytes: 100, leaseMs: 0, waitMs: 0 };

/** The version at index 1, then the OPEN, then the commands, one an index. */
function committedLogOf(commands: readonly Command[]) {
  const committedLog = createCommittedLog();
  const commit = (index: number, kind: EntryKind, number: number, body: Uint8Array): void => {
    const draft = { kind, session: number === 0 ? 0 : SESSION, number, acknowledgedThrough: 0, body };
    expect(committedLog.commit("n1", encodeEntry({ index, term: 1, time: index, wall: 0 }, draft))).toBeNull();
  };
  commit(1, "version", 0, encodeVersion({ version: STATE_MACHINE_VERSION, limits: QUEUE }));
  commit(2, "open", 0, encodeOpen({ clientId: "c1", nonce: new Uint8Array(16), generated: false, resume: false }));
  for (const [at, command] of commands.entries()) commit(at + 3, "command", at + 1, encodeCommand(command));
  return committedLog;
}

/** The verdict when, after `acknowledged`, a question `type` is answered so. */
function verdict(acknowledged: number, type: string, answer: (frameId: number) => ServerMessage): string | null {
  const failures: string[] = [];
  let asked: { readonly type: string; readonly answered: Answered } | null = null;
  const reads = createReads({
    caller: { ask: (_, question, __, answered) => void (asked = { type: question.type, answered }) },
    random: seededRandom(5),
    committedLog: committedLogOf([enqueue("a", "b"), DEQUEUE, enqueue("c"), enqueue("d")]),
    addresses: () => ["n1"],
    timeoutMs: 100,
    coverage: { hit: () => {} },
    fail: (what) => void failures.push(what),
  });
  reads.acknowledged(acknowledged);
  const present = (): { readonly type: string; readonly answered: Answered } | null => asked;
  for (let tries = 0; tries < 100 && present()?.type !== type; tries++) reads.ask();
  expect(present()?.type).toBe(type);
  present()?.answered(answer(1));
  return failures[0] ?? null;
}

const peek = (acknowledged: number, peeked: Peeked): string | null =>
  verdict(acknowledged, "peek", (frameId) => ({ type: "peekAnswer", frameId, peeked }));
const job = (id: number, text: string, encoding = 0) => ({ id, encoding, payload: bytes(text) });

test("a peek that shows the oldest job of some state since the question passes", () => {
  expect(peek(0, { job: job(1, "a"), ready: 2, appliedIndex: 3 })).toBeNull();
  expect(peek(4, { job: null, ready: 0, appliedIndex: 4 })).toBeNull();
  expect(peek(4, { job: job(3, "c"), ready: 1, appliedIndex: 5 })).toBeNull();
  expect(peek(5, { job: job(3, "c"), ready: 2, appliedIndex: 6 })).toBeNull();
});

test.each([
  ["the state of before", 5, { job: null, ready: 0, appliedIndex: 4 }, /STALE/],
  ["a state that is not committed", 5, { job: job(3, "c"), ready: 2, appliedIndex: 7 }, /nobody has committed/],
  ["another number of jobs", 5, { job: job(3, "c"), ready: 3, appliedIndex: 6 }, /3 waiting jobs .* where there are 2/],
  ["a job that is gone", 5, { job: job(2, "b"), ready: 2, appliedIndex: 6 }, /job 2 .* where 3 is the oldest/],
  ["a later job", 5, { job: job(4, "d"), ready: 2, appliedIndex: 6 }, /job 4 .* where 3 is the oldest/],
  ["no job although one waits", 5, { job: null, ready: 2, appliedIndex: 6 }, /where 3 is the oldest/],
  ["a job where none waits", 4, { job: job(2, "b"), ready: 0, appliedIndex: 4 }, /where undefined is the oldest/],
  ["other bytes", 5, { job: job(3, "x"), ready: 2, appliedIndex: 6 }, /other bytes/],
  ["another encoding", 5, { job: job(3, "c", 1), ready: 2, appliedIndex: 6 }, /where 3 is the oldest/],
] as const)("a peek that shows %s is caught", (_, acknowledged, peeked, why) => {
  expect(peek(acknowledged, peeked)).toMatch(why);
});

test("an answer to another question is caught", () => {
  expect(verdict(0, "status", (frameId) => ({ type: "pong", frameId }))).toMatch(/answered by pong/);
});
