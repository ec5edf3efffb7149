// Is a restored queue the same queue? Same bytes, same future; frozen while it goes on; damaged bytes refused.
import { describe, expect, test } from "bun:test";
import { Malformed } from "../../src/lib/messagepack.ts";
import { bytesOf, valueOf } from "../kit/handmade-messagepack.ts";
import { type Random, seededRandom } from "../../src/lib/random.ts";
import { apply, type Queue } from "../../src/queue/queue.ts";
import { decodeVersion, encodeVersion } from "../../src/queue/commands.ts";
import { digestOf } from "../../src/queue/digest.ts";
import { freeze, restore, snapshotBytes } from "../../src/queue/snapshot.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import type { EntryFields } from "../../src/queue/types.ts";
import { clientOf } from "../../src/queue/queue.ts";
import {
  dequeue,
  drawAll,
  enqueue,
  hex,
  LIMITS,
  Log,
  nonce,
  partsOf,
  refusal,
  resolve,
  stateOf,
  values,
} from "../kit/queue-log.ts";
import { mutateSome } from "../kit/mutate-bytes.ts";

const SMALL = {
  ...LIMITS,
  maxSessions: 3,
  maxClientIds: 5,
  sessionExpiryMs: 3_000,
  generatedExpiryMs: 800,
  dormantAfterMs: 100,
  dormantAnswersMs: 500,
  maxReplies: 8,
  noncesRemembered: 3,
};

/** A log with everything in it: several clients, fenced sessions, refusals, acknowledged and stored answers, jobs. */
function busyLog(random: Random, entries: number, log = new Log(SMALL)): Log {
  const numbers = new Map<number, number>();
  for (let count = 0; count < entries; count++) {
    log.time += random.below(60);
    if (numbers.size === 0 || random.chance(5)) {
      const client = random.below(6);
      const how = { generated: client > 3, resume: random.chance(40) };
      const { reply } = log.open(`c${client}`, random.below(5), how);
      if (reply.type === "opened") numbers.set(reply.session, reply.lastNumber);
      continue;
    }
    const session = [...numbers.keys()][random.below(numbers.size)]!;
    const number = (numbers.get(session) ?? 0) + 1;
    const command = random.chance(60)
      ? enqueue("x".repeat(random.below(30)), `${count}`)
      : random.chance(90)
        ? dequeue(2)
        : resolve;
    const sent = log.send(session, number, command, random.chance(70) ? number - random.between(1, 6) : 0);
    if (sent.reply.type !== "refused") numbers.set(session, number);
    else if (random.chance(50)) numbers.delete(session);
    if (random.chance(3)) log.close(session, numbers.get(session));
    if (random.chance(2)) log.touch(session);
  }
  return log;
}

const replay = (entries: readonly EntryFields[]): Log => {
  const log = new Log(SMALL);
  for (const entry of entries) apply(log.queue, entry);
  return log;
};

