// Does the queue do what a few lines of plain arrays do? Random entries, many seeds, every reply and the state compared.
import { expect, test } from "bun:test";
import { type Random, seededRandom } from "../../src/lib/random.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { apply } from "../../src/queue/queue.ts";
import { restore } from "../../src/queue/snapshot.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import type { Command } from "../../src/queue/types.ts";
import { type Answered, dequeue, enqueue, hex, LIMITS, Log, partsOf, resolve, stateOf } from "../kit/queue-log.ts";

const MODEL_LIMITS: QueueLimits = {
  ...LIMITS,
  maxSessions: 3,
  maxClientIds: 5,
  sessionExpiryMs: 2_000,
  generatedExpiryMs: 900,
  dormantAfterMs: 150,
  dormantAnswersMs: 500,
  maxReplies: 6,
  noncesRemembered: 3,
  maxPayloadBytes: 20,
  maxReadyBytes: 150,
  maxAnswerBytes: 1_200,
};

interface Client {
  readonly processes: { nonce: number; session: number }[];
  /** By number: what was sent and what came back. */
  readonly done: { command: string; answer: string; bytes: number }[];
  acknowledgedThrough: number;
  /** Answers up to this one were forgotten. */
  forgottenUpTo: number;
  usedAt: number;
  usedSeq: number;
  dormantAt: number | null;
  generated: boolean;
}

interface How {
  readonly generated: boolean;
  readonly resume: boolean;
}

/** The rules of the queue and its sessions, as slowly and as plainly as they can be written. */
class Model {
  jobs: string[] = [];
  clients = new Map<string, Client>();

  seq = 0;

  expire(time: number): void {
    for (const [id, client] of this.clients) {
      const { dormantAt, usedAt, generated } = client;
      const isShort = generated && dormantAt !== null;
      const expiryMs = isShort ? MODEL_LIMITS.generatedExpiryMs : MODEL_LIMITS.sessionExpiryMs;
      if (time - usedAt >= expiryMs) this.clients.delete(id);
      else if (dormantAt !== null && time - dormantAt >= MODEL_LIMITS.dormantAnswersMs)
        client.forgottenUpTo = client.done.length;
    }
  }

  use(client: Client, time: number): void {
    client.usedAt = time;
    client.usedSeq = ++this.seq;
  }

  live(): Client[] {
    return [...this.clients.values()].filter(({ dormantAt }) => dormantAt === null);
  }

  /** Makes the live session dormant that was not used for the longest, if it may be. */
  hasPlace(time: number): boolean {
    const live = this.live().toSorted((a, b) => a.usedSeq - b.usedSeq);
    if (live.length < MODEL_LIMITS.maxSessions) return true;
    const dormant = [...this.clients.values()].filter(({ dormantAt }) => dormantAt !== null);
    const kept = dormant.reduce((sum, client) => sum + this.answerMemory(client), 0);
    const first = live.find(
      (client) =>
        time - client.usedAt >= MODEL_LIMITS.dormantAfterMs &&
        kept + this.answerMemory(client) <= MODEL_LIMITS.maxAnswerBytes,
    );
    if (first !== undefined) first.dormantAt = time;
    return first !== undefined;
  }

  open(id: string, nonce: number, { generated, resume }: How, index: number, time: number): string {
    const found = this.clients.get(id);
    const known = found?.processes.slice(-MODEL_LIMITS.noncesRemembered).findLast((one) => one.nonce === nonce);
    const isNewest = known !== undefined && known === found?.processes.at(-1);
    if (found === undefined) {
      if (resume) return "SESSION_EXPIRED";
      if (this.clients.size >= MODEL_LIMITS.maxClientIds) return "SESSIONS_FULL";
    } else if (isNewest && found.dormantAt === null) {
      this.use(found, time);
      return `opened ${known.session} after ${found.done.length}`;
    } else if (isNewest && !resume) return "SESSION_EXPIRED";
    else if (!isNewest && (resume || known !== undefined)) return "SESSION_FENCED";
    if (found?.dormantAt !== null && !this.hasPlace(time)) return "SESSIONS_FULL";
    const client = found ?? {
      processes: [],
      done: [],
      acknowledgedThrough: 0,
      forgottenUpTo: 0,
      usedAt: 0,
      usedSeq: 0,
      dormantAt: null,
      generated: true,
    };
    this.clients.set(id, client);
    client.generated &&= generated;
    client.dormantAt = null;
    if (isNewest) client.processes.pop();
    client.processes.push({ nonce, session: index });
    this.use(client, time);
    return `opened ${index} after ${client.done.length}`;
  }

