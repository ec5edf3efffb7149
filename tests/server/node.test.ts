// What does a node answer, and how do nodes find each other? Real nodes on simulated disks, clocks and network.
import { describe, expect, test } from "bun:test";
import { QUEUE, WIRE } from "../../src/config.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import type { NodeId } from "../../src/raft/types.ts";
import type { Message } from "../../src/wire/connection.ts";
import { createTestCluster, isLeader, leaderOf, portOf, type TestNode } from "../kit/test-cluster.ts";
import { OPEN } from "../kit/messages.ts";
import { dequeueCommand, enqueueCommand, NONCE, replyOf, request as requestOf } from "../kit/test-client.ts";

const DEQUEUE = dequeueCommand();

const request = (frameId: number, session: number, number: number, command: Uint8Array, acknowledgedThrough = 0) => ({
  ...requestOf(session, number, command, acknowledgedThrough),
  frameId,
});

/** A cluster with one node that leads, a client there, and its session. */
function alone() {
  const testCluster = createTestCluster();
  const one = testCluster.start(3000);
  testCluster.until(() => isLeader(one));
  const testClient = testCluster.visit(3000);
  return { testCluster, one, testClient, session: testClient.openSession("c1") };
}

/** Three founders, and who leads them. */
function three() {
  const testCluster = createTestCluster(3);
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => testCluster.start(port, ports, 3));
  testCluster.until(() => leaderOf(nodes) !== undefined);
  const leader = leaderOf(nodes) as TestNode;
  return { testCluster, nodes, leader, others: nodes.filter((node) => node !== leader) };
}

