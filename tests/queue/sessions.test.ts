// Does a number execute once, in its order, and always with the same answer? Every rule of sessions is a test here.
import { describe, expect, test } from "bun:test";
import { crc32 } from "../../src/lib/crc32.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { apply, clientOf, lookUp } from "../../src/queue/queue.ts";
import { digestOf } from "../../src/queue/digest.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import { restore, snapshotBytes } from "../../src/queue/snapshot.ts";
import { dequeue, enqueue, LIMITS, Log, partsOf, refusal, resolve, stateOf, values } from "../kit/queue-log.ts";

const day = 24 * 3_600_000;

describe("opening a session", () => {
  test("the index of the OPEN is the session, and a new client starts after number 0", () => {
    const log = new Log();
    log.append({ kind: "noop" });
    expect(log.open("c1").reply).toEqual({
      type: "opened",
      index: 2,
      session: 2,
      lastNumber: 0,
      acknowledgedThrough: 0,
      expiresMs: 7 * day,
    });
    expect(log.queue.sessionCount).toBe(1);
  });

  test("the same nonce again is the same session, and its answer gives the present numbers", () => {
    const log = new Log();
    const first = log.open("c1", 7);
    const session = 1;
    log.send(session, 1, enqueue("a"));
    log.send(session, 2, enqueue("b"), 1);
    const again = log.open("c1", 7);
    expect(again.reply).toMatchObject({ type: "opened", index: 4, session, lastNumber: 2, acknowledgedThrough: 1 });
    expect([first.duplicate, again.duplicate]).toEqual([false, true]);
    expect(refusal(log.send(session, 3, enqueue("c")))).toBe("enqueued");
  });

  test("a newer process fences the older one, and numbers and stored answers go on across it", () => {
    const log = new Log();
    const older = log.session("c1", 1);
    const stored = log.send(older, 1, enqueue("a"));
    const opened = log.open("c1", 2);
    expect(opened.reply).toMatchObject({ type: "opened", lastNumber: 1 });
    const newer = log.session("c1", 2);
    expect(refusal(log.send(older, 2, enqueue("b")))).toBe("SESSION_FENCED");
    expect(refusal(log.close(older, 1))).toBe("SESSION_FENCED");
    const retry = log.send(newer, 1, enqueue("a"));
    expect(retry.bytes).toEqual(stored.bytes);
    expect(retry.duplicate).toBe(true);
    expect(log.send(newer, 1, resolve).bytes).toEqual(stored.bytes);
    expect(refusal(log.send(newer, 2, enqueue("b")))).toBe("enqueued");
    expect(log.queue.ready).toBe(2);
    expect(log.queue.sessionCount).toBe(1);
  });

  test("an older process that opens again with its own nonce is fenced, not let in", () => {
    const log = new Log();
    log.session("c1", 1);
    const newer = log.session("c1", 2);
    expect(refusal(log.open("c1", 1))).toBe("SESSION_FENCED");
    expect(refusal(log.send(newer, 1, enqueue("a")))).toBe("enqueued");
  });

  test("a nonce is kept beyond the life of its entry's bytes", () => {
    const log = new Log();
    const first = log.session("c1", 1);
    log.entries.at(-1)!.body.fill(0);
    const second = log.session("c1", 2);
    log.entries.at(-1)!.body.fill(0);
    expect(log.session("c1", 2)).toBe(second);
    expect(refusal(log.open("c1", 1))).toBe("SESSION_FENCED");
    expect(refusal(log.send(first, 1, resolve))).toBe("SESSION_FENCED");
  });

  test("exactly the last 16 nonces of a client id are remembered", () => {
    const log = new Log();
    const first = log.session("c1", 1);
    for (let process = 2; process <= 16; process++) log.session("c1", process);
    expect(refusal(log.open("c1", 1))).toBe("SESSION_FENCED");
    expect(refusal(log.send(first, 1, resolve))).toBe("SESSION_FENCED");
    log.session("c1", 17);
    // Forgotten: it cannot be distinguished from a new process any more.
    expect(refusal(log.send(first, 1, resolve))).toBe("SESSION_EXPIRED");
    expect(refusal(log.open("c1", 2))).toBe("SESSION_FENCED");
    expect(refusal(log.open("c1", 1))).toBe("opened");
  });

  test("at the limit new client ids are refused, known ones are let in, and a freed place is given again", () => {
    const log = new Log({ ...LIMITS, maxSessions: 2 });
    const first = log.session("c1");
    log.session("c2");
    expect(log.open("c3").reply).toMatchObject({ code: "SESSIONS_FULL", message: "all 2 sessions are in use" });
    expect(refusal(log.open("c2", 9))).toBe("opened");
    log.close(first);
    expect(refusal(log.open("c3"))).toBe("opened");
  });

  test("at the limit of all client ids a new one is refused although a live session may give up its place", () => {
    const log = new Log({ ...LIMITS, maxSessions: 1, maxClientIds: 2 });
    log.session("c1");
    log.pass(LIMITS.dormantAfterMs);
    log.session("c2");
    log.pass(LIMITS.dormantAfterMs);
    expect(log.open("c3").reply).toMatchObject({ code: "SESSIONS_FULL", message: "all 2 client ids are in use" });
    expect([log.queue.sessionCount, log.queue.dormantCount]).toEqual([1, 1]);
    // A known one needs a place among the live sessions only.
    expect(refusal(log.open("c1", 2))).toBe("opened");
  });

  test("an OPEN that cannot be read is refused and opens nothing", () => {
    const log = new Log();
    expect(refusal(log.answered({ kind: "open", body: new Uint8Array([0x90]) }))).toBe("BAD_REQUEST");
    expect(log.queue.sessionCount).toBe(0);
  });
});