describe("a restored queue", () => {
  test("has the same bytes as the one that was frozen and as the replayed log, whatever the size of the parts", () => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = seededRandom(seed);
      const log = busyLog(random, 200);
      const restored = restore(partsOf(log.queue, random.between(1, 5_000)));
      expect(stateOf(restored)).toBe(stateOf(log.queue));
      expect(stateOf(replay(log.entries).queue)).toBe(stateOf(log.queue));
    }
  });

  test("answers every later entry with the same bytes", () => {
    for (let seed = 1; seed <= 30; seed++) {
      const log = busyLog(seededRandom(seed), 150);
      const restored = restore(partsOf(log.queue));
      const known = log.entries.length;
      busyLog(seededRandom(seed + 1_000), 150, log);
      const again = replay(log.entries.slice(0, known));
      for (const entry of log.entries.slice(known)) {
        expect(apply(restored, entry)).toEqual(apply(again.queue, entry));
      }
      expect(stateOf(restored)).toBe(stateOf(log.queue));
    }
  });

  test("keeps sessions: a retry is answered, a gap refused, an old process fenced, an old answer forgotten", () => {
    const log = new Log();
    const older = log.session("c1", 1);
    const session = log.session("c1", 2);
    log.send(session, 1, enqueue("a"));
    const stored = log.send(session, 2, enqueue("b"), 1);
    log.queue = restore(partsOf(log.queue));
    expect(log.open("c1", 2)).toMatchObject({
      duplicate: true,
      reply: { session, lastNumber: 2, acknowledgedThrough: 1 },
    });
    expect(log.send(session, 2, enqueue("b")).bytes).toEqual(stored.bytes);
    expect(refusal(log.send(session, 2, enqueue("c")))).toBe("CONFLICT");
    expect(refusal(log.send(session, 1, enqueue("a")))).toBe("FORGOTTEN");
    expect(refusal(log.send(session, 4, enqueue("d")))).toBe("OUT_OF_ORDER");
    expect(refusal(log.send(older, 3, enqueue("d")))).toBe("SESSION_FENCED");
    expect(refusal(log.open("c1", 1))).toBe("SESSION_FENCED");
    expect(clientOf(log.queue, older)).toBe("c1");
    expect(values(log.send(session, 3, dequeue(5)).reply)).toEqual(["a", "b"]);
  });

  test("lacks what was deleted before: nothing of another state is merged in", () => {
    const log = new Log();
    const session = log.session("c1");
    log.send(session, 1, enqueue("a", "b"));
    log.send(session, 2, dequeue(1));
    log.close(log.session("c2", 1, { generated: true }));
    const restored = restore(partsOf(log.queue));
    expect([restored.ready, restored.sessionCount]).toEqual([1, 1]);
  });

  test("goes on with ids, limits, time and expiry of the snapshot, not with this node's own", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 500, maxSessions: 1 });
    const session = log.session("c1");
    log.send(session, 1, enqueue("a", "b", "c"));
    log.send(session, 2, dequeue(3));
    log.queue = restore(partsOf(log.queue));
    expect(log.queue.limits).toEqual({ ...LIMITS, sessionExpiryMs: 500, maxSessions: 1 });
    expect(log.queue.time).toBe(1_000);
    expect(log.send(session, 3, enqueue("d")).reply).toMatchObject({ firstId: 4 });
    expect(refusal(log.open("c2"))).toBe("SESSIONS_FULL");
    log.pass(500);
    expect(log.queue.sessionCount).toBe(0);
  });

  test("of a fresh queue is a fresh queue", () => {
    const log = new Log();
    const restored = restore(partsOf(log.queue));
    expect([restored.appliedIndex, restored.ready, restored.sessionCount]).toEqual([0, 0, 0]);
  });

  test("keeps its own copy of everything: the parts' memory may be reused", () => {
    const log = busyLog(seededRandom(3), 200);
    const parts = partsOf(log.queue);
    const before = stateOf(log.queue);
    const restored = restore(parts);
    for (const part of parts) part.fill(0xff);
    expect(stateOf(restored)).toBe(before);
  });
});