describe("one node", () => {
  test("that stops answers what it has accepted, and refuses what comes later", () => {
    const { testCluster, one, testClient, session } = alone();
    const another = testCluster.visit(3000);
    const resume = testCluster.hang(3000);
    testClient.send(request(2, session, 1, enqueueCommand("accepted")));
    testCluster.pass(20);
    one.node.stop();
    testCluster.pass(20);
    testClient.send(request(3, session, 2, enqueueCommand("too late")));
    another.send({ ...OPEN, nonce: NONCE, clientId: "c2", frameId: 1 });
    another.send({ type: "status", linearizable: false, frameId: 2 });
    testCluster.pass(20);
    const message = "n3000 is stopping, and takes no new requests";
    const refused = { type: "failure", failure: { code: "NO_LEADER", applied: "no", message } };
    expect(testClient.answerTo(2)).toBeUndefined();
    expect(testClient.answerTo(3)).toMatchObject(refused);
    expect(another.answerTo(1)).toMatchObject(refused);
    expect(another.answerTo(2)).toMatchObject({ type: "statusAnswer" });
    resume();
    testCluster.until(() => one.stopped() !== undefined);
    expect(one.stopped()).toBeNull();
    expect(replyOf(testClient.answerTo(2))).toMatchObject({ type: "enqueued" });
  });

  test("answers in order, and a retry with the same bytes", () => {
    const { testCluster, testClient, session } = alone();
    testClient.send(request(2, session, 1, enqueueCommand("42")));
    testClient.send(request(3, session, 2, DEQUEUE));
    testClient.send(request(4, session, 3, DEQUEUE));
    testCluster.until(() => testClient.answerTo(4) !== undefined);
    expect(replyOf(testClient.answerTo(2))).toMatchObject({ type: "enqueued", firstId: 1 });
    expect(replyOf(testClient.answerTo(3))).toMatchObject({ type: "dequeued", jobs: [{ id: 1 }] });
    expect(replyOf(testClient.answerTo(4))).toMatchObject({ type: "dequeued", jobs: [] });
    testClient.send(request(5, session, 2, DEQUEUE));
    testCluster.until(() => testClient.answerTo(5) !== undefined);
    const [first, again] = [testClient.answerTo(3), testClient.answerTo(5)];
    expect(again).toMatchObject({ type: "reply", duplicate: true });
    expect(again?.type === "reply" && first?.type === "reply" && Buffer.compare(again.reply, first.reply)).toBe(0);
  });

  test("a resolve of a number that was answered acknowledges, and gives the number's answer once more", () => {
    const { testCluster, testClient, session } = alone();
    testClient.send(request(2, session, 1, enqueueCommand("42")));
    testClient.send(request(3, session, 2, DEQUEUE));
    testCluster.until(() => testClient.answerTo(3) !== undefined);
    const resolve = encodeCommand({ type: "resolve" });
    testClient.send(request(4, session, 2, resolve, 2));
    testCluster.until(() => testClient.answerTo(4) !== undefined);
    expect(replyOf(testClient.answerTo(4))).toMatchObject({ type: "dequeued", jobs: [{ id: 1 }] });
    testClient.send(request(5, session, 2, resolve));
    testClient.send({ ...OPEN, frameId: 6, clientId: "c1", nonce: NONCE.map((byte) => byte + 1) });
    testCluster.until(() => testClient.answerTo(6) !== undefined);
    expect(testClient.answerTo(5)).toMatchObject({ type: "failure", failure: { code: "FORGOTTEN" } });
    expect(replyOf(testClient.answerTo(6))).toMatchObject({ type: "opened", lastNumber: 2, acknowledgedThrough: 2 });
  });

  test("a number that comes twice while it is under way is one entry, and both get its answer", () => {
    const { testCluster, one, testClient, session } = alone();
    const before = one.node.status()?.lastIndex ?? 0;
    const other = testCluster.visit(3000);
    testClient.send(request(2, session, 1, enqueueCommand("7")));
    other.send(request(2, session, 1, enqueueCommand("7")));
    testCluster.until(() => testClient.answerTo(2) !== undefined && other.answerTo(2) !== undefined);
    expect(replyOf(testClient.answerTo(2))).toEqual(replyOf(other.answerTo(2)));
    expect(one.node.status()?.ready).toBe(1);
    expect((one.node.status()?.lastIndex ?? 0) - before).toBeLessThanOrEqual(2);
  });

  test("a number with another command is a conflict, under way as well as executed", () => {
    const { testCluster, testClient, session } = alone();
    testClient.send(request(2, session, 1, enqueueCommand("7")));
    testClient.send(request(3, session, 1, enqueueCommand("8")));
    testCluster.until(() => testClient.answerTo(3) !== undefined);
    expect(testClient.answerTo(3)).toMatchObject({ type: "failure", failure: { code: "CONFLICT", applied: "no" } });
    testCluster.until(() => testClient.answerTo(2) !== undefined);
    testClient.send(request(4, session, 1, enqueueCommand("8")));
    testCluster.until(() => testClient.answerTo(4) !== undefined);
    expect(testClient.answerTo(4)).toMatchObject({ type: "failure", failure: { code: "CONFLICT" } });
  });

  test("a gap in the numbers is refused and leaves no trace in the log", () => {
    const { testCluster, one, testClient, session } = alone();
    const before = one.node.status()?.lastIndex;
    testClient.send(request(2, session, 2, enqueueCommand("2")));
    testCluster.until(() => testClient.answerTo(2) !== undefined);
    expect(testClient.answerTo(2)).toMatchObject({
      type: "failure",
      failure: { code: "OUT_OF_ORDER", applied: "no" },
    });
    expect(one.node.status()?.lastIndex).toBe(before ?? -1);
  });

  test("a malformed command is its number's answer, and the numbers behind it go on", () => {
    const { testCluster, testClient, session } = alone();
    testClient.send(request(2, session, 1, new Uint8Array([0x93, 0xff])));
    testClient.send(request(3, session, 2, enqueueCommand("2")));
    testCluster.until(() => testClient.answerTo(3) !== undefined);
    expect(replyOf(testClient.answerTo(2))).toMatchObject({ type: "refused", code: "BAD_REQUEST" });
    expect(replyOf(testClient.answerTo(3))).toMatchObject({ type: "enqueued" });
  });

  test("a read sees everything that was sent before it on the connection and answered", () => {
    const { testCluster, testClient, session } = alone();
    testClient.send(request(2, session, 1, enqueueCommand("2")));
    testCluster.until(() => testClient.answerTo(2) !== undefined);
    testClient.send({ type: "log", frameId: 3, from: 1, to: 0, local: false });
    testCluster.until(() => testClient.answerTo(3) !== undefined);
    const page = testClient.answerTo(3);
    expect(page).toMatchObject({ type: "logAnswer", page: { more: false } });
    expect(page?.type === "logAnswer" && page.page.entries.at(-1)).toMatchObject({
      client: "c1",
      requestNumber: 1,
      kind: "command",
    });
  });

  test("as many jobs as one request may hold, as large as they may be together, come in and go out by one request each", () => {
    const { testCluster, testClient, session } = alone();
    const sizes = Array.from({ length: QUEUE.maxJobsPerCommand }, () =>
      Math.floor(WIRE.maxPayloadBytes / QUEUE.maxJobsPerCommand),
    );
    sizes[0] = WIRE.maxPayloadBytes - sizes.slice(1).reduce((sum, size) => sum + size, 0);
    const jobs = sizes.map((size, at) => ({ encoding: 1, payload: new Uint8Array(size).fill(at % 251) }));
    const most = { max: QUEUE.maxJobsPerCommand, maxBytes: WIRE.maxPayloadBytes, leaseMs: 0, waitMs: 0 };
    testClient.send(request(2, session, 1, encodeCommand({ type: "enqueue", queue: "default", jobs })));
    testClient.send(request(3, session, 2, encodeCommand({ type: "dequeue", queues: ["default"], ...most })));
    testCluster.until(() => testClient.answerTo(3) !== undefined);
    expect(replyOf(testClient.answerTo(2))).toMatchObject({ type: "enqueued", firstId: 1, count: jobs.length });
    const reply = replyOf(testClient.answerTo(3));
    const out = reply.type === "dequeued" ? reply.jobs : [];
    expect(out.map(({ id }) => id)).toEqual(jobs.map((_, at) => at + 1));
    expect(out.every(({ payload }, at) => Buffer.compare(payload, jobs[at]!.payload) === 0)).toBe(true);
    // One more than may be is refused as the number's answer, and nothing of it is kept.
    const tooMany = encodeCommand({ type: "enqueue", queue: "default", jobs: [...jobs.slice(1), jobs[1]!, jobs[1]!] });
    testClient.send(request(4, session, 3, tooMany));
    testClient.send({ type: "peek", frameId: 5 });
    testCluster.until(() => testClient.answerTo(4) !== undefined && testClient.answerTo(5) !== undefined);
    expect(replyOf(testClient.answerTo(4))).toMatchObject({ type: "refused", code: "BAD_REQUEST" });
    expect(testClient.answerTo(5)).toMatchObject({ peeked: { job: null, ready: 0 } });
  });

  test("peek shows the oldest job and leaves it there, and no entry in the log", () => {
    const { testCluster, one, testClient, session } = alone();
    testClient.send({ type: "peek", frameId: 2 });
    testClient.send(request(3, session, 1, enqueueCommand("42")));
    testClient.send(request(4, session, 2, enqueueCommand("43")));
    testCluster.until(() => testClient.answerTo(4) !== undefined && testClient.answerTo(2) !== undefined);
    expect(testClient.answerTo(2)).toMatchObject({ type: "peekAnswer", peeked: { appliedIndex: session } });
    const { lastIndex } = one.node.status() ?? {};
    for (const frameId of [5, 6]) {
      testClient.send({ type: "peek", frameId });
      testCluster.until(() => testClient.answerTo(frameId) !== undefined);
      const payload = new TextEncoder().encode("42");
      const peeked = { job: { id: 1, encoding: 1, payload }, ready: 2, appliedIndex: session + 2 };
      expect(testClient.answerTo(frameId)).toEqual({ type: "peekAnswer", frameId, peeked });
    }
    expect(one.node.status()?.lastIndex).toBe(lastIndex!);
    testClient.send(request(7, session, 3, DEQUEUE));
    testClient.send(request(8, session, 4, DEQUEUE));
    testCluster.until(() => testClient.answerTo(8) !== undefined);
    testClient.send({ type: "peek", frameId: 9 });
    testCluster.until(() => testClient.answerTo(9) !== undefined);
    expect(testClient.answerTo(9)).toMatchObject({ peeked: { job: null, ready: 0, appliedIndex: session + 4 } });
  });

  test("the log names the client of an entry also when its session is closed", () => {
    const { testCluster, testClient, session } = alone();
    testClient.send(request(2, session, 1, enqueueCommand("2")));
    testCluster.until(() => testClient.answerTo(2) !== undefined);
    testClient.send({ type: "close", frameId: 3, group: 0, session, acknowledgedThrough: 0 });
    testCluster.until(() => testClient.answerTo(3) !== undefined);
    testClient.send({ type: "log", frameId: 4, from: 1, to: 0, local: false });
    testCluster.until(() => testClient.answerTo(4) !== undefined);
    const page = testClient.answerTo(4);
    const entries = page?.type === "logAnswer" ? page.page.entries : [];
    expect(entries.slice(-2).map(({ kind, client }) => [kind, client])).toEqual([
      ["command", "c1"],
      ["close", "c1"],
    ]);
  });

  test("its uptime is its own time, from 0 at each start, whatever the wall clock shows", () => {
    const testCluster = createTestCluster();
    for (let starts = 0; starts < 2; starts++) {
      const before = testCluster.clock.now();
      const one = testCluster.start(3000);
      testCluster.until(() => one.node.status() !== null);
      testCluster.pass(starts === 0 ? 5_000 : 10);
      const lived = testCluster.clock.now() - before;
      const { uptimeMs = -1 } = one.node.status() ?? {};
      expect(uptimeMs).toBeGreaterThanOrEqual(0);
      expect(Math.abs(uptimeMs - lived)).toBeLessThanOrEqual(1);
      testCluster.end(3000, "kill");
    }
  });

  test("what was acknowledged is there after a power cut", () => {
    const { testCluster, testClient, session } = alone();
    testClient.send(request(2, session, 1, enqueueCommand("42")));
    testCluster.until(() => testClient.answerTo(2) !== undefined);
    testCluster.end(3000, "powerCut");
    const again = testCluster.start(3000);
    testCluster.until(() => isLeader(again) && again.node.status()?.ready === 1);
    expect(again.node.clusterId()).not.toBeNull();
  });
});

