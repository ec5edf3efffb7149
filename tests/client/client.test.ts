// What does the client library do when nodes fail, move the leader or lose answers? It runs against scripted nodes over loopback TCP.
import { describe, expect, test as bunTest } from "bun:test";
import { randomBytes } from "node:crypto";
import {
  type Client,
  type ClientEvent,
  type ClientSettings,
  createClient,
  type Outcome,
  type QueryAnswer,
} from "../../src/client/client.ts";
import type { ClientPorts } from "../../src/client/types.ts";
import { type UnacknowledgedAnswer, unacknowledgedAnswers } from "../../src/client/unacknowledged.ts";
import { queryNode } from "../../src/cli/questions.ts";
import { CLIENT, WIRE } from "../../src/config.ts";
import { type Failure, failure } from "../../src/lib/errors.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { type Command, ENCODING } from "../../src/queue/types.ts";
import { createRealClock } from "../../src/lib/real-clock.ts";
import { createTcpNetwork } from "../../src/wire/tcp.ts";
import { connect, RequestFailed } from "../../src/index.ts";
import { type FakeCluster, startFakeCluster } from "../kit/scripted-cluster.ts";
import { createScheduler } from "../kit/scheduler.ts";
import { createTestClock } from "../kit/simulated-clock.ts";
import { createSimNetwork, type SimNetwork } from "../kit/simulated-network.ts";
import { runInVirtualTime } from "../kit/virtual-time.ts";

const LIMITS = { ...CLIENT.limits, retryMinMs: 2, retryMaxMs: 20, silenceMs: 150, unreachableMs: 100, onceMs: 1_000 };
/** What a test has for itself. */
interface World {
  readonly cluster: FakeCluster;
  readonly start: (settings?: Partial<ClientSettings>, events?: ClientEvent[]) => Client;
  /** The numbers that wait in the queue. */
  readonly queued: () => number[];
  readonly ports: ClientPorts;
  readonly sleep: (ms: number) => Promise<void>;
  readonly until: (isTrue: () => boolean) => Promise<void>;
}

interface VirtualWorld extends World {
  readonly network: SimNetwork;
}

const FAST_LINKS = { delayMinMs: 0, delayMaxMs: 0.2, dialLossPercent: 0 };

/** A test with scripted nodes of its own, in a simulated network and in virtual time. */
function test(name: string, work: (world: VirtualWorld) => Promise<void>, size = 3): void {
  bunTest(name, () => {
    const scheduler = createScheduler();
    const network = createSimNetwork(scheduler, seededRandom(1), FAST_LINKS);
    const clock = createTestClock(scheduler);
    const ports = { network: network.hostOf("client"), clock, random: seededRandom(1) };
    return runInVirtualTime(scheduler, async () => {
      const cluster = await startFakeCluster(size, { network: network.hostOf, clock });
      await inWorld(cluster, ports, (world) => work({ ...world, network }));
    });
  });
}

/** A test whose scripted nodes are reached over loopback TCP: of what depends on sockets, or makes its own. */
function testOverTcp(name: string, work: (world: World) => Promise<void>): void {
  bunTest(name, async () => {
    const ports = { network: createTcpNetwork(WIRE), clock: createRealClock(), random: seededRandom(1) };
    await inWorld(await startFakeCluster(3), ports, work);
  });
}

async function inWorld(cluster: FakeCluster, ports: ClientPorts, work: (world: World) => Promise<void>): Promise<void> {
  const clients: Client[] = [];
  const start = (settings: Partial<ClientSettings> = {}, events: ClientEvent[] = []): Client => {
    const client = startClient(ports, { addresses: cluster.addresses(), ...settings }, events);
    clients.push(client);
    return client;
  };
  const queued = (): number[] => cluster.queue.map(({ payload }) => Number(new TextDecoder().decode(payload)));
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => void ports.clock.after(ms, resolve));
  const until = async (isTrue: () => boolean): Promise<void> => {
    while (!isTrue()) await sleep(1);
  };
  try {
    await work({ cluster, start, queued, ports, sleep, until });
  } finally {
    for (const client of clients) await leave(client);
    cluster.stop();
  }
}

function startClient(ports: ClientPorts, settings: Partial<ClientSettings>, events: ClientEvent[]): Client {
  const whole: ClientSettings = {
    addresses: [],
    clientId: "c1",
    nonce: randomBytes(16),
    timeoutMs: 2_000,
    follow: true,
    numbered: false,
    batch: false,
    acknowledge: { when: "delivered", earlier: "fetched", whenIdle: false },
    generated: false,
    closeOnLeave: false,
    limits: LIMITS,
    ...settings,
  };
  return createClient(ports, whole, (event) => events.push(event));
}
const value = (number: number): Command => ({
  type: "enqueue",
  queue: "default",
  jobs: [{ encoding: ENCODING.json, payload: new TextEncoder().encode(String(number)) }],
});
const TAKE: Command = {
  type: "dequeue",
  queues: ["default"],
  max: 1,
  maxBytes: WIRE.maxPayloadBytes,
  leaseMs: 0,
  waitMs: 0,
};
const submit = (client: Client, command: Command): Promise<Outcome> =>
  new Promise((resolve) => client.submit(command, resolve));
const enqueue = (client: Client, number: number): Promise<Outcome> => submit(client, value(number));
const enqueueUpTo = (client: Client, count: number): Promise<Outcome[]> =>
  Promise.all(Array.from({ length: count }, (_, at) => enqueue(client, at + 1)));
const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at + 1);
const leave = (client: Client): Promise<void> => new Promise((resolve) => client.close(resolve));
async function openAndFetch(client: Client): Promise<UnacknowledgedAnswer[]> {
  expect(await new Promise((resolve) => client.open(resolve))).toBeNull();
  const fetched: UnacknowledgedAnswer[] = [];
  for await (const answer of unacknowledgedAnswers(client)) {
    fetched.push(answer);
    answer.taken();
  }
  return fetched;
}
const failureOf = (outcome: Outcome): Failure | null => (outcome.ok ? null : outcome.failure);

