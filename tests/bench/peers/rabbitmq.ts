// How does RabbitMQ serve as a queue? A quorum queue of three members, with confirms and explicit acks.
import { mkdirSync, writeFileSync } from "node:fs";
import { freePortRow } from "../../kit/free-ports.ts";
import { content, flags, FRAME, long, method, shortText, takeFrames, u16, u32, u64 } from "./amqp.ts";
import { type Connection, createFifo, openConnection, type Waiter } from "./connection.ts";
import { HOST, type Peer, pause, type QueueClient, THREE, withAnyNode } from "./peer.ts";
import { type ServerProcess, serverProcess } from "./processes.ts";

export const RABBITMQ_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/** Class * 1000 + method of what the server sends. */
const FROM_SERVER = {
  start: 10_010,
  tune: 10_030,
  opened: 10_041,
  connectionClosed: 10_050,
  channelOpened: 20_011,
  channelClosed: 20_040,
  declared: 50_011,
  purged: 50_031,
  qosSet: 60_011,
  consuming: 60_021,
  cancelled: 60_030,
  delivery: 60_060,
  ack: 60_080,
  nack: 60_120,
  confirming: 85_011,
} as const;

const QUEUE = "q";
const QUEUE_ARGUMENTS = Buffer.concat([
  shortText("x-queue-type"),
  Buffer.from("S"),
  long("quorum"),
  shortText("x-quorum-initial-group-size"),
  Buffer.from("I"),
  u32(3),
  shortText("x-queue-leader-locator"),
  Buffer.from("S"),
  long("client-local"),
]);
const DURABLE = flags(2);
const NONE = flags(0);
const DECLARE = method(1, 50, 10, u16(0), shortText(QUEUE), DURABLE, long(QUEUE_ARGUMENTS));
const PURGE = method(1, 50, 30, u16(0), shortText(QUEUE), NONE);
const CONSUME = method(1, 60, 20, u16(0), shortText(QUEUE), shortText(""), NONE, u32(0));
const PUBLISH = method(1, 60, 40, u16(0), shortText(""), shortText(QUEUE), NONE);
const acknowledge = (tag: number): Buffer => method(1, 60, 80, u64(tag), NONE);

interface RabbitClient extends QueueClient {
  declare(): Promise<Buffer>;
  count(): Promise<number>;
  purge(): Promise<Buffer>;
}

interface Delivery {
  readonly tag: number;
  readonly body: Buffer;
}

/** Publishers' confirms: one may stand for several. */
function createConfirms() {
  const waiting = new Map<number, Waiter<void>>();
  let published = 0;
  return {
    add: (waiter: Waiter<void>): void => void waiting.set(++published, waiter),
    settle: (confirm: Buffer, refused: boolean): void => {
      const upTo = Number(confirm.readBigUInt64BE(4));
      const several = ((confirm[12] ?? 0) & 1) === 1;
      for (const tag of several ? waiting.keys() : [upTo]) {
        if (tag > upTo) break;
        const waiter = waiting.get(tag);
        waiting.delete(tag);
        if (refused) waiter?.reject(new Error("nack"));
        else waiter?.resolve();
      }
    },
    failAll: (error: Error): void => {
      for (const waiter of waiting.values()) waiter.reject(error);
      waiting.clear();
    },
  };
}

/** Messages on their way in: method, header and body frames become one delivery. */
function createDeliveries(arrived: (delivery: Delivery) => void) {
  let tag = 0;
  let size = 0;
  let parts: Buffer[] = [];
  return {
    begins: (newTag: number): void => {
      tag = newTag;
      parts = [];
    },
    header: (payload: Buffer): void => {
      size = Number(payload.readBigUInt64BE(4));
      if (size === 0) arrived({ tag, body: Buffer.alloc(0) });
    },
    body: (payload: Buffer): void => {
      parts.push(payload);
      const have = parts.reduce((sum, part) => sum + part.length, 0);
      if (have === size) arrived({ tag, body: parts.length === 1 ? payload : Buffer.concat(parts) });
    },
  };
}