describe("a frozen queue", () => {
  test("stays what it was while entries are applied between its parts", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seededRandom(seed);
      const log = busyLog(random, 200);
      const expected = partsOf(log.queue, 300).map(hex);
      const frozen = freeze(log.queue, 300);
      const drawn: string[] = [];
      for (let part = frozen.nextPart(); part !== null; part = frozen.nextPart()) {
        drawn.push(hex(part));
        busyLog(random, 5, log);
      }
      expect(drawn).toEqual(expected);
      expect(stateOf(replay(log.entries).queue)).toBe(stateOf(log.queue));
    }
  });

  test("and a second one taken meanwhile do not disturb each other", () => {
    const random = seededRandom(8);
    const log = busyLog(random, 150);
    const first = freeze(log.queue, 1_000);
    const firstState = partsOf(log.queue, 1_000).map(hex);
    busyLog(random, 100, log);
    const second = freeze(log.queue, 1_000);
    const secondState = partsOf(log.queue, 1_000).map(hex);
    busyLog(random, 100, log);
    expect(drawAll(second).map(hex)).toEqual(secondState);
    expect(drawAll(first).map(hex)).toEqual(firstState);
  });

  test("gives parts within the limit, except where one record alone is longer", () => {
    const log = busyLog(seededRandom(4), 300, new Log({ ...SMALL, maxSessions: 9, maxClientIds: 9 }));
    const session = log.session("long", 9);
    for (let number = 1; number <= 5; number++) log.send(session, number, enqueue("y".repeat(number * 400)));
    for (const maxPartBytes of [200, 1_000, 10_000]) {
      const parts = partsOf(log.queue, maxPartBytes);
      const longer = parts.filter((part) => part.length > maxPartBytes);
      expect(longer.length).toBe(maxPartBytes === 10_000 ? 0 : maxPartBytes === 1_000 ? 3 : 5);
      for (const part of longer) {
        const [, records] = valueOf(part) as [number, unknown[]];
        expect(records.length).toBe(1);
      }
    }
  });

  test("takes no more than was reckoned without making it, and not much less when it is large", () => {
    const taken = (log: Log, partBytes: number): number =>
      partsOf(log.queue, partBytes).reduce((sum, part) => sum + part.length, 0);
    for (let seed = 1; seed <= 30; seed++) {
      const log = busyLog(seededRandom(seed), 300);
      expect(taken(log, 2_000_000)).toBeLessThan(snapshotBytes(log.queue));
    }
    for (const [bytes, count] of [
      [0, 60_000],
      [16, 60_000],
      [20_000, 300],
    ] as const) {
      const log = new Log(LIMITS);
      const session = log.session("c1");
      const jobs = enqueue(...Array.from({ length: Math.min(count, 1_000) }, () => "x".repeat(bytes)));
      for (let number = 1; number <= Math.max(1, count / 1_000); number++) log.send(session, number, jobs, number - 1);
      const size = taken(log, 100_000);
      expect(size).toBeLessThan(snapshotBytes(log.queue));
      expect(size).toBeGreaterThan(snapshotBytes(log.queue) * 0.9 - 20_000);
    }
  });

  test("has these bytes: a snapshot of today must be readable for ever", () => {
    const log = new Log({ ...LIMITS, sessionExpiryMs: 60_000 });
    const session = log.session("c1", 0xaa);
    log.send(session, 1, enqueue("4", "22"));
    log.send(session, 2, dequeue());
    log.close(log.session("c2", 0xbb));
    const records = [
      // session: client id, generated, session, lastNumber, acknowledgedThrough, usedAt, usedSeq, dormantAt, answers, openings
      "9b 02 a26331 c2 01 02 00 cd03e8 03 c0 02 91 92 c410aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 01",
      // answers: length and CRC-32 of the command, reply
      "94 03 22 ce03681c63 c405 9401020102",
      "94 03 13 cef070bfd6 c40a 93020391930101c40134",
      // a dormant one
      "9b 02 a26332 c2 04 00 00 cd03e8 05 cd03e8 00 91 92 c410bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 04",
      // jobs: first id, encodings, lengths, payloads
      "95 04 02 c40101 c40400000002 c4023232",
    ];
    const golden = [
      "92 00 96",
      // header: format, version, appliedIndex, time, sessions, usedSeq, first id, jobs, limits, digest
      "9b 01 04 01 05 cd03e8 02 05 02 01",
      // limits: sessions, client ids, expiry of given and generated ids, until dormant, until its answers are forgotten, …
      "9f cd2710 ce000f4240 cdea60 ce0036ee80 cdea60 ce05265c00",
      "cd0400 ce00400000 10 ce00100000 cd03e8 cd1000 ce00100000 ce40000000 ce10000000 ceca42fabc",
      ...records,
    ];
    expect(partsOf(log.queue).map(hex)).toEqual([golden.join("").replaceAll(" ", "")]);
    expect(stateOf(restore(partsOf(log.queue)))).toBe(stateOf(log.queue));
  });
});

