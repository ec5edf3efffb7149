// Can a body in the log, a stored reply or a snapshot make the queue do anything but execute, refuse, or report Malformed?
import { QUEUE } from "../../src/config.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import { Malformed } from "../../src/lib/messagepack.ts";
import type { Random } from "../../src/lib/random.ts";
import {
  decodeCommand,
  decodeOpen,
  decodeTick,
  decodeTouch,
  decodeVersion,
  encodeCommand,
  encodeOpen,
  encodeTick,
  encodeTouch,
  encodeVersion,
  type Open,
  TICK_PURPOSES,
} from "../../src/queue/commands.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import { apply, lookUp, type Queue } from "../../src/queue/queue.ts";
import { decodeReply, encodeReply } from "../../src/queue/replies.ts";
import type { Session } from "../../src/queue/sessions.ts";
import { restore } from "../../src/queue/snapshot.ts";
import { ANSWER_BYTES, type Command, type EntryFields, JOB_BYTES, type Reply } from "../../src/queue/types.ts";
import { KIND_NAMES } from "../../src/raft/entry.ts";
import { partsOf, queueWith } from "../kit/queue-log.ts";
import { expectSameValues } from "./compare.ts";
import { choicesOf, expectThat, type FuzzTarget, gist, randomBytes, sameBytes } from "./target.ts";
import { pick } from "../kit/pick.ts";

export const MAX_U48 = 0xffff_ffff_ffff;
export const LIMITS: QueueLimits = {
  ...QUEUE,
  maxSessions: 3,
  maxClientIds: 4,
  sessionExpiryMs: 500,
  generatedExpiryMs: 150,
  dormantAfterMs: 30,
  dormantAnswersMs: 100,
  maxReplies: 4,
  maxReplyBytes: 300,
  noncesRemembered: 2,
  maxPayloadBytes: 200,
  maxJobsPerCommand: 5,
  maxReadyBytes: 600,
  maxAnswerBytes: 1_200,
};

function randomCommand(random: Random): Command {
  const queue = pick(random, ["default", "default", "default", "other", ""]);
  switch (random.below(5)) {
    case 0:
    case 1: {
      const jobs = Array.from({ length: random.between(1, 6) }, () => ({
        encoding: random.below(3),
        payload: randomBytes(random, random.chance(90) ? random.below(30) : random.below(300)),
      }));
      return { type: "enqueue", queue, jobs };
    }
    case 2:
    case 3: {
      const maxBytes = pick(random, [0, 1, 100, 2 ** 40]);
      return { type: "dequeue", queues: [queue], max: random.between(1, 9), maxBytes, leaseMs: 0, waitMs: 0 };
    }
    default:
      return { type: "resolve" };
  }
}

const openFlags = (random: Random): Omit<Open, "clientId"> => ({
  nonce: new Uint8Array(16).fill(random.below(4)),
  generated: random.chance(30),
  resume: random.chance(20),
});

/** One decoder on `input`: what it accepts is the same to msgpackr, and comes back from its own encoding. */
function runDecoder<T>(input: Uint8Array, decode: (bytes: Uint8Array) => T, encode: (value: T) => Uint8Array): boolean {
  let value: T;
  try {
    value = decode(input);
  } catch (error) {
    if (error instanceof Malformed) return false;
    throw error;
  }
  const encoded = encode(value);
  expectThat(Bun.deepEquals(decode(encoded), value, true), "it comes back as another value");
  expectSameValues(input, encoded);
  return true;
}

/** Which of the decoders take it: they are fed the same bytes, since only the kind of an entry distinguishes them. */
export const commands: FuzzTarget = {
  name: "commands",
  maxMs: 50,
  generate: (random) => {
    switch (random.below(5)) {
      case 0:
        return encodeOpen({ clientId: pick(random, ["c1", "ü", "x".repeat(64)]), ...openFlags(random) });
      case 1:
        return encodeTouch(Array.from({ length: random.below(5) }, () => random.below(2 ** 32)));
      case 2:
        return encodeVersion({ version: random.between(1, 3), limits: LIMITS });
      case 3:
        return encodeTick(pick(random, TICK_PURPOSES));
      default:
        return encodeCommand(randomCommand(random));
    }
  },
  run: (input) => {
    const taken = [
      runDecoder(input, (bytes) => decodeCommand(bytes, QUEUE), encodeCommand),
      runDecoder(input, decodeOpen, encodeOpen),
      runDecoder(input, decodeTouch, encodeTouch),
      runDecoder(input, decodeVersion, encodeVersion),
      runDecoder(input, decodeTick, encodeTick),
    ];
    if (taken[0] === true) return decodeCommand(input, QUEUE).type;
    return taken.some(Boolean) ? taken.join() : refusalOf(() => decodeCommand(input, QUEUE));
  },
};

function refusalOf(decode: () => unknown): string {
  try {
    decode();
    return "taken";
  } catch (error) {
    if (error instanceof Malformed) return gist(error.message);
    throw error;
  }
}

