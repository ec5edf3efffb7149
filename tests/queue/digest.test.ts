// Do different states have different digests, and equal states the same one? Every kind of change changes it; the way to a state does not.
import { describe, expect, test } from "bun:test";
import { Malformed } from "../../src/lib/messagepack.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { encodeTick } from "../../src/queue/commands.ts";
import { digestOf } from "../../src/queue/digest.ts";
import { drop, first, push } from "../../src/queue/jobs.ts";
import { apply, isCheckpoint, type Queue } from "../../src/queue/queue.ts";
import { restore } from "../../src/queue/snapshot.ts";
import type { Session } from "../../src/queue/sessions.ts";
import { dequeue, enqueue, LIMITS, Log, partsOf, queueWith, resolve, text } from "../kit/queue-log.ts";

/** Three jobs wait, two sessions are open, one of them has two openings and two answers that are kept. */
function rich(): Log {
  const log = new Log();
  log.session("c1", 1);
  const session = log.session("c1", 2);
  log.session("c2", 1);
  log.send(session, 1, enqueue("a", "b"));
  log.send(session, 2, enqueue("a long payload that is not hashed word by word", "c"), 0);
  return log;
}
const sessionOf = (queue: Queue, clientId = "c1"): Session =>
  queue.sessions.live.get(queue.sessions.idOf.get(clientId)!)!;

/** The digest of the state after everything in it was read anew, with nothing remembered. */
const recomputed = (queue: Queue): number => digestOf(restore(partsOf(queue)));

describe("the digest of the state", () => {
  /** These change nothing but the index and the time. */
  const onlyTime = ["an expiry", "the passing of time", "an entry that changes nothing but the index"];
  const entries: Record<string, (log: Log) => void> = {
    "an enqueue": (log) => void log.send(2, 3, enqueue("d")),
    "an enqueue of nothing but an empty payload": (log) => void log.send(2, 3, enqueue("")),
    "a dequeue": (log) => void log.send(2, 3, dequeue()),
    "a resolve": (log) => void log.send(2, 3, resolve),
    "a refusal that is a number's answer": (log) => void log.send(2, 3, new Uint8Array([0xff])),
    "an acknowledgement": (log) => void log.send(2, 2, enqueue("a", "b"), 1),
    "an open": (log) => void log.open("c3"),
    "an open by another process": (log) => void log.open("c1", 3),
    "a close": (log) => void log.close(2, 2),
    "a close that is refused": (log) => void log.close(2, 1),
    "a touch": (log) => log.touch(2, 3),
    "an expiry": (log) => log.pass(LIMITS.sessionExpiryMs),
    "the passing of time": (log) => log.pass(1),
    "an entry that changes nothing but the index": (log) => log.pass(0),
  };
  for (const [name, change] of Object.entries(entries)) {
    test(`is moved by ${name}`, () => {
      const log = rich();
      const [before, otherwise] = [digestOf(log.queue), rich()];
      log.time++;
      otherwise.time++;
      change(log);
      expect(digestOf(log.queue)).not.toBe(before);
      if (onlyTime.includes(name)) return;
      // As far as time and index go this is the same place: what the entry did is what differs.
      while (otherwise.queue.appliedIndex < log.queue.appliedIndex) otherwise.append({ kind: "noop", time: log.time });
      expect(digestOf(log.queue)).not.toBe(digestOf(otherwise.queue));
    });
  }

  const secretly: Record<string, (queue: Queue) => void> = {
    "a job that vanished": ({ jobs }) => drop(jobs, first(jobs)!),
    "a job that nobody gave": ({ jobs }) => push(jobs, 1, text("x")),
    "an encoding": ({ jobs }) => void (jobs.head.encodings[0] = 0),
    "one bit of a short payload": ({ jobs }) => void (jobs.head.payloads[0]! ^= 1),
    "one bit of a long payload": ({ jobs }) => void (jobs.head.payloads[20]! ^= 0x80),
    "two jobs that changed places": ({ jobs }) => jobs.head.payloads.set(text("ba")),
    "the next id": ({ jobs }) => void jobs.nextId++,
    "the last number of a session": (queue) => void sessionOf(queue).lastNumber++,
    "the answers acknowledged": (queue) => void sessionOf(queue).acknowledgedThrough++,
    "the order of use": (queue) => void sessionOf(queue).usedSeq--,
    "the counter of uses": ({ sessions }) => void sessions.usedSeq++,
    "the last use of a session": (queue) => void sessionOf(queue).usedAt--,
    "a nonce": (queue) => void Object.assign(sessionOf(queue).openings[0]!, { nonce: "x".repeat(16) }),
    "an opening that was forgotten": (queue) => void sessionOf(queue).openings.shift(),
    "one bit of an answer": (queue) => void (sessionOf(queue).answers[1]!.reply[0]! ^= 1),
    "an answer that vanished": (queue) => void sessionOf(queue).answers.shift(),
    "a session that vanished": ({ sessions }) => void sessions.live.delete(2),
  };
  for (const [name, damage] of Object.entries(secretly)) {
    test(`detects ${name}, at the latest when everything is used again`, () => {
      const digests = [() => {}, damage].map((change) => {
        const { queue } = rich();
        change(queue);
        for (const session of queue.sessions.live.values()) {
          session.digest = null;
          for (const answer of session.answers) answer.digest = null;
        }
        const before = digestOf(queue);
        for (let job = first(queue.jobs); job !== null; job = first(queue.jobs)) drop(queue.jobs, job);
        return `${before} ${digestOf(queue)}`;
      });
      expect(digests[1]).not.toBe(digests[0]!);
    });
  }

  test("detects a job that vanished, or came from nowhere, at once", () => {
    const digests = [() => {}, secretly["a job that vanished"]!, secretly["a job that nobody gave"]!].map((change) => {
      const { queue } = rich();
      digestOf(queue);
      change(queue);
      return digestOf(queue);
    });
    expect(new Set(digests).size).toBe(3);
  });

  test("is the same by every way to the same state", () => {
    const ways = [
      (log: Log) => {
        log.send(1, 1, enqueue("a", "b", "c"), 0);
        log.send(1, 2, dequeue(), 1);
        log.send(1, 3, resolve, 2);
      },
      (log: Log) => {
        log.send(1, 1, enqueue("x", "b", "c"), 0);
        log.send(1, 2, dequeue(), 1);
        log.send(1, 3, resolve, 2);
      },
    ].map((go) => {
      const log = new Log();
      log.session("c1");
      go(log);
      return log;
    });
    const [one, other] = ways as [Log, Log];
    expect(partsOf(one.queue)).toEqual(partsOf(other.queue));
    expect(digestOf(one.queue)).toBe(digestOf(other.queue));
  });

  test("does not depend on the pages that the jobs lie in", () => {
    const [together, apart] = [queueWith(LIMITS), queueWith(LIMITS)];
    for (let job = 0; job < 3_000; job++) {
      const payload = text(`${job}`.repeat(1 + (job % 40)));
      push(together.jobs, 1, payload);
      push(apart.jobs, 1, new Uint8Array([...text("padding"), ...payload]), 7);
    }
    // The same jobs in pages that begin with the first one that still waits.
    for (let job = 0; job < 1_500; job++) for (const { jobs } of [together, apart]) drop(jobs, first(jobs)!);
    const again = restore(partsOf(apart));
    expect([again.jobs.taken, together.jobs.taken === 0]).toEqual([0, false]);
    expect(digestOf(together)).toBe(digestOf(apart));
    expect(digestOf(again)).toBe(digestOf(together));
  });

  test("of random logs is the one of a state read anew, and of every replay, with or without being asked on the way", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seededRandom(seed);
      const log = new Log({ ...LIMITS, sessionExpiryMs: 2_000, noncesRemembered: 2 });
      const numbers = new Map<number, number>();
      for (let at = 0; at < 150; at++) {
        log.time += random.below(60);
        if (numbers.size === 0 || random.chance(8)) {
          const { reply } = log.open(`c${random.below(3)}`, random.below(4));
          if (reply.type === "opened") numbers.set(reply.session, reply.lastNumber);
        } else {
          const session = [...numbers.keys()][random.below(numbers.size)]!;
          const number = numbers.get(session)! + 1;
          const command = random.chance(60) ? enqueue("y".repeat(random.below(60)), `${at}`) : dequeue(3);
          const { reply } = log.send(session, number, command, number - random.between(1, 4));
          if (reply.type === "refused") numbers.delete(session);
          else numbers.set(session, number);
        }
        if (random.chance(20)) expect(digestOf(log.queue)).toBe(recomputed(log.queue));
      }
      const replayed = queueWith(log.queue.limits);
      for (const entry of log.entries) apply(replayed, entry);
      expect(digestOf(replayed)).toBe(digestOf(log.queue));
    }
  });

  test("goes into a snapshot, and what does not fit it is refused", () => {
    const log = rich();
    const damaged = rich();
    // The memory of one node: its digest still is what the job was when it came.
    damaged.queue.jobs.head.payloads[0]! ^= 1;
    expect(digestOf(restore(partsOf(log.queue)))).toBe(digestOf(log.queue));
    expect(() => restore(partsOf(damaged.queue))).toThrow(Malformed);
    expect(() => restore(partsOf(damaged.queue))).toThrow("digest");
  });
});