  close(session: number, acknowledgedThrough: number, time: number): string {
    const client = this.find(session);
    if (typeof client === "string") return client;
    this.use(client, time);
    client.acknowledgedThrough = Math.max(
      client.acknowledgedThrough,
      Math.min(acknowledgedThrough, client.done.length),
    );
    if (client.acknowledgedThrough < client.done.length) return "OUT_OF_ORDER";
    client.dormantAt = time;
    if (client.generated) for (const [id, found] of this.clients) if (found === client) this.clients.delete(id);
    return "closed";
  }

  find(session: number): Client | string {
    for (const { processes } of this.live()) {
      if (
        processes
          .slice(0, -1)
          .slice(-MODEL_LIMITS.noncesRemembered + 1)
          .some((process) => process.session === session)
      )
        return "SESSION_FENCED";
    }
    return this.live().find(({ processes }) => processes.at(-1)!.session === session) ?? "SESSION_EXPIRED";
  }

  send(session: number, number: number, command: Command, acknowledgedThrough: number, time: number): string {
    const client = this.find(session);
    if (typeof client === "string") return client;
    this.use(client, time);
    const bytes = hex(encodeCommand(command));
    const earlier = client.done[number - 1];
    const forgotten = number <= Math.max(client.acknowledgedThrough, client.forgottenUpTo);
    client.acknowledgedThrough = Math.max(
      client.acknowledgedThrough,
      Math.min(acknowledgedThrough, client.done.length),
    );
    if (earlier !== undefined) {
      if (forgotten) return "FORGOTTEN";
      return earlier.command === bytes || command.type === "resolve" ? earlier.answer : "CONFLICT";
    }
    if (number !== client.done.length + 1) return "OUT_OF_ORDER";
    const kept = client.done.length - Math.max(client.acknowledgedThrough, client.forgottenUpTo);
    if (kept >= MODEL_LIMITS.maxReplies) return "WINDOW_FULL";
    const all = [...this.clients.values()].reduce((sum, one) => sum + this.answerMemory(one), 0);
    const share = MODEL_LIMITS.maxAnswerBytes / MODEL_LIMITS.maxSessions;
    if (all >= MODEL_LIMITS.maxAnswerBytes && this.answerMemory(client) >= share) return "WINDOW_FULL";
    const answer = this.execute(command);
    client.done.push({ command: bytes, answer, bytes: 0 });
    return answer;
  }

  answerMemory({ done, acknowledgedThrough, forgottenUpTo }: Client): number {
    return done.slice(Math.max(acknowledgedThrough, forgottenUpTo)).reduce((sum, { bytes }) => sum + bytes + 128, 0);
  }

  execute(command: Command): string {
    if (command.type === "resolve") return "void";
    if (command.type === "enqueue") {
      if (command.jobs.some((job) => job.payload.length > MODEL_LIMITS.maxPayloadBytes)) return "TOO_LARGE";
      const more = command.jobs.map((job) => job.payload.length);
      const wait = [...this.jobs.map((job) => job.length), ...more];
      if (wait.reduce((sum, length) => sum + length + 8, 0) > MODEL_LIMITS.maxReadyBytes) return "QUEUE_FULL";
      this.jobs.push(...command.jobs.map((job) => new TextDecoder().decode(job.payload)));
      return "enqueued";
    }
    const taken: string[] = [];
    let room = Math.min(command.maxBytes, MODEL_LIMITS.maxPayloadBytes);
    while (this.jobs.length > 0 && taken.length < command.max && (taken.length === 0 || this.jobs[0]!.length <= room)) {
      room -= this.jobs[0]!.length;
      taken.push(this.jobs.shift()!);
    }
    return `dequeued ${taken.join()}`;
  }
}

function shown({ reply }: Answered): string {
  switch (reply.type) {
    case "refused":
      return reply.code;
    case "opened":
      return `opened ${reply.session} after ${reply.lastNumber}`;
    case "dequeued":
      return `dequeued ${reply.jobs.map(({ payload }) => new TextDecoder().decode(payload)).join()}`;
    case "enqueued":
    case "void":
    case "closed":
      return reply.type;
  }
}

