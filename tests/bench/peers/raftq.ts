// How is raftq driven like the others? Three nodes of the compiled binary, and its own client library in a closed loop.
import { randomBytes } from "node:crypto";
import {
  type Client,
  type ClientSettings,
  createClient,
  type Outcome,
  type Query,
  type QueryAnswer,
} from "../../../src/client/client.ts";
import { CLIENT, DEFAULTS, WIRE } from "../../../src/config.ts";
import type { Failure } from "../../../src/lib/errors.ts";
import { seededRandom } from "../../../src/lib/random.ts";
import { createRealClock } from "../../../src/lib/real-clock.ts";
import { type Command, ENCODING, type Reply } from "../../../src/queue/types.ts";
import type { NodeStatus, Peeked } from "../../../src/wire/protocol.ts";
import { createTcpNetwork } from "../../../src/wire/tcp.ts";
import { freePorts } from "../../kit/free-ports.ts";
import { BINARY } from "../../scripts/project.ts";
import { HOST, type Peer, pause, type QueueClient, withClient } from "./peer.ts";
import { serverProcess } from "./processes.ts";

const QUEUE = "default";
const DEQUEUE = {
  type: "dequeue",
  queues: [QUEUE],
  max: 1,
  maxBytes: WIRE.maxPayloadBytes,
  leaseMs: 0,
  waitMs: 0,
} as const satisfies Command;
/** Jobs of one dequeue that clears the queue. */
const CLEAR_AT_ONCE = 1_000;

interface RaftqClient {
  request(command: Command): Promise<Reply>;
  status(): Promise<NodeStatus>;
  peek(): Promise<Peeked>;
  close(): void;
}

function openRaftq(addresses: readonly string[]): RaftqClient {
  const ports = {
    network: createTcpNetwork(WIRE),
    clock: createRealClock(),
    random: seededRandom(randomBytes(4).readUInt32BE()),
  };
  const settings: ClientSettings = {
    addresses,
    clientId: `bench-${randomBytes(8).toString("hex")}`,
    nonce: randomBytes(16),
    timeoutMs: DEFAULTS.clientTimeoutMs,
    follow: true,
    numbered: false,
    batch: true,
    acknowledge: { when: "delivered", earlier: "fetched", whenIdle: false },
    generated: false,
    closeOnLeave: true,
    limits: CLIENT.limits,
  };
  const client: Client = createClient(ports, settings, () => undefined);
  const ask = (query: Query): Promise<QueryAnswer | Failure> => new Promise((done) => client.ask(query, done));
  return {
    // One promise for each request: more of them would cost as much as the library itself.
    request: (command) =>
      new Promise((resolve, reject) =>
        client.submit(command, (outcome: Outcome) => {
          if (outcome.ok) resolve(outcome.reply);
          else reject(new Error(`${outcome.failure.code}: ${outcome.failure.message}`));
        }),
      ),
    status: async () => {
      const answer = await ask({ type: "status", linearizable: true });
      if ("type" in answer && answer.type === "statusAnswer") return answer.status;
      throw new Error("raftq gave no status");
    },
    peek: async () => {
      const answer = await ask({ type: "peek" });
      if ("type" in answer && answer.type === "peekAnswer") return answer.peeked;
      throw new Error("raftq showed no job");
    },
    close: () => client.close(() => undefined),
  };
}

/** `jobs`: of one request. */
function queueClient({ request, close }: RaftqClient, jobs: number): QueueClient {
  return {
    enqueue: (body) => {
      const job = { encoding: ENCODING.bytes, payload: body };
      return request({
        type: "enqueue",
        queue: QUEUE,
        jobs: jobs === 1 ? [job] : Array.from({ length: jobs }, () => job),
      });
    },
    dequeue: async () => {
      for (;;) {
        const reply = await request({ ...DEQUEUE, max: jobs });
        if (reply.type !== "dequeued") throw new Error(`raftq answered ${reply.type}`);
        const [job] = reply.jobs;
        if (job !== undefined) return job.payload;
        await pause(1);
      }
    },
    close,
  };
}

/** A write is a look at the oldest job. */
function reader({ peek, close }: RaftqClient): QueueClient {
  return {
    enqueue: async () => {
      if ((await peek()).job === null) throw new Error("the queue is empty");
    },
    dequeue: () => Promise.reject(new Error("a reader takes nothing")),
    close,
  };
}

/** The same nodes can be driven otherwise, too. */
export interface Raftq extends Peer {
  /** So many jobs to a request, which counts as one operation. */
  inBatches(jobs: number): Peer;
  reading(): Peer;
  status(): Promise<NodeStatus>;
}

/** `size` nodes; with one, a cluster of its own. */
export function createRaftq(directory: string, size = 3): Raftq {
  const ports = freePorts(size);
  const addresses = ports.map((port) => `${HOST}:${port}`);
  const nodes = ports.map((port, i) => {
    const home = `${directory}/q${i}`;
    const flags = ["--id", `n${i}`, "--port", String(port), "--data", `${home}/data`];
    const founding = size === 1 ? [] : ["--join", addresses.join(","), "--expect", String(size)];
    return serverProcess([BINARY, "node", ...flags, ...founding], home);
  });
  const open = (): RaftqClient => openRaftq(addresses);
  const status = (): Promise<NodeStatus> =>
    withClient(
      () => Promise.resolve(open()),
      (client) => client.status(),
    );
  // The library finds the leader by itself; it begins with the node that is asked for.
  const openAt = (node: number): RaftqClient => {
    const first = addresses[node] ?? "";
    return openRaftq([first, ...addresses.filter((address) => address !== first)]);
  };
  const one: Peer = {
    nodes,
    others: [],
    // A session has so many requests under way.
    inFlightPerConnection: CLIENT.limits.window,
    prepare: () => Promise.resolve(),
    leader: async () => {
      const { leader } = await status();
      if (leader === null) throw new Error("raftq has no leader");
      return Number(leader.slice(1));
    },
    connect: async (node) => queueClient(openAt(node), 1),
    depth: async () => (await status()).ready,
    clear: () =>
      withClient(
        () => Promise.resolve(open()),
        async (client) => {
          for (;;) {
            const reply = await client.request({ ...DEQUEUE, max: CLEAR_AT_ONCE });
            if (reply.type !== "dequeued" || reply.jobs.length === 0) return;
          }
        },
      ),
  };
  return {
    ...one,
    status,
    inBatches: (jobs) => ({
      ...one,
      connect: async (node) => queueClient(openAt(node), jobs),
      depth: async () => Math.floor((await one.depth()) / jobs),
    }),
    reading: () => ({ ...one, connect: async (node) => reader(openAt(node)) }),
  };
}