/** What arrives on a channel: answers, confirms, deliveries; or why no more will come. */
interface Channel {
  ask: Ask;
  send(bytes: Buffer): void;
  publish(body: Buffer): Promise<void>;
  isClosed(): boolean;
  close(): void;
}
type Ask = (answer: number, ...bytes: readonly Buffer[]) => Promise<Buffer>;

async function openChannel(
  port: number,
  arrived: (delivery: Delivery) => void,
  failed: (error: Error) => void,
): Promise<Channel> {
  const replies = new Map<number, Waiter<Buffer>>();
  const confirms = createConfirms();
  const deliveries = createDeliveries(arrived);
  const connection: Connection = await openConnection(port, (bytes) => takeFrames(bytes, onFrame), failAll);

  function onFrame(type: number, payload: Buffer): void {
    if (type === FRAME.method) onMethod(payload.readUInt16BE(0) * 1_000 + payload.readUInt16BE(2), payload);
    else if (type === FRAME.header) deliveries.header(payload);
    else if (type === FRAME.body) deliveries.body(payload);
  }
  function onMethod(what: number, payload: Buffer): void {
    const reason = (): string => payload.subarray(7, 7 + (payload[6] ?? 0)).toString();
    if (what === FROM_SERVER.delivery) deliveries.begins(Number(payload.readBigUInt64BE(5 + (payload[4] ?? 0))));
    else if (what === FROM_SERVER.ack || what === FROM_SERVER.nack) confirms.settle(payload, what === FROM_SERVER.nack);
    else if (what === FROM_SERVER.connectionClosed || what === FROM_SERVER.channelClosed)
      failAll(new Error(`closed: ${reason()}`));
    else if (what === FROM_SERVER.cancelled) failAll(new Error("the consumer was cancelled"));
    else {
      replies.get(what)?.resolve(payload.subarray(4));
      replies.delete(what);
    }
  }
  function failAll(error: Error): void {
    for (const waiter of replies.values()) waiter.reject(error);
    replies.clear();
    confirms.failAll(error);
    failed(error);
    if (!connection.isClosed()) connection.close();
  }
  return {
    ask: (answer, ...bytes) =>
      new Promise((resolve, reject) => {
        if (connection.isClosed()) return reject(new Error("closed"));
        replies.set(answer, { resolve, reject });
        for (const part of bytes) connection.send(part);
      }),
    publish: (body) =>
      new Promise((resolve, reject) => {
        if (connection.isClosed()) return reject(new Error("closed"));
        confirms.add({ resolve, reject });
        connection.send(PUBLISH);
        connection.send(content(1, body));
      }),
    send: connection.send,
    isClosed: connection.isClosed,
    close: connection.close,
  };
}

/** `prefetch` above 0 makes a consumer with at most so many unsettled messages. */
async function openRabbit(port: number, prefetch: number): Promise<RabbitClient> {
  const receivers = createFifo<Waiter<Buffer>>();
  const stored = createFifo<Delivery>();
  const arrived = (delivery: Delivery): void => {
    const receiver = receivers.shift();
    if (receiver === undefined) stored.push(delivery);
    else settle(receiver, delivery);
  };
  const failed = (error: Error): void => receivers.takeAll().forEach((receiver) => receiver.reject(error));
  const channel = await openChannel(port, arrived, failed);
  const { ask } = channel;
  function settle(receiver: Waiter<Buffer>, { tag, body }: Delivery): void {
    channel.send(acknowledge(tag));
    receiver.resolve(body);
  }

  await logIn(ask);
  if (prefetch > 0) {
    await ask(FROM_SERVER.qosSet, method(1, 60, 10, u32(0), u16(prefetch), NONE));
    await ask(FROM_SERVER.consuming, CONSUME);
  }
  return {
    declare: () => ask(FROM_SERVER.declared, DECLARE),
    count: async () => {
      const answer = await ask(FROM_SERVER.declared, DECLARE);
      return answer.readUInt32BE(1 + (answer[0] ?? 0));
    },
    purge: () => ask(FROM_SERVER.purged, PURGE),
    enqueue: channel.publish,
    // AMQP has no answer to an ack. The broker sends the next message when it has applied the ack, so that a full
    // prefetch window is a closed loop all the same.
    dequeue: () =>
      new Promise((resolve, reject) => {
        if (channel.isClosed()) return reject(new Error("closed"));
        const delivery = stored.shift();
        if (delivery === undefined) receivers.push({ resolve, reject });
        else settle({ resolve, reject }, delivery);
      }),
    close: channel.close,
  };
}

