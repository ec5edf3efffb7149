// What do nodes do for the sessions of their clients without being asked? They keep those alive that are connected, make room when there
// are many, forget what is due, and start every cluster with limits that all of it keeps.
import { expect, test } from "bun:test";
import { QUEUE } from "../../src/config.ts";
import { decodeTouch, RESOLVE } from "../../src/queue/commands.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import type { Reply } from "../../src/queue/types.ts";
import { fieldsOf } from "../../src/raft/entry.ts";
import { nonce } from "../kit/queue-log.ts";
import { OPEN } from "../kit/messages.ts";
import { createTestCluster, isLeader, portOf, type TestCluster, type TestNode } from "../kit/test-cluster.ts";
import { NONCE, type Question, replyOf, request, type TestClient } from "../kit/test-client.ts";

const CLIENT = { role: "client", node: null, clusterId: null } as const;
const eventsOf = ({ logged }: TestNode, event: string): readonly string[] =>
  logged.filter((line) => line.event === event).map(({ text }) => text);
const kindsOf = ({ node }: TestNode): readonly string[] =>
  node.inspect()?.raft.log.entries.map(({ kind }) => kind) ?? [];

function alone(limits: Partial<QueueLimits>): { readonly testCluster: TestCluster; readonly node: TestNode } {
  const testCluster = createTestCluster(1, 1, { queueLimits: { ...QUEUE, ...limits } });
  const node = testCluster.start(3000);
  testCluster.until(() => isLeader(node) && kindsOf(node).includes("version"));
  return { testCluster, node };
}

/** The reply, or the code of the failure. */
function ask(testClient: TestClient, question: Question): Reply | string {
  const answer = testClient.ask(question);
  if (answer?.type === "failure") return answer.failure.code;
  const reply = replyOf(answer);
  return reply.type === "refused" ? reply.code : reply;
}

const settle = (testClient: TestClient, session: number, number = 1): Reply | string =>
  ask(testClient, request(session, number, RESOLVE));
const close = (testClient: TestClient, session: number): Reply | string =>
  ask(testClient, { type: "close", group: 0, session, acknowledgedThrough: 0 });
/** A client that opens a session and is killed. */
function passing(testCluster: TestCluster, clientId: string): Reply | string {
  const testClient = testCluster.visit(3000, CLIENT);
  const reply = ask(testClient, { ...OPEN, clientId, nonce: NONCE });
  testClient.close();
  return reply;
}

test("a client that is connected and silent keeps its session and its answers, while others work past the expiry", () => {
  const { testCluster, node } = alone({ sessionExpiryMs: 8_000 });
  const [silent, busy] = [testCluster.visit(3000, CLIENT), testCluster.visit(3000, CLIENT)];
  const session = silent.openSession("silent");
  const first = settle(silent, session);
  const gone = testCluster.visit(3000, CLIENT);
  const lost = gone.openSession("gone");
  gone.close();
  const other = busy.openSession("busy");
  for (let number = 1; number <= 20; number++) {
    testCluster.pass(1_000);
    settle(busy, other, number);
  }
  expect(settle(silent, session)).toEqual(first);
  expect(settle(busy, lost)).toBe("SESSION_EXPIRED");
  expect(node.node.status()?.sessions).toBe(2);
  // One entry for all of them, an eighth of the expiry apart.
  expect(kindsOf(node).filter((kind) => kind === "touch").length).toBeLessThan(25);
});

test("thousands of client ids that never come back keep nobody out, and no connected client loses its session", () => {
  const { testCluster, node } = alone({ maxSessions: 20, maxClientIds: 2_000, dormantAfterMs: 600 });
  const silent = testCluster.visit(3000, CLIENT);
  const session = silent.openSession("silent");
  let refused = 0;
  for (let client = 0; client < 400; client++) {
    // As a client does: it waits a little, and asks again.
    while (passing(testCluster, `pod-${client}`) === "SESSIONS_FULL") {
      refused++;
      testCluster.pass(200);
    }
  }
  const { sessions, dormantSessions } = node.node.status() ?? {};
  expect([sessions, (sessions ?? 0) + (dormantSessions ?? 0)]).toEqual([20, 401]);
  expect(refused).toBeLessThan(400);
  expect(settle(silent, session)).toMatchObject({ type: "void" });
  expect(eventsOf(node, "sessions")).toEqual([
    "16 of 20 sessions are live: when all are, those that nobody has used for the longest become dormant",
  ]);
});

test("clients that all come in one moment do not push out one that is connected", () => {
  const { testCluster } = alone({ maxSessions: 10, dormantAfterMs: 500 });
  const silent = testCluster.visit(3000, CLIENT);
  const session = silent.openSession("silent");
  // Nobody touched it since: there was no crowd.
  testCluster.pass(5_000);
  const crowd = testCluster.visit(3000, CLIENT);
  for (let client = 0; client < 12; client++)
    crowd.send({ ...OPEN, frameId: 1_000_000 + client, clientId: `c${client}`, nonce: nonce(1) });
  testCluster.until(() => crowd.received.length === 13);
  expect(settle(silent, session)).toMatchObject({ type: "void" });
});

