// How does ZooKeeper serve as a queue? A node with a sequence number for each message; who deletes it has the message.
import { mkdirSync, writeFileSync } from "node:fs";
import { freePortRow } from "../../kit/free-ports.ts";
import { long, u32, u64 } from "./amqp.ts";
import { createExchange, createFifo, type Exchange, type Fifo, openConnection } from "./connection.ts";
import { HOST, type Peer, pause, type QueueClient, THREE, withAnyNode } from "./peer.ts";
import { type ServerProcess, serverProcess } from "./processes.ts";

export const ZOOKEEPER_JAR = "/usr/share/java/zookeeper.jar";

const OPERATION = { create: 1, delete: 2, getData: 4, getChildren: 8, ping: 11 } as const;
const PING_XID = Buffer.from([255, 255, 255, 254]);
const ANY_VERSION = Buffer.from([255, 255, 255, 255]);
const NO_WATCH = Buffer.from([0]);
const PERSISTENT = 0;
const PERSISTENT_SEQUENTIAL = 2;
const SESSION_MS = 10_000;
const PING_MS = 3_000;
const ALREADY_THERE = "ZooKeeper error -110";
const GONE = "ZooKeeper error -101";

const ROOT = "/q";
/** One entry: everybody may do everything. */
const OPEN_TO_ALL = Buffer.concat([u32(1), u32(31), long("world"), long("anyone")]);

/** What all consumers of this process share: names found, not claimed yet. */
interface Found {
  names: Fifo<string>;
  after: string;
  loading: Promise<void> | null;
}

const nothingFound = (): Found => ({ names: createFifo(), after: "", loading: null });

interface ZookeeperClient extends QueueClient {
  makeRoot(): Promise<void>;
  count(): Promise<number>;
  clear(): Promise<void>;
}

/** A session: numbered operations, answered in their order. */
interface Session {
  operation(type: number, ...fields: readonly Buffer[]): Promise<Buffer>;
  close(): void;
}

async function openSession(port: number): Promise<Session> {
  let greeted = false;
  const exchange: Exchange<Buffer> = createExchange(() => connection);
  const connection = await openConnection(
    port,
    (bytes) => {
      let at = 0;
      while (bytes.length - at >= 4) {
        const length = bytes.readUInt32BE(at);
        if (bytes.length - at < 4 + length) break;
        onResponse(bytes.subarray(at + 4, at + 4 + length));
        at += 4 + length;
      }
      return at;
    },
    (why) => {
      clearInterval(pings);
      exchange.failAll(why);
    },
  );
  function onResponse(body: Buffer): void {
    if (!greeted) {
      greeted = true;
      return exchange.answered(body);
    }
    if (body.readInt32BE(0) < 0) return; // a ping's answer
    const error = body.readInt32BE(12);
    if (error === 0) exchange.answered(body.subarray(16));
    else exchange.failed(new Error(`ZooKeeper error ${error}`));
  }
  const ask = (...fields: readonly Buffer[]): Promise<Buffer> => exchange.ask(long(Buffer.concat(fields)));
  const pings = setInterval(() => connection.send(long(Buffer.concat([PING_XID, u32(OPERATION.ping)]))), PING_MS);
  let lastXid = 0;
  await ask(u32(0), u64(0), u32(SESSION_MS), u64(0), long(Buffer.alloc(16)), Buffer.from([0]));
  return {
    operation: (type, ...fields) => ask(u32(++lastXid & 0x3fffffff), u32(type), ...fields),
    close: () => connection.close(),
  };
}

async function namesOf(session: Session): Promise<readonly string[]> {
  const list = await session.operation(OPERATION.getChildren, long(ROOT), NO_WATCH);
  const all: string[] = [];
  for (let at = 4; at < list.length;) {
    const length = list.readUInt32BE(at);
    all.push(list.toString("latin1", at + 4, at + 4 + length));
    at += 4 + length;
  }
  return all.toSorted();
}

/** The path of a message that nobody of this process claims yet. */
async function nextPath(session: Session, found: Found): Promise<string> {
  for (;;) {
    const name = found.names.shift();
    if (name !== undefined) return `${ROOT}/${name}`;
    found.loading ??= findMore(session, found).finally(() => (found.loading = null));
    await found.loading;
  }
}

