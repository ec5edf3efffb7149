// Does a number execute once, in its order, and always with the same answer? Every rule of sessions is a test here.
import { describe, expect, test } from "bun:test";
import { crc32 } from "../../src/lib/crc32.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { clientOf, findOpen, lookUp } from "../../src/queue/queue.ts";
import { restore } from "../../src/queue/snapshot.ts";
import { dequeue, enqueue, LIMITS, Log, nonce, partsOf, refusal, settle, stateOf, values } from "./log.ts";

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
      answeredUpTo: 0,
      expiresMs: 7 * day,
    });
    expect(log.queue.sessionCount).toBe(1);
  });

  test("the same nonce again is the same session with the same bytes, also after commands", () => {
    const log = new Log();
    const first = log.open("c1", 7);
    const session = 1;
    log.send(session, 1, enqueue("a"));
    const again = log.open("c1", 7);
    expect(again.bytes).toEqual(first.bytes);
    expect(again.duplicate).toBe(true);
    expect(first.duplicate).toBe(false);
    expect(refusal(log.send(session, 2, enqueue("b")))).toBe("enqueued");
  });

  test("the leader finds an open session by its nonce and answers with the same bytes", () => {
    const log = new Log();
    const { bytes } = log.open("c1", 7);
    expect(findOpen(log.queue, "c1", nonce(7))).toEqual(bytes);
    expect(findOpen(log.queue, "c1", nonce(8))).toBeNull();
    expect(findOpen(log.queue, "c2", nonce(7))).toBeNull();
    log.open("c1", 8);
    expect(findOpen(log.queue, "c1", nonce(7))).toBeNull();
  });

  test("a newer process fences the older one, and numbers and stored answers go on across it", () => {
    const log = new Log();
    const older = log.session("c1", 1);
    const stored = log.send(older, 1, enqueue("a"));
    const opened = log.open("c1", 2);
    expect(opened.reply).toMatchObject({ type: "opened", lastNumber: 1 });
    const newer = log.session("c1", 2);
    expect(refusal(log.send(older, 2, enqueue("b")))).toBe("SESSION_FENCED");
    expect(refusal(log.close(older))).toBe("SESSION_FENCED");
    const retry = log.send(newer, 1, enqueue("a"));
    expect(retry.bytes).toEqual(stored.bytes);
    expect(retry.duplicate).toBe(true);
    expect(log.send(newer, 1, settle).bytes).toEqual(stored.bytes);
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
    expect(refusal(log.send(first, 1, settle))).toBe("SESSION_FENCED");
  });

  test("exactly the last 16 nonces of a client id are remembered", () => {
    const log = new Log();
    const first = log.session("c1", 1);
    for (let process = 2; process <= 16; process++) log.session("c1", process);
    expect(refusal(log.open("c1", 1))).toBe("SESSION_FENCED");
    expect(refusal(log.send(first, 1, settle))).toBe("SESSION_FENCED");
    log.session("c1", 17);
    // Forgotten: it cannot be told from a new process any more.
    expect(refusal(log.send(first, 1, settle))).toBe("SESSION_EXPIRED");
    expect(refusal(log.open("c1", 2))).toBe("SESSION_FENCED");
    expect(refusal(log.open("c1", 1))).toBe("opened");
  });

  test("at the limit new client ids are refused, known ones are let in, and a freed place is given again", () => {
    const log = new Log({ ...LIMITS, maxSessions: 2 });
    const first = log.session("c1");
    log.session("c2");
    expect(refusal(log.open("c3"))).toBe("SESSIONS_FULL");
    expect(refusal(log.open("c2", 9))).toBe("opened");
    log.close(first);
    expect(refusal(log.open("c3"))).toBe("opened");
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

  test("commands of equal CRC-32 but different length are told apart", () => {
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
    expect(lookUp(log.queue, session, 0, encodeCommand(settle))).toMatchObject({
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

describe("settle", () => {
  test("gives a number's stored answer whatever its command was", () => {
    const log = new Log();
    const session = log.session("c1");
    const first = log.send(session, 1, enqueue("a"));
    const settled = log.send(session, 1, settle);
    expect(settled.bytes).toEqual(first.bytes);
    expect(settled.duplicate).toBe(true);
  });

  test("records a number that was not executed as void, so that the session goes on and the number never executes", () => {
    const log = new Log();
    const session = log.session("c1");
    const voided = log.send(session, 1, settle);
    expect(voided.reply).toEqual({ type: "void", index: 2 });
    expect(log.send(session, 1, settle).bytes).toEqual(voided.bytes);
    expect(refusal(log.send(session, 1, enqueue("late")))).toBe("CONFLICT");
    expect(refusal(log.send(session, 2, enqueue("b")))).toBe("enqueued");
    expect(log.queue.ready).toBe(1);
  });

  test("is a settle in any valid spelling of its bytes", () => {
    const log = new Log();
    const session = log.session("c1");
    const first = log.send(session, 1, enqueue("a"));
    expect(log.send(session, 1, new Uint8Array([0x91, 0xcd, 0x00, 0x03])).bytes).toEqual(first.bytes);
  });
});

describe("acknowledged answers", () => {
  test("an acknowledged answer is dropped, and its number is told apart from one that never was", () => {
    const log = new Log();
    const session = log.session("c1");
    log.send(session, 1, enqueue("a"));
    log.send(session, 2, enqueue("b"), 1);
    const forgotten = log.send(session, 1, enqueue("a"));
    expect(forgotten.reply).toMatchObject({
      code: "FORGOTTEN",
      message: "number 1 was executed and its answer acknowledged; the answer is no longer kept",
    });
    expect(refusal(log.send(session, 1, settle))).toBe("FORGOTTEN");
    expect(log.queue.ready).toBe(2);
    expect(log.send(session, 2, enqueue("b")).duplicate).toBe(true);
  });

  test("an answer above what was acknowledged is never dropped", () => {
    const log = new Log();
    const session = log.session("c1");
    const stored = new Map<number, Uint8Array>();
    for (let number = 1; number <= 500; number++)
      stored.set(number, log.send(session, number, enqueue(`${number}`)).bytes);
    log.send(session, 501, settle, 200);
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
    // 4 itself was executed after the client spoke: its answer is kept.
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
    while (refusal(log.send(hoarder, kept + 1, settle)) === "void") kept++;
    expect(kept).toBe(7);
    expect(refusal(log.send(hoarder, 8, settle))).toBe("WINDOW_FULL");
    expect(refusal(log.send(modest, 1, settle))).toBe("void");
    expect(refusal(log.send(modest, 2, settle, 1))).toBe("void");
    expect(refusal(log.send(modest, 3, settle, 2))).toBe("void");
    expect(refusal(log.send(modest, 4, settle, 2))).toBe("void");
    expect(refusal(log.send(modest, 5, settle, 2))).toBe("void");
    expect(refusal(log.send(modest, 6, settle, 2))).toBe("WINDOW_FULL");
    // The same after a snapshot, since the sum is not in it.
    log.queue = restore(partsOf(log.queue));
    expect(refusal(log.send(hoarder, 8, settle))).toBe("WINDOW_FULL");
    expect(refusal(log.send(hoarder, 8, settle, 7))).toBe("void");
    expect(refusal(log.send(modest, 6, settle, 2))).toBe("void");
  });

  test("the answers of a session that is closed, expired or acknowledged count no more", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 100, maxSessions: 3 });
    const [one, two, three] = [log.session("c1"), log.session("c2"), log.session("c3")];
    for (const session of [one, two, three])
      for (let number = 1; number <= 5; number++) log.send(session, number, settle);
    const before = log.queue.sessions.answerMemory;
    log.close(one);
    expect(log.queue.sessions.answerMemory).toBe((before * 2) / 3);
    log.send(two, 5, settle, 5);
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
  test("CLOSE removes it with everything it asked", () => {
    const log = new Log();
    const session = log.session("c1", 1);
    const closed = log.close(session);
    expect(closed.reply).toEqual({ type: "closed", index: 2 });
    expect(log.queue.sessionCount).toBe(0);
    expect(refusal(log.send(session, 1, enqueue("a")))).toBe("SESSION_EXPIRED");
    expect(refusal(log.close(session))).toBe("SESSION_EXPIRED");
    expect(log.open("c1", 2).reply).toMatchObject({ lastNumber: 0 });
  });

  test("CLOSE forgets the fenced sessions of the same client id too", () => {
    const log = new Log();
    const older = log.session("c1", 1);
    const newer = log.session("c1", 2);
    log.close(newer);
    expect(refusal(log.send(older, 1, settle))).toBe("SESSION_EXPIRED");
    expect(clientOf(log.queue, older)).toBeNull();
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

  test("cluster time never goes back, whatever an entry says, and the wall clock decides nothing", () => {
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

describe("what the leader asks before it proposes", () => {
  test("look-up says next, answered or why not, and changes nothing", () => {
    const log = new Log();
    const older = log.session("c1", 1);
    const session = log.session("c1", 2);
    const a = encodeCommand(enqueue("a"));
    log.send(session, 1, enqueue("gone"));
    const stored = log.send(session, 2, a, 1);
    const before = stateOf(log.queue);
    expect(lookUp(log.queue, session, 2, a)).toEqual({ type: "answered", reply: stored.bytes });
    expect(lookUp(log.queue, session, 2, encodeCommand(settle))).toEqual({ type: "answered", reply: stored.bytes });
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
