// The client with promises, for programs: `connect`, then one method for each command.
import { randomBytes } from "node:crypto";
import { jsonTextOf } from "./json-text.ts";
import {
  type Client,
  type ClientSettings,
  createClient,
  type Outcome,
  type Query,
  type QueryAnswer,
} from "./client.ts";
import { type UnacknowledgedAnswer, unacknowledgedAnswers } from "./unacknowledged.ts";
import { CLIENT, DEFAULTS, QUEUE, WIRE } from "../config.ts";
import { must } from "../lib/assert.ts";
import { type Applied, type Failure, failure, RaftqError } from "../lib/errors.ts";
import { seededRandom } from "../lib/random.ts";
import { isClientId, SESSION_NONCE_BYTES } from "../queue/commands.ts";
import { type Command, ENCODING, type Job, QUEUE_NAME, type Reply } from "../queue/types.ts";
import { createRealClock } from "../lib/real-clock.ts";
import type { LogPage, NodeStatus } from "../wire/protocol.ts";
import { PROOF_NONCE_BYTES, parseSecrets } from "../wire/secret.ts";
import { createTcpNetwork, type Credentials } from "../wire/tcp.ts";
import { materialProblem, type TlsMaterial } from "../wire/tls.ts";

export interface ConnectOptions {
  /** Some nodes of the cluster, `host:port`; the others are learned. */
  readonly addresses: readonly string[];
  /** The client's id. One process at a time may use it; its request numbers go on from process to process. */
  readonly id: string;
  /** How long a request waits for its outcome. */
  readonly timeoutMs?: number;
  /** PEM texts: this client's certificate, its key, and the authority of the cluster. */
  readonly tls?: TlsMaterial;
  /** A line of the nodes' secret file, with its role: `client:…`. */
  readonly secret?: string;
}

export interface Enqueued {
  readonly id: number;
  /** Of the entry in the log. Enqueues that were made at the same moment share it, and the number of their request. */
  readonly index: number;
  readonly requestNumber: number;
}

interface Content {
  /** The value, if it is JSON and its producer declared it as JSON. Integers beyond 2^53 lose digits here: see `text`. */
  readonly value: unknown;
  /** The JSON text as it was enqueued; null if the payload is not JSON. */
  readonly text: string | null;
  readonly bytes: Uint8Array;
}

export interface Dequeued extends Enqueued, Content {}

/** The oldest job as of the entry at `index`. */
export interface Peeked extends Content {
  readonly id: number;
  readonly index: number;
}

/** An answer that an earlier process of this id had not acknowledged: to its enqueues, or its dequeues with the jobs that they took. */
export type Earlier =
  | { readonly type: "enqueued"; readonly requestNumber: number; readonly enqueued: readonly Enqueued[] }
  | { readonly type: "dequeued"; readonly requestNumber: number; readonly jobs: readonly Dequeued[] }
  /** It has no answer: it was not executed, or refused, or its answer was not fetched for too long and is no longer kept. */
  | { readonly type: "nothing"; readonly requestNumber: number; readonly why: RequestFailed | null };

export interface RaftqClient {
  /**
   * Answers that were not delivered, in order: those that an earlier process of this id may not have received, and, behind them, those
   * that came after an unknown outcome of this process. A job in them was taken out, and no other client gets it.
   */
  readonly earlier: readonly Earlier[];
  /**
   * Anything that JSON can hold; what it would change or leave out (NaN, undefined, a Map, bytes) is refused with its place, before
   * anything is sent. Resolved: it is on the disks of a majority.
   */
  enqueue(value: unknown): Promise<Enqueued>;
  /** A JSON text, stored as it is: for integers of any size. */
  enqueueText(json: string): Promise<Enqueued>;
  /** Up to 1,000 values by one request, all of them or none; together at most 1 MiB of JSON text. */
  enqueueAll(values: readonly unknown[]): Promise<readonly Enqueued[]>;
  /** The oldest value, removed; null when the queue is empty. */
  dequeue(): Promise<Dequeued | null>;
  /** Up to `max` of the oldest values, at most 1,000 and about 1 MiB, removed; none when the queue is empty. */
  dequeueUpTo(max: number): Promise<readonly Dequeued[]>;
  /** The oldest value, which stays where it is; null when the queue is empty. */
  peek(): Promise<Peeked | null>;
  status(): Promise<NodeStatus>;
  /** The newest entries from `from` to `to` that fit into one answer. */
  log(range?: { readonly from?: number; readonly to?: number }): Promise<LogPage>;
  close(): Promise<void>;
}