describe("questions without a number", () => {
  const peek = (client: Client): Promise<QueryAnswer | Failure> =>
    new Promise((resolve) => client.ask({ type: "peek" }, resolve));
  const peekOften = (client: Client, count: number) => Promise.all(Array.from({ length: count }, () => peek(client)));

  test("many at once are each answered once, also when the leader goes away under them", async ({ cluster, start }) => {
    const client = start();
    await enqueueUpTo(client, 2);
    let lost = 0;
    cluster.fate = (message) => {
      if (message.type !== "peek" || lost === 700) return "pass";
      if (++lost === 700) {
        cluster.lead(2);
        cluster.disconnect(1);
      }
      return "lose";
    };
    const answers = await peekOften(client, 1_000);
    const peeked = { job: { id: 1, payload: new TextEncoder().encode("1") }, ready: 2 };
    for (const answer of answers) expect(answer).toMatchObject({ type: "peekAnswer", peeked });
    expect(client.node()?.node.id).toBe("n2" as never);
  });

  test("that a busy leader refuses are asked again, and their time runs out in the order they came", async ({
    cluster,
    start,
  }) => {
    const client = start({ timeoutMs: 300 });
    let refusals = 0;
    cluster.fate = (message) =>
      message.type === "peek" && ++refusals <= 50 ? failure("OVERLOADED", "busy", { retryAfterMs: 5 }) : "pass";
    const answers = await peekOften(client, 40);
    expect(answers.every((answer) => "type" in answer && answer.type === "peekAnswer")).toBe(true);
    cluster.fate = (message) => (message.type === "peek" ? "lose" : "pass");
    const ended: number[] = [];
    await Promise.all(
      upTo(30).map(async (at) => {
        const answer = await peek(client);
        expect("type" in answer).toBe(false);
        ended.push(at);
      }),
    );
    expect(ended).toEqual(upTo(30));
    cluster.fate = () => "pass";
    expect(await peek(client)).toMatchObject({ type: "peekAnswer", peeked: { job: null, ready: 0 } });
  });
});

describe("finding the leader", () => {
  test("a redirect is followed and reported", async ({ cluster, start }) => {
    cluster.lead(3);
    const events: ClientEvent[] = [];
    const client = start({ addresses: [cluster.address(1)] }, events);
    expect(await enqueue(client, 1)).toMatchObject({ ok: true, number: 1 });
    expect(events[0]).toEqual({ type: "redirected", from: "n1", to: "n3", address: cluster.address(3) });
    expect(client.node()?.node.id).toBe("n3" as never);
  });

  test("members that nobody named are learned and used", async ({ cluster, start, queued }) => {
    const client = start({ addresses: [cluster.address(1)] });
    expect(await enqueue(client, 1)).toMatchObject({ ok: true });
    cluster.kill(1);
    cluster.lead(2);
    expect(await enqueue(client, 2)).toMatchObject({ ok: true, number: 2 });
    expect(queued()).toEqual([1, 2]);
  });

  test("a redirect to a dead leader does not end the search", async ({ cluster, start, sleep }) => {
    cluster.lead(3);
    cluster.kill(3);
    const client = start();
    const waiting = enqueue(client, 1);
    await sleep(50);
    cluster.lead(2);
    expect(await waiting).toMatchObject({ ok: true, number: 1 });
  });

  test("without following, the node's own answer is the final word", async ({ cluster, start }) => {
    cluster.lead(3);
    const outcome = await enqueue(start({ addresses: [cluster.address(2)], follow: false }), 1);
    expect(failureOf(outcome)).toMatchObject({ code: "NOT_LEADER", applied: "no", leader: cluster.address(3) });
  });

  test("nobody listening is UNREACHABLE, before the time-out", async ({ cluster, start, ports }) => {
    const addresses = cluster.addresses();
    cluster.stop();
    const begun = ports.clock.now();
    const outcome = await enqueue(start({ addresses, timeoutMs: 10_000 }), 1);
    expect(failureOf(outcome)).toMatchObject({ code: "UNREACHABLE", applied: "no" });
    expect(failureOf(outcome)?.message).toStartWith(`cannot reach ${addresses[0]}`);
    expect(ports.clock.now() - begun).toBeLessThan(2_000);
  });

  test("no leader within the time-out: the failure names how many members are reachable and which to start", async ({
    cluster,
    start,
  }) => {
    cluster.lead(0);
    cluster.kill(2);
    cluster.kill(3);
    const failed = failureOf(await enqueue(start({ timeoutMs: 200 }), 1));
    expect(failed).toMatchObject({ code: "NO_LEADER", applied: "no" });
    expect(failed?.message).toBe(
      `No Leader: 1 of 3 members reachable, 2 needed. Start n2 (${cluster.address(2)}), or n3 (${cluster.address(3)}).`,
    );
  });

  testOverTcp(
    "a port that speaks HTTP is named, at once where no other one is reached",
    async ({ cluster, start, ports }) => {
      const web = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("hello") });
      try {
        const address = `127.0.0.1:${web.port}`;
        const why = `${address}: the other side speaks HTTP, not raftq`;
        const begun = ports.clock.now();
        const alone = failureOf(await enqueue(start({ addresses: [address], timeoutMs: 5_000 }), 1));
        expect(alone).toMatchObject({ code: "UNREACHABLE", applied: "no", message: why });
        expect(ports.clock.now() - begun).toBeLessThan(1_000);
        const beside = start({ addresses: [address, cluster.address(1)], clientId: "c2" });
        expect(await enqueue(beside, 1)).toMatchObject({ ok: true });
      } finally {
        void web.stop(true);
      }
    },
  );

  test("time-out 0 asks once and does not wait for an election", async ({ cluster, start, ports }) => {
    cluster.lead(0);
    const begun = ports.clock.now();
    expect(failureOf(await enqueue(start({ timeoutMs: 0 }), 1))).toMatchObject({ code: "NO_LEADER", applied: "no" });
    expect(ports.clock.now() - begun).toBeLessThan(500);
  });

  test("a leader that falls silent is left for another one", async ({ cluster, start, sleep }) => {
    const client = start();
    expect(await enqueue(client, 1)).toMatchObject({ ok: true });
    cluster.fate = (_, node) => (node.id === "n1" ? "lose" : "pass");
    const waiting = enqueue(client, 2);
    await sleep(20);
    cluster.lead(2);
    expect(await waiting).toMatchObject({ ok: true, number: 2 });
  });
});