describe("three nodes", () => {
  test("found one cluster together, and followers name the leader", () => {
    const { testCluster, nodes, leader, others } = three();
    expect(new Set(nodes.map(({ node }) => node.clusterId())).size).toBe(1);
    const [follower] = others as [TestNode];
    const testClient = testCluster.visit(portOf(follower));
    testClient.send({ ...OPEN, frameId: 1, clientId: "c1", nonce: NONCE });
    testCluster.until(() => testClient.answerTo(1) !== undefined);
    const answer = testClient.answerTo(1);
    expect(answer).toMatchObject({
      type: "failure",
      failure: { code: "NOT_LEADER", leader: `127.0.0.1:${portOf(leader)}` },
    });
  });

  test("reads that come together cost one round of heartbeats, and followers name the leader", () => {
    const { testCluster, leader, others } = three();
    const raft = () => leader.node.inspect()!.raft;
    const testClient = testCluster.visit(portOf(leader));
    // Behind the first entry of its term, and the cluster's version.
    testCluster.until(() => raft().commitIndex > (raft().leadership?.noopIndex ?? Infinity));
    const { readContext } = raft().leadership!;
    const { lastIndex } = raft();
    for (let frameId = 1; frameId <= 200; frameId++) testClient.send({ type: "peek", frameId });
    testCluster.until(() => testClient.answerTo(200) !== undefined);
    expect(testClient.received.filter(({ type }) => type === "peekAnswer")).toHaveLength(200);
    expect(raft().leadership!.readContext - readContext).toBeLessThan(10);
    expect(raft().lastIndex).toBe(lastIndex);
    const elsewhere = testCluster.visit(portOf(others[0]!));
    elsewhere.send({ type: "peek", frameId: 1 });
    testCluster.until(() => elsewhere.answerTo(1) !== undefined);
    expect(elsewhere.answerTo(1)).toMatchObject({ failure: { code: "NOT_LEADER" } });
  });

  test("a leader without its majority confirms no peek, and refuses it", () => {
    const { testCluster, leader } = three();
    const testClient = testCluster.visit(portOf(leader));
    testClient.send({ type: "peek", frameId: 1 });
    testCluster.until(() => testClient.answerTo(1) !== undefined);
    const inside = new Set([leader.node.id as string, "client"]);
    testCluster.network.cut((from, to) => inside.has(from) !== inside.has(to), false);
    testClient.send({ type: "peek", frameId: 2 });
    testCluster.until(() => testClient.answerTo(2) !== undefined);
    expect(testClient.answerTo(2)).toMatchObject({ type: "failure", failure: { applied: "no" } });
  });

  test("only a leader that a majority confirms answers that a session is over which it does not know (seed 6004973)", () => {
    const { testCluster, leader } = three();
    testCluster.pass(500);
    const testClient = testCluster.visit(portOf(leader));
    const applied = leader.node.inspect()?.queue.appliedIndex ?? 0;
    const unknown = (frameId: number): Message | undefined => {
      testClient.send(request(frameId, applied + 1_000, 1, DEQUEUE));
      testCluster.until(() => testClient.answerTo(frameId) !== undefined);
      return testClient.answerTo(frameId);
    };
    const before = leader.node.status()?.lastIndex;
    expect(unknown(1)).toMatchObject({ type: "failure", failure: { code: "SESSION_EXPIRED", applied: "no" } });
    expect(leader.node.status()?.lastIndex).toBe(before);
    // The next leader may have opened it meanwhile.
    const inside = new Set([leader.node.id as string, "client"]);
    testCluster.network.cut((from, to) => inside.has(from) !== inside.has(to), false);
    expect(unknown(2)).toMatchObject({ type: "failure", failure: { applied: "no" } });
    expect(unknown(2)).not.toMatchObject({ failure: { code: "SESSION_EXPIRED" } });
  });

  test("a graceful stop hands over first, and another leads at once", () => {
    const { testCluster, nodes, leader, others } = three();
    testCluster.pass(500);
    leader.node.stop();
    const since = testCluster.clock.now();
    testCluster.until(() => leaderOf(others) !== undefined);
    expect(testCluster.clock.now() - since).toBeLessThan(100);
    testCluster.until(() => leader.stopped() !== undefined);
    expect(leader.stopped()).toBeNull();
    expect(nodes.length).toBe(3);
  });

  test("after a long silence of the network, members are dialed anew: a system that sends lost bytes again waits longer each time", () => {
    const { testCluster, nodes } = three();
    testCluster.pass(500);
    const heal = testCluster.network.cut(() => true, true);
    testCluster.pass(7_000);
    heal();
    const since = testCluster.clock.now();
    testCluster.until(
      () => leaderOf(nodes) !== undefined && nodes.every(({ node }) => node.inspect()?.raft.leader !== null),
    );
    expect(testCluster.clock.now() - since).toBeLessThan(2_000);
  });

  test("a leader without its majority steps down, and then nobody is promised anything", () => {
    const { testCluster, leader } = three();
    testCluster.pass(500);
    const testClient = testCluster.visit(portOf(leader));
    const inside = new Set([leader.node.id as string, "client"]);
    testCluster.network.cut((from, to) => inside.has(from) !== inside.has(to), false);
    testClient.send({ ...OPEN, frameId: 1, clientId: "c1", nonce: NONCE });
    testCluster.until(() => testClient.answerTo(1) !== undefined);
    expect(testClient.answerTo(1)).toMatchObject({
      type: "failure",
      failure: { code: "LEADER_CHANGED", applied: "unknown" },
    });
    testClient.send({ ...OPEN, frameId: 2, clientId: "c1", nonce: NONCE });
    testCluster.until(() => testClient.answerTo(2) !== undefined);
    expect(testClient.answerTo(2)).toMatchObject({ type: "failure", failure: { code: "NO_LEADER", applied: "no" } });
  });

  test("requests that wait for an election do not keep the node busy", () => {
    const { testCluster, leader, others } = three();
    testCluster.pass(500);
    const [one, other] = others as [TestNode, TestNode];
    testCluster.end(portOf(leader), "kill");
    testCluster.end(portOf(other), "kill");
    testCluster.until(() => one.node.status()?.leader === null);
    const testClient = testCluster.visit(portOf(one));
    const ask = (frameId: number): void => testClient.send({ ...OPEN, frameId, clientId: "c1", nonce: NONCE });
    const before = testCluster.events();
    for (let frameId = 1; frameId <= 200; frameId++) {
      ask(frameId);
      testCluster.pass(10);
    }
    testCluster.pass(1_000);
    for (let frameId = 1; frameId <= 200; frameId++) {
      expect(testClient.answerTo(frameId)).toMatchObject({ type: "failure", failure: { code: "NO_LEADER" } });
    }
    expect((testCluster.events() - before) / 200).toBeLessThan(20);
  });

  test("fresh founders beside a living member of another cluster join it and never found a second one", () => {
    const testCluster = createTestCluster(5);
    const ports = [3000, 3001, 3002];
    const old = ports.map((port) => testCluster.start(port, ports, 3));
    const fourth = testCluster.start(3003, ports);
    testCluster.until(() => fourth.node.status()?.members.filter(({ role }) => role === "voter").length === 4, 20_000);
    const cluster = fourth.node.clusterId();
    for (const node of old) testCluster.end(portOf(node), "wipe");
    const wiped = ports.map((port) => testCluster.start(port, ports, 3));
    testCluster.pass(20_000);
    for (const { node } of wiped) expect([null, cluster]).toContain(node.clusterId());
    expect(wiped.some(({ logged }) => logged.some(({ event }) => event === "founded"))).toBe(false);
  });

  test("fresh founders that name a node of a cluster that they did not found join nothing, found nothing, and report it", () => {
    const testCluster = createTestCluster(6);
    const ports = [3000, 3001, 3002];
    const living = testCluster.start(3000);
    testCluster.until(() => isLeader(living));
    const fresh = [testCluster.start(3001, ports, 3), testCluster.start(3002, ports, 3)];
    testCluster.until(() => fresh.every(({ stopped }) => stopped() !== undefined));
    for (const { stopped, logged } of fresh) {
      expect(stopped()?.code).toBe("CLUSTER_MISMATCH");
      expect(stopped()?.message).toContain(`127.0.0.1:3000 belongs to cluster ${living.node.clusterId()} already`);
      expect(logged.some(({ event }) => event === "founded" || event === "joining")).toBe(false);
    }
    testCluster.pass(2_000);
    expect(living.node.status()?.members).toHaveLength(1);
  });

  test("a member resumes whatever --expect and --join name, and a new node founds nothing with numbers that do not fit", () => {
    const { testCluster, nodes } = three();
    const cluster = nodes[0]?.node.clusterId();
    for (const node of nodes) testCluster.end(portOf(node), "kill");
    const flags = [
      [[3000, 3001, 3002, 3003], 9],
      [[], 2],
      [[3007], null],
    ] as const;
    const again = flags.map(([join, expected], at) => testCluster.start(3000 + at, join, expected));
    testCluster.until(() => again.every(({ node }) => (node.status()?.commitIndex ?? 0) > 1));
    for (const { node } of again) expect(node.clusterId()).toBe(cluster ?? null);
    const alone = testCluster.start(3005, [], 2);
    testCluster.until(() => alone.stopped() !== undefined);
    expect([alone.stopped()?.code, alone.node.clusterId()]).toEqual(["USAGE", null]);
  });

  test("a founder that dies at any write of the founding is found out after its restart, and nobody is left outside", () => {
    for (let round = 0; round < 24; round++) {
      const testCluster = createTestCluster(40 + round, 60);
      const ports = [3000, 3001, 3002];
      const nodes = ports.map((port) => testCluster.start(port, ports, 3));
      testCluster.pass(300);
      // The first write is the entry, the second the cluster id.
      testCluster.failWrite(3000, 1 + (round % 2));
      testCluster.pass(2_000);
      const first = nodes[0] as TestNode;
      expect(first.stopped()?.code).toBe("DISK_FAILED");
      testCluster.end(3000, "kill");
      nodes[0] = testCluster.start(3000, ports, 3);
      testCluster.until(() => nodes.every(({ node }) => (node.status()?.commitIndex ?? 0) > 1), 20_000);
      expect(new Set(nodes.map(({ node }) => node.clusterId())).size).toBe(1);
    }
  });

  test("a founder that meets one with a lost disk first still takes over the entry that names it", () => {
    const testCluster = createTestCluster(8);
    const ports = [3000, 3001, 3002];
    const nodes = ports.map((port) => testCluster.start(port, ports, 3));
    const [first, late, quick] = nodes as [TestNode, TestNode, TestNode];
    const between = (a: TestNode, b: TestNode) => (from: string, to: string) =>
      (from === a.node.id && to === b.node.id) || (from === b.node.id && to === a.node.id);
    testCluster.until(() => first.node.clusterId() !== null);
    const healFirst = testCluster.network.cut(between(first, late), false);
    const healQuick = testCluster.network.cut(between(quick, late), false);
    testCluster.until(() => quick.node.clusterId() !== null);
    expect(late.node.clusterId()).toBeNull();
    testCluster.end(3000, "wipe");
    const back = testCluster.start(3000, ports, 3);
    testCluster.until(() => back.logged.some(({ event }) => event === "joining"));
    healFirst();
    testCluster.until(() => late.logged.some(({ event }) => event === "joining"));
    healQuick();
    const members = [back, late, quick];
    testCluster.until(() => members.every(({ node }) => (node.status()?.commitIndex ?? 0) > 1), 30_000);
    expect(new Set(members.map(({ node }) => node.clusterId())).size).toBe(1);
  });

  test("a member that reports its new address asks nobody of another cluster to let it in, and does not stop for it", () => {
    const testCluster = createTestCluster(7);
    const ports = [3000, 3001, 3002];
    const nodes = ports.map((port) => testCluster.start(port, ports, 3));
    testCluster.until(() => nodes.every(({ node }) => (node.status()?.commitIndex ?? 0) > 1));
    testCluster.pass(2_000);
    for (const port of ports) testCluster.end(port, port === 3000 ? "kill" : "wipe");
    // Another cluster has taken the places of its neighbours.
    const other = testCluster.start(3001, [3001, 3002], 2, { id: "other" as NodeId });
    testCluster.start(3002, [3001, 3002], 2, { id: "another" as NodeId });
    testCluster.pass(2_000);
    const moved = testCluster.start(3000, [], null, { advertise: "127.0.0.1:3005", port: 3005 });
    testCluster.pass(5_000);
    expect(moved.logged.some(({ event }) => event === "moved")).toBe(true);
    expect(other.node.status()?.members.length).toBe(2);
    expect(moved.stopped()).toBeUndefined();
  });

  test("founders that do not agree on their number all refuse and report why", () => {
    const testCluster = createTestCluster(6);
    const first = testCluster.start(3000, [3000, 3001], 2);
    const second = testCluster.start(3001, [3000, 3001, 3002], 3);
    testCluster.until(() => first.stopped() !== undefined && second.stopped() !== undefined);
    expect(first.stopped()?.code).toBe("USAGE");
    expect(second.stopped()?.message).toContain("expects 3 founders");
  });

  test("a wiped node comes back under its old id and is a voter again", () => {
    const { testCluster, others } = three();
    const [victim] = others as [TestNode];
    const id = victim.node.id;
    testCluster.end(portOf(victim), "wipe");
    const back = testCluster.start(
      portOf(victim),
      [3000, 3001, 3002].filter((port) => port !== portOf(victim)),
    );
    const isVoter = (): boolean =>
      back.node
        .status()
        ?.members.some(
          (member) =>
            member.id === id && member.role === "voter" && member.incarnation === back.node.status()?.node.incarnation,
        ) === true && back.node.status()?.members.length === 3;
    testCluster.until(isVoter, 30_000);
    expect(back.node.status()?.state).not.toBe("learner");
  });

  test("a leader that is cut off refuses no node as removed: the next leader may have let it in", () => {
    const { testCluster, leader } = three();
    testCluster.pass(500);
    const testClient = testCluster.visit(portOf(leader));
    const inside = new Set([leader.node.id as string, "client"]);
    testCluster.network.cut((from, to) => inside.has(from) !== inside.has(to), false);
    const member = { id: "n3009", incarnation: "00000000000000aa", address: "127.0.0.1:3009" } as never;
    testClient.send({ type: "join", frameId: 9, member, comesBack: true });
    testCluster.until(() => testClient.answerTo(9) !== undefined);
    expect(testClient.answerTo(9)).toMatchObject({ type: "failure", failure: { code: "NO_LEADER" } });
  });

  test("a removal that is asked for again is done; who never was a member is unknown", () => {
    const { testCluster, leader, others } = three();
    testCluster.pass(500);
    const [gone] = others as [TestNode];
    const testClient = testCluster.visit(portOf(leader));
    const remove = (frameId: number, ...ids: string[]): Message | undefined => {
      testClient.send({ type: "remove", frameId, ids: ids as NodeId[] });
      testCluster.until(() => testClient.answerTo(frameId) !== undefined);
      return testClient.answerTo(frameId);
    };
    expect(remove(1, gone.node.id)).toMatchObject({ type: "done" });
    testCluster.pass(500);
    const before = leader.node.status()?.lastIndex;
    expect(remove(2, gone.node.id)).toMatchObject({ type: "done" });
    expect(leader.node.status()?.lastIndex).toBe(before);
    const unknown = { type: "failure", failure: { code: "UNKNOWN_NODE", message: "n9: no member of this cluster" } };
    expect(remove(3, gone.node.id, "n9")).toMatchObject(unknown);
  });

  test("who asks to join under the id of a living node is refused", () => {
    const { testCluster, others } = three();
    const [taken] = others as [TestNode];
    testCluster.pass(500);
    const member = { id: taken.node.id, incarnation: "00000000000000aa", address: "127.0.0.1:3009" } as never;
    const leader = testCluster.visit(Number((taken.node.status()?.leader ?? "n0").slice(1)));
    leader.send({ type: "join", frameId: 9, member, comesBack: false });
    testCluster.until(() => leader.answerTo(9) !== undefined);
    expect(leader.answerTo(9)).toMatchObject({
      type: "failure",
      failure: { code: "CONFLICT" },
    });
  });
});