/** The outcome of a request that failed. */
export class RequestFailed extends RaftqError {
  override name = "RequestFailed";
  /** `unknown`: it may have been executed. */
  readonly applied: Applied;
  readonly requestNumber: number | null;
  constructor(why: Failure, requestNumber: number | null = null) {
    super(why.code, why.message);
    this.applied = why.applied;
    this.requestNumber = requestNumber;
  }
}

/** Finds the leader and opens the session of `id`. */
export async function connect(options: ConnectOptions): Promise<RaftqClient> {
  const credentials = credentialsOf(options);
  if (!isClientId(options.id)) throw new RaftqError("USAGE", "a client id is 1 to 64 bytes of printable text");
  const ports = {
    network: createTcpNetwork(WIRE, credentials),
    clock: createRealClock(),
    random: seededRandom(randomBytes(4).readUInt32BE()),
  };
  const settings: ClientSettings = {
    addresses: options.addresses,
    clientId: options.id,
    nonce: randomBytes(SESSION_NONCE_BYTES),
    timeoutMs: options.timeoutMs ?? DEFAULTS.clientTimeoutMs,
    follow: true,
    numbered: false,
    batch: true,
    acknowledge: { when: "delivered", earlier: "fetched", whenIdle: false },
    generated: false,
    closeOnLeave: true,
    limits: CLIENT.limits,
  };
  const earlier: Earlier[] = [];
  const client = createClient(ports, settings, (event) => {
    if (event.type !== "answeredLate" || event.outcome.number === null) return;
    earlier.push(earlierOf(event.outcome.number, event.outcome));
    event.taken();
  });
  const refused =
    (await new Promise<Failure | null>((resolve) => client.open(resolve))) ?? (await fetchEarlier(client, earlier));
  if (refused === null) return withPromises(client, earlier);
  await new Promise<void>((resolve) => client.close(resolve));
  throw new RequestFailed(refused);
}

/** All or none are acknowledged: a refused caller has received none of them. */
async function fetchEarlier(client: Client, earlier: Earlier[]): Promise<Failure | null> {
  const fetched: UnacknowledgedAnswer[] = [];
  const answers = unacknowledgedAnswers(client);
  for (let next = await answers.next(); ; next = await answers.next()) {
    if (next.done !== true) fetched.push(next.value);
    else if (next.value !== null) return next.value;
    else break;
  }
  for (const { number, outcome, taken } of fetched) {
    earlier.push(earlierOf(number, outcome));
    taken();
  }
  return null;
}

function earlierOf(requestNumber: number, outcome: Outcome): Earlier {
  if (!outcome.ok) return { type: "nothing", requestNumber, why: new RequestFailed(outcome.failure, requestNumber) };
  const { reply } = outcome;
  switch (reply.type) {
    case "enqueued":
      return { type: "enqueued", requestNumber, enqueued: enqueuedOf(reply, requestNumber) };
    case "dequeued":
      return { type: "dequeued", requestNumber, jobs: dequeuedOf(reply, requestNumber) };
    case "void":
    case "opened":
    case "closed":
    case "refused":
      return { type: "nothing", requestNumber, why: null };
  }
}

type ReplyOf<Type extends Reply["type"]> = Extract<Reply, { readonly type: Type }>;

function enqueuedOf({ index, firstId, count }: ReplyOf<"enqueued">, requestNumber: number): readonly Enqueued[] {
  return Array.from({ length: count }, (_, at) => ({ id: firstId + at, index, requestNumber }));
}

function dequeuedOf({ index, jobs }: ReplyOf<"dequeued">, requestNumber: number): readonly Dequeued[] {
  return jobs.map((job) => ({ id: job.id, index, requestNumber, ...contentOf(job) }));
}

function credentialsOf({ tls, secret }: ConnectOptions): Credentials | null {
  if (tls !== undefined) {
    const problem = materialProblem(tls);
    if (problem !== null) throw new RaftqError("USAGE", `the certificate and its key cannot be used: ${problem}`);
    return { type: "tls", material: () => tls, onRenewed: () => {} };
  }
  if (secret === undefined) return null;
  const secrets = parseSecrets(secret, "the secret");
  return {
    type: "secret",
    secrets: { secrets: () => secrets, drawNonce: () => new Uint8Array(randomBytes(PROOF_NONCE_BYTES)) },
  };
}

const utf8 = new TextEncoder();