test("from 80 % of the client ids on a leader warns once, and again only after there were fewer", () => {
  const { testCluster, node } = alone({ maxSessions: 100, maxClientIds: 10, generatedExpiryMs: 1_000 });
  const testClient = testCluster.visit(3000, CLIENT);
  const ids = Array.from({ length: 8 }, (_, at) => testClient.openSession(`g${at}`, { generated: true }));
  testCluster.pass(100);
  const WARNING =
    "8 of 10 client ids are in use: when all are, new ones are refused until old ones are forgotten. Use an --id again instead of a new one each time";
  expect(eventsOf(node, "sessions")).toEqual([WARNING]);
  for (const id of ids.slice(0, 1)) close(testClient, id);
  testClient.openSession("again", { generated: true });
  testCluster.pass(100);
  expect(eventsOf(node, "sessions")).toEqual([WARNING]);
  for (const id of ids.slice(1, 3)) close(testClient, id);
  testCluster.pass(100);
  for (const id of ["x", "y"]) testClient.openSession(id);
  testCluster.pass(100);
  expect(eventsOf(node, "sessions")).toEqual([WARNING, WARNING]);
});

test("what is due happens although nobody asks anything, by a tick for each moment and none when nothing is due", () => {
  const { testCluster, node } = alone({
    maxSessions: 5,
    dormantAfterMs: 50,
    generatedExpiryMs: 4_000,
    sessionExpiryMs: 60_000,
  });
  for (let client = 0; client < 50; client++) {
    testCluster.pass(60);
    const testClient = testCluster.visit(3000, CLIENT);
    testClient.openSession(`g${client}`, { generated: true });
    testClient.close();
  }
  expect(node.node.status()?.dormantSessions).toBe(45);
  const ticks = (): number => kindsOf(node).filter((kind) => kind === "tick").length;
  const before = ticks();
  testCluster.pass(8_000);
  expect([node.node.status()?.sessions, node.node.status()?.dormantSessions]).toEqual([5, 0]);
  const made = ticks() - before;
  expect(made).toBeGreaterThan(1);
  expect(made).toBeLessThanOrEqual(46);
  testCluster.pass(9_000);
  expect(ticks() - before - made).toBeLessThan(3);
  testCluster.pass(60_000);
  expect(node.node.status()?.sessions).toBe(0);
});

test("a client that asks nothing is sent to the leader by a node that leads no more, and only then", () => {
  const testCluster = createTestCluster(3);
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => testCluster.start(port, ports, 3));
  testCluster.until(() => nodes.some(isLeader));
  const leader = nodes.find(isLeader) as TestNode;
  const [idle, stranger, follower] = [leader, leader, nodes.find((node) => node !== leader) as TestNode].map((node) =>
    testCluster.visit(portOf(node)),
  ) as [TestClient, TestClient, TestClient];
  testCluster.until(() => kindsOf(leader).includes("version"));
  idle.openSession("c1");
  testCluster.pass(2_000);
  expect([idle.closed, stranger.closed, follower.closed]).toEqual([[], [], []]);
  stranger.send({ type: "transfer", frameId: 1, to: null });
  testCluster.until(() => !isLeader(leader) && nodes.some(isLeader));
  const next = nodes.find(isLeader) as TestNode;
  testCluster.until(() => idle.closed.length > 0);
  testCluster.pass(1_000);
  expect(idle.closed).toMatchObject([{ code: "NOT_LEADER", leader: next.node.status()?.node.address }]);
  expect([stranger.closed, follower.closed]).toEqual([[], []]);
});

test("a cluster has the limits that it started with, whatever its nodes are started with later", () => {
  const { testCluster, node } = alone({ maxSessions: 1 });
  testCluster.visit(3000, CLIENT).openSession("c1");
  testCluster.end(3000, "kill");
  const again = testCluster.start(3000, [], null, { queueLimits: QUEUE });
  testCluster.until(() => isLeader(again) && again.node.inspect()?.queue.sessionCount === 1);
  expect(again.node.inspect()?.queue.limits).toEqual({ ...QUEUE, maxSessions: 1 });
  expect(ask(testCluster.visit(3000, CLIENT), { ...OPEN, clientId: "c2", nonce: NONCE })).toBe("SESSIONS_FULL");
  expect(kindsOf(again).filter((kind) => kind === "version")).toEqual(["version"]);
  expect(node.stopped()).toBeUndefined();
});

test("a founder that is stopped before the cluster has its limits leaves them to the next leader, and stands still for nobody", () => {
  for (let seed = 1; seed <= 5; seed++) {
    const testCluster = createTestCluster(seed);
    const ports = [3000, 3001, 3002];
    const nodes = ports.map((port) => testCluster.start(port, ports, 3));
    testCluster.until(() => nodes.some(isLeader));
    const leader = nodes.find(isLeader) as TestNode;
    leader.node.stop();
    let atOneMoment = 0;
    for (let now = testCluster.clock.now(); leader.stopped() === undefined;) {
      expect(atOneMoment).toBeLessThan(1_000);
      testCluster.step();
      atOneMoment = testCluster.clock.now() === now ? atOneMoment + 1 : 0;
      now = testCluster.clock.now();
    }
    const others = nodes.filter((node) => node !== leader);
    testCluster.until(() => others.some((node) => isLeader(node) && (node.node.inspect()?.queue.version ?? 0) > 0));
    const next = others.find(isLeader) as TestNode;
    expect(typeof testCluster.visit(portOf(next), CLIENT).openSession("c1")).toBe("number");
  }
});

test("touches name the sessions that are live, not those that were", () => {
  const { testCluster, node } = alone({ sessionExpiryMs: 8_000 });
  const testClient = testCluster.visit(3000, CLIENT);
  for (let client = 0; client < 200; client++) {
    const session = testClient.openSession(`g${client}`, { generated: true });
    close(testClient, session);
  }
  const kept = testClient.openSession("kept");
  testCluster.pass(2_000);
  const touches = node.node.inspect()?.raft.log.entries.filter(({ kind }) => kind === "touch") ?? [];
  expect(decodeTouch(fieldsOf(touches.at(-1)!).body)).toEqual([kept]);
});
