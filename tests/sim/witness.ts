// Does the log itself agree with every answer? A second witness beside the FIFO checker: it replays the committed entries with the
// simplest possible queue and session rules, and compares the answers that clients got with the index that each answer names.
import { decodeCommand, decodeOpen, decodeVersion } from "../../src/queue/commands.ts";
import { encodeReply } from "../../src/queue/replies.ts";
import { type Command, JOB_BYTES, type NewJob, type Reply } from "../../src/queue/types.ts";
import { fieldsOf, type RecordFields } from "../../src/raft/entry.ts";
import { equalBytes, type History, isRecorded, isSettled, type Operation } from "./history.ts";
import type { CommittedLog } from "./committed-log.ts";
import { realTimeViolation } from "../kit/real-time-order.ts";

const NOTHING = new Uint8Array(0);

/** Or refused for ever. */
interface Executed {
  readonly client: string;
  readonly number: number;
  readonly fields: RecordFields;
  readonly reply: Reply;
}

interface Replay {
  readonly jobs: { readonly id: number; readonly payload: Uint8Array }[];
  readonly clientOf: Map<number, string>;
  readonly sessionOf: Map<string, number>;
  /** Client ids that every process called generated: a CLOSE ends all that is known of them. */
  readonly generated: Set<string>;
  readonly lastNumberOf: Map<string, number>;
  readonly executed: Map<number, Executed>;
  /** What the jobs that wait count as, and the most that they may. */
  readyBytes: number;
  maxReadyBytes: number | null;
}

/** What is wrong, or null. `sessionsExpire`: a client may come back as if it had never been there. */
export function witnessAgainst(committedLog: CommittedLog, history: History, sessionsExpire: boolean): string | null {
  const replay: Replay = {
    jobs: [],
    clientOf: new Map(),
    sessionOf: new Map(),
    generated: new Set(),
    lastNumberOf: new Map(),
    executed: new Map(),
    readyBytes: 0,
    maxReadyBytes: null,
  };
  for (let index = 1; index <= committedLog.lastIndex; index++) {
    const milestone = committedLog.at(index)!;
    const problem = replayOne(replay, fieldsOf(milestone.entry), milestone.reply, sessionsExpire);
    if (problem !== null) return `index ${index}: ${problem}`;
    if (milestone.ready !== replay.jobs.length)
      return `index ${index}: the queue holds ${milestone.ready} jobs, not ${replay.jobs.length}`;
    const [head] = replay.jobs;
    if (milestone.head?.id !== head?.id)
      return `index ${index}: the oldest job is ${milestone.head?.id}, not ${head?.id}`;
    if (!equalBytes(milestone.head?.payload ?? NOTHING, head?.payload ?? NOTHING))
      return `index ${index}: the oldest job, ${head?.id}, has other bytes than went in`;
  }
  return answersDiffer(replay, history) ?? outOfRealTime(history);
}

function replayOne(replay: Replay, fields: RecordFields, reply: Reply | null, sessionsExpire: boolean): string | null {
  if (fields.kind === "version") replay.maxReadyBytes ??= decodeVersion(fields.body).limits.maxReadyBytes;
  if (reply === null) return null;
  if (reply.type === "refused") return replayRefusal(replay, fields, reply);
  if (reply.type === "opened") return replayOpen(replay, fields, reply, sessionsExpire);
  if (fields.kind === "close") closeSession(replay, replay.clientOf.get(fields.session) ?? "");
  if (fields.kind !== "command") return null;
  const client = replay.clientOf.get(fields.session);
  if (client === undefined) return `session ${fields.session} was never opened`;
  if (reply.index !== fields.index) return repeated(replay, client, fields, reply);
  if (replay.sessionOf.get(client) !== fields.session)
    return `session ${fields.session} of ${client} is not its newest, and executed number ${fields.number}`;
  const last = replay.lastNumberOf.get(client) ?? 0;
  if (fields.number !== last + 1) return `${client} executed number ${fields.number} after ${last}`;
  replay.lastNumberOf.set(client, fields.number);
  replay.executed.set(fields.index, { client, number: fields.number, fields, reply });
  return execute(replay, fields.body, reply);
}

function replayRefusal(replay: Replay, fields: RecordFields, reply: Reply & { type: "refused" }): string | null {
  const client = replay.clientOf.get(fields.session);
  const isAnswer = fields.kind === "command" && fields.number > 0 && isRecorded(reply);
  if (client === undefined || !isAnswer) return null;
  if (reply.index !== fields.index) return repeated(replay, client, fields, reply);
  const last = replay.lastNumberOf.get(client) ?? 0;
  if (fields.number !== last + 1) return `${client} got number ${fields.number} refused for ever after ${last}`;
  replay.lastNumberOf.set(client, fields.number);
  replay.executed.set(fields.index, { client, number: fields.number, fields, reply });
  if (reply.code !== "QUEUE_FULL") return null;
  const command = decoded(fields.body);
  if (command.type !== "enqueue") return `a ${command.type} was refused with QUEUE_FULL`;
  return hasRoomFor(replay, command.jobs) ? "an enqueue was refused with QUEUE_FULL, and there was room for it" : null;
}

const memoryOf = (jobs: readonly NewJob[]): number =>
  jobs.reduce((bytes, { payload }) => bytes + payload.length + JOB_BYTES, 0);

function hasRoomFor({ readyBytes, maxReadyBytes }: Replay, jobs: readonly NewJob[]): boolean {
  return maxReadyBytes !== null && readyBytes + memoryOf(jobs) <= maxReadyBytes;
}