describe("a caller that waits", () => {
  test("without a majority each member that is missed is named with what it needs", async ({ cluster, start }) => {
    cluster.lead(0);
    cluster.kill(2);
    cluster.nodes[2]!.condition = "frozen";
    cluster.nodes[3]!.condition = failure("STARTING", "this node is not a member of a cluster yet");
    cluster.nodes[4]!.condition = failure("REJOINING", "n5 has lost its data (meta)");
    const failed = failureOf(await enqueue(start({ timeoutMs: 1_500 }), 1));
    expect(failed).toMatchObject({ code: "NO_LEADER", applied: "no" });
    const [, two, three, four, five] = cluster.addresses();
    expect(failed?.message).toBe(
      `No Leader: 1 of 5 members reachable, 3 needed. n5 (${five}) lost the data and cannot come back without a majority. ` +
        `n3 (${three}) does not answer: it is paused or cut off. n4 (${four}) is starting: wait. Start n2 (${two}).`,
    );
  }, 5);

  test("no election is named where no majority answers", async ({ cluster, start }) => {
    cluster.lead(0);
    for (const node of cluster.nodes.slice(1)) node.condition = "frozen";
    const failed = failureOf(await enqueue(start({ timeoutMs: 1_500 }), 1));
    const [, two, three] = cluster.addresses();
    expect(failed?.message).toBe(
      `No Leader: 1 of 3 members reachable, 2 needed. n2 (${two}) and n3 (${three}) do not answer: they are paused or cut off.`,
    );
  });

  test("an election is named where a majority answers", async ({ cluster, start }) => {
    cluster.lead(0);
    cluster.nodes[2]!.condition = "frozen";
    const failed = failureOf(await enqueue(start({ timeoutMs: 1_500 }), 1));
    expect(failed?.message).toBe(
      "No Leader: 2 of 3 members reachable, 2 needed. An election is under way: wait a moment, then try again.",
    );
  });

  test("a node that accepts connections and answers nothing gets the whole time-out, and is named", async ({
    cluster,
    start,
    ports,
  }) => {
    cluster.nodes[0]!.condition = "frozen";
    const getsNothing = async (timeoutMs: number): Promise<void> => {
      const begun = ports.clock.now();
      const failed = failureOf(await enqueue(start({ addresses: [cluster.address(1)], timeoutMs }), 1));
      expect(ports.clock.now() - begun).toBeGreaterThan(timeoutMs - 20);
      expect(failed).toMatchObject({ code: "UNREACHABLE", applied: "no" });
      const why =
        timeoutMs < LIMITS.dialTimeoutMs
          ? "no answer"
          : "it accepts connections, but does not answer: it is paused or cut off, or no raftq";
      expect(failed?.message).toBe(`cannot reach ${cluster.address(1)} (${why})`);
    };
    await Promise.all([getsNothing(400), getsNothing(2_500)]);
  });

  test("a node that answers before the time-out ends serves, however long it was silent", async ({
    cluster,
    start,
    ports,
  }) => {
    cluster.nodes[0]!.condition = "frozen";
    ports.clock.after(1_300, () => (cluster.nodes[0]!.condition = "serving"));
    expect(await enqueue(start({ addresses: [cluster.address(1)], timeoutMs: 4_000 }), 1)).toMatchObject({
      ok: true,
    });
  });

  test("one node that is asked for itself has the whole time-out, and no more", async ({ cluster, ports }) => {
    cluster.nodes[0]!.condition = "frozen";
    const begun = ports.clock.now();
    const query = { type: "status", linearizable: false } as const;
    const answer = await queryNode(ports, cluster.address(1), query, 1_500);
    expect(ports.clock.now() - begun).toBeGreaterThan(1_480);
    expect(answer).toMatchObject({ code: "UNREACHABLE" });
    expect("message" in answer && answer.message).toContain("does not answer: it is paused or cut off");
  });

  test("large commands come across a link on which one of them takes longer than a silence, over the first connection", async ({
    cluster,
    start,
    network,
  }) => {
    network.slow("client", "n1", 1_200);
    network.slow("n1", "client", 1_200);
    const events: ClientEvent[] = [];
    const limits = { ...LIMITS, silenceMs: 300 };
    const client = start({ addresses: [cluster.address(1)], follow: false, timeoutMs: 20_000, limits }, events);
    // Half a second each: longer than a silence, and as much shorter than what is allowed for so many bytes.
    const text = JSON.stringify("x".repeat(600 * 1024));
    const jobs = [{ encoding: ENCODING.json, payload: new TextEncoder().encode(text) }];
    const outcomes = await Promise.all(upTo(3).map(() => submit(client, { type: "enqueue", queue: "default", jobs })));
    expect(outcomes.map(({ ok }) => ok)).toEqual([true, true, true]);
    expect(events.map(({ type }) => type)).toEqual(["connected"]);
    expect(await submit(client, TAKE)).toMatchObject({ ok: true, reply: { jobs: [{ id: 1 }] } });
  });

  test("a session for which there is no place is asked for less and less often, and by an idle client hardly ever", async ({
    cluster,
    start,
    sleep,
    until,
  }) => {
    const limits = { ...LIMITS, retryMinMs: 20, openRetryMaxMs: 400 };
    cluster.fate = (message) => (message.type === "open" ? failure("SESSIONS_FULL", "scripted") : "pass");
    const failed = await enqueue(start({ limits, timeoutMs: 1_000 }), 1);
    expect(failureOf(failed)).toMatchObject({ code: "SESSIONS_FULL", applied: "no" });
    const opens = (): number => cluster.messages.filter(({ type }) => type === "open").length;
    expect(opens()).toBeLessThan(16);
    cluster.fate = () => "pass";
    const idle = start({ limits, clientId: "c2" });
    await enqueue(idle, 1);
    cluster.fate = (message) => (message.type === "open" ? failure("SESSIONS_FULL", "scripted") : "pass");
    const before = opens();
    cluster.disconnect(1);
    await until(() => opens() !== before);
    await sleep(300);
    // Nobody waits for it, and questions go on meanwhile.
    expect(await new Promise((resolve) => idle.ask({ type: "peek" }, resolve))).toMatchObject({ type: "peekAnswer" });
    expect(opens() - before).toBe(1);
  });
});