function withPromises(client: Client, earlier: readonly Earlier[]): RaftqClient {
  const enqueueTexts = async (texts: readonly string[]): Promise<readonly Enqueued[]> => {
    const jobs = texts.map((json) => ({ encoding: ENCODING.json, payload: utf8.encode(json) }));
    requireFitting(jobs.reduce((sum, { payload }) => sum + payload.length, 0));
    const { reply, number } = await request(client, { type: "enqueue", queue: QUEUE_NAME, jobs });
    if (reply.type !== "enqueued") throw surprise(reply.type, number);
    return enqueuedOf(reply, number);
  };
  const dequeueUpTo = async (max: number): Promise<readonly Dequeued[]> => {
    expectCount(max);
    const limits = { max, maxBytes: WIRE.maxPayloadBytes, leaseMs: 0, waitMs: 0 };
    const { reply, number } = await request(client, { type: "dequeue", queues: [QUEUE_NAME], ...limits });
    if (reply.type !== "dequeued") throw surprise(reply.type, number);
    return dequeuedOf(reply, number);
  };
  return {
    earlier,
    enqueueText: async (json) => {
      // Before it is read: it may be of any size.
      requireFitting(json.length);
      requireJson(json);
      return theOne(await enqueueTexts([json]));
    },
    enqueue: async (value) => theOne(await enqueueTexts([jsonTextOf(value, "value")])),
    enqueueAll: async (values) => {
      expectCount(values.length);
      return enqueueTexts(values.map((value, at) => jsonTextOf(value, `values[${at}]`)));
    },
    dequeue: async () => (await dequeueUpTo(1))[0] ?? null,
    dequeueUpTo,
    peek: async () => {
      const answer = await ask(client, { type: "peek" });
      if (answer.type !== "peekAnswer") throw surprise(answer.type, null);
      const { job, appliedIndex } = answer.peeked;
      return job === null ? null : { id: job.id, index: appliedIndex, ...contentOf(job) };
    },
    status: async () => {
      const answer = await ask(client, { type: "status", linearizable: true });
      if (answer.type !== "statusAnswer") throw surprise(answer.type, null);
      return answer.status;
    },
    log: async ({ from = 1, to = 0 } = {}) => {
      const answer = await ask(client, { type: "log", from, to, local: false });
      if (answer.type !== "logAnswer") throw surprise(answer.type, null);
      return answer.page;
    },
    close: () => new Promise((resolve) => client.close(resolve)),
  };
}

const theOne = ([enqueued]: readonly Enqueued[]): Enqueued => must(enqueued, "the one value of the request");

function expectCount(jobs: number): void {
  const most = QUEUE.maxJobsPerCommand;
  if (Number.isInteger(jobs) && jobs >= 1 && jobs <= most) return;
  throw new RaftqError("USAGE", `one request has 1 to ${most} jobs, not ${jobs}`);
}

/** A node would close the connection at a frame that is too large. */
function requireFitting(bytes: number): void {
  const most = WIRE.maxPayloadBytes;
  if (bytes <= most) return;
  const message = `the JSON text of this request has ${bytes} bytes or more, and one request takes at most ${most}`;
  throw new RequestFailed(failure("TOO_LARGE", message));
}

function requireJson(text: string): void {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new RaftqError("USAGE", "enqueueText takes a JSON text, and this is none", error);
  }
  // UTF-8 cannot encode it: another character would be stored.
  if (!text.isWellFormed())
    throw new RaftqError("USAGE", "this JSON text holds half of a surrogate pair: write it as \\ud83d");
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Never throws: a job that was taken must reach the program, even if its value cannot be read. */
function contentOf({ encoding, payload: bytes }: Job): Content {
  const none = { value: undefined, text: null, bytes };
  if (encoding !== ENCODING.json) return none;
  try {
    const text = strictUtf8.decode(bytes);
    return { value: JSON.parse(text), text, bytes };
  } catch {
    return none;
  }
}

function request(client: Client, command: Command): Promise<{ readonly reply: Reply; readonly number: number }> {
  return new Promise((resolve, reject) =>
    client.submit(command, (outcome: Outcome) => {
      if (outcome.ok) resolve(outcome);
      else reject(new RequestFailed(outcome.failure, outcome.number));
    }),
  );
}

async function ask(client: Client, query: Query): Promise<QueryAnswer> {
  const answer = await new Promise<QueryAnswer | Failure>((resolve) => client.ask(query, resolve));
  if (!("type" in answer)) throw new RequestFailed(answer);
  if (answer.type === "failure") throw new RequestFailed(answer.failure);
  return answer;
}

/** `void`: another process resolved the number with this client's nonce; anything else comes from another version. */
const surprise = (found: string, number: number | null): RaftqError =>
  new RaftqError("VERSION", `request ${number ?? ""} was answered with "${found}"`);
