// What does each entry do to the queue? Order, refusals that count as answers, time, and entries this version must not apply.
import { describe, expect, test } from "bun:test";
import { BrokenInvariant } from "../../src/lib/assert.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import { encodeTick, encodeTouch, encodeVersion } from "../../src/queue/commands.ts";
import { apply, createQueue } from "../../src/queue/queue.ts";
import type { Command, EntryFields } from "../../src/queue/types.ts";
import { dequeue, enqueue, LIMITS, Log, refusal, stateOf, values } from "../kit/queue-log.ts";

describe("jobs", () => {
  test("come out in the order of log index and position in the entry, with ids that count up", () => {
    const log = new Log();
    const one = log.session("c1");
    const two = log.session("c2");
    expect(log.send(one, 1, enqueue("a", "b")).reply).toEqual({ type: "enqueued", index: 3, firstId: 1, count: 2 });
    expect(log.send(two, 1, enqueue("c")).reply).toEqual({ type: "enqueued", index: 4, firstId: 3, count: 1 });
    const { reply } = log.send(two, 2, dequeue(5));
    expect(values(reply)).toEqual(["a", "b", "c"]);
    expect(reply).toMatchObject({ index: 5, jobs: [{ id: 1, encoding: 1 }, { id: 2 }, { id: 3 }] });
  });

  test("that would need more memory than the limit are refused as their number's answer, all of a command or none", () => {
    // Each counts its payload and eight bytes.
    const log = new Log({ ...LIMITS, maxReadyBytes: 40 });
    const session = log.session("c1");
    expect(refusal(log.send(session, 1, enqueue("12", "12", "12")))).toBe("enqueued");
    expect(refusal(log.send(session, 2, enqueue("123")))).toBe("QUEUE_FULL");
    expect(refusal(log.send(session, 3, enqueue("1", "")))).toBe("QUEUE_FULL");
    expect(log.queue.ready).toBe(3);
    expect(refusal(log.send(session, 4, enqueue("12")))).toBe("enqueued");
    expect(refusal(log.send(session, 5, enqueue("")))).toBe("QUEUE_FULL");
    expect(values(log.send(session, 6, dequeue()).reply)).toEqual(["12"]);
    expect(refusal(log.send(session, 7, enqueue("")))).toBe("enqueued");
    // A retry gets the refusal that was recorded, though there is room by now.
    log.send(session, 8, dequeue(9));
    expect(refusal(log.send(session, 2, enqueue("123")))).toBe("QUEUE_FULL");
  });

  test("an empty queue is an answer without jobs, and ids go on after it", () => {
    const log = new Log();
    const session = log.session("c1");
    expect(log.send(session, 1, dequeue()).reply).toEqual({ type: "dequeued", index: 2, jobs: [] });
    log.send(session, 2, enqueue("a"));
    log.send(session, 3, dequeue());
    expect(log.send(session, 4, enqueue("b")).reply).toMatchObject({ firstId: 2 });
  });

  test("a dequeue stops at max jobs and at maxBytes, but gives at least one job", () => {
    const log = new Log();
    const session = log.session("c1");
    log.send(session, 1, enqueue("aaaa", "bb", "cc", "d", "e"));
    expect(values(log.send(session, 2, dequeue(9, 0)).reply)).toEqual(["aaaa"]);
    expect(values(log.send(session, 3, dequeue(9, 4)).reply)).toEqual(["bb", "cc"]);
    expect(values(log.send(session, 4, dequeue(1, 100)).reply)).toEqual(["d"]);
    expect(log.queue.ready).toBe(1);
  });

  test("a dequeue is cut to the limits of the cluster, so that its reply fits a frame", () => {
    const log = new Log({ ...LIMITS, maxPayloadBytes: 10, maxJobsPerCommand: 3 });
    const session = log.session("c1");
    log.send(session, 1, enqueue("12345678", "12", "1"));
    log.send(session, 2, enqueue("2", "3", "4"));
    expect(values(log.send(session, 3, dequeue(999, 999)).reply)).toEqual(["12345678", "12"]);
    expect(values(log.send(session, 4, dequeue(999, 999)).reply)).toEqual(["1", "2", "3"]);
  });

  test("the waiting jobs and their bytes are counted", () => {
    const log = new Log();
    const session = log.session("c1");
    log.send(session, 1, enqueue("aaa", "bb", ""));
    expect([log.queue.ready, log.queue.readyBytes]).toEqual([3, 5]);
    log.send(session, 2, dequeue());
    expect([log.queue.ready, log.queue.readyBytes]).toEqual([2, 2]);
    log.send(session, 3, dequeue(2));
    expect([log.queue.ready, log.queue.readyBytes]).toEqual([0, 0]);
  });

  test("a payload is the queue's own: the entry's bytes may be reused", () => {
    const log = new Log();
    const session = log.session("c1");
    log.send(session, 1, enqueue("good"));
    log.entries.at(-1)!.body.fill(0);
    expect(values(log.send(session, 2, dequeue()).reply)).toEqual(["good"]);
  });
});