function randomReply(random: Random): Reply {
  const index = random.below(2 ** 32);
  switch (random.below(6)) {
    case 0:
      return { type: "enqueued", index, firstId: random.below(99), count: random.below(9) };
    case 1: {
      const job = () => ({
        id: random.below(2 ** 32),
        encoding: random.below(256),
        payload: randomBytes(random, random.below(40)),
      });
      return { type: "dequeued", index, jobs: Array.from({ length: random.below(5) }, job) };
    }
    case 2:
      return { type: "void", index };
    case 3:
      return {
        type: "opened",
        index,
        session: index,
        lastNumber: random.below(9),
        acknowledgedThrough: random.below(9),
        expiresMs: 1,
      };
    case 4:
      return { type: "closed", index };
    default:
      return { type: "refused", index, code: "NO_QUEUE", message: "there is none" };
  }
}

export const replies: FuzzTarget = {
  name: "replies",
  maxMs: 50,
  generate: (random) => encodeReply(randomReply(random)),
  run: (input) => {
    if (!runDecoder(input, decodeReply, encodeReply)) return refusalOf(() => decodeReply(input));
    return decodeReply(input).type;
  },
};

/** A log of entries read from choices: some as clients write them, some with hostile bodies. */
export const log: FuzzTarget = {
  name: "log",
  maxMs: 200,
  generate: (random) => randomBytes(random, random.between(20, 700)),
  run: (input) => {
    const choices = choicesOf(input);
    let queue = queueWith(LIMITS);
    const words = new Set<string>();
    let time = 0;
    for (let index = 1; choices.left() > 0 && index <= 200; index++) {
      const later = choices.chance(1) ? MAX_U48 : choices.chance(10) ? choices.below(1_000) : choices.below(20);
      time = Math.min(MAX_U48, time + later);
      const entry = drawEntry(queue, index, time, choices);
      words.add(`${entry.kind} ${applyOne(queue, entry)}`);
      if (queue.appliedIndex < index) break;
      expectSound(queue);
      expectRoom(queue);
      if (choices.chance(5)) queue = thawed(queue);
    }
    thawed(queue);
    return [...words].join("\n");
  },
};

export function drawEntry(queue: Queue, index: number, time: number, choices: Random): EntryFields {
  const kind = choices.chance(70) ? "command" : choices.chance(50) ? "open" : pick(choices, KIND_NAMES);
  const sessions = [...queue.sessions.live.values()];
  const session = sessions.length === 0 || choices.chance(10) ? null : pick(choices, sessions);
  const wanted = (session?.lastNumber ?? 0) + (choices.chance(80) ? 1 : choices.between(-3, 3));
  // A record has six bytes for it.
  const number = Math.min(MAX_U48, Math.max(0, wanted));
  const acknowledgedThrough = choices.chance(60) ? (session?.acknowledgedThrough ?? 0) : choices.below(2 ** 32);
  const body = choices.chance(80) ? validBody(kind, choices, sessions) : randomBytes(choices, choices.below(40));
  const flags = choices.chance(1) ? 1 : 0;
  return {
    index,
    term: 1,
    kind,
    flags,
    time,
    wall: 0,
    session: session?.id ?? choices.below(300),
    number,
    acknowledgedThrough,
    body,
  };
}

function validBody(
  kind: EntryFields["kind"],
  choices: Random,
  sessions: readonly { readonly id: number }[],
): Uint8Array {
  if (kind === "command") return encodeCommand(randomCommand(choices));
  if (kind === "open") return encodeOpen({ clientId: pick(choices, ["a", "b", "c", "d"]), ...openFlags(choices) });
  if (kind === "touch") return encodeTouch(sessions.map(({ id }) => id));
  if (kind === "tick") return encodeTick(pick(choices, TICK_PURPOSES));
  return kind === "version" ? encodeVersion({ version: 1, limits: LIMITS }) : new Uint8Array(0);
}

/** What the entry's reply holds; an entry from a newer raftq must stop the node before anything has changed. */
function applyOne(queue: Queue, entry: EntryFields): string {
  try {
    const { reply, duplicate } = apply(queue, entry);
    if (reply === null) return "unanswered";
    const answer = decodeReply(reply);
    if (entry.kind === "command") expectAnswered(queue, entry);
    return `${answer.type === "refused" ? answer.code : answer.type} ${duplicate}`;
  } catch (error) {
    if (!(error instanceof RaftqError) || error.code !== "VERSION") throw error;
    expectThat(queue.appliedIndex === entry.index - 1, "an entry that stops the node has changed something");
    return "VERSION";
  }
}

/** Whatever the number was, asking again never throws and never executes a second time. */
function expectAnswered(queue: Queue, { session, number, body }: EntryFields): void {
  const found = lookUp(queue, session, number, body);
  if (found.type === "answered") decodeReply(found.reply);
}