function decoded(body: Uint8Array): Command {
  return decodeCommand(body, { maxJobsPerCommand: Number.MAX_SAFE_INTEGER });
}

/** The next OPEN of a generated id starts at number 1 again, that of a given one goes on. */
function closeSession(replay: Replay, client: string): void {
  replay.sessionOf.delete(client);
  if (!replay.generated.delete(client)) return;
  replay.lastNumberOf.delete(client);
}

function replayOpen(
  replay: Replay,
  fields: RecordFields,
  reply: Reply & { type: "opened" },
  sessionsExpire: boolean,
): string | null {
  const { clientId, generated } = decodeOpen(fields.body);
  const last = replay.lastNumberOf.get(clientId) ?? 0;
  if (reply.session !== fields.index) {
    if (replay.clientOf.get(reply.session) !== clientId)
      return `${clientId} was given session ${reply.session}, which is not its own`;
    if (reply.lastNumber === last) return null;
    return `${clientId} opened once more and was told last number ${reply.lastNumber}; it executed ${last}`;
  }
  if (!replay.sessionOf.has(clientId) && last === 0 && generated) replay.generated.add(clientId);
  if (!generated) replay.generated.delete(clientId);
  if (reply.lastNumber !== last && !(sessionsExpire && reply.lastNumber === 0)) {
    return `${clientId} opened and was told last number ${reply.lastNumber}; it executed ${last}`;
  }
  replay.clientOf.set(fields.index, clientId);
  replay.sessionOf.set(clientId, fields.index);
  replay.lastNumberOf.set(clientId, reply.lastNumber);
  return null;
}

/** An entry whose answer names an earlier index was a retry: that index must hold this very number of this client. */
function repeated(replay: Replay, client: string, fields: RecordFields, reply: Reply): string | null {
  const first = replay.executed.get(reply.index);
  if (first !== undefined && first.client === client && first.number === fields.number) return null;
  return `${client} number ${fields.number} was answered as a repetition of index ${reply.index}, which holds something else`;
}

function execute(replay: Replay, body: Uint8Array, reply: Reply): string | null {
  const command = decoded(body);
  if (command.type === "resolve") return reply.type === "void" ? null : `a resolve was executed as ${reply.type}`;
  if (command.type === "enqueue") {
    if (reply.type !== "enqueued" || reply.count !== command.jobs.length)
      return `an enqueue of ${command.jobs.length} jobs was answered ${reply.type}`;
    if (!hasRoomFor(replay, command.jobs))
      return `an enqueue was executed beyond the ${replay.maxReadyBytes} bytes allowed`;
    replay.readyBytes += memoryOf(command.jobs);
    command.jobs.forEach(({ payload }, at) => replay.jobs.push({ id: reply.firstId + at, payload }));
    return null;
  }
  if (reply.type !== "dequeued") return `a dequeue was answered ${reply.type}`;
  if (reply.jobs.length > command.max) return `a dequeue of ${command.max} gave ${reply.jobs.length} jobs`;
  if (reply.jobs.length === 0 && replay.jobs.length > 0)
    return `a dequeue found nothing in a queue of ${replay.jobs.length}`;
  for (const job of reply.jobs) {
    const next = replay.jobs.shift();
    if (next === undefined || next.id !== job.id || !equalBytes(next.payload, job.payload))
      return `job ${job.id} came out where ${next?.id} was next`;
    replay.readyBytes -= memoryOf([job]);
  }
  return null;
}

function answersDiffer(replay: Replay, history: History): string | null {
  const decided = new Map<string, Operation>();
  for (const operation of history.operations) {
    // Those of real clients have a witness of their own.
    if (operation.space !== null) continue;
    if (operation.fate === "never" || isSettled(operation))
      decided.set(keyOf(operation.client, operation.number, operation.command), operation);
    if (!isSettled(operation) || operation.reply === null) continue;
    const { client, number, reply } = operation;
    const executed = replay.executed.get(reply.index);
    if (
      executed === undefined ||
      executed.client !== client ||
      executed.number !== number ||
      !equalBytes(executed.fields.body, operation.command)
    ) {
      return `${client} #${number} was told index ${reply.index}, and the log holds something else there`;
    }
    if (!equalBytes(encodeReply(executed.reply), operation.replyBytes!))
      return `${client} #${number} was told something else than the log says at ${reply.index}`;
  }
  for (const { client, number, fields, reply } of replay.executed.values()) {
    if (reply.type === "refused") continue;
    if (decided.get(keyOf(client, number, fields.body))?.fate === "never" && !isRepeatable(history, client, number)) {
      return `${client} #${number} was surely not executed, and the log holds it at ${fields.index}`;
    }
  }
  return null;
}

/** A successor may have sent an equal command under the same number. */
function isRepeatable(history: History, client: string, number: number): boolean {
  return history.operations.some(
    (operation) => operation.client === client && operation.number === number && operation.fate !== "never",
  );
}

function keyOf(client: string, number: number, command: Uint8Array): string {
  return `${client}#${number}:${Buffer.from(command).toString("latin1")}`;
}

function outOfRealTime({ operations }: History): string | null {
  return realTimeViolation(
    operations.flatMap((operation) => {
      const { client, number, invoked, returned, reply } = operation;
      return isSettled(operation) && reply !== null ? [{ client, number, invoked, returned, index: reply.index }] : [];
    }),
  );
}