test("every limit comes back from a snapshot, and moves the digest", () => {
  const digests = new Set<number>();
  for (const name of Object.keys(LIMITS)) {
    const other = { ...LIMITS, [name]: 5 };
    const { queue } = new Log(other);
    expect(restore(partsOf(queue)).limits).toEqual(other);
    digests.add(digestOf(queue));
  }
  expect(digests.size).toBe(Object.keys(LIMITS).length);
});

describe("damaged snapshots", () => {
  const log = busyLog(seededRandom(6), 250);
  const parts = partsOf(log.queue, 250);

  test("parts that are missing, doubled, swapped or too many are refused", () => {
    expect(parts.length).toBeGreaterThan(5);
    expect(() => restore([])).toThrow(Malformed);
    for (let at = 0; at < parts.length; at++) {
      expect(() => restore(parts.toSpliced(at, 1))).toThrow(Malformed);
      expect(() => restore(parts.toSpliced(at, 0, parts[at]!))).toThrow(Malformed);
      if (at > 0) expect(() => restore(parts.with(at, parts[at - 1]!).with(at - 1, parts[at]!))).toThrow(Malformed);
    }
  });

  test("a part under another number is refused", () => {
    const [only] = partsOf(log.queue);
    expect(() => restore([only!.with(1, 1)])).toThrow("part 1 of a snapshot stands where part 0 is expected");
  });

  test("a snapshot that lacks its last session is refused", () => {
    const sessions = new Log();
    sessions.session("c1");
    sessions.session("c2");
    const records = partsOf(sessions.queue, 1);
    expect(restore(records).sessionCount).toBe(2);
    expect(() => restore(records.slice(0, -1))).toThrow("1 sessions where its header claims 2");
  });

  test("a part of another snapshot is refused when it does not fit", () => {
    const other = partsOf(busyLog(seededRandom(60), 400).queue, 250);
    expect(() => restore(parts.with(0, other[0]!))).toThrow(Malformed);
    expect(() => restore(parts.with(-1, other[parts.length - 1]!))).toThrow(Malformed);
  });

  test("every cut end is refused", () => {
    for (let at = 0; at < parts.length; at++) {
      const part = parts[at]!;
      for (let length = 0; length < part.length; length++) {
        expect(() => restore(parts.with(at, part.subarray(0, length)))).toThrow(Malformed);
      }
    }
  });

  test("random damage is refused as malformed, or is a valid queue: nothing else comes out", () => {
    const random = seededRandom(9);
    let refused = 0;
    for (let round = 0; round < 6_000; round++) {
      const at = random.below(parts.length);
      try {
        const restored = restore(parts.with(at, mutateSome(parts[at]!, random)));
        expect(stateOf(restore(partsOf(restored)))).toBe(stateOf(restored));
      } catch (error) {
        if (!(error instanceof Malformed)) throw error;
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(5_900);
  });
});

describe("what a snapshot holds is checked against its own limits", () => {
  const LIMITS_IN_ORDER = decodeVersion(encodeVersion({ version: 1, limits: LIMITS })).limits;

  interface HeaderFields {
    readonly applied?: number;
    readonly time?: number;
    readonly sessions?: number;
    readonly usedSeq?: number;
    readonly firstId?: number;
    readonly jobs?: number;
    readonly limits?: Partial<QueueLimits>;
  }

  function header(fields: HeaderFields, digest: number) {
    const { applied = 9, time = 5, sessions = 0, usedSeq = 9, firstId = 1, jobs: count = 0, limits = {} } = fields;
    const all = Object.keys(LIMITS_IN_ORDER).map((name) => ({ ...LIMITS, ...limits })[name as keyof QueueLimits]);
    return [1, 4, 1, applied, time, sessions, usedSeq, firstId, count, all, digest];
  }
  interface SessionFields {
    readonly last?: number;
    readonly answered?: number;
    readonly answers?: number;
    readonly usedAt?: number;
    readonly usedSeq?: number;
    readonly dormantAt?: number | null;
  }
  function session(id: number, fields: SessionFields = {}) {
    const { last = 0, answered = 0, answers = last - answered, usedAt = 5, usedSeq = id, dormantAt = null } = fields;
    return [2, `c${id}`, false, id, last, answered, usedAt, usedSeq, dormantAt, answers, [[nonce(id), id]]];
  }
  const answer = (bytes: number) => [3, 1, 1, new Uint8Array(bytes)];
  const jobs = (firstId: number, count: number) => [
    4,
    firstId,
    new Uint8Array(count),
    new Uint8Array(4 * count),
    new Uint8Array(0),
  ];
  /** With the right digest: a wrong one would already be the reason of every refusal. */
  const read = (fields: HeaderFields, ...records: readonly unknown[]): Queue => {
    const withDigest = (digest: number) => restore([bytesOf([0, [header(fields, digest), ...records]])]);
    try {
      return withDigest(0);
    } catch (error) {
      const right = /has the digest (\d+)/.exec(String(error))?.[1];
      if (right === undefined) throw error;
      return withDigest(Number(right));
    }
  };
  const MAX_U48 = 0xffff_ffff_ffff;

  test("as many sessions as the limits come back, one more is refused, live or dormant", () => {
    const limits = { maxSessions: 2, maxClientIds: 3 };
    const dormant = { dormantAt: 5 };
    const full = read({ sessions: 3, limits }, session(1), session(2), session(3, dormant));
    expect([full.sessionCount, full.dormantCount]).toEqual([2, 1]);
    expect(() => read({ sessions: 3, limits }, session(1), session(2), session(3))).toThrow(
      "more sessions are live than the limit of 2",
    );
    expect(() => read({ sessions: 4, limits })).toThrow("claims 4 sessions; its own limit is 3");
  });

  test("sessions that are out of order, or were used when nobody used them, are refused", () => {
    const dormant = { dormantAt: 5 };
    expect(() => read({ sessions: 2 }, session(1, dormant), session(2))).toThrow("order of a snapshot");
    expect(() => read({ sessions: 2 }, session(1, { usedSeq: 3 }), session(2))).toThrow("order of a snapshot");
    expect(() => read({ sessions: 2 }, session(1, dormant), session(2, { dormantAt: 4, usedAt: 4 }))).toThrow(
      "order of a snapshot",
    );
    expect(() => read({ sessions: 1 }, session(1, { dormantAt: 4 }))).toThrow("used after its end");
    expect(() => read({ sessions: 1, usedSeq: 3 }, session(1, { usedSeq: 4 }))).toThrow("used after its end");
    expect(() => read({ sessions: 1 }, session(1, { dormantAt: 6 }))).toThrow("from behind the snapshot");
  });

  test("dormant sessions with more answers than their limit are refused", () => {
    const fields = { sessions: 1, limits: { maxAnswerBytes: 300 } };
    expect(read(fields, session(1, { last: 1, dormantAt: 5 }), answer(100)).dormantCount).toBe(1);
    expect(() => read(fields, session(1, { last: 1, dormantAt: 5 }), answer(200))).toThrow(
      "more answers than the limit",
    );
    expect(read(fields, session(1, { last: 1 }), answer(200)).sessionCount).toBe(1);
  });

  test("answers that the session counts as forgotten may be missing, others may not", () => {
    expect(read({ sessions: 1 }, session(1, { last: 3, answers: 1 }), answer(1)).sessionCount).toBe(1);
    expect(() => read({ sessions: 1 }, session(1, { last: 3, answers: 2 }), answer(1))).toThrow("are missing");
    expect(() => read({ sessions: 1 }, session(1, { last: 3, answers: 1 }), answer(1), answer(1))).toThrow("no number");
    expect(() => read({ sessions: 1 }, session(1, { last: 3, answered: 2, answers: 2 }))).toThrow("not executed");
  });

  test("what goes beyond the header's counts is refused where it stands, not after all of it was taken in", () => {
    const broken = Uint8Array.of(0xc1);
    const first = (fields: HeaderFields, ...records: readonly unknown[]) =>
      bytesOf([0, [header(fields, 0), ...records]]);
    expect(() => restore([first({ sessions: 1 }, session(1), session(2)), broken])).toThrow("more than the 1 sessions");
    expect(() => restore([first({ jobs: 2 }, jobs(1, 2), jobs(3, 1)), broken])).toThrow("more than the 2 jobs");
  });

  test("the answer that reaches the limit of bytes is the last one of its session", () => {
    const limits = { maxReplyBytes: 10 };
    expect(read({ sessions: 1, limits }, session(1, { last: 2 }), answer(9), answer(50)).sessionCount).toBe(1);
    expect(() => read({ sessions: 1, limits }, session(1, { last: 2 }), answer(10), answer(1))).toThrow(
      "keeps more bytes of answers than the limit of 10",
    );
  });

  test("a limit of 0 is refused: with no nonce remembered, the next state could not be written", () => {
    for (const name of Object.keys(LIMITS)) {
      expect(() => read({ limits: { [name]: 0 } })).toThrow(`${name}: the number 0 is below the 1 allowed`);
    }
  });

  test("numbers that no record of the log can hold are refused, those at the edge are not", () => {
    const edge = read({ applied: MAX_U48, time: MAX_U48 });
    expect([edge.appliedIndex, edge.time]).toEqual([MAX_U48, MAX_U48]);
    const above = MAX_U48 + 1;
    for (const fields of [{ applied: above }, { time: above }, { jobs: above }])
      expect(() => read(fields)).toThrow("above");
    const last = { last: above, answered: above };
    expect(() => read({ sessions: 1 }, session(1, last))).toThrow("above");
    const most = { last: MAX_U48, answered: MAX_U48 };
    expect(read({ sessions: 1 }, session(1, most)).sessionCount).toBe(1);
  });

  test("ids of jobs are refused long before the next ones could not be written, and at the edge a state goes on", () => {
    const log = new Log();
    log.queue = read({ firstId: 2 ** 52 - 10, jobs: 3 }, jobs(2 ** 52 - 10, 3));
    const opened = log.session("c1");
    expect(log.send(opened, 1, enqueue("a", "b")).reply).toMatchObject({ firstId: 2 ** 52 - 7 });
    expect(stateOf(restore(partsOf(log.queue)))).toBe(stateOf(log.queue));
    expect(() => read({ firstId: 2 ** 52 + 1 })).toThrow("above");
  });

  test("more waiting jobs than their memory's limit come back: it keeps new ones out, and those leave as any others", () => {
    const log = new Log({ ...LIMITS, maxReadyBytes: 100 });
    const many = read({ jobs: 50 }, jobs(1, 50));
    log.queue = { ...many, limits: log.queue.limits };
    const again = restore(partsOf(log.queue));
    expect(again.jobs.count).toBe(50);
    log.queue = again;
    const opened = log.session("c1");
    expect(log.send(opened, 1, enqueue("a")).reply).toMatchObject({ code: "QUEUE_FULL" });
    expect(log.send(opened, 2, dequeue(50)).reply).toMatchObject({ type: "dequeued" });
    expect(log.send(opened, 3, enqueue("a")).reply).toMatchObject({ type: "enqueued" });
  });
});