describe("numbered requests", () => {
  test("execute in the order they were submitted", async ({ start, queued }) => {
    const outcomes = await enqueueUpTo(start(), 300);
    expect(outcomes.map((outcome) => outcome.number)).toEqual(upTo(300));
    expect(queued()).toEqual(upTo(300));
  });

  test("a lost connection repeats the unanswered ones with their numbers, and each takes effect once", async ({
    cluster,
    start,
    queued,
    ports,
  }) => {
    let lost = 0;
    cluster.fate = (message) => {
      if (message.type !== "request" || message.number < 5 || lost >= 4) return "pass";
      lost++;
      if (lost === 4) ports.clock.after(5, () => cluster.disconnect(1));
      return "executeAndLose";
    };
    const outcomes = await enqueueUpTo(start(), 20);
    expect(outcomes.every(({ ok }) => ok)).toBe(true);
    expect(outcomes.filter((outcome) => outcome.ok && outcome.duplicate).map(({ number }) => number)).toEqual([
      5, 6, 7, 8,
    ]);
    expect(queued()).toEqual(upTo(20));
  });

  test("keep their order across changes of leader in the middle of a stream", async ({ cluster, start, queued }) => {
    let seen = 0;
    cluster.fate = (message) => {
      if (message.type !== "request") return "pass";
      seen++;
      if (seen % 50 === 0) cluster.lead(((seen / 50) % 3) + 1);
      return seen % 70 === 0 ? failure("LEADER_CHANGED", "scripted") : "pass";
    };
    const outcomes = await enqueueUpTo(start(), 400);
    expect(outcomes.filter((outcome) => !outcome.ok)).toEqual([]);
    expect(queued()).toEqual(upTo(400));
  });

  testOverTcp("get through although together they are more than a connection may hold", async ({ start }) => {
    const events: ClientEvent[] = [];
    const large = WIRE.maxPayloadBytes;
    const count = Math.ceil(WIRE.maxClientSendBytes / large) + 2;
    const job = { encoding: ENCODING.bytes, payload: new Uint8Array(large) };
    const client = start({ timeoutMs: 4_000, limits: CLIENT.limits }, events);
    const submitted = upTo(count).map(() => submit(client, { type: "enqueue", queue: "default", jobs: [job] }));
    const outcomes = await Promise.all(submitted);
    expect(outcomes.map(({ ok, number }) => ok && number)).toEqual(upTo(count));
    expect(events.filter(({ type }) => type === "disconnected")).toEqual([]);
  });

  test("OVERLOADED holds the stream up and breaks nothing", async ({ cluster, start, queued }) => {
    let seen = 0;
    cluster.fate = (message) =>
      message.type === "request" && ++seen % 7 === 0 ? failure("OVERLOADED", "scripted", { retryAfterMs: 1 }) : "pass";
    await enqueueUpTo(start(), 60);
    expect(queued()).toEqual(upTo(60));
  });

  test("an outcome that once was unclear ends as TIMEOUT, never as NO_LEADER", async ({ cluster, start, sleep }) => {
    const client = start({ timeoutMs: 250 });
    await enqueue(client, 1);
    cluster.fate = () => "executeAndLose";
    const waiting = enqueue(client, 2);
    await sleep(20);
    cluster.lead(0);
    cluster.disconnect(1);
    expect(failureOf(await waiting)).toMatchObject({ code: "TIMEOUT", applied: "unknown" });
  });

  test("after an unknown outcome the number is resolved before the next request runs", async ({ cluster, start }) => {
    const client = start({ timeoutMs: 200 });
    await enqueue(client, 1);
    cluster.fate = (message) => (message.type === "request" ? "lose" : "pass");
    expect(failureOf(await enqueue(client, 2))).toMatchObject({ code: "TIMEOUT" });
    cluster.fate = () => "pass";
    expect(await enqueue(client, 3)).toMatchObject({ ok: true, number: 3 });
    expect(cluster.executed.map(({ number, command }) => `${number} ${command}`)).toEqual([
      "1 enqueue 1",
      "2 resolve",
      "3 enqueue 3",
    ]);
  });

  test("a retry after an unknown outcome reports what happened", async ({ cluster, start, queued }) => {
    const client = start({ timeoutMs: 200 });
    await enqueue(client, 1);
    cluster.fate = (message) => (message.type === "request" ? "executeAndLose" : "pass");
    expect(failureOf(await enqueue(client, 2))).toMatchObject({ code: "TIMEOUT" });
    cluster.fate = () => "pass";
    const truth = await new Promise<Outcome>((resolve) => client.again(resolve));
    expect(truth).toMatchObject({ ok: true, number: 2, duplicate: true });
    expect(queued()).toEqual([1, 2]);
  });

  test("a refused request does not hold up the ones behind it", async ({ cluster, start, queued }) => {
    cluster.fate = (message) =>
      message.type === "request" &&
      message.number === 2 &&
      cluster.messages.filter((one) => one.type === "request").length < 4
        ? failure("BAD_REQUEST", "scripted")
        : "pass";
    const outcomes = await enqueueUpTo(start(), 3);
    expect(outcomes.map((outcome) => failureOf(outcome)?.code ?? "ok")).toEqual(["ok", "BAD_REQUEST", "ok"]);
    expect(queued()).toEqual([1, 3]);
  });
});

describe("requests that travel together", () => {
  const idOf = (outcome: Outcome): number | null =>
    outcome.ok && outcome.reply.type === "enqueued" && outcome.reply.count === 1 ? outcome.reply.firstId : null;

  test("are enqueues of one round: one number, and each its own job, in order", async ({ start, queued }) => {
    const client = start({ batch: true });
    const outcomes = await enqueueUpTo(client, 100);
    expect(outcomes.map(idOf)).toEqual(upTo(100));
    expect(new Set(outcomes.map(({ number }) => number))).toEqual(new Set([1]));
    expect(queued()).toEqual(upTo(100));
    expect(await enqueue(client, 101)).toMatchObject({ ok: true, number: 2 });
  });

  test("do not overtake a dequeue, nor the other way round", async ({ start }) => {
    const client = start({ batch: true });
    const one = { max: 1, maxBytes: WIRE.maxPayloadBytes, leaseMs: 0, waitMs: 0 };
    const dequeue = (): Promise<Outcome> => submit(client, { type: "dequeue", queues: ["default"], ...one });
    const taken = (outcome: Outcome): unknown =>
      outcome.ok && outcome.reply.type === "dequeued" ? outcome.reply.jobs.map(({ id }) => id) : null;
    const [, , first, , second, third] = await Promise.all([
      enqueue(client, 1),
      enqueue(client, 2),
      dequeue(),
      enqueue(client, 3),
      dequeue(),
      dequeue(),
    ]);
    expect([first, second, third].map((outcome) => taken(outcome!))).toEqual([[1], [2], [3]]);
  });

  test("take effect once although their answer was lost", async ({ cluster, start, queued, ports }) => {
    let isLost = false;
    cluster.fate = (message) => {
      if (message.type !== "request" || isLost) return "pass";
      isLost = true;
      ports.clock.after(5, () => cluster.disconnect(1));
      return "executeAndLose";
    };
    const outcomes = await enqueueUpTo(start({ batch: true }), 20);
    expect(outcomes.map(idOf)).toEqual(upTo(20));
    expect(outcomes.every((outcome) => outcome.ok && outcome.duplicate)).toBe(true);
    expect(queued()).toEqual(upTo(20));
  });

  test("a caller without a job of a shared answer gets a failure when the client is closed from inside it", async ({
    start,
  }) => {
    const client = start({ batch: true });
    await enqueue(client, 1);
    const one = { max: 1, maxBytes: WIRE.maxPayloadBytes, leaseMs: 0, waitMs: 0 };
    const command: Command = { type: "dequeue", queues: ["default"], ...one };
    const first = new Promise<Outcome>((resolve) =>
      client.submit(command, (outcome) => {
        client.close(() => {});
        resolve(outcome);
      }),
    );
    const second = submit(client, command);
    expect((await first).ok).toBe(true);
    expect(failureOf(await second)).toMatchObject({ code: "BAD_REQUEST" });
  });

  test("all get a refusal, and the end of the session before they were sent", async ({ cluster, start }) => {
    cluster.fate = (message) => (message.type === "request" ? failure("QUEUE_FULL", "scripted") : "pass");
    const client = start({ batch: true });
    const refused = await enqueueUpTo(client, 3);
    expect(refused.map(failureOf)).toMatchObject(refused.map(() => ({ code: "QUEUE_FULL", applied: "no" })));
    const unsent = enqueueUpTo(client, 2);
    await new Promise<void>((resolve) => client.close(resolve));
    expect((await unsent).map(failureOf)).toMatchObject([{ code: "BAD_REQUEST" }, { code: "BAD_REQUEST" }]);
  });
});

