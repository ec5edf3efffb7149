// How does a program use the queue with promises? `connect`, then one method for each command.
import { randomBytes } from "node:crypto";
import { type Client, createClient, type Query, type QueryAnswer } from "./client.ts";
import type { Outcome } from "./line.ts";
import { CLIENT, DEFAULTS, WIRE } from "../config.ts";
import { type Applied, type Failure, RaftqError } from "../lib/errors.ts";
import { seededRandom } from "../lib/random.ts";
import { isClientId } from "../queue/commands.ts";
import { type Command, ENCODING, type Reply } from "../queue/types.ts";
import { createRealClock } from "../lib/real-clock.ts";
import type { LogPage, NodeStatus } from "../wire/protocol.ts";
import { NONCE_BYTES, parseSecrets } from "../wire/secret.ts";
import { createTcpNetwork, type Credentials } from "../wire/tcp.ts";
import { materialProblem, type TlsMaterial } from "../wire/tls.ts";

export interface ConnectOptions {
  /** Some nodes of the cluster, `host:port`; the others are learned. */
  readonly addresses: readonly string[];
  /** Who is asking. One process at a time may use an id; its request numbers go on from process to process. */
  readonly id: string;
  /** How long a request waits for its final word. */
  readonly timeoutMs?: number;
  /** PEM texts: this client's certificate, its key, and the authority of the cluster. */
  readonly tls?: TlsMaterial;
  /** A line of the nodes' secret file, with its role: `client:…`. */
  readonly secret?: string;
}

export interface Enqueued {
  readonly id: number;
  readonly index: number;
  readonly requestNumber: number;
}

export interface Dequeued extends Enqueued {
  /** The value, if its producer said that it is JSON. Integers beyond 2^53 lose digits here: see `text`. */
  readonly value: unknown;
  /** The JSON text as it was enqueued; null if the payload is not JSON. */
  readonly text: string | null;
  readonly bytes: Uint8Array;
}

export interface RaftqClient {
  /** Anything JSON.stringify takes. Resolved: it is on the disks of a majority. */
  enqueue(value: unknown): Promise<Enqueued>;
  /** A JSON text, stored as it is: for integers of any size. */
  enqueueText(json: string): Promise<Enqueued>;
  /** The oldest value, removed; null when the queue is empty. */
  dequeue(): Promise<Dequeued | null>;
  status(): Promise<NodeStatus>;
  /** The newest entries from `from` to `to` that fit into one answer. */
  log(range?: { readonly from?: number; readonly to?: number }): Promise<LogPage>;
  close(): Promise<void>;
}

/** The final word on a request that failed. */
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
  const settings = {
    addresses: options.addresses,
    clientId: options.id,
    nonce: randomBytes(16),
    timeoutMs: options.timeoutMs ?? DEFAULTS.clientTimeoutMs,
    follow: true,
    numbered: false,
    closeOnLeave: false,
    limits: CLIENT.limits,
  };
  const client = createClient(ports, settings, () => {});
  const refused = await new Promise<Failure | null>((resolve) => client.open(resolve));
  if (refused === null) return withPromises(client);
  await new Promise<void>((resolve) => client.close(resolve));
  throw new RequestFailed(refused);
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
    secrets: { secrets: () => secrets, drawNonce: () => new Uint8Array(randomBytes(NONCE_BYTES)) },
  };
}

const QUEUE_NAME = "default";

function withPromises(client: Client): RaftqClient {
  const enqueueText = async (json: string): Promise<Enqueued> => {
    JSON.parse(json);
    const job = { encoding: ENCODING.json, payload: new TextEncoder().encode(json) };
    const { reply, number } = await request(client, { type: "enqueue", queue: QUEUE_NAME, jobs: [job] });
    if (reply.type !== "enqueued") throw surprise(reply.type, number);
    return { id: reply.firstId, index: reply.index, requestNumber: number };
  };
  return {
    enqueueText,
    enqueue: async (value) => {
      const json: string | undefined = JSON.stringify(value);
      if (json === undefined) throw new RaftqError("USAGE", `${typeof value} has no JSON text`);
      return enqueueText(json);
    },
    dequeue: async () => {
      const one = { max: 1, maxBytes: WIRE.maxPayloadBytes, leaseMs: 0, waitMs: 0 };
      const { reply, number } = await request(client, { type: "dequeue", queues: [QUEUE_NAME], ...one });
      if (reply.type !== "dequeued") throw surprise(reply.type, number);
      const [job] = reply.jobs;
      if (job === undefined) return null;
      const text = job.encoding === ENCODING.json ? new TextDecoder().decode(job.payload) : null;
      const value: unknown = text === null ? undefined : JSON.parse(text);
      return { id: job.id, index: reply.index, requestNumber: number, value, text, bytes: job.payload };
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

async function request(client: Client, command: Command): Promise<{ readonly reply: Reply; readonly number: number }> {
  const outcome = await new Promise<Outcome>((resolve) => client.submit(command, resolve));
  if (outcome.ok) return outcome;
  throw new RequestFailed(outcome.failure, outcome.number);
}

async function ask(client: Client, query: Query): Promise<QueryAnswer> {
  const answer = await new Promise<QueryAnswer | Failure>((resolve) => client.ask(query, resolve));
  if (!("type" in answer)) throw new RequestFailed(answer);
  if (answer.type === "failure") throw new RequestFailed(answer.failure);
  return answer;
}

/** `void`: the number was settled by somebody else with this client's nonce; anything else is another version's word. */
const surprise = (found: string, number: number | null): RaftqError =>
  new RaftqError("VERSION", `request ${number ?? ""} was answered with "${found}"`);
