// Is every answer that real clients got true, and do they acknowledge only what their users have? The log is the witness: it holds which
// numbers were executed, in whose sessions, what came of them, and what each request acknowledged.
import { decodeCommand, decodeOpen } from "../../src/queue/commands.ts";
import { encodeReply } from "../../src/queue/replies.ts";
import { nonceText } from "../../src/queue/sessions.ts";
import type { Reply } from "../../src/queue/types.ts";
import type { RecordFields } from "../../src/raft/entry.ts";
import type { LogIndex } from "../../src/raft/types.ts";
import { equalBytes, type History, type NumberSpace, type Operation } from "./history.ts";
import type { CommittedLog } from "./committed-log.ts";
import type { Coverage } from "./coverage.ts";

export interface RealWitness {
  /** Sessions that are opened with this nonce execute the numbers of this space. */
  process(nonce: Uint8Array, space: NumberSpace): void;
  /** No OPEN of this client id with another nonce was executed since that of this one. */
  isNewest(client: string, nonce: Uint8Array): boolean;
  /** Its last OPEN was refused because all places are taken: others have made its session dormant, and it may be forgotten. */
  lacksPlace(nonce: Uint8Array): boolean;
  /** The user of a client has the answer of this index, and may acknowledge it. */
  taken(index: LogIndex): void;
  /** A user got the report that the answer to this number is no longer kept: no answer is left to take. */
  forgotten(client: string, number: number): void;
  /** An answer that a client got to a number, beside the answers to its operations: late, or fetched for an earlier process. */
  reported(client: string, number: number, reply: Reply): void;
  /** At the end: what is wrong, or null. Unanswered operations get the reply that the log holds for them. */
  judge(): string | null;
}

interface Executed {
  readonly space: NumberSpace;
  readonly number: number;
  readonly index: LogIndex;
  /** Cluster time. */
  readonly time: number;
  readonly body: Uint8Array;
  readonly reply: Reply;
}

/** The numbers of a client id, from its first OPEN until it is forgotten. */
interface Numbers {
  readonly executed: Map<number, Executed>;
  acknowledged: number;
}

interface Session {
  readonly space: NumberSpace;
  readonly numbers: Numbers;
}

export interface RealWitnessPorts {
  readonly committedLog: CommittedLog;
  readonly history: History;
  readonly coverage: Pick<Coverage, "hit">;
  /** For how long the answers of a dormant session are kept. */
  readonly dormantAnswersMs: number;
  readonly fail: (what: string) => void;
}