describe("the session", () => {
  test("goes on with its numbers in another process, and fences the earlier one", async ({ start, queued }) => {
    const events: ClientEvent[] = [];
    const first = start({}, events);
    await enqueue(first, 1);
    const second = start();
    await openAndFetch(second);
    expect(await enqueue(second, 2)).toMatchObject({ ok: true, number: 2 });
    expect(failureOf(await enqueue(first, 3))).toMatchObject({ code: "SESSION_FENCED", applied: "no" });
    expect(events.at(-1)).toMatchObject({ type: "sessionOver", failure: { code: "SESSION_FENCED" } });
    expect(failureOf(await enqueue(first, 4))?.code).toBe("SESSION_FENCED");
    expect(queued()).toEqual([1, 2]);
  });

  test("is opened once although its answer was lost", async ({ cluster, start }) => {
    let opens = 0;
    cluster.fate = (message) => (message.type === "open" && ++opens === 1 ? "executeAndLose" : "pass");
    expect(await enqueue(start(), 1)).toMatchObject({ ok: true, number: 1 });
    expect(opens).toBe(2);
  });

  test("of a generated id is closed on leaving", async ({ cluster, start }) => {
    const client = start({ closeOnLeave: true, generated: true });
    await enqueue(client, 1);
    await leave(client);
    expect(cluster.sessionOf("c1")).toMatchObject({ closed: true, acknowledgedThrough: 1 });
  });

  test("of a given id is closed on leaving too, and its numbers go on", async ({ cluster, start }) => {
    const client = start({ closeOnLeave: true });
    await enqueue(client, 1);
    await leave(client);
    expect(cluster.sessionOf("c1")).toMatchObject({ closed: false, dormant: true, acknowledgedThrough: 1 });
    expect(await enqueue(start(), 2)).toMatchObject({ ok: true, number: 2 });
  });

  test("that others made dormant is resumed: its requests go on with their numbers, and answers are there", async ({
    cluster,
    start,
    queued,
  }) => {
    const events: ClientEvent[] = [];
    const client = start({}, events);
    await enqueue(client, 1);
    cluster.sessionOf("c1")!.dormant = true;
    const two = await Promise.all([enqueue(client, 2), enqueue(client, 3)]);
    expect(two).toMatchObject([
      { ok: true, number: 2 },
      { ok: true, number: 3 },
    ]);
    expect(queued()).toEqual([1, 2, 3]);
    expect(cluster.messages.filter(({ type }) => type === "open")).toMatchObject([{ resume: false }, { resume: true }]);
    expect(events.map(({ type }) => type)).toEqual(["connected"]);
    cluster.sessionOf("c1")!.dormant = true;
    expect(await enqueue(client, 4)).toMatchObject({ ok: true, number: 4 });
  });

  test("that became dormant before the answer to its OPEN came is resumed", async ({ cluster, start }) => {
    cluster.fate = (message) => {
      if (message.type !== "open" || message.resume) return "pass";
      const known = cluster.sessionOf("c1");
      if (known === undefined) return "executeAndLose";
      known.dormant = true;
      return "pass";
    };
    expect(await enqueue(start(), 1)).toMatchObject({ ok: true, number: 1 });
  });

  test("that is not known any more is over: a request that may have been executed ends with that error", async ({
    cluster,
    start,
  }) => {
    const events: ClientEvent[] = [];
    const client = start({}, events);
    await enqueue(client, 1);
    cluster.fate = (message) => {
      if (message.type !== "request") return "pass";
      cluster.sessionOf("c1")!.closed = true;
      return "pass";
    };
    expect(failureOf(await enqueue(client, 2))).toMatchObject({ code: "SESSION_EXPIRED" });
    expect(events.at(-1)).toMatchObject({ type: "sessionOver", failure: { code: "SESSION_EXPIRED" } });
    expect(failureOf(await enqueue(client, 3))?.code).toBe("SESSION_EXPIRED");
  });

  test("that was forgotten while its client asked nothing is over: nothing begins anew under its numbers", async ({
    cluster,
    start,
    queued,
    until,
  }) => {
    const events: ClientEvent[] = [];
    const client = start({}, events);
    await enqueue(client, 1);
    cluster.fate = (message) => (message.type === "request" ? "executeAndLose" : "pass");
    const unclear = enqueue(client, 2);
    await until(() => cluster.executed.length >= 2);
    cluster.forget("c1");
    cluster.fate = () => "pass";
    cluster.disconnect(1);
    expect(failureOf(await unclear)).toMatchObject({ code: "SESSION_EXPIRED", applied: "unknown" });
    expect(queued()).toEqual([1, 2]);
    const idle = start({ clientId: "c2" }, events);
    await enqueue(idle, 3);
    cluster.forget("c2");
    events.length = 0;
    cluster.disconnect(1);
    await until(() => events.at(-1)?.type === "sessionOver");
    expect(failureOf(await enqueue(idle, 4))?.code).toBe("SESSION_EXPIRED");
    expect(cluster.messages.filter((message) => message.type === "open" && !message.resume)).toHaveLength(2);
    expect(queued()).toEqual([1, 2, 3]);
  });

  test("that is dormant is resumed also where a request meets the OPEN that shows it to a new node", async ({
    cluster,
    start,
    until,
  }) => {
    const client = start();
    await enqueue(client, 1);
    let isHeld = true;
    cluster.fate = (message) => (message.type === "open" && isHeld ? "lose" : "pass");
    cluster.disconnect(1);
    await until(() => cluster.messages.filter(({ type }) => type === "open").length >= 2);
    cluster.sessionOf("c1")!.dormant = true;
    const asked = enqueue(client, 2);
    await until(() => cluster.received.length >= 2);
    isHeld = false;
    expect(await asked).toMatchObject({ ok: true, number: 2 });
  });

  test("that became dormant before its client leaves is resumed, so that what was taken is acknowledged", async ({
    cluster,
    start,
  }) => {
    const client = start({
      acknowledge: { when: "taken", earlier: "fetched", whenIdle: false },
      closeOnLeave: true,
      limits: { ...LIMITS, silenceMs: 5_000 },
    });
    await new Promise<void>((resolve) =>
      client.submit(value(1), (_, taken) => {
        taken();
        resolve();
      }),
    );
    cluster.sessionOf("c1")!.dormant = true;
    await leave(client);
    expect(cluster.sessionOf("c1")).toMatchObject({ acknowledgedThrough: 1, dormant: true });
    expect(cluster.messages.map(({ type }) => type)).toEqual(["open", "request", "close", "open", "close"]);
  });

  test("of a client that asks nothing is shown to the next leader, which learns to keep it", async ({
    cluster,
    start,
    until,
  }) => {
    const client = start();
    await enqueue(client, 1);
    const opens = (): number => cluster.messages.filter(({ type }) => type === "open").length;
    cluster.lead(2);
    cluster.disconnect(1);
    await until(() => opens() >= 2);
    expect(cluster.messages.at(-1)).toMatchObject({ type: "open", resume: true });
    expect(await enqueue(client, 2)).toMatchObject({ ok: true, number: 2 });
    expect(opens()).toBe(2);
  });

  test("of a client that may send nothing, because its answers were not taken, is shown to the next leader too", async ({
    cluster,
    start,
    until,
  }) => {
    const acknowledge = { when: "taken", earlier: "fetched", whenIdle: false } as const;
    const client = start({ acknowledge, limits: { ...LIMITS, window: 1 } });
    const taken = await new Promise<() => void>((resolve) => client.submit(value(1), (_, take) => resolve(take)));
    const waits = enqueue(client, 2);
    const before = cluster.messages.length;
    cluster.lead(2);
    cluster.disconnect(1);
    await until(() => cluster.messages.length !== before);
    expect(cluster.messages[before]).toMatchObject({ type: "open", resume: true });
    taken();
    expect(await waits).toMatchObject({ ok: true, number: 2 });
  });

  test("whose client is closed while an answer is on its way leaves it unknown, and the next process fetches it", async ({
    cluster,
    start,
    until,
  }) => {
    const client = start({ acknowledge: { when: "taken", earlier: "fetched", whenIdle: false }, closeOnLeave: true });
    cluster.fate = (message) => (message.type === "request" && message.number === 1 ? "executeAndLose" : "pass");
    const asked = enqueue(client, 1);
    await until(() => cluster.executed.length !== 0);
    await leave(client);
    expect(failureOf(await asked)).toEqual({
      code: "CONNECTION_LOST",
      applied: "unknown",
      message: "request 1 may have been executed: this client was closed",
    });
    expect(client.untaken()).toEqual({ first: 1, last: 1 });
    cluster.fate = () => "pass";
    const second = start();
    expect(await openAndFetch(second)).toMatchObject([{ number: 1, outcome: { ok: true, reply: { firstId: 1 } } }]);
  });

  describe("whose answers must be taken", () => {
    const TAKEN = { when: "taken", earlier: "refused", whenIdle: true } as const;
    const FETCHED = { when: "taken", earlier: "fetched", whenIdle: false } as const;
    /** Leaving ends by what the nodes answer, not by its time-out. */
    const PATIENT = { ...LIMITS, silenceMs: 5_000 };
    const ask = (client: Client, command: Command, number?: number) =>
      new Promise<{ readonly outcome: Outcome; readonly taken: () => void }>((resolve) =>
        client.submit(command, (outcome, taken) => resolve({ outcome, taken }), number),
      );
    const close = (client: Client): Promise<void> => new Promise((resolve) => client.close(resolve));
    const acknowledgedThrough = (cluster: FakeCluster): number | undefined =>
      cluster.sessionOf("c1")?.acknowledgedThrough;

    test("acknowledges on leaving what was taken, and no more", async ({ cluster, start }) => {
      const client = start({ acknowledge: FETCHED });
      const [first, second] = await Promise.all([ask(client, value(1)), ask(client, value(2))]);
      first.taken();
      await close(client);
      expect([acknowledgedThrough(cluster), client.untaken()]).toEqual([1, { first: 2, last: 2 }]);
      expect(cluster.executed).toHaveLength(2);
      expect(second.outcome.ok).toBe(true);
    });

    for (const is of [false, true])
      test(`acknowledges on leaving although the leader changes just then (closing: ${is})`, async ({
        cluster,
        start,
      }) => {
        const client = start({ acknowledge: FETCHED, closeOnLeave: is, limits: PATIENT });
        (await ask(client, value(1))).taken();
        cluster.lead(2);
        await close(client);
        expect([acknowledgedThrough(cluster), cluster.sessionOf("c1")?.dormant]).toEqual([1, is]);
      });

    test("closes on leaving although the first CLOSE and its answer are lost", async ({ cluster, start, ports }) => {
      const client = start({ acknowledge: FETCHED, closeOnLeave: true, limits: PATIENT });
      (await ask(client, value(1))).taken();
      let closes = 0;
      cluster.fate = (message) => (message.type === "close" && ++closes === 1 ? "executeAndLose" : "pass");
      ports.clock.after(20, () => cluster.disconnect(1));
      await close(client);
      expect([closes, cluster.sessionOf("c1")?.dormant]).toEqual([2, true]);
    });

    test("acknowledges the last answer when nothing else is asked, if it is to", async ({ cluster, start, until }) => {
      const limits = { ...LIMITS, idleMs: 5 };
      const client = start({ acknowledge: TAKEN, limits });
      (await ask(client, value(1))).taken();
      const acknowledged = async (): Promise<void> => {
        await until(() => acknowledgedThrough(cluster) === 1);
      };
      await acknowledged();
      expect(cluster.received.at(-1)).toEqual({ node: "n1", number: 1, command: "resolve", acknowledgedThrough: 1 });
    });

    test("sends what waits for room in the window once an answer was taken", async ({ start, queued, sleep }) => {
      const client = start({ acknowledge: FETCHED, limits: { ...LIMITS, window: 2 } });
      const [first, second] = await Promise.all([ask(client, value(1)), ask(client, value(2))]);
      const third = ask(client, value(3));
      await sleep(20);
      expect(queued()).toEqual([1, 2]);
      first.taken();
      expect((await third).outcome).toMatchObject({ ok: true, number: 3 });
      second.taken();
    });

    test("acknowledges an answer that came late when nothing else is asked, if it is to", async ({
      cluster,
      start,
      sleep,
      until,
    }) => {
      const events: ClientEvent[] = [];
      const client = start({ acknowledge: TAKEN, timeoutMs: 100, limits: { ...LIMITS, idleMs: 5 } }, events);
      cluster.fate = (message) => (message.type === "request" ? "executeAndLose" : "pass");
      expect(failureOf((await ask(client, value(1))).outcome)?.applied).toBe("unknown");
      cluster.fate = () => "pass";
      (await ask(client, value(2))).taken();
      await sleep(20);
      for (const event of events) if (event.type === "answeredLate") event.taken();
      await until(() => acknowledgedThrough(cluster) === 2);
    });

    test("is not opened by a process that would pass over what an earlier one left, only by one that fetches it", async ({
      cluster,
      start,
      queued,
    }) => {
      const first = start({ acknowledge: FETCHED });
      await Promise.all([ask(first, value(1)), ask(first, value(2))]);
      await close(first);
      const second = start({ acknowledge: TAKEN });
      expect(failureOf((await ask(second, value(3))).outcome)).toMatchObject({
        code: "ANSWERS_LEFT",
        applied: "no",
        message: "an earlier process of client c1 did not acknowledge the answers to requests 1 to 2",
      });
      await close(second);
      const third = start({ acknowledge: FETCHED });
      expect(await new Promise((resolve) => third.open(resolve))).toBeNull();
      expect(third.unacknowledgedAtOpen()).toEqual({ first: 1, last: 2 });
      for (const number of [1, 2]) {
        const { outcome, taken } = await ask(third, { type: "resolve" }, number);
        expect(outcome).toMatchObject({ ok: true, number, duplicate: true, reply: { type: "enqueued" } });
        taken();
      }
      expect((await ask(third, value(3))).outcome).toMatchObject({ ok: true, number: 3 });
      expect(acknowledgedThrough(cluster)).toBe(2);
      expect(queued()).toEqual([1, 2, 3]);
    });

    test("of a generated id is closed only when every answer was taken", async ({ cluster, start }) => {
      const client = start({ acknowledge: TAKEN, closeOnLeave: true, generated: true });
      const { taken } = await ask(client, value(1));
      const other = start({ acknowledge: TAKEN, closeOnLeave: true, generated: true, clientId: "c2" });
      (await ask(other, value(2))).taken();
      await Promise.all([close(client), close(other)]);
      expect([cluster.sessionOf("c1")?.closed, cluster.sessionOf("c2")?.closed]).toEqual([false, true]);
      taken();
    });
  });

  test("stays open on leaving where it is not to be closed", async ({ cluster, start }) => {
    const client = start();
    await enqueue(client, 1);
    await leave(client);
    expect(cluster.sessionOf("c1")).toMatchObject({ closed: false, dormant: false });
  });
});