/** Connection and channel 1, in confirm mode. */
async function logIn(ask: Ask): Promise<void> {
  await ask(FROM_SERVER.start, Buffer.from("AMQP\0\0\x09\x01", "latin1"));
  const credentials = [u32(0), shortText("PLAIN"), long("\0guest\0guest"), shortText("en_US")];
  await ask(FROM_SERVER.tune, method(0, 10, 11, ...credentials));
  const tuned = method(0, 10, 31, u16(2_047), u32(131_072), u16(0));
  await ask(FROM_SERVER.opened, tuned, method(0, 10, 40, shortText("/"), shortText(""), NONE));
  await ask(FROM_SERVER.channelOpened, method(1, 20, 10, shortText("")));
  await ask(FROM_SERVER.confirming, method(1, 85, 10, NONE));
}

function rabbitNode(directory: string, i: number, port: number): ServerProcess {
  const home = `${directory}/r${i}`;
  mkdirSync(home, { recursive: true });
  writeFileSync(`${home}/.erlang.cookie`, "comparison", { mode: 0o400 });
  writeFileSync(`${home}/plugins`, "[].");
  const settings = [
    `listeners.tcp.1 = ${HOST}:${port + i}`,
    "cluster_formation.peer_discovery_backend = classic_config",
    ...THREE.map((j) => `cluster_formation.classic_config.nodes.${j + 1} = r${j}@localhost`),
    "log.file.level = warning",
    "disk_free_limit.absolute = 50MB",
  ];
  writeFileSync(`${home}/rabbitmq.conf`, `${settings.join("\n")}\n`);
  return serverProcess([RABBITMQ_SERVER], home, {
    RABBITMQ_NODENAME: `r${i}@localhost`,
    RABBITMQ_NODE_PORT: String(port + i),
    RABBITMQ_DIST_PORT: String(port + 3 + i),
    RABBITMQ_MNESIA_BASE: `${home}/data`,
    RABBITMQ_LOG_BASE: `${home}/log`,
    RABBITMQ_CONFIG_FILE: `${home}/rabbitmq.conf`,
    RABBITMQ_ENABLED_PLUGINS_FILE: `${home}/plugins`,
    RABBITMQ_PID_FILE: `${home}/pid`,
    ERL_EPMD_ADDRESS: HOST,
    ERL_EPMD_PORT: String(port + 6),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1}",
  });
}

export function createRabbitmq(directory: string): Peer {
  const port = freePortRow(7);
  const portMapper = serverProcess(["epmd", "-address", HOST, "-port", String(port + 6)], `${directory}/epmd`);
  const nodes = THREE.map((i) => rabbitNode(directory, i, port));
  const open = (i: number): Promise<RabbitClient> => openRabbit(port + i, 0);
  const count = (): Promise<number> => withAnyNode(open, (client) => client.count());
  return {
    nodes,
    others: [portMapper],
    inFlightPerConnection: Number.POSITIVE_INFINITY,
    prepare: async () => {
      // All are up, so that the queue gets three members.
      for (const i of THREE) (await open(i)).close();
      await withAnyNode(open, (client) => client.declare());
    },
    // The queue's leader is beside the client that declared it.
    leader: () => Promise.resolve(0),
    connect: (i, share, role) => openRabbit(port + i, role === "consumer" ? share : 0),
    depth: count,
    clear: async () => {
      await withAnyNode(open, (client) => client.purge());
      while ((await count()) > 0) await pause(50);
    },
  };
}
