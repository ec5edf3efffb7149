// How does NATS JetStream serve as a queue? A work-queue stream of three replicas, one durable pull consumer, double acks.
import { mkdirSync, writeFileSync } from "node:fs";
import { freePortRow } from "../../kit/free-ports.ts";
import { writeStderr } from "../../scripts/project.ts";
import { type Connection, createFifo, openConnection, type Waiter } from "./connection.ts";
import { HOST, type Peer, type QueueClient, THREE, withAnyNode, within } from "./peer.ts";
import { type ServerProcess, serverProcess } from "./processes.ts";

const API_TIMEOUT_MS = 5_000;
const NANOS = 1e9;
const ACK = Buffer.from("+ACK");
const CONNECT_OPTIONS = JSON.stringify({
  verbose: false,
  pedantic: false,
  headers: true,
  no_responders: true,
  protocol: 1,
});
let inboxes = 0;

/** What the harness reads in answers of the API. */
interface ApiAnswer {
  readonly error?: unknown;
  readonly cluster?: { readonly leader?: string };
  readonly state?: { readonly messages?: number };
}

interface Received {
  readonly subject: string;
  readonly subscription: string;
  readonly reply: string;
  /** The head's first line, or nothing. */
  readonly status: string;
  readonly body: Buffer;
}

interface NatsClient extends QueueClient {
  api(subject: string, body?: object): Promise<ApiAnswer>;
}

/** One line, and the message that follows it if it is one; null while that is not whole. */
function readLine(
  bytes: Buffer,
  at: number,
): { readonly line: string; readonly got: Received | null; readonly next: number } | null {
  const end = bytes.indexOf("\r\n", at, "latin1");
  if (end < 0) return null;
  const line = bytes.toString("latin1", at, end);
  const begin = end + 2;
  if (!line.startsWith("MSG ") && !line.startsWith("HMSG ")) return { line, got: null, next: begin };
  const words = line.split(" ");
  const hasHead = words[0] === "HMSG";
  const total = Number(words.at(-1));
  const head = hasHead ? Number(words.at(-2)) : 0;
  const next = begin + total + 2;
  if (bytes.length < next) return null;
  const [, subject = "", subscription = ""] = words;
  const got = {
    subject,
    subscription,
    reply: words.length === (hasHead ? 6 : 5) ? (words[3] ?? "") : "",
    status: hasHead ? bytes.toString("latin1", begin, begin + 12) : "",
    body: bytes.subarray(begin + head, begin + total),
  };
  return { line, got, next };
}

/** Requests with their answers, and messages that were asked for. */
interface Link {
  request(subject: string, body: Buffer | string): Promise<Buffer>;
  /** The next message of the queue. */
  receive(): Promise<Received>;
  close(): void;
}

async function openLink(port: number): Promise<Link> {
  const inbox = `_INBOX.b${process.pid}x${inboxes++}`;
  const pulls = inbox.replace("_INBOX", "_PULL");
  const replies = new Map<string, Waiter<Buffer>>();
  const receivers = createFifo<Waiter<Received>>();
  let requests = 0;
  let wanted = 0;
  let ready: () => void = () => undefined;
  const connected = new Promise<void>((done) => (ready = done));
  const take = createReader(received, (line) => {
    if (line === "PING") connection.send("PONG\r\n");
    else if (line === "PONG") ready();
    else if (line.startsWith("-ERR")) writeStderr(`NATS reports ${line}`);
  });
  const connection: Connection = await openConnection(port, take, (why) => {
    for (const waiter of [...replies.values(), ...receivers.takeAll()]) waiter.reject(why);
    replies.clear();
    ready();
  });
  function received(got: Received): void {
    if (got.subscription !== "1") {
      if (got.reply !== "") receivers.shift()?.resolve(got);
      else receivers.shift()?.reject(new Error(`a pull ended without a message: ${got.status}`));
      return;
    }
    const key = got.subject.slice(inbox.length + 1);
    const waiter = replies.get(key);
    replies.delete(key);
    if (got.status.startsWith("NATS/1.0 503")) waiter?.reject(new Error("nobody answers there"));
    else waiter?.resolve(got.body);
  }
  /** One request for all that ask in this turn. */
  function pull(): void {
    const asked = JSON.stringify({ batch: wanted, expires: 600 * NANOS });
    wanted = 0;
    connection.send(`PUB $JS.API.CONSUMER.MSG.NEXT.Q.C ${pulls} ${asked.length}\r\n${asked}\r\n`);
  }
  connection.send(`CONNECT ${CONNECT_OPTIONS}\r\nSUB ${inbox}.* 1\r\nSUB ${pulls} 2\r\nPING\r\n`);
  await connected;
  return {
    request: (subject, body) =>
      new Promise((resolve, reject) => {
        if (connection.isClosed()) return reject(new Error("closed"));
        const key = (requests++).toString(36);
        replies.set(key, { resolve, reject });
        connection.send(`PUB ${subject} ${inbox}.${key} ${body.length}\r\n`);
        connection.send(body);
        connection.send("\r\n");
      }),
    receive: () =>
      new Promise((resolve, reject) => {
        if (connection.isClosed()) return reject(new Error("closed"));
        receivers.push({ resolve, reject });
        if (wanted++ === 0) queueMicrotask(pull);
      }),
    close: connection.close,
  };
}