export function createRealWitness(ports: RealWitnessPorts): RealWitness {
  const { committedLog, history, coverage, dormantAnswersMs, fail } = ports;
  const spaces = new Map<string, NumberSpace>();
  const numbersOf = new Map<string, Numbers>();
  const newestOf = new Map<string, string>();
  const withoutPlace = new Set<string>();
  const sessions = new Map<number, Session>();
  const executedAt = new Map<LogIndex, Executed>();
  const taken = new Set<LogIndex>();
  const forgotten = new Set<string>();
  const reported: { readonly client: string; readonly number: number; readonly reply: Reply }[] = [];

  function committed(fields: RecordFields, reply: Reply | null): void {
    if (fields.kind === "open") return opened(fields, reply);
    const session = sessions.get(fields.session);
    if (session === undefined || reply === null) return;
    acknowledged(session, fields);
    if (fields.kind === "command" && reply.index === fields.index && reply.type !== "refused")
      executed(session, fields, reply);
  }

  function opened({ index, body }: RecordFields, reply: Reply | null): void {
    const { clientId, nonce, resume } = decodeOpen(body);
    const process = nonceText(nonce);
    const space = spaces.get(process);
    if (reply?.type === "refused" && reply.code === "SESSIONS_FULL") withoutPlace.add(process);
    else withoutPlace.delete(process);
    if (space === undefined || reply?.type !== "opened" || reply.session !== index) return;
    if (resume) coverage.hit("a real client went on with a dormant session");
    const known = numbersOf.get(clientId);
    const numbers = known === undefined || reply.lastNumber === 0 ? { executed: new Map(), acknowledged: 0 } : known;
    numbersOf.set(clientId, numbers);
    newestOf.set(clientId, process);
    sessions.set(index, { space, numbers });
  }

  /** An answer that is acknowledged is given to nobody any more, so somebody must have it by now. */
  function acknowledged({ space: { client }, numbers }: Session, fields: RecordFields): void {
    const { acknowledgedThrough, index, time } = fields;
    for (let number = numbers.acknowledged + 1; number <= acknowledgedThrough; number++) {
      const answered = numbers.executed.get(number);
      if (answered === undefined || answered.reply.type === "void" || taken.has(answered.index)) continue;
      // A number whose outcome stayed unknown until its answer was no longer kept: its resolve was refused with FORGOTTEN.
      if (time - answered.time >= dormantAnswersMs) continue;
      if (!forgotten.has(`${client}#${number}`))
        fail(`${client} acknowledged the answer to #${number} at ${index}, and its user has not had it`);
    }
    numbers.acknowledged = Math.max(numbers.acknowledged, acknowledgedThrough);
  }

  function executed({ space, numbers }: Session, { number, index, time, body }: RecordFields, reply: Reply): void {
    if (reply.type === "void") coverage.hit("a real client settled a number as void");
    const entry = { space, number, index, time, body, reply };
    numbers.executed.set(number, entry);
    executedAt.set(index, entry);
  }

  function reportedOtherwise(): string | null {
    for (const { client, number, reply } of reported) {
      const entry = executedAt.get(reply.index);
      if (entry?.space.client !== client || entry.number !== number)
        return `${client} was told of #${number} what the log does not hold at ${reply.index}`;
      if (!equalBytes(encodeReply(entry.reply), encodeReply(reply)))
        return `${client} was told of #${number} something else than the log says at ${reply.index}`;
    }
    return null;
  }

  /** Every entry has its operations, and those got just their parts of its answer. */
  function judgeSpace(space: NumberSpace, entries: readonly Executed[]): string | null {
    const answered = Map.groupBy(
      space.operations.filter(({ fate }) => fate === "answered"),
      ({ reply }) => reply?.index ?? 0,
    );
    const open = space.operations.filter(({ fate }) => fate === "pending" || fate === "unclear");
    for (const entry of entries) {
      const owners = answered.get(entry.index);
      answered.delete(entry.index);
      const problem = owners === undefined ? findOwners(entry, open) : answersDiffer(entry, owners);
      if (problem !== null) return `index ${entry.index} holds #${entry.number} of ${space.client}: ${problem}`;
    }
    for (const [index, owners] of answered)
      return `${space.client} #${owners[0]?.number} was told index ${index}, and the log holds something else there`;
    return outOfOrder(space);
  }

  function answersDiffer(entry: Executed, owners: readonly Operation[]): string | null {
    if (owners.some(({ number }) => number !== entry.number)) return "it was told as the answer to another number";
    const [first] = owners;
    if (!entry.space.batches && (owners.length !== 1 || !equalBytes(first?.command ?? entry.body, entry.body)))
      return "it was told as the answer to another request";
    const parts = partsOf(entry.reply, owners);
    if (parts === null) return "its answer does not fit the requests that got it";
    const values = valuesIn(entry.body);
    if (values !== null && values.join() !== owners.flatMap(valuesAsked).join())
      return "it enqueued other values than were asked for";
    const differs = owners.some(({ reply }, at) => reply === null || !isSame(reply, parts[at]));
    return differs ? "something else was told than the log says" : null;
  }

  /**
   * No user got this answer. Operations whose final word was "unknown" have its number; of those that a killed process left
   * behind the earliest that fit stand for it: they were not asked for later than it was.
   */
  function findOwners(entry: Executed, open: readonly Operation[]): string | null {
    if (entry.reply.type === "void") return null;
    const free = open.filter(({ reply, number }) => reply === null && (number === entry.number || number === 0));
    const values = valuesIn(entry.body);
    const owners =
      values === null
        ? dequeuesFor(entry, free)
        : free.filter((operation) => valuesAsked(operation).some((value) => values.includes(value)));
    const parts = owners.length === 0 ? null : partsOf(entry.reply, owners);
    if (parts === null) return "nobody waits for its answer any more: to all whom it fits it was surely not executed";
    for (const [at, operation] of owners.entries()) operation.reply = parts[at] ?? null;
    return null;
  }

  function dequeuesFor(entry: Executed, free: readonly Operation[]): readonly Operation[] {
    const dequeues = free.filter(({ call }) => call.type === "dequeue");
    const named = dequeues.filter(({ number }) => number === entry.number);
    if (named.length > 0) return named;
    // Any of them will do for what several shared.
    const fitting = dequeues.filter(({ command }) => entry.space.batches || equalBytes(command, entry.body));
    return fitting.slice(0, 1);
  }

  function valuesIn(body: Uint8Array): readonly (number | null)[] | null {
    const command = decodeCommand(body, { maxJobsPerCommand: Number.MAX_SAFE_INTEGER });
    return command.type === "enqueue" ? command.jobs.map(({ payload }) => history.valueOf(payload)) : null;
  }

  committedLog.watch(committed);
  return {
    process: (nonce, space) => void spaces.set(nonceText(nonce), space),
    isNewest: (client, nonce) => newestOf.get(client) === nonceText(nonce),
    lacksPlace: (nonce) => withoutPlace.has(nonceText(nonce)),
    taken: (index) => void taken.add(index),
    forgotten: (client, number) => void forgotten.add(`${client}#${number}`),
    reported: (client, number, reply) => void reported.push({ client, number, reply }),
    judge: () => {
      const entries = Map.groupBy(executedAt.values(), ({ space }) => space);
      for (const space of new Set(spaces.values())) {
        const problem = judgeSpace(space, entries.get(space) ?? []);
        if (problem !== null) return problem;
      }
      return reportedOtherwise();
    },
  };
}

