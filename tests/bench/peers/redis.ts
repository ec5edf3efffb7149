// How does Redis serve as a queue? A stream with one consumer group; what was read is acknowledged and deleted.
import { freePortRow } from "../../kit/free-ports.ts";
import { createExchange, type Exchange, openConnection } from "./connection.ts";
import { HOST, type Peer, pause, type QueueClient, withClient } from "./peer.ts";
import { serverProcess } from "./processes.ts";

type Value = null | number | Buffer | Error | readonly Value[];

interface RedisClient extends QueueClient {
  command(...words: readonly string[]): Promise<Value>;
}

const LINE_END = "\r\n";

/** The value that begins at `at`, and where the next one does; null while it is not whole. */
function readValue(bytes: Buffer, at: number): { readonly value: Value; readonly next: number } | null {
  const end = bytes.indexOf(LINE_END, at, "latin1");
  if (end < 0) return null;
  const text = bytes.toString("latin1", at + 1, end);
  const next = end + 2;
  switch (String.fromCharCode(bytes[at] ?? 0)) {
    case "+":
      return { value: Buffer.from(text), next };
    case "-":
      return { value: new Error(text), next };
    case ":":
      return { value: Number(text), next };
    case "$": {
      const length = Number(text);
      if (length < 0) return { value: null, next };
      if (bytes.length < next + length + 2) return null;
      return { value: bytes.subarray(next, next + length), next: next + length + 2 };
    }
    default:
      return readList(bytes, next, Number(text));
  }
}

function readList(
  bytes: Buffer,
  begin: number,
  length: number,
): { readonly value: Value; readonly next: number } | null {
  if (length < 0) return { value: null, next: begin };
  const items: Value[] = [];
  let next = begin;
  for (let i = 0; i < length; i++) {
    const item = readValue(bytes, next);
    if (item === null) return null;
    items.push(item.value);
    next = item.next;
  }
  return { value: items, next };
}

/** The item at the end of a path of positions. */
function itemAt(value: Value, ...path: readonly number[]): Buffer {
  let item: Value | undefined = value;
  for (const position of path) item = Array.isArray(item) ? (item as readonly Value[])[position] : undefined;
  if (Buffer.isBuffer(item)) return item;
  throw new Error("Redis answered something else than messages");
}

const request = (...words: readonly string[]): string =>
  `*${words.length}${LINE_END}${words.map((word) => `$${Buffer.byteLength(word)}${LINE_END}${word}${LINE_END}`).join("")}`;
const READ_ONE = request("XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "q", ">");
const MAKE_GROUP = ["XGROUP", "CREATE", "q", "g", "0", "MKSTREAM"] as const;

async function openRedis(port: number): Promise<RedisClient> {
  const exchange: Exchange<Value> = createExchange(() => connection);
  const take = (bytes: Buffer): number => {
    let at = 0;
    while (at < bytes.length) {
      const read = readValue(bytes, at);
      if (read === null) break;
      at = read.next;
      if (read.value instanceof Error) exchange.failed(read.value);
      else exchange.answered(read.value);
    }
    return at;
  };
  const connection = await openConnection(port, take, exchange.failAll);
  return {
    command: (...words) => exchange.ask(request(...words)),
    enqueue: async (body) => {
      const head = `*5\r\n$4\r\nXADD\r\n$1\r\nq\r\n$1\r\n*\r\n$1\r\nb\r\n$${body.length}\r\n`;
      await exchange.ask(head, body, LINE_END);
    },
    dequeue: async () => {
      for (;;) {
        const read = await exchange.ask(READ_ONE);
        if (read === null) {
          await pause(1);
          continue;
        }
        const id = itemAt(read, 0, 1, 0, 0).toString("latin1");
        await Promise.all([exchange.ask(request("XACK", "q", "g", id)), exchange.ask(request("XDEL", "q", id))]);
        return itemAt(read, 0, 1, 0, 1, 1);
      }
    },
    close: () => connection.close(),
  };
}

export function createRedis(directory: string): Peer {
  const port = freePortRow(1);
  const home = `${directory}/redis`;
  const flags = { bind: HOST, port: String(port), appendonly: "yes", appendfsync: "always", save: "", dir: home };
  const command = ["redis-server", ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value])];
  const open = (): Promise<RedisClient> => openRedis(port);
  return {
    nodes: [serverProcess(command, home)],
    others: [],
    inFlightPerConnection: Number.POSITIVE_INFINITY,
    prepare: () =>
      withClient(open, async (client) => {
        await client.command(...MAKE_GROUP).catch((error: unknown) => {
          if (!String(error).includes("BUSYGROUP")) throw error;
        });
      }),
    leader: () => Promise.resolve(0),
    connect: open,
    depth: () => withClient(open, async (client) => Number(await client.command("XLEN", "q"))),
    clear: () =>
      withClient(open, async (client) => {
        await client.command("DEL", "q");
        await client.command(...MAKE_GROUP);
      }),
  };
}