async function findMore(session: Session, found: Found): Promise<void> {
  const { after } = found;
  for (const name of await namesOf(session)) {
    if (name <= after) continue;
    found.after = name;
    found.names.push(name);
  }
  if (found.after === after) await pause(1);
}

async function openZookeeper(port: number, found: Found): Promise<ZookeeperClient> {
  const session = await openSession(port);
  const { operation, close } = session;
  const create = (path: string, data: Buffer, flags: number): Promise<Buffer> =>
    operation(OPERATION.create, long(path), long(data), OPEN_TO_ALL, u32(flags));
  const remove = (path: string): Promise<Buffer> => operation(OPERATION.delete, long(path), ANY_VERSION);
  return {
    makeRoot: async () => {
      await create(ROOT, Buffer.alloc(0), PERSISTENT).catch((error: unknown) => {
        if (!String(error).includes(ALREADY_THERE)) throw error;
      });
    },
    enqueue: async (body) => void (await create(`${ROOT}/n`, body, PERSISTENT_SEQUENTIAL)),
    dequeue: async () => {
      for (;;) {
        const path = await nextPath(session, found);
        try {
          const [data] = await Promise.all([operation(OPERATION.getData, long(path), NO_WATCH), remove(path)]);
          return data.subarray(4, 4 + data.readUInt32BE(0));
        } catch (error) {
          // Somebody else was quicker.
          if (!String(error).includes(GONE)) throw error;
        }
      }
    },
    count: async () => (await namesOf(session)).length,
    clear: async () => {
      const all = await namesOf(session);
      for (let i = 0; i < all.length; i += 500) {
        await Promise.all(all.slice(i, i + 500).map((name) => remove(`${ROOT}/${name}`).catch(() => undefined)));
      }
    },
    close,
  };
}

function zookeeperNode(directory: string, i: number, port: number): ServerProcess {
  const home = `${directory}/z${i}`;
  mkdirSync(`${home}/data`, { recursive: true });
  writeFileSync(`${home}/data/myid`, String(i + 1));
  const logging = [
    "log4j.rootLogger=WARN, C",
    "log4j.appender.C=org.apache.log4j.ConsoleAppender",
    "log4j.appender.C.layout=org.apache.log4j.PatternLayout",
    "log4j.appender.C.layout.ConversionPattern=%d %p %m%n",
  ];
  writeFileSync(`${home}/log4j.properties`, `${logging.join("\n")}\n`);
  const settings = [
    "tickTime=2000",
    "initLimit=10",
    "syncLimit=5",
    `dataDir=${home}/data`,
    `clientPort=${port + i}`,
    `clientPortAddress=${HOST}`,
    "maxClientCnxns=0",
    "admin.enableServer=false",
    "4lw.commands.whitelist=srvr",
    ...THREE.map((j) => `server.${j + 1}=${HOST}:${port + 3 + j}:${port + 6 + j}`),
  ];
  writeFileSync(`${home}/zoo.cfg`, `${settings.join("\n")}\n`);
  const logs = `-Dlog4j.configuration=file:${home}/log4j.properties`;
  const main = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
  return serverProcess(["java", "-Xmx1g", logs, "-cp", ZOOKEEPER_JAR, main, `${home}/zoo.cfg`], home);
}

/** What the node answers to the four letters `srvr`; nothing if it does not answer. */
function serverState(port: number): Promise<string> {
  return new Promise((done) => {
    let text = "";
    const take = (bytes: Buffer): number => {
      text += bytes.toString("latin1");
      return bytes.length;
    };
    openConnection(port, take, () => done(text)).then(
      (connection) => connection.send("srvr"),
      () => done(""),
    );
  });
}

export function createZookeeper(directory: string): Peer {
  const port = freePortRow(9);
  let found = nothingFound();
  const open = (i: number): Promise<ZookeeperClient> => openZookeeper(port + i, found);
  return {
    nodes: THREE.map((i) => zookeeperNode(directory, i, port)),
    others: [],
    inFlightPerConnection: Number.POSITIVE_INFINITY,
    prepare: () => withAnyNode(open, (client) => client.makeRoot()),
    leader: async () => {
      for (const i of THREE) if ((await serverState(port + i)).includes("Mode: leader")) return i;
      throw new Error("ZooKeeper has no leader");
    },
    connect: open,
    depth: () => withAnyNode(open, (client) => client.count()),
    clear: async () => {
      await withAnyNode(open, (client) => client.clear());
      found = nothingFound();
    },
  };
}