describe("numbers", () => {
  test("a number sent again gets the same bytes and executes once", () => {
    const log = new Log();
    const session = log.session("c1");
    const first = log.send(session, 1, enqueue("a"));
    log.send(session, 2, enqueue("b"));
    const again = log.send(session, 1, enqueue("a"));
    expect(again.bytes).toEqual(first.bytes);
    expect([first.duplicate, again.duplicate]).toEqual([false, true]);
    expect(log.queue.ready).toBe(2);
  });

  test("a dequeue sent again gives the same job, not the next one", () => {
    const log = new Log();
    const session = log.session("c1");
    log.send(session, 1, enqueue("a", "b"));
    const first = log.send(session, 2, dequeue());
    expect(values(first.reply)).toEqual(["a"]);
    expect(log.send(session, 2, dequeue()).bytes).toEqual(first.bytes);
    expect(values(log.send(session, 3, dequeue()).reply)).toEqual(["b"]);
  });

  test("a gap is refused and records nothing: the right number still executes", () => {
    const log = new Log();
    const session = log.session("c1");
    expect(refusal(log.send(session, 2, enqueue("b")))).toBe("OUT_OF_ORDER");
    expect(log.queue.ready).toBe(0);
    expect(refusal(log.send(session, 1, enqueue("a")))).toBe("enqueued");
    expect(refusal(log.send(session, 2, enqueue("b")))).toBe("enqueued");
    expect(values(log.send(session, 3, dequeue(9)).reply)).toEqual(["a", "b"]);
  });

  test("a hundred numbers in flight, shuffled and all sent twice, execute once and in order", () => {
    const log = new Log();
    const session = log.session("c1");
    const numbers = Array.from({ length: 100 }, (_, at) => at + 1);
    const shuffled = numbers.toSorted((a, b) => ((a * 37) % 101) - ((b * 37) % 101));
    const answers = new Map<number, string>();
    while (answers.size < 100) {
      for (const number of shuffled) {
        for (const { reply, bytes } of [
          log.send(session, number, enqueue(`${number}`)),
          log.send(session, number, enqueue(`${number}`)),
        ]) {
          if (reply.type === "refused") continue;
          expect(answers.get(number) ?? bytes.toHex()).toBe(bytes.toHex());
          answers.set(number, bytes.toHex());
        }
      }
    }
    expect(values(log.send(session, 101, dequeue(200)).reply)).toEqual(numbers.map(String));
  });

  test("a number used again for another command is a conflict, and the first answer stands", () => {
    const log = new Log();
    const session = log.session("c1");
    const first = log.send(session, 1, enqueue("a"));
    expect(refusal(log.send(session, 1, enqueue("b")))).toBe("CONFLICT");
    expect(refusal(log.send(session, 1, dequeue()))).toBe("CONFLICT");
    expect(log.send(session, 1, enqueue("a")).bytes).toEqual(first.bytes);
    expect(log.queue.ready).toBe(1);
  });

  test("commands of equal CRC-32 but different length are distinguished", () => {
    const log = new Log();
    const session = log.session("c1");
    const [four, five] = [Uint8Array.fromHex("ffffffff"), Uint8Array.fromHex("ffffffff00")];
    expect(crc32(four)).toBe(crc32(five));
    log.send(session, 1, four);
    expect(refusal(log.send(session, 1, five))).toBe("CONFLICT");
  });

  test("number 0 is refused", () => {
    const log = new Log();
    const session = log.session("c1");
    expect(refusal(log.send(session, 0, enqueue("a")))).toBe("BAD_REQUEST");
    expect(lookUp(log.queue, session, 0, encodeCommand(resolve))).toMatchObject({
      type: "refused",
      failure: { code: "BAD_REQUEST" },
    });
  });

  test("what is refused before it executes leaves its number free", () => {
    const log = new Log();
    expect(refusal(log.send(99, 1, enqueue("a")))).toBe("SESSION_EXPIRED");
    expect(log.queue.ready).toBe(0);
  });
});