describe("a command that cannot be executed", () => {
  const elsewhere: Command = { type: "enqueue", queue: "other", jobs: [{ encoding: 0, payload: new Uint8Array(1) }] };
  const cases: readonly [string, Command | Uint8Array, string, string][] = [
    ["malformed bytes", new Uint8Array([0xc1]), "BAD_REQUEST", "the command is malformed"],
    ["an unknown queue", elsewhere, "NO_QUEUE", 'there is no queue "other"; this version has one queue, "default"'],
    [
      "a payload above the limit",
      enqueue("ok", "12345678901"),
      "TOO_LARGE",
      "a payload of 11 bytes is longer than the 10 allowed",
    ],
  ];
  // The texts are part of the replicated state: changing one needs a new version of the state machine.
  test.each(cases)(
    "%s: its refusal is the number's answer, and the next number goes on",
    (_, command, code, message) => {
      const log = new Log({ ...LIMITS, maxPayloadBytes: 10 });
      const session = log.session("c1");
      const first = log.send(session, 1, command);
      expect(first.reply).toEqual({ type: "refused", index: 2, code: code as "BAD_REQUEST", message });
      const again = log.send(session, 1, command);
      expect(again.bytes).toEqual(first.bytes);
      expect(again.duplicate).toBe(true);
      expect(log.queue.ready).toBe(0);
      expect(refusal(log.send(session, 2, enqueue("fits")))).toBe("enqueued");
    },
  );

  test("a dequeue from an unknown queue takes nothing", () => {
    const log = new Log();
    const session = log.session("c1");
    log.send(session, 1, enqueue("a"));
    expect(refusal(log.send(session, 2, { ...dequeue(), queues: ["other"] } as Command))).toBe("NO_QUEUE");
    expect(log.queue.ready).toBe(1);
  });
});

describe("entries", () => {
  const unanswered: readonly [EntryFields["kind"], Uint8Array][] = [
    ["noop", new Uint8Array(0)],
    ["config", new Uint8Array(0)],
    ["tick", encodeTick("checkpoint")],
    ["tick", encodeTick("due times")],
    ["touch", encodeTouch([])],
    ["version", encodeVersion({ version: 1, limits: LIMITS })],
  ];
  test.each(unanswered)("a %s has no reply; it moves index and time", (kind, body) => {
    const log = new Log();
    log.time += 5;
    expect(log.append({ kind, body })).toEqual({ index: 1, reply: null, duplicate: false });
    expect([log.queue.appliedIndex, log.queue.time]).toEqual([1, log.time]);
  });

  test("an entry that is not the next one breaks an invariant", () => {
    const log = new Log();
    log.append({ kind: "noop" });
    expect(() => log.append({ kind: "noop", index: 1 })).toThrow(BrokenInvariant);
    expect(() => log.append({ kind: "noop", index: 3 })).toThrow(BrokenInvariant);
  });

  const tooNew: readonly [string, Partial<EntryFields>][] = [
    ["flags", { kind: "noop", flags: 1 }],
    ["a batch", { kind: "batch" }],
    ["a newer state machine", { kind: "version", body: encodeVersion({ version: 2, limits: LIMITS }) }],
    ["an unreadable version", { kind: "version", body: new Uint8Array([0xc0]) }],
    ["a version without limits", { kind: "version", body: new Uint8Array([0x91, 1]) }],
    ["a tick of an unknown purpose", { kind: "tick", body: new Uint8Array([0x91, 0xa1, 0x78]) }],
  ];
  test.each(tooNew)("%s that this version does not know stops the node before anything changes", (_, fields) => {
    const log = new Log();
    log.session("c1");
    const before = stateOf(log.queue);
    expect(() => log.append({ time: 99_999, ...fields })).toThrow(RaftqError);
    expect(stateOf(log.queue)).toBe(before);
  });

  test("limits come with the first version entry; before it no session is opened, and a second one changes nothing", () => {
    const log = new Log();
    log.queue = createQueue();
    expect(refusal(log.open("c1"))).toBe("SESSIONS_FULL");
    expect(refusal(log.send(1, 1, enqueue("a")))).toBe("SESSION_EXPIRED");
    const first = { ...LIMITS, maxSessions: 1 };
    log.append({ kind: "version", body: encodeVersion({ version: 1, limits: first }) });
    expect(log.queue.limits).toEqual(first);
    log.append({ kind: "version", body: encodeVersion({ version: 1, limits: LIMITS }) });
    expect([log.queue.limits, log.queue.version]).toEqual([first, 1]);
    expect(refusal(log.open("c1"))).toBe("opened");
    expect(refusal(log.open("c2"))).toBe("SESSIONS_FULL");
  });

  test("the same entries give the same state and the same replies on every node", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 5_000 });
    const session = log.session("c1");
    for (let number = 1; number <= 50; number++)
      log.send(session, number, number % 3 === 0 ? dequeue() : enqueue(`${number}`), number - 5);
    const other = new Log({ ...LIMITS, sessionExpiryMs: 5_000 });
    for (const entry of log.entries) apply(other.queue, entry);
    expect(stateOf(other.queue)).toBe(stateOf(log.queue));
  });
});
