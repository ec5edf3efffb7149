// How does etcd serve as a queue? A key for each message, in the order of time; who deletes a key has its message.
import { createFifo, type Fifo } from "./connection.ts";
import { openGrpc } from "./grpc.ts";
import { HOST, type Peer, type QueueClient, pause, THREE, withAnyNode, withClient } from "./peer.ts";
import { serverProcess } from "./processes.ts";
import { bytesField, bytesOf, fieldsOf, integerField, integerOf } from "./protobuf.ts";
import { freePortRow } from "../../kit/free-ports.ts";

const PATHS = [
  "/etcdserverpb.KV/Range",
  "/etcdserverpb.KV/Put",
  "/etcdserverpb.KV/DeleteRange",
  "/etcdserverpb.Maintenance/Status",
];
const METHOD = { range: 0, put: 1, delete: 2, status: 3 } as const;

const PREFIX = "q/";
const END = bytesField(2, "q0");
/** Keys asked for at once. */
const PAGE = 1_000;
/** Keys begin with their time, and some come late: an empty page is asked for again from a little earlier. */
const LATE_MS = 2_000;
const keyAt = (ms: number): string => PREFIX + ms.toString().padStart(15, "0");
let lastKey = 0;

/** What all consumers of this process share: keys found, not claimed yet. Kinder to etcd than a search for each message. */
interface Found {
  keys: Fifo<Buffer>;
  after: Buffer | null;
  loading: Promise<void> | null;
}

const nothingFound = (): Found => ({ keys: createFifo(), after: null, loading: null });

interface EtcdClient extends QueueClient {
  count(): Promise<number>;
  clear(): Promise<void>;
  isLeader(): Promise<boolean>;
}

async function openEtcd(port: number, found: Found): Promise<EtcdClient> {
  const grpc = await openGrpc(port, PATHS);

  async function findMore(): Promise<void> {
    const from = found.after === null ? PREFIX : Buffer.concat([found.after, Buffer.from([0])]);
    const asked = Buffer.concat([bytesField(1, from), END, integerField(3, PAGE), integerField(8, 1)]);
    let count = 0;
    for (const [id, value] of fieldsOf(await grpc.call(METHOD.range, asked))) {
      const key = id === 2 && Buffer.isBuffer(value) ? bytesOf(value, 1) : null;
      if (key === null) continue;
      found.after = key;
      found.keys.push(key);
      count++;
    }
    if (count > 0) return;
    found.after = Buffer.from(keyAt(Date.now() - LATE_MS));
    await pause(1);
  }

  async function nextKey(): Promise<Buffer> {
    for (;;) {
      const key = found.keys.shift();
      if (key !== undefined) return key;
      found.loading ??= findMore().finally(() => (found.loading = null));
      await found.loading;
    }
  }

  return {
    enqueue: async (body) => {
      const key = `${keyAt(Date.now())}${process.pid}.${(lastKey++).toString().padStart(9, "0")}`;
      await grpc.call(METHOD.put, Buffer.concat([bytesField(1, key), bytesField(2, body)]));
    },
    dequeue: async () => {
      for (;;) {
        const asked = Buffer.concat([bytesField(1, await nextKey()), integerField(3, 1)]);
        const deleted = bytesOf(await grpc.call(METHOD.delete, asked), 3);
        const body = deleted === null ? null : bytesOf(deleted, 5);
        if (body !== null) return body;
      }
    },
    count: async () =>
      integerOf(await grpc.call(METHOD.range, Buffer.concat([bytesField(1, PREFIX), END, integerField(9, 1)])), 4),
    clear: async () => void (await grpc.call(METHOD.delete, Buffer.concat([bytesField(1, PREFIX), END]))),
    isLeader: async () => {
      const status = await grpc.call(METHOD.status, Buffer.alloc(0));
      // Ids have 64 bits: as numbers they lose some, and three of them still differ.
      const leader = integerOf(status, 4);
      return leader !== 0 && leader === integerOf(bytesOf(status, 1) ?? Buffer.alloc(0), 2);
    },
    close: () => grpc.close(),
  };
}

export function createEtcd(directory: string): Peer {
  const port = freePortRow(6);
  const url = (i: number): string => `http://${HOST}:${port + i}`;
  const members = THREE.map((i) => `e${i}=${url(3 + i)}`).join(",");
  const nodes = THREE.map((i) => {
    const home = `${directory}/e${i}`;
    const flags = {
      name: `e${i}`,
      "data-dir": `${home}/data`,
      "listen-client-urls": url(i),
      "advertise-client-urls": url(i),
      "listen-peer-urls": url(3 + i),
      "initial-advertise-peer-urls": url(3 + i),
      "initial-cluster": members,
      "initial-cluster-state": "new",
      "quota-backend-bytes": String(8 * 1024 ** 3),
      "auto-compaction-mode": "revision",
      "auto-compaction-retention": "10000",
      "log-level": "error",
    };
    return serverProcess(["etcd", ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value])], home);
  });
  let found = nothingFound();
  const open = (i: number): Promise<EtcdClient> => openEtcd(port + i, found);
  return {
    nodes,
    others: [],
    inFlightPerConnection: Number.POSITIVE_INFINITY,
    prepare: () => Promise.resolve(),
    leader: async () => {
      for (const i of THREE) {
        const isLeader = withClient(
          () => open(i),
          (client) => client.isLeader(),
        );
        if (await isLeader.catch(() => false)) return i;
      }
      throw new Error("etcd has no leader");
    },
    connect: open,
    depth: () => withAnyNode(open, (client) => client.count()),
    clear: async () => {
      await withAnyNode(open, (client) => client.clear());
      found = nothingFound();
    },
  };
}