describe("resolve", () => {
  test("gives a number's stored answer whatever its command was", () => {
    const log = new Log();
    const session = log.session("c1");
    const first = log.send(session, 1, enqueue("a"));
    const settled = log.send(session, 1, resolve);
    expect(settled.bytes).toEqual(first.bytes);
    expect(settled.duplicate).toBe(true);
  });

  test("records a number that was not executed as void, so that the session goes on and the number never executes", () => {
    const log = new Log();
    const session = log.session("c1");
    const voided = log.send(session, 1, resolve);
    expect(voided.reply).toEqual({ type: "void", index: 2 });
    expect(log.send(session, 1, resolve).bytes).toEqual(voided.bytes);
    expect(refusal(log.send(session, 1, enqueue("late")))).toBe("CONFLICT");
    expect(refusal(log.send(session, 2, enqueue("b")))).toBe("enqueued");
    expect(log.queue.ready).toBe(1);
  });

  test("is a resolve in any valid spelling of its bytes", () => {
    const log = new Log();
    const session = log.session("c1");
    const first = log.send(session, 1, enqueue("a"));
    expect(log.send(session, 1, new Uint8Array([0x91, 0xcd, 0x00, 0x03])).bytes).toEqual(first.bytes);
  });
});

describe("acknowledged answers", () => {
  test("an acknowledged answer is dropped, and its number is distinguished from one that never was", () => {
    const log = new Log();
    const session = log.session("c1");
    log.send(session, 1, enqueue("a"));
    log.send(session, 2, enqueue("b"), 1);
    const forgotten = log.send(session, 1, enqueue("a"));
    expect(forgotten.reply).toMatchObject({
      code: "FORGOTTEN",
      message: "number 1 was executed and its answer acknowledged; the answer is no longer kept",
    });
    expect(refusal(log.send(session, 1, resolve))).toBe("FORGOTTEN");
    expect(log.queue.ready).toBe(2);
    expect(log.send(session, 2, enqueue("b")).duplicate).toBe(true);
  });

  test("an answer above what was acknowledged is never dropped", () => {
    const log = new Log();
    const session = log.session("c1");
    const stored = new Map<number, Uint8Array>();
    for (let number = 1; number <= 500; number++)
      stored.set(number, log.send(session, number, enqueue(`${number}`)).bytes);
    log.send(session, 501, resolve, 200);
    for (let number = 201; number <= 500; number++) {
      expect(log.send(session, number, enqueue(`${number}`)).bytes).toEqual(stored.get(number)!);
    }
  });

  test("acknowledging never goes back and never beyond what was executed", () => {
    const log = new Log();
    const session = log.session("c1");
    log.send(session, 1, enqueue("a"));
    log.send(session, 2, enqueue("b"));
    log.send(session, 3, enqueue("c"), 2);
    expect(refusal(log.send(session, 2, enqueue("b"), 0))).toBe("FORGOTTEN");
    log.send(session, 4, enqueue("d"), 1_000);
    // 4 itself was executed after the client acknowledged: its answer is kept.
    expect(log.send(session, 4, enqueue("d")).duplicate).toBe(true);
  });

  test("a retry is answered from the store even when it acknowledges itself", () => {
    const log = new Log();
    const session = log.session("c1");
    const first = log.send(session, 1, enqueue("a"));
    expect(log.send(session, 1, enqueue("a"), 1).bytes).toEqual(first.bytes);
    expect(refusal(log.send(session, 1, enqueue("a")))).toBe("FORGOTTEN");
  });

  test("a window full of answers refuses the next command without recording it, until some are acknowledged", () => {
    const log = new Log({ ...LIMITS, maxReplies: 3 });
    const session = log.session("c1");
    for (let number = 1; number <= 3; number++) log.send(session, number, enqueue(`${number}`));
    expect(refusal(log.send(session, 4, enqueue("4")))).toBe("WINDOW_FULL");
    expect(log.queue.ready).toBe(3);
    expect(log.send(session, 1, enqueue("1")).duplicate).toBe(true);
    expect(refusal(log.send(session, 4, enqueue("4"), 1))).toBe("enqueued");
    expect(refusal(log.send(session, 5, enqueue("5"), 1))).toBe("WINDOW_FULL");
  });

  test("a window is full by bytes as well", () => {
    const log = new Log({ ...LIMITS, maxReplyBytes: 100 });
    const session = log.session("c1");
    log.send(session, 1, enqueue("x".repeat(100)));
    expect(values(log.send(session, 2, dequeue()).reply)).toEqual(["x".repeat(100)]);
    expect(refusal(log.send(session, 3, enqueue("y")))).toBe("WINDOW_FULL");
    expect(refusal(log.send(session, 3, enqueue("y"), 2))).toBe("enqueued");
  });

  test("too many answers of all sessions stop those that keep more than an equal share, and no others", () => {
    // An answer counts its bytes and 128: about 135 here; an equal share is 300.
    const log = new Log({ ...LIMITS, maxSessions: 3, maxAnswerBytes: 900 });
    const hoarder = log.session("c1");
    const modest = log.session("c2");
    let kept = 0;
    while (refusal(log.send(hoarder, kept + 1, resolve)) === "void") kept++;
    expect(kept).toBe(7);
    expect(refusal(log.send(hoarder, 8, resolve))).toBe("WINDOW_FULL");
    expect(refusal(log.send(modest, 1, resolve))).toBe("void");
    expect(refusal(log.send(modest, 2, resolve, 1))).toBe("void");
    expect(refusal(log.send(modest, 3, resolve, 2))).toBe("void");
    expect(refusal(log.send(modest, 4, resolve, 2))).toBe("void");
    expect(refusal(log.send(modest, 5, resolve, 2))).toBe("void");
    expect(refusal(log.send(modest, 6, resolve, 2))).toBe("WINDOW_FULL");
    // The same after a snapshot, since the sum is not in it.
    log.queue = restore(partsOf(log.queue));
    expect(refusal(log.send(hoarder, 8, resolve))).toBe("WINDOW_FULL");
    expect(refusal(log.send(hoarder, 8, resolve, 7))).toBe("void");
    expect(refusal(log.send(modest, 6, resolve, 2))).toBe("void");
  });

  test("the answers of a session that is closed, expired or acknowledged count no more", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 100, maxSessions: 3 });
    const [one, two, three] = [log.session("c1"), log.session("c2"), log.session("c3")];
    for (const session of [one, two, three])
      for (let number = 1; number <= 5; number++) log.send(session, number, resolve);
    const before = log.queue.sessions.answerMemory;
    log.close(one, 5);
    expect(log.queue.sessions.answerMemory).toBe((before * 2) / 3);
    log.send(two, 5, resolve, 5);
    expect(log.queue.sessions.answerMemory).toBe(before / 3);
    log.pass(200);
    expect(log.queue.sessions.answerMemory).toBe(0);
  });

  test("another session's window is its own", () => {
    const log = new Log({ ...LIMITS, maxReplies: 1 });
    const one = log.session("c1");
    const two = log.session("c2");
    log.send(one, 1, enqueue("a"));
    expect(refusal(log.send(one, 2, enqueue("b")))).toBe("WINDOW_FULL");
    expect(refusal(log.send(two, 1, enqueue("b")))).toBe("enqueued");
  });
});