export function expectSound(queue: Queue): void {
  const { jobs, sessions, limits, version } = queue;
  expectThat(jobs.count >= 0 && jobs.bytes >= 0, "there are fewer jobs than none");
  expectThat(sessions.live.size <= limits.maxSessions, "there are more live sessions than the limit");
  const all = [...sessions.live.values(), ...sessions.dormant.values()];
  expectThat(all.length <= limits.maxClientIds, "there are more client ids than the limit");
  let memory = 0;
  let dormantMemory = 0;
  let remembered = 0;
  let usedBefore = 0;
  let dormantBefore = 0;
  for (const session of all) {
    expectSoundSession(queue, session);
    const { dormantAt, usedSeq, answers, lastNumber, acknowledgedThrough } = session;
    if (dormantAt === null) {
      expectThat(usedSeq > usedBefore, "the live sessions are not in the order of their last use");
      usedBefore = usedSeq;
      expectThat(sessions.live.get(session.id) === session, "a live session is not found by its id");
    } else {
      expectThat(dormantAt >= dormantBefore, "the dormant sessions are not in the order in which they became so");
      dormantBefore = dormantAt;
      expectThat(sessions.dormant.get(session.clientId) === session, "a dormant session is not found by its client id");
    }
    if (dormantAt === null) remembered += session.openings.length - 1;
    expectThat(answers.length <= lastNumber - acknowledgedThrough, "answers are kept that were acknowledged");
    expectThat(answers.length <= limits.maxReplies, "more answers are kept than the limit");
    const bytes = answers.reduce((sum, { reply }) => sum + reply.length, 0);
    expectThat(bytes === session.answerBytes, "the answers are miscounted");
    memory += bytes + answers.length * ANSWER_BYTES;
    if (dormantAt !== null) dormantMemory += bytes + answers.length * ANSWER_BYTES;
    expectThat(session.openings.length <= limits.noncesRemembered, "more nonces are remembered than the limit");
  }
  expectThat(memory === sessions.answerMemory, "the memory of all answers is miscounted");
  expectThat(dormantMemory === sessions.dormantAnswerMemory, "the memory of the dormant answers is miscounted");
  expectThat(dormantMemory <= limits.maxAnswerBytes, "the dormant sessions keep more answers than the limit");
  expectThat(sessions.idOf.size === sessions.live.size, "a client id has no session, or two");
  expectThat(sessions.fenced.size === remembered, "a fenced session is lost, or of two clients");
  expectScheduled(queue, all);
  if (version > 0) for (const limit of Object.values(limits)) expectThat(limit > 0, "a limit is 0");
}

/** Every session is in the heap once, at its own place, and nothing is due earlier than its parent. */
function expectScheduled({ sessions }: Queue, all: readonly Session[]): void {
  const { heap } = sessions.schedule;
  expectThat(heap.length === all.length, "a session is not scheduled, or something else is");
  for (const { due, id, dormantAt, usedAt } of all) {
    expectThat(heap[due.slot] === due && due.id === id, "a session is scheduled somewhere else");
    const parent = heap[(due.slot - 1) >> 1];
    expectThat(due.slot === 0 || (parent?.dueAt ?? Infinity) <= due.dueAt, "what is due first is not at the top");
    expectThat(dormantAt === null || due.dueAt > usedAt, "a dormant session was due when it was used");
  }
}

function expectSoundSession({ appliedIndex, time, limits, sessions }: Queue, session: Session): void {
  const { id, clientId, lastNumber, acknowledgedThrough, answers, openings, usedAt, usedSeq, dormantAt } = session;
  expectThat(id <= appliedIndex && usedAt <= time, "a session comes from the future");
  expectThat(usedSeq <= sessions.usedSeq, "a session was used later than any");
  expectThat(acknowledgedThrough <= lastNumber, "a number that was not executed");
  expectThat(openings.at(-1)?.session === id, "a session is not its client's newest");
  expectThat(
    (sessions.idOf.get(clientId) === id) === (dormantAt === null) &&
      sessions.dormant.has(clientId) !== (dormantAt === null),
    "a session is live and dormant, or neither",
  );
  for (const { session: older } of openings.slice(0, -1))
    expectThat(
      older < id && (dormantAt !== null || sessions.fenced.get(older) === clientId),
      "an older session is not fenced",
    );
  const last = answers.at(-1)?.reply.length ?? 0;
  const full = answers.length > 0 && session.answerBytes - last >= limits.maxReplyBytes;
  expectThat(!full, "an answer was kept behind the one that reached the limit");
}

/** Only what began under the limit is sure to keep it: older states may have more, and drain. */
function expectRoom({ jobs, limits }: Queue): void {
  expectThat(jobs.bytes + jobs.count * JOB_BYTES <= limits.maxReadyBytes, "the jobs have more memory than the limit");
}

const PART_BYTES = 200;

/** So small that a short queue has several. */
export const smallPartsOf = (queue: Queue): Uint8Array[] => partsOf(queue, PART_BYTES);

/** Through bytes and back: the same state has the same bytes. */
export function thawed(queue: Queue): Queue {
  const parts = smallPartsOf(queue);
  const back = restore(parts);
  const again = smallPartsOf(back);
  expectThat(
    parts.length === again.length && parts.every((part, at) => sameBytes(part, again[at]!)),
    "a restored state has other bytes",
  );
  expectSound(back);
  return back;
}