function randomCommand(random: Random): Command {
  if (random.chance(8)) return resolve;
  if (random.chance(45)) return dequeue(random.between(1, 4), random.below(40));
  const job = (): string => `${random.below(100)}`.padEnd(random.chance(4) ? 21 : random.below(12), "x");
  return enqueue(...Array.from({ length: random.between(1, 3) }, job));
}

/** One random entry into both; gives what both answered. */
function step(log: Log, model: Model, random: Random, sessions: number[]): [string, string] {
  log.time += random.below(random.chance(2) ? 2_500 : 100);
  const index = log.queue.appliedIndex + 1;
  model.expire(log.time);
  const who = random.below(7);
  const clientId = `c${who}`;
  if (sessions.length === 0 || random.chance(12)) {
    const nonce = random.below(5);
    const how = { generated: who > 4, resume: random.chance(30) };
    const opened = log.open(clientId, nonce, how);
    if (opened.reply.type === "opened") sessions.push(opened.reply.session);
    return [shown(opened), model.open(clientId, nonce, how, index, log.time)];
  }
  const session =
    sessions[
      random.chance(80)
        ? sessions.length - 1 - random.below(Math.min(3, sessions.length))
        : random.below(sessions.length)
    ]!;
  const client = model.find(session);
  if (random.chance(4)) {
    const all = typeof client === "string" ? 0 : client.done.length;
    const acknowledgedThrough = random.chance(70) ? all : random.below(all + 1);
    return [shown(log.close(session, acknowledgedThrough)), model.close(session, acknowledgedThrough, log.time)];
  }
  if (random.chance(4)) {
    log.touch(session);
    if (typeof client !== "string") model.use(client, log.time);
    return ["", ""];
  }
  const last = typeof client === "string" ? 0 : client.done.length;
  const number = random.chance(75) ? last + 1 : random.between(1, last + 3);
  const command = randomCommand(random);
  const acknowledgedThrough = random.chance(40) ? Math.max(0, last - random.below(4)) : 0;
  const sent = log.send(session, number, command, acknowledgedThrough);
  const expected = model.send(session, number, command, acknowledgedThrough, log.time);
  // The model has no bytes of its own to weigh.
  if (typeof client !== "string" && client.done.length > last) client.done.at(-1)!.bytes = sent.bytes.length;
  return [shown(sent), expected];
}

test("random entries give the replies and the jobs of the plain model, also after a restored snapshot", () => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= 150; seed++) {
    const random = seededRandom(seed);
    const log = new Log(MODEL_LIMITS);
    const model = new Model();
    const sessions: number[] = [];
    for (let round = 0; round < 250; round++) {
      const [found, expected] = step(log, model, random, sessions);
      if (found !== expected)
        throw new Error(`seed ${seed}, entry ${log.queue.appliedIndex}: "${found}" where "${expected}" is right`);
      const kind = found.split(" ")[0]!;
      seen.set(kind, (seen.get(kind) ?? 0) + 1);
      if (log.queue.ready !== model.jobs.length)
        throw new Error(`seed ${seed}: ${log.queue.ready} jobs where ${model.jobs.length} wait`);
      if (random.chance(2)) log.queue = restore(partsOf(log.queue, random.between(1, 2_000)));
    }
    expect([log.queue.sessionCount, log.queue.dormantCount]).toEqual([
      model.live().length,
      model.clients.size - model.live().length,
    ]);
    // The replayed log, without any snapshot, is the same state.
    const replayed = new Log(MODEL_LIMITS);
    for (const entry of log.entries) apply(replayed.queue, entry);
    expect(stateOf(replayed.queue)).toBe(stateOf(log.queue));
  }
  const every = [
    "enqueued",
    "dequeued",
    "void",
    "opened",
    "closed",
    "CONFLICT",
    "FORGOTTEN",
    "OUT_OF_ORDER",
    "WINDOW_FULL",
  ];
  every.push("SESSIONS_FULL", "SESSION_EXPIRED", "SESSION_FENCED", "TOO_LARGE", "QUEUE_FULL");
  // Every rule was met often, else the comparison proves little.
  for (const kind of every) expect([kind, (seen.get(kind) ?? 0) >= 50]).toEqual([kind, true]);
});