const valuesAsked = ({ call }: Operation): readonly number[] => (call.type === "enqueue" ? call.values : []);

/** Which part of the answer is whose, of the operations that share a number, in their order; null: it fits them not. */
export function partsOf(reply: Reply, owners: readonly Operation[]): readonly (Reply | null)[] | null {
  switch (reply.type) {
    case "void":
      return owners.map(() => reply);
    case "enqueued": {
      let { firstId } = reply;
      const parts = owners.map((owner) => {
        const count = valuesAsked(owner).length;
        const part = { ...reply, firstId, count };
        firstId += count;
        return part;
      });
      return firstId === reply.firstId + reply.count && parts.every(({ count }) => count > 0) ? parts : null;
    }
    case "dequeued": {
      if (owners.some(({ call }) => call.type !== "dequeue")) return null;
      const { jobs } = reply;
      if (owners.length === 1 || jobs.length === 0) return owners.map(() => reply);
      // Those for whom there was none ask again.
      if (jobs.length > owners.length) return null;
      return owners.map((_, at) => (at < jobs.length ? { ...reply, jobs: jobs.slice(at, at + 1) } : null));
    }
    case "opened":
    case "closed":
    case "refused":
      return null;
  }
}

function isSame(reply: Reply, part: Reply | null | undefined): boolean {
  return part !== null && part !== undefined && equalBytes(encodeReply(reply), encodeReply(part));
}

/** A client's requests are executed in the order in which they were made. Dequeues that share a number may have to ask again. */
function outOfOrder({ client, batches, operations }: NumberSpace): string | null {
  let before: Operation | null = null;
  for (const operation of operations) {
    const { reply, call } = operation;
    if (reply === null || reply.type === "void" || (batches && call.type === "dequeue")) continue;
    const previous = before?.reply ?? null;
    const isLater =
      previous === null ||
      reply.index > previous.index ||
      (previous.type === "enqueued" && reply.type === "enqueued" && reply.firstId > previous.firstId);
    if (!isLater)
      return `${client} asked for what happened at ${previous.index} before what happened at ${reply.index}`;
    before = operation;
  }
  return null;
}