function createReader(received: (got: Received) => void, other: (line: string) => void): (bytes: Buffer) => number {
  return (bytes) => {
    let at = 0;
    for (;;) {
      const read = readLine(bytes, at);
      if (read === null) return at;
      at = read.next;
      if (read.got === null) other(read.line);
      else received(read.got);
    }
  };
}

async function openNats(port: number): Promise<NatsClient> {
  const { request, receive, close } = await openLink(port);
  return {
    api: async (subject, body) => {
      const asked = request(`$JS.API.${subject}`, body === undefined ? "" : JSON.stringify(body));
      const answer = JSON.parse((await within(API_TIMEOUT_MS, subject, asked)).toString()) as ApiAnswer;
      if (answer.error !== undefined) throw new Error(JSON.stringify(answer.error));
      return answer;
    },
    enqueue: async (body) => {
      const answer = await request("q.work", body);
      if (!answer.includes('"seq"')) throw new Error(`NATS answered ${answer.toString()}`);
    },
    // A double ack: the server confirms that it has settled the message.
    dequeue: async () => {
      const got = await receive();
      await request(got.reply, ACK);
      return got.body;
    },
    close,
  };
}

function natsNode(directory: string, i: number, port: number): ServerProcess {
  const home = `${directory}/n${i}`;
  mkdirSync(home, { recursive: true });
  const routes = THREE.filter((j) => j !== i).map((j) => `"nats://${HOST}:${port + 3 + j}"`);
  const settings = [
    `server_name: n${i}`,
    `listen: "${HOST}:${port + i}"`,
    `jetstream { store_dir: "${home}/js", max_memory_store: 1GB, max_file_store: 20GB }`,
    `cluster { name: c, listen: "${HOST}:${port + 3 + i}", routes: [${routes.join(", ")}] }`,
  ];
  writeFileSync(`${home}/nats.conf`, `${settings.join("\n")}\n`);
  return serverProcess(["nats-server", "-c", `${home}/nats.conf`], home);
}

const STREAM = { name: "Q", subjects: ["q.work"], retention: "workqueue", storage: "file", num_replicas: 3 };
const CONSUMER = {
  stream_name: "Q",
  config: {
    durable_name: "C",
    ack_policy: "explicit",
    ack_wait: 60 * NANOS,
    max_ack_pending: 20_000,
    max_waiting: 10_000,
  },
};
const CONSUMER_TRIES = 12;

/** The consumer's leader on the stream's node: the best case. */
async function makeQueue(client: NatsClient): Promise<void> {
  const stream = await client.api("STREAM.CREATE.Q", STREAM);
  for (let i = 0; i < CONSUMER_TRIES; i++) {
    const consumer = await client.api("CONSUMER.DURABLE.CREATE.Q.C", CONSUMER);
    if (leaderOf(consumer) === leaderOf(stream)) return;
    await client.api("CONSUMER.DELETE.Q.C");
  }
  throw new Error("the leaders of stream and consumer are on different nodes");
}

function leaderOf({ cluster }: ApiAnswer): number {
  const leader = cluster?.leader;
  if (leader === undefined || leader === "") throw new Error("NATS has no leader");
  return Number(leader.slice(1));
}

export function createNats(directory: string): Peer {
  const port = freePortRow(6);
  const open = (i: number): Promise<NatsClient> => openNats(port + i);
  return {
    nodes: THREE.map((i) => natsNode(directory, i, port)),
    others: [],
    inFlightPerConnection: Number.POSITIVE_INFINITY,
    prepare: () => withAnyNode(open, makeQueue),
    leader: () => withAnyNode(open, async (client) => leaderOf(await client.api("STREAM.INFO.Q"))),
    connect: open,
    depth: () => withAnyNode(open, async (client) => (await client.api("STREAM.INFO.Q")).state?.messages ?? 0),
    clear: () => withAnyNode(open, async (client) => void (await client.api("STREAM.PURGE.Q"))),
  };
}
