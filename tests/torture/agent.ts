// Who sends the requests? A process of its own, which may be killed like any other: it receives which client sends which number
// with which command, and sends each again, with the same number, until it has a definite answer. One JSON line each way.
import { randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { type Client, type ClientSettings, createClient, type Outcome } from "../../src/client/client.ts";
import { CLIENT, WIRE } from "../../src/config.ts";
import { createRealClock } from "../../src/lib/real-clock.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { type Command, ENCODING, type Reply } from "../../src/queue/types.ts";
import { createTcpNetwork } from "../../src/wire/tcp.ts";
import { payloadOf, valueIn } from "./payload.ts";

/** To the agent. `value` null: dequeue. */
export interface Order {
  readonly client: string;
  readonly number: number;
  readonly value: number | null;
}

/** From the agent. */
export type Report =
  /** `value` null: the queue was empty, or it was an enqueue. */
  | {
      readonly type: "done";
      readonly client: string;
      readonly number: number;
      readonly index: number;
      readonly jobId: number;
      readonly value: number | null;
    }
  /** No definite answer: all numbers of this client that wait are sent again by a new process of it. */
  | { readonly type: "again"; readonly client: string; readonly code: string; readonly unknown: boolean }
  /** What must never happen. */
  | { readonly type: "wrong"; readonly client: string; readonly number: number; readonly what: string };

const NEVER = ["CONFLICT", "FORGOTTEN", "SESSION_EXPIRED", "BAD_REQUEST", "TOO_LARGE", "CLUSTER_MISMATCH", "VERSION"];
const PAUSE_MS = 150;
/** Short enough to give up now and then in the middle of things, so that unclear numbers are resolved by their repetition. */
const TIMEOUT_MS = 1_500;

interface Session {
  readonly id: string;
  readonly waiting: Map<number, Command>;
  life: number;
  client: Client | null;
}

const [addresses = ""] = process.argv.slice(2);
const ports = {
  network: createTcpNetwork(WIRE),
  clock: createRealClock(),
  random: seededRandom(randomBytes(4).readUInt32BE()),
};
const sessions = new Map<string, Session>();
const report = (line: Report): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

function sessionOf(id: string): Session {
  const session = sessions.get(id) ?? { id, waiting: new Map<number, Command>(), life: 0, client: null };
  sessions.set(id, session);
  session.client ??= open(id);
  return session;
}

function open(clientId: string): Client {
  const settings: ClientSettings = {
    addresses: addresses.split(","),
    clientId,
    nonce: randomBytes(16),
    timeoutMs: TIMEOUT_MS,
    follow: true,
    numbered: true,
    batch: false,
    acknowledge: { when: "delivered", earlier: "fetched", whenIdle: false },
    generated: false,
    closeOnLeave: false,
    limits: CLIENT.limits,
  };
  return createClient(ports, settings, () => undefined);
}

function commandFor(value: number | null): Command {
  if (value !== null) {
    return { type: "enqueue", queue: "default", jobs: [{ encoding: ENCODING.json, payload: payloadOf(value) }] };
  }
  return { type: "dequeue", queues: ["default"], max: 1, maxBytes: WIRE.maxPayloadBytes, leaseMs: 0, waitMs: 0 };
}

function submit(session: Session, number: number, command: Command): void {
  const { life } = session;
  const settleOnce = (outcome: Outcome): void => {
    // A life that is over still finishes what it began, and has acknowledged what it received: no other life gets that answer.
    if (session.life === life || outcome.ok) settle(session, number, outcome);
  };
  session.client?.submit(command, settleOnce, number);
}

function settle(session: Session, number: number, outcome: Outcome): void {
  const { id: client } = session;
  // An earlier life has received it.
  if (!session.waiting.has(number)) return;
  if (outcome.ok) {
    session.waiting.delete(number);
    return report(doneWith(client, number, outcome.reply));
  }
  const { code, applied, message } = outcome.failure;
  if (NEVER.includes(code)) return report({ type: "wrong", client, number, what: `${code}: ${message}` });
  report({ type: "again", client, code, unknown: applied === "unknown" });
  beginAgain(session);
}

function doneWith(client: string, number: number, reply: Reply): Report {
  const wrong = (what: string): Report => ({ type: "wrong", client, number, what });
  if (reply.type === "enqueued") {
    return { type: "done", client, number, index: reply.index, jobId: reply.firstId, value: null };
  }
  if (reply.type !== "dequeued") return wrong(`the answer was ${JSON.stringify(reply)}`);
  const [job] = reply.jobs;
  if (job === undefined) return { type: "done", client, number, index: reply.index, jobId: 0, value: null };
  const value = valueIn(job.payload);
  if (value === null) return wrong(`job ${job.id} has other bytes than any producer sent`);
  return { type: "done", client, number, index: reply.index, jobId: job.id, value };
}

/** As a new process of the same client would: another nonce, the same numbers. */
function beginAgain(session: Session): void {
  session.life++;
  session.client?.close(() => undefined);
  session.client = null;
  setTimeout(() => {
    session.client ??= open(session.id);
    for (const [number, command] of session.waiting) submit(session, number, command);
  }, PAUSE_MS);
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const order = JSON.parse(line) as Order;
    const known = sessions.get(order.client);
    const command = commandFor(order.value);
    // Between two lives: it is sent when the next one begins, in its turn.
    if (known !== undefined && known.client === null) return void known.waiting.set(order.number, command);
    const session = sessionOf(order.client);
    session.waiting.set(order.number, command);
    submit(session, order.number, command);
  })
  .on("close", () => process.exit(0));