describe("checkpoints", () => {
  const checkpointsOf = (log: Log, entries: number, fields: object = {}): number[] => {
    const found: number[] = [];
    for (let count = 0; count < entries; count++) {
      log.append(fields);
      if (isCheckpoint(log.queue)) found.push(log.queue.appliedIndex);
    }
    return found;
  };

  test("are the multiples of the replicated interval", () => {
    expect(checkpointsOf(new Log({ ...LIMITS, checkpointEntries: 8 }), 25)).toEqual([8, 16, 24]);
  });

  test("come earlier where commands are large", () => {
    const limits = { ...LIMITS, checkpointEntries: 8, checkpointBytes: 100 };
    const log = new Log(limits);
    expect(checkpointsOf(log, 14, { body: new Uint8Array(30) })).toEqual([4, 8, 12]);
  });

  test("are where the leader put one", () => {
    const log = new Log();
    expect(checkpointsOf(log, 3)).toEqual([]);
    expect(checkpointsOf(log, 2, { kind: "tick", body: encodeTick("checkpoint") })).toEqual([4, 5]);
    expect(checkpointsOf(log, 2, { kind: "tick", body: encodeTick("due times") })).toEqual([]);
  });

  test("are the same on a node that began with the snapshot of one", () => {
    const log = new Log({ ...LIMITS, checkpointEntries: 100, checkpointBytes: 100 });
    const body = new Uint8Array(30);
    checkpointsOf(log, 8, { body });
    const other = new Log();
    other.queue = restore(partsOf(log.queue));
    expect(checkpointsOf(other, 100, { body })).toEqual(checkpointsOf(log, 100, { body }));
  });
});