describe("large commands", () => {
  testOverTcp("of 8 MiB together are all answered over one connection", async ({ start }) => {
    const events: ClientEvent[] = [];
    const client = start({ timeoutMs: 10_000 }, events);
    const payload = new Uint8Array(1024 * 1024);
    const command: Command = { type: "enqueue", queue: "default", jobs: [{ encoding: ENCODING.bytes, payload }] };
    const outcomes = await Promise.all(upTo(8).map(() => submit(client, command)));
    expect(outcomes.map((outcome) => outcome.ok)).toEqual(upTo(8).map(() => true));
    expect(events.map(({ type }) => type)).toEqual(["connected"]);
  });
});

describe("the promise face", () => {
  testOverTcp("enqueues and dequeues values, and integers of any size as text", async ({ cluster }) => {
    const client = await connect({ addresses: cluster.addresses(), id: "lib" });
    expect(await client.enqueue({ a: [1, "ü"] })).toMatchObject({ id: 1, requestNumber: 1 });
    await client.enqueueText("123456789012345678901234567890");
    expect(await client.dequeue()).toMatchObject({ id: 1, value: { a: [1, "ü"] }, text: '{"a":[1,"ü"]}' });
    expect((await client.dequeue())?.text).toBe("123456789012345678901234567890");
    expect(await client.dequeue()).toBeNull();
    expect((await client.status()).state).toBe("leader");
    expect((await client.log({ from: 2, to: 3 })).entries.map(({ index }) => index)).toEqual([2, 3]);
    await client.close();
  });

  testOverTcp("enqueues and dequeues many at once, and peeks", async ({ cluster }) => {
    const client = await connect({ addresses: cluster.addresses(), id: "lib" });
    expect(await client.peek()).toBeNull();
    const enqueued = await client.enqueueAll([1, "two", { three: 3 }]);
    expect(enqueued).toEqual([1, 2, 3].map((id) => ({ id, index: 2, requestNumber: 1 })));
    expect(await client.peek()).toMatchObject({ id: 1, index: 2, value: 1, text: "1" });
    const jobs = await client.dequeueUpTo(2);
    expect(jobs).toMatchObject([
      { id: 1, index: 3, requestNumber: 2, value: 1 },
      { id: 2, index: 3, requestNumber: 2, text: '"two"' },
    ]);
    expect(await client.dequeueUpTo(1_000)).toMatchObject([{ id: 3, value: { three: 3 } }]);
    expect(await client.dequeueUpTo(1)).toEqual([]);
    const tooMuch = [0, 1].map(() => "x".repeat(WIRE.maxPayloadBytes / 2));
    for (const refused of [
      client.enqueueAll([]),
      client.enqueueAll(Array.from({ length: 1_001 }, () => 1)),
      client.enqueueAll([() => 1]),
      client.dequeueUpTo(0),
      client.dequeueUpTo(1_001),
    ])
      expect(await refused.catch((error: unknown) => error)).toMatchObject({ code: "USAGE" });
    expect(await client.dequeueUpTo(1_001).catch((error: unknown) => error)).toMatchObject({
      message: "one request has 1 to 1000 jobs, not 1001",
    });
    expect(await client.enqueueAll(tooMuch).catch((error: unknown) => error)).toMatchObject({ code: "TOO_LARGE" });
    expect(cluster.received).toHaveLength(4);
    await client.close();
  });

  testOverTcp(
    "refuses at once, and by name, what JSON would change, what is no JSON, and what is too large",
    async ({ cluster }) => {
      const client = await connect({ addresses: cluster.addresses(), id: "lib" });
      const large = WIRE.maxPayloadBytes + 1;
      const tooLarge = { code: "TOO_LARGE", applied: "no", message: expect.stringContaining(`has ${large} bytes`) };
      const misused = (message: string): object => ({ code: "USAGE", message: expect.stringContaining(message) });
      const refusals: readonly (readonly [Promise<unknown>, object])[] = [
        [client.enqueue({ items: [0, 1, 2, NaN] }), misused("value.items[3] is NaN")],
        [client.enqueueAll([1, { a: new Map() }]), misused("values[1].a is a Map")],
        [client.enqueueText("{"), misused("takes a JSON text")],
        [client.enqueueText('"\ud83d"'), misused("half of a surrogate pair")],
        [client.enqueue("x".repeat(large - 2)), tooLarge],
        [client.enqueueText(`"${"x".repeat(large - 2)}"`), tooLarge],
        [client.enqueueText(`"${"ü".repeat((large - 2) / 2)}x"`), tooLarge],
        [client.enqueueAll(["x".repeat(large - 3), 1]), tooLarge],
      ];
      for (const [refused, why] of refusals) expect(await refused.catch((error: unknown) => error)).toMatchObject(why);
      await client.enqueue("x".repeat(large - 3));
      expect(cluster.received.map(({ number }) => number)).toEqual([1]);
      await client.close();
    },
  );

  testOverTcp(
    "gives a job whose producer only claimed that it is JSON as bytes, and the jobs around it",
    async ({ cluster }) => {
      const client = await connect({ addresses: cluster.addresses(), id: "lib" });
      const payloads = [[0x7b], [0x31], [0x7b], [0x22, 0xff, 0x22]].map((bytes) => Uint8Array.from(bytes));
      for (const [id, payload] of payloads.entries()) cluster.queue.push({ id, encoding: ENCODING.json, payload });
      cluster.queue.push({ id: 4, encoding: ENCODING.bytes, payload: Uint8Array.of(0x31) });
      expect(await client.dequeue()).toMatchObject({ id: 0, value: undefined, text: null, bytes: { length: 1 } });
      const shown = (await client.dequeueUpTo(10)).map(({ value, text, bytes }) => [value, text, bytes.length]);
      expect(shown).toEqual([
        [1, "1", 1],
        [undefined, null, 1],
        [undefined, null, 3],
        [undefined, null, 1],
      ]);
      await client.close();
    },
  );

  testOverTcp(
    "gives what an earlier process of its id may not have had, once, and goes on behind it",
    async ({ cluster, start, until }) => {
      const first = start({ clientId: "lib" });
      await enqueue(first, 1);
      await submit(first, TAKE);
      const failed: Command = { type: "dequeue", queues: ["default"], max: 1, maxBytes: 1, leaseMs: 0, waitMs: 0 };
      cluster.fate = (message) => (message.type === "request" && message.number === 3 ? "lose" : "pass");
      // As a process that is killed while it waits: it sends nothing any more.
      const lost = submit(first, failed);
      await until(() => cluster.received.length >= 3);
      cluster.fate = () => "pass";
      const client = await connect({ addresses: cluster.addresses(), id: "lib" });
      // Of the first, the second request reported that its answer was there.
      expect(client.earlier).toMatchObject([{ type: "dequeued", requestNumber: 2, jobs: [{ id: 1, value: 1 }] }]);
      expect(await client.enqueue(2)).toMatchObject({ requestNumber: 3 });
      await client.close();
      const second = await connect({ addresses: cluster.addresses(), id: "lib" });
      expect(second.earlier).toEqual([]);
      await second.close();
      await leave(first);
      expect(failureOf(await lost)).toMatchObject({ applied: "unknown" });
    },
  );

  testOverTcp(
    "acknowledges nothing of what an earlier process left when it could not fetch all of it",
    async ({ cluster, start }) => {
      const first = start({ clientId: "lib" });
      await enqueue(first, 1);
      await enqueue(first, 2);
      const two = [submit(first, TAKE), submit(first, TAKE)];
      await Promise.all(two);
      cluster.fate = (message) => (message.type === "request" && message.number === 4 ? "lose" : "pass");
      const failed = await connect({ addresses: cluster.addresses(), id: "lib", timeoutMs: 300 }).catch(
        (e: unknown) => e,
      );
      expect(failed).toMatchObject({ code: "TIMEOUT" });
      cluster.fate = () => "pass";
      const client = await connect({ addresses: cluster.addresses(), id: "lib" });
      expect(
        client.earlier.flatMap((answer) => (answer.type === "dequeued" ? answer.jobs : [])).map(({ id }) => id),
      ).toEqual([1, 2]);
      await client.close();
    },
  );

  testOverTcp(
    "keeps what comes after an unknown outcome: a job that was taken is given late, or to the next process",
    async ({ cluster }) => {
      cluster.queue.push({ id: 1, encoding: ENCODING.json, payload: new TextEncoder().encode("1") });
      cluster.queue.push({ id: 2, encoding: ENCODING.json, payload: new TextEncoder().encode("2") });
      const client = await connect({ addresses: cluster.addresses(), id: "lib", timeoutMs: 100 });
      cluster.fate = (message) => (message.type === "request" ? "executeAndLose" : "pass");
      expect(await client.dequeue().catch((error: unknown) => error)).toMatchObject({
        code: "TIMEOUT",
        applied: "unknown",
      });
      cluster.fate = () => "pass";
      await client.enqueue(3);
      expect(client.earlier).toMatchObject([{ type: "dequeued", requestNumber: 1, jobs: [{ id: 1 }] }]);
      cluster.fate = (message) => (message.type === "request" ? "executeAndLose" : "pass");
      expect(await client.dequeue().catch((error: unknown) => error)).toMatchObject({ applied: "unknown" });
      await client.close();
      cluster.fate = () => "pass";
      const next = await connect({ addresses: cluster.addresses(), id: "lib" });
      expect(next.earlier.at(-1)).toMatchObject({ type: "dequeued", requestNumber: 3, jobs: [{ id: 2 }] });
      await next.close();
    },
  );

  testOverTcp("rejects with code, what is known of the effect, and the number", async ({ cluster }) => {
    const client = await connect({ addresses: cluster.addresses(), id: "lib", timeoutMs: 150 });
    cluster.fate = () => "lose";
    const failed = await client.enqueue(1).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(RequestFailed);
    expect(failed).toMatchObject({ code: "TIMEOUT", applied: "unknown", requestNumber: 1 });
    await client.close();
  });
});