describe("the end of a session", () => {
  const GENERATED = { generated: true };

  test("CLOSE is refused while an answer is not acknowledged, and acknowledges what it names all the same", () => {
    const log = new Log();
    const session = log.session("c1", 1);
    log.send(session, 1, enqueue("a"));
    log.send(session, 2, enqueue("b"));
    expect(log.close(session, 1).reply).toMatchObject({
      code: "OUT_OF_ORDER",
      message: "number 2 was executed, and answers are acknowledged up to number 1 only",
    });
    expect(refusal(log.send(session, 1, resolve))).toBe("FORGOTTEN");
    expect(log.send(session, 2, resolve).duplicate).toBe(true);
    expect(log.close(session, 2).reply).toEqual({ type: "closed", index: 7 });
  });

  test("CLOSE of a generated id removes it with everything it asked", () => {
    const log = new Log();
    const session = log.session("c1", 1, GENERATED);
    log.send(session, 1, enqueue("a"));
    expect(refusal(log.close(session, 1))).toBe("closed");
    expect([log.queue.sessionCount, log.queue.dormantCount]).toEqual([0, 0]);
    expect(refusal(log.send(session, 2, enqueue("a")))).toBe("SESSION_EXPIRED");
    expect(refusal(log.close(session))).toBe("SESSION_EXPIRED");
    expect(refusal(log.open("c1", 1, { resume: true }))).toBe("SESSION_EXPIRED");
    expect(log.open("c1", 2).reply).toMatchObject({ lastNumber: 0 });
  });

  test("CLOSE of a generated id forgets its fenced sessions too", () => {
    const log = new Log();
    const older = log.session("c1", 1, GENERATED);
    const newer = log.session("c1", 2, GENERATED);
    log.close(newer);
    expect(refusal(log.send(older, 1, resolve))).toBe("SESSION_EXPIRED");
    expect(clientOf(log.queue, older)).toBeNull();
  });

  test("an id that any process called given is kept as one", () => {
    const log = new Log();
    log.session("c1", 1, GENERATED);
    log.close(log.session("c1", 2));
    expect(log.queue.dormantCount).toBe(1);
    log.close(log.session("c1", 3, GENERATED));
    expect(log.queue.dormantCount).toBe(1);
  });

  test("CLOSE of a given id leaves it dormant: its numbers go on, its place is free", () => {
    const log = new Log({ ...LIMITS, maxSessions: 1 });
    const session = log.session("c1", 1);
    log.send(session, 1, enqueue("a"));
    expect(refusal(log.close(session, 1))).toBe("closed");
    expect([log.queue.sessionCount, log.queue.dormantCount]).toEqual([0, 1]);
    expect(refusal(log.send(session, 2, enqueue("b")))).toBe("SESSION_EXPIRED");
    expect(log.open("c1", 2).reply).toMatchObject({ type: "opened", lastNumber: 1, acknowledgedThrough: 1 });
  });

  test("a session expires exactly when the expiry time has passed without use", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 1_000 });
    const session = log.session("c1");
    log.pass(999);
    expect(log.queue.sessionCount).toBe(1);
    log.pass(1);
    expect(log.queue.sessionCount).toBe(0);
    expect(refusal(log.send(session, 1, enqueue("a")))).toBe("SESSION_EXPIRED");
  });

  test("an entry that comes at the expiry time finds its own session gone", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 1_000 });
    const session = log.session("c1");
    log.time += 1_000;
    expect(refusal(log.send(session, 1, enqueue("a")))).toBe("SESSION_EXPIRED");
  });

  const uses: readonly [string, (log: Log, session: number) => unknown][] = [
    ["a command", (log, session) => log.send(session, 1, enqueue("a"))],
    ["a refused command", (log, session) => log.send(session, 5, enqueue("a"))],
    ["a touch", (log, session) => log.touch(session)],
    ["its OPEN sent again", (log) => log.open("c1", 1)],
    ["a newer OPEN", (log) => log.open("c1", 2)],
  ];
  test.each(uses)("%s renews it", (_, useIt) => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 1_000 });
    const session = log.session("c1", 1);
    log.pass(600);
    useIt(log, session);
    log.pass(999);
    expect(log.queue.sessionCount).toBe(1);
    log.pass(1);
    expect(log.queue.sessionCount).toBe(0);
  });

  test("commands of a fenced session do not renew its successor", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 1_000 });
    const older = log.session("c1", 1);
    log.session("c1", 2);
    log.pass(600);
    log.send(older, 1, enqueue("a"));
    log.touch(older);
    log.pass(400);
    expect(log.queue.sessionCount).toBe(0);
  });

  test("sessions expire in the order of their last use, each at its own time", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 1_000 });
    const ids = [1, 2, 3, 4].map((at) => {
      log.pass(100);
      return log.session(`c${at}`);
    });
    log.touch(ids[0]!);
    const seen: string[] = [];
    for (let step = 0; step < 12; step++) {
      log.pass(100);
      seen.push(
        ids
          .map((id) => clientOf(log.queue, id) ?? "")
          .filter(Boolean)
          .join(),
      );
    }
    expect(seen.filter((state, at) => state !== seen[at - 1])).toEqual(["c1,c2,c3,c4", "c1,c3,c4", "c1,c4", ""]);
  });

  test("cluster time never goes back, whatever time an entry names, and the wall clock decides nothing", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 1_000 });
    log.session("c1");
    log.append({ kind: "noop", time: 1, wall: Number.MAX_SAFE_INTEGER });
    expect(log.queue.time).toBe(1_000);
    expect(log.queue.sessionCount).toBe(1);
  });

  test("a touch passes over sessions that are gone", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 1_000 });
    const session = log.session("c1");
    log.pass(600);
    log.touch(77, session, 78);
    log.pass(600);
    expect(log.queue.sessionCount).toBe(1);
  });

  test("a malformed touch touches nobody", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 1_000 });
    const session = log.session("c1");
    log.pass(600);
    log.append({ kind: "touch", body: new Uint8Array([0x92, session]) });
    log.pass(600);
    expect(log.queue.sessionCount).toBe(0);
  });
});

describe("a dormant session", () => {
  /** One place: the session of c1, with two answers of which one is acknowledged, gave it up for that of c2. */
  function crowded(limits: Partial<QueueLimits> = {}, generated = false) {
    const log = new Log({ ...LIMITS, maxSessions: 1, ...limits });
    const session = log.session("c1", 1, { generated });
    log.send(session, 1, enqueue("a"));
    const stored = log.send(session, 2, enqueue("b"), 1);
    log.pass(log.queue.limits.dormantAfterMs);
    const other = log.session("c2", 5);
    expect([log.queue.sessionCount, log.queue.dormantCount]).toEqual([1, 1]);
    return { log, session, stored, other };
  }
  const resume = { resume: true };

  test("is the one that nobody used for the longest, and only after so long", () => {
    const log = new Log({ ...LIMITS, maxSessions: 3, dormantAfterMs: 100 });
    const [one, two, three] = [log.session("c1"), log.session("c2"), log.session("c3")];
    log.pass(99);
    expect(refusal(log.open("c4"))).toBe("SESSIONS_FULL");
    log.touch(one);
    log.pass(1);
    expect(refusal(log.open("c4"))).toBe("opened");
    expect([one, two, three].map((id) => clientOf(log.queue, id))).toEqual(["c1", null, "c3"]);
    expect(refusal(log.open("c5"))).toBe("opened");
    expect(refusal(log.open("c6"))).toBe("SESSIONS_FULL");
    expect([one, two, three].map((id) => clientOf(log.queue, id))).toEqual(["c1", null, null]);
  });

  test("by the order of use, also where all were used at one time", () => {
    const log = new Log({ ...LIMITS, maxSessions: 2, dormantAfterMs: 100 });
    const [one, two] = [log.session("c1"), log.session("c2")];
    log.touch(two, one);
    log.pass(100);
    log.session("c3");
    expect([one, two].map((id) => clientOf(log.queue, id))).toEqual(["c1", null]);
  });

  test("is resumed by its newest process under a new id, with its numbers and its answers", () => {
    const { log, session, stored } = crowded();
    expect(refusal(log.send(session, 3, enqueue("c")))).toBe("SESSION_EXPIRED");
    expect(refusal(log.open("c1", 1))).toBe("SESSION_EXPIRED");
    log.pass(log.queue.limits.dormantAfterMs);
    const opened = log.open("c1", 1, resume);
    expect(opened.reply).toMatchObject({ type: "opened", lastNumber: 2, acknowledgedThrough: 1 });
    expect(opened.duplicate).toBe(false);
    const again = log.session("c1", 1, resume);
    expect(again).toBeGreaterThan(session);
    expect(log.open("c1", 1, resume).duplicate).toBe(true);
    expect(log.send(again, 2, enqueue("b")).bytes).toEqual(stored.bytes);
    expect(refusal(log.send(again, 1, enqueue("a")))).toBe("FORGOTTEN");
    expect(refusal(log.send(again, 3, enqueue("c"), 2))).toBe("enqueued");
    expect(refusal(log.send(session, 4, enqueue("d")))).toBe("SESSION_EXPIRED");
    expect([log.queue.sessionCount, log.queue.dormantCount]).toEqual([1, 1]);
  });

  test("needs a place to be resumed", () => {
    const { log, other } = crowded();
    expect(refusal(log.open("c1", 1, resume))).toBe("SESSIONS_FULL");
    log.close(other);
    expect(refusal(log.open("c1", 1, resume))).toBe("opened");
  });

  test("is not resumed by a process that a newer one has fenced, nor by a stranger", () => {
    const log = new Log({ ...LIMITS, maxSessions: 1 });
    log.session("c1", 1);
    log.close(log.session("c1", 2));
    expect(refusal(log.open("c1", 1, resume))).toBe("SESSION_FENCED");
    expect(refusal(log.open("c1", 3, resume))).toBe("SESSION_FENCED");
    expect(refusal(log.open("c1", 1))).toBe("SESSION_FENCED");
    expect([log.queue.sessionCount, log.queue.dormantCount]).toEqual([0, 1]);
    expect(refusal(log.open("c1", 2, resume))).toBe("opened");
  });

  test("goes on with a new process, which fences the one that it had", () => {
    const { log, stored, other } = crowded();
    log.close(other);
    const opened = log.open("c1", 2);
    expect(opened.reply).toMatchObject({ type: "opened", lastNumber: 2, acknowledgedThrough: 1 });
    const session = log.session("c1", 2);
    expect(log.send(session, 2, resolve).bytes).toEqual(stored.bytes);
    expect(refusal(log.open("c1", 1, resume))).toBe("SESSION_FENCED");
  });

  test("an id that is not known is not resumed, and nothing begins", () => {
    const log = new Log();
    expect(refusal(log.open("c1", 1, resume))).toBe("SESSION_EXPIRED");
    expect([log.queue.sessionCount, log.queue.dormantCount]).toEqual([0, 0]);
  });

  test("a copy of its first OPEN that comes late takes no place", () => {
    const log = new Log();
    const session = log.session("c1", 1);
    log.close(session);
    expect(refusal(log.open("c1", 1))).toBe("SESSION_EXPIRED");
    expect([log.queue.sessionCount, log.queue.dormantCount]).toEqual([0, 1]);
  });

  test("forgets its answers after a while, and reports that there were some, not which", () => {
    const { log, other } = crowded({ dormantAnswersMs: 1_000 });
    const kept = log.queue.sessions.answerMemory;
    log.pass(999);
    expect(log.queue.sessions.answerMemory).toBe(kept);
    log.pass(1);
    expect([log.queue.sessions.answerMemory, log.queue.sessions.dormantAnswerMemory]).toEqual([0, 0]);
    expect(log.queue.dormantCount).toBe(1);
    log.close(other);
    expect(log.open("c1", 1, resume).reply).toMatchObject({ lastNumber: 2, acknowledgedThrough: 1 });
    const session = log.session("c1", 1, resume);
    expect(log.send(session, 2, resolve).reply).toMatchObject({
      code: "FORGOTTEN",
      message: "number 2 was executed, and its answer was not fetched for long; the answer is no longer kept",
    });
    const next = log.send(session, 3, enqueue("c"));
    expect(log.send(session, 3, enqueue("c")).bytes).toEqual(next.bytes);
    expect(refusal(log.send(session, 4, enqueue("d"), 2))).toBe("enqueued");
    expect(log.send(session, 3, enqueue("c")).bytes).toEqual(next.bytes);
    expect(refusal(log.send(session, 5, enqueue("e"), 3))).toBe("enqueued");
    expect(refusal(log.send(session, 3, resolve))).toBe("FORGOTTEN");
    expect(refusal(log.close(session, 5))).toBe("closed");
  });

  test("is forgotten when nobody used it for the expiry time, a generated one earlier", () => {
    for (const [generated, after] of [
      [false, 5_000],
      [true, 700],
    ] as const) {
      const limits = { sessionExpiryMs: 5_000, generatedExpiryMs: 700, dormantAfterMs: 100 };
      const { log } = crowded(limits, generated);
      log.pass(after - 101);
      expect(log.queue.dormantCount).toBe(1);
      log.pass(1);
      expect([log.queue.sessionCount, log.queue.dormantCount]).toEqual([1, 0]);
      expect(refusal(log.open("c1", 1, resume))).toBe("SESSION_EXPIRED");
    }
  });

  test("what is due acts as if it had happened, whatever its turn is", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 1_000 });
    const sessions = Array.from({ length: 300 }, (_, at) => log.session(`c${at}`));
    log.time += 1_000;
    // Each of these moves 64 of what is due; the last ones wait for it, and are gone all the same.
    expect(refusal(log.send(sessions.at(-1)!, 1, enqueue("a")))).toBe("SESSION_EXPIRED");
    expect(log.queue.sessionCount).toBe(300 - 64);
    expect(lookUp(log.queue, sessions.at(-2)!, 1, encodeCommand(resolve))).toMatchObject({ type: "refused" });
    expect(log.open("c298", 2).reply).toMatchObject({ lastNumber: 0 });
    expect(log.queue.sessionCount).toBe(300 - 2 * 64);
    log.pass(0);
    expect(log.queue.sessionCount).toBe(1);
  });

  /** Clients that come in one order and go on in the other, so that each use puts off a due time that is not the next one. */
  function putOff(clients: number, limits: Partial<QueueLimits> = {}): Log {
    const log = new Log({ ...LIMITS, ...limits });
    const ids = Array.from({ length: clients }, (_, at) => {
      log.time++;
      return log.session(`c${at}`);
    });
    for (const session of ids.toReversed()) {
      log.time++;
      log.send(session, 1, resolve);
    }
    return log;
  }
  test.each([
    ["more than one entry moves", 100, {}],
    ["a new client needs a place", 70, { maxClientIds: 70, maxSessions: 70 }],
  ] as const)("the same ones are forgotten on a node that began with a snapshot, when %s", (_, clients, limits) => {
    const log = putOff(clients, limits);
    const restored = restore(partsOf(log.queue));
    const known = log.entries.length;
    log.time += LIMITS.sessionExpiryMs;
    log.append({ kind: "noop" });
    log.open("new");
    expect(log.queue.sessionCount).toBeLessThan(clients);
    for (const entry of log.entries.slice(known)) apply(restored, entry);
    expect(stateOf(restored)).toBe(stateOf(log.queue));
  });

  test("one with fewer answers gives up its place where those of the first do not fit", () => {
    const log = new Log({ ...LIMITS, maxSessions: 3, maxAnswerBytes: 300, dormantAfterMs: 10 });
    const ids = ["c1", "c2", "c3"].map((client) => log.session(client));
    for (const number of [1, 2]) log.send(ids[0]!, number, resolve);
    for (const number of [1, 2]) log.send(ids[1]!, number, resolve);
    log.pass(10);
    // The first one's fit, the second one's do not any more, the third one has none.
    expect([refusal(log.open("c4")), refusal(log.open("c5"))]).toEqual(["opened", "opened"]);
    expect(ids.map((id) => clientOf(log.queue, id))).toEqual([null, "c2", null]);
    expect(refusal(log.open("c6"))).toBe("SESSIONS_FULL");
  });

  test("keeps answers as far as there is memory for those of all dormant ones; then no place comes free", () => {
    // Two answers count about 270 bytes.
    const log = new Log({ ...LIMITS, maxSessions: 1, maxAnswerBytes: 400, dormantAfterMs: 10 });
    for (const [client, expected] of [
      ["c1", "opened"],
      ["c2", "opened"],
      ["c3", "SESSIONS_FULL"],
    ] as const) {
      expect(refusal(log.open(client))).toBe(expected);
      const session = log.queue.sessions.idOf.get(client);
      if (session !== undefined) for (const number of [1, 2]) log.send(session, number, resolve);
      log.pass(10);
    }
    const live = log.queue.sessions.idOf.get("c2")!;
    log.send(live, 2, resolve, 2);
    log.pass(10);
    expect(refusal(log.open("c3"))).toBe("opened");
  });

  test("is not looked at by what is asked often, however many there are", () => {
    const log = new Log({ ...LIMITS, maxSessions: 2, dormantAfterMs: 1 });
    const openMore = (from: number): void => {
      for (let client = from; client < from + 10; client++) {
        log.time++;
        log.open(`pod-${client}`);
      }
    };
    openMore(0);
    const { dormant } = log.queue.sessions;
    const look = (): never => {
      throw new Error("all dormant sessions are looked at");
    };
    Object.assign(dormant, { values: look, entries: look, keys: look, forEach: look, [Symbol.iterator]: look });
    openMore(10);
    snapshotBytes(log.queue);
    digestOf(log.queue);
    log.pass(1);
    expect([log.queue.sessionCount, log.queue.dormantCount]).toEqual([2, 18]);
    expect(() => partsOf(log.queue)).toThrow("looked at");
  });
});

describe("what the leader asks before it proposes", () => {
  test("look-up gives next, answered or why not, and changes nothing", () => {
    const log = new Log();
    const older = log.session("c1", 1);
    const session = log.session("c1", 2);
    const a = encodeCommand(enqueue("a"));
    log.send(session, 1, enqueue("gone"));
    const stored = log.send(session, 2, a, 1);
    const before = stateOf(log.queue);
    expect(lookUp(log.queue, session, 2, a)).toEqual({ type: "answered", reply: stored.bytes });
    expect(lookUp(log.queue, session, 2, encodeCommand(resolve))).toEqual({ type: "answered", reply: stored.bytes });
    expect(lookUp(log.queue, session, 3, a)).toEqual({ type: "next", lastNumber: 2 });
    expect(lookUp(log.queue, session, 9, a)).toEqual({ type: "next", lastNumber: 2 });
    const codeOf = (id: number, number: number, command: Uint8Array): string => {
      const found = lookUp(log.queue, id, number, command);
      return found.type === "refused" ? found.failure.code : found.type;
    };
    expect(codeOf(session, 2, encodeCommand(dequeue()))).toBe("CONFLICT");
    expect(codeOf(session, 1, a)).toBe("FORGOTTEN");
    expect(codeOf(older, 3, a)).toBe("SESSION_FENCED");
    expect(codeOf(4_711, 1, a)).toBe("SESSION_EXPIRED");
    expect(stateOf(log.queue)).toBe(before);
  });

  test("a session's client is known by its present and its fenced sessions", () => {
    const log = new Log();
    const older = log.session("c1", 1);
    const newer = log.session("c1", 2);
    expect([older, newer, 99].map((id) => clientOf(log.queue, id))).toEqual(["c1", "c1", null]);
  });
});
