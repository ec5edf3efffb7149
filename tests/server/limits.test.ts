// What does a node answer at each of its limits? Real nodes on simulated ports, with few connections.
import { expect, test } from "bun:test";
import { QUEUE, SERVER, WIRE } from "../../src/config.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { encodeMessage } from "../../src/wire/codec.ts";
import type { NodeId } from "../../src/raft/types.ts";
import type { Trust } from "../../src/wire/network.ts";
import type { Hello, AccessRole } from "../../src/wire/protocol.ts";
import { createTestCluster, isLeader, portOf, type TestCluster, type TestNode } from "../kit/test-cluster.ts";
import { enqueueCommand, request, type TestClient } from "../kit/test-client.ts";
import { HELLO } from "../kit/messages.ts";

const FEW = { ...SERVER.maxConnections, maxUnauthenticated: 4, maxClients: 6, maxClientsPerAddress: 3, maxAdmins: 3 };
function alone(): { readonly testCluster: TestCluster; readonly one: TestNode } {
  const testCluster = createTestCluster(1, 1, { maxConnections: FEW });
  const one = testCluster.start(3000);
  testCluster.until(() => isLeader(one));
  return { testCluster, one };
}

/** A client at the address `host` connects; without `hello` it sends nothing. */
function call(testCluster: TestCluster, host: string, hello: Hello | null = HELLO, port = 3000): TestClient {
  const caller = testCluster.connect(host, port, hello, 1_000_000);
  testCluster.pass(10);
  return caller;
}

const isIn = ({ received, closed }: TestClient): boolean => received[0]?.type === "helloAnswer" && closed.length === 0;

test("clients beyond the limit of their address, and beyond that of all, get the reason before the end; below it new ones get in", () => {
  const { testCluster } = alone();
  const first = [1, 2, 3].map(() => call(testCluster, "a"));
  expect(first.every(isIn)).toBe(true);
  expect(call(testCluster, "a").closed[0]).toMatchObject({
    code: "OVERLOADED",
    message: expect.stringContaining("of the address a"),
  });
  expect([1, 2, 3].map(() => call(testCluster, "b")).every(isIn)).toBe(true);
  expect(call(testCluster, "c").closed[0]).toMatchObject({
    code: "OVERLOADED",
    message: expect.stringContaining("its 6 clients"),
  });
  first[0]?.close();
  testCluster.pass(10);
  expect(isIn(call(testCluster, "c"))).toBe(true);
});

test("an operator gets in and is served while clients reach their limit; of too many operators the oldest go", () => {
  const { testCluster } = alone();
  for (const host of ["a", "b", "c"]) for (let at = 0; at < 3; at++) call(testCluster, host);
  expect(call(testCluster, "d").closed[0]?.code).toBe("OVERLOADED");
  const operator = call(testCluster, "a", { ...HELLO, role: "admin" });
  expect(isIn(operator)).toBe(true);
  operator.send({ type: "transfer", frameId: 1, to: null });
  testCluster.until(() => operator.received.length > 1);
  const others = Array.from({ length: 2 * FEW.maxAdmins }, () => call(testCluster, "e", { ...HELLO, role: "admin" }));
  expect(others.every(({ received }) => received[0]?.type === "helloAnswer")).toBe(true);
  expect(others.filter(isIn).length).toBe(FEW.maxAdmins - 1);
  expect(isIn(operator)).toBe(true);
});

test("where roles must be proven, the certificate decides who has an operator's place", () => {
  const certificate = (role: AccessRole): Trust => ({
    type: "certificate",
    identity: { role, node: null },
    handshakeMs: 0,
  });
  const own: Trust = {
    type: "certificate",
    identity: { role: "peer", node: "n3000" as NodeId },
    handshakeMs: 0,
  };
  const trust = (self: string, other: string): Trust => {
    if (self !== "n3000") return own;
    return certificate(other === "operator" ? "admin" : "client");
  };
  const testCluster = createTestCluster(1, 1, { maxConnections: FEW, trust });
  const one = testCluster.start(3000);
  testCluster.until(() => isLeader(one));
  const claim: Hello = { ...HELLO, role: "admin" };
  for (const host of ["a", "b"]) for (let at = 0; at < 3; at++) expect(isIn(call(testCluster, host, claim))).toBe(true);
  expect(call(testCluster, "c", claim).closed[0]?.code).toBe("OVERLOADED");
  expect(isIn(call(testCluster, "operator", claim))).toBe(true);
});

test("silent connections go, the longest silent first, so that clients and members get in", () => {
  const { testCluster } = alone();
  const silent = Array.from({ length: 10 }, () => call(testCluster, "a", null));
  expect(silent.map((caller) => caller.closed[0]?.code)).toEqual([
    ...Array<"OVERLOADED">(6).fill("OVERLOADED"),
    ...Array<undefined>(4),
  ]);
  expect(isIn(call(testCluster, "a"))).toBe(true);
});

/** Connects, whether a node listens there or not, and sends nothing or a hello. */
function flood(testCluster: TestCluster, host: string, port: number, hello: Hello | null): void {
  testCluster.network.hostOf(host).dial(`127.0.0.1:${port}`, 1_000, (result) => {
    if (result.ok && hello !== null) result.stream.write(encodeMessage(hello));
  });
}

test("a flood of clients and of silence keeps no member from connecting: one that was killed is back in time", () => {
  const testCluster = createTestCluster(3, 1, { maxConnections: FEW });
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => testCluster.start(port, ports, 3));
  testCluster.until(() => nodes.some(isLeader));
  testCluster.pass(500);
  const floodAll = (): void => {
    for (const port of ports) {
      for (const host of ["a", "b", "c"]) flood(testCluster, host, port, HELLO);
      for (let at = 0; at < 3; at++) flood(testCluster, "d", port, null);
    }
  };
  for (let round = 0; round < 10; round++) floodAll();
  const victim = nodes.find((node) => !isLeader(node)) as TestNode;
  const port = portOf(victim);
  testCluster.end(port, "kill");
  const back = testCluster.start(port, ports, 3);
  const began = testCluster.clock.now();
  const isFollowing = (): boolean => {
    floodAll();
    testCluster.pass(5);
    const status = back.node.status();
    return (
      status?.leader !== null && status?.members.every((other) => other.reachable || other.id === back.node.id) === true
    );
  };
  testCluster.until(isFollowing, 5_000);
  expect(testCluster.clock.now() - began).toBeLessThan(3_000);
});

test("a member's fifth connection takes the place of its oldest", () => {
  const testCluster = createTestCluster(1);
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => testCluster.start(port, ports, 3));
  testCluster.until(() => nodes.some(isLeader));
  testCluster.pass(500);
  const node = nodes[1]?.node.status()?.node ?? null;
  const hello: Hello = { ...HELLO, role: "peer", clusterId: nodes[0]?.node.clusterId() ?? null, node };
  const peers = Array.from({ length: 8 }, () => call(testCluster, "x", hello));
  // The member itself has one more, and dials again when it has lost it.
  const ends = peers.map((peer) => peer.closed[0]?.code);
  expect(ends.slice(0, 4)).toEqual(Array<"OVERLOADED">(4).fill("OVERLOADED"));
  expect(peers.at(-1)?.closed[0]).toBeUndefined();
  expect(ends.filter((end) => end === undefined).length).toBeLessThanOrEqual(SERVER.maxConnections.maxPeersPerMember);
});

/** One byte a second, for as long as the connection stands. */
function writeSlowly(testCluster: TestCluster, caller: TestClient, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length && caller.closed.length === 0; at++) {
    caller.stream.write(bytes.slice(at, at + 1));
    testCluster.pass(1_000);
  }
}

test("one byte a second: the connection ends when more of the frame is due, whatever comes meanwhile", () => {
  const { testCluster } = alone();
  const caller = call(testCluster, "a");
  const frame = encodeMessage({ type: "log", frameId: 1, from: 1, to: 0, local: true });
  const began = testCluster.clock.now();
  const long = new Uint8Array(1_000);
  long.set([0, 0, 3, 200]);
  writeSlowly(testCluster, caller, long.slice(0, 60));
  expect(caller.closed[0]).toMatchObject({
    code: "TIMEOUT",
    message: expect.stringContaining("bytes of it came within 10s"),
  });
  expect(testCluster.clock.now() - began).toBeLessThan(WIRE.frameTimeoutMs + 2_000);
  expect(frame.length).toBeGreaterThan(4);
});

test("one byte a second before the hello: the connection ends when the hello is due", () => {
  const { testCluster } = alone();
  const caller = call(testCluster, "a", null);
  const frame = encodeMessage(HELLO);
  const began = testCluster.clock.now();
  writeSlowly(testCluster, caller, frame.slice(0, -1));
  expect(caller.closed[0]).toMatchObject({
    code: "TIMEOUT",
    message: expect.stringContaining("no hello came within 5s"),
  });
  expect(testCluster.clock.now() - began).toBeLessThan(WIRE.helloTimeoutMs + 2_000);
});

test("frames that are never whole cost no more than the limit for all: the slow go, a steady client is served", () => {
  const testCluster = createTestCluster(1, 1, { maxConnections: SERVER.maxConnections, maxBufferedBytes: 1_000_000 });
  const one = testCluster.start(3000);
  testCluster.until(() => isLeader(one));
  const slow = Array.from({ length: 8 }, (_, at) => call(testCluster, at < 6 ? "a" : "b"));
  const half = new Uint8Array(200_000);
  half.set([0, 0x10, 0, 0]);
  for (const { stream } of slow) {
    stream.write(half.slice());
    testCluster.pass(20);
  }
  const ends = slow.map((caller) => caller.closed[0]?.code);
  expect(ends.slice(0, 4)).toContain("OVERLOADED");
  expect(ends.slice(6)).toEqual([undefined, undefined]);
  const steady = call(testCluster, "a");
  const command = enqueueCommand(new Uint8Array(300_000));
  for (let frameId = 1; frameId <= 20; frameId++) {
    steady.send({ ...request(1, frameId, command, 0), frameId });
    testCluster.pass(5);
  }
  testCluster.pass(100);
  expect(steady.closed[0]).toBeUndefined();
  // Each was answered: there is no such session.
  expect(steady.received.filter(({ type }) => type === "failure").length).toBe(20);
});

test("a member with an unfinished frame stays while a flood of clients with unfinished frames is given up", () => {
  const testCluster = createTestCluster(3, 1, { maxConnections: SERVER.maxConnections, maxBufferedBytes: 2_000_000 });
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => testCluster.start(port, ports, 3));
  testCluster.until(() => nodes.some(isLeader));
  testCluster.pass(500);
  const node = nodes[1]?.node.status()?.node ?? null;
  const member = call(testCluster, "x", {
    ...HELLO,
    role: "peer",
    clusterId: nodes[0]?.node.clusterId() ?? null,
    node,
  });
  const unfinished = (bytes: number): Uint8Array => {
    const part = new Uint8Array(bytes);
    part.set([0, 0x10, 0, 0]);
    return part;
  };
  member.stream.write(unfinished(600_000));
  const clients = Array.from({ length: 20 }, (_, at) => {
    testCluster.pass(20);
    const client = call(testCluster, at < 10 ? "x" : "y");
    client.stream.write(unfinished(200_000));
    return client;
  });
  testCluster.pass(100);
  // What each sent is held at least, and all of it together is held at most.
  const left = Math.floor((2_000_000 - 600_000) / 200_000);
  expect(clients.filter(({ closed }) => closed[0]?.code === "OVERLOADED").length).toBeGreaterThanOrEqual(20 - left);
  expect(member.closed[0]).toBeUndefined();
});

test("many log pages asked at once are made a few in a turn, and all are answered", () => {
  const { testCluster } = alone();
  const caller = call(testCluster, "a");
  const before = testCluster.events();
  const pages = Array.from(
    { length: 200 },
    (_, at) => ({ type: "log", frameId: at + 1, from: 1, to: 0, local: true }) as const,
  );
  caller.send(...pages, { type: "ping", frameId: 1_000 });
  testCluster.until(() => caller.received.length === 202);
  const order = caller.received.slice(1).map((message) => ("frameId" in message ? message.frameId : 0));
  // The ping does not wait for the pages.
  expect(order.indexOf(1_000)).toBeLessThan(2 * SERVER.maxLogPagesPerTurn);
  expect(testCluster.events() - before).toBeGreaterThan(200 / SERVER.maxLogPagesPerTurn);
});

test("many who peek at a large job at once are served a few in a turn, a slow reader is asked to wait, and no connection is closed", () => {
  const { testCluster } = alone();
  const [caller, other] = [call(testCluster, "a"), call(testCluster, "b")];
  const large = new Uint8Array(WIRE.maxPayloadBytes).fill(0x31);
  const session = caller.openSession("c1");
  expect(caller.ask(request(session, 1, enqueueCommand(large)))?.type).toBe("reply");
  const before = testCluster.events();
  caller.send(...Array.from({ length: 100 }, (_, at) => ({ type: "peek", frameId: 10 + at }) as const));
  other.send({ type: "ping", frameId: 1 });
  testCluster.until(() => other.received.length === 2);
  // The ping did not wait for them.
  expect(caller.received.length).toBeLessThan(3 + 2 * SERVER.maxLogPagesPerTurn);
  testCluster.until(() => caller.received.length === 103);
  expect(caller.closed[0]).toBeUndefined();
  expect(testCluster.events() - before).toBeGreaterThan(100 / SERVER.maxLogPagesPerTurn);
  const answers = caller.received.slice(3);
  const shown = answers.filter((message) => message.type === "peekAnswer");
  expect(shown.length).toBeGreaterThan(4);
  for (const { peeked } of shown)
    expect(peeked).toMatchObject({ ready: 1, job: { id: 1, payload: { length: large.length } } });
  for (const message of answers)
    if (message.type !== "peekAnswer")
      expect(message).toMatchObject({ failure: { code: "OVERLOADED", applied: "no" } });
});

test("requests beyond those that may wait on one connection are refused by name, the others wait and are answered", () => {
  const testCluster = createTestCluster(1);
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => testCluster.start(port, ports, 3));
  testCluster.until(() => nodes.some(isLeader));
  const [one, ...others] = nodes.toSorted((a, b) => Number(isLeader(a)) - Number(isLeader(b)));
  // Without its majority a node knows no leader, and requests wait a moment for one.
  for (const { node } of others) testCluster.end(Number(node.id.slice(1)), "kill");
  testCluster.until(() => one?.node.status()?.leader === null);
  const caller = call(testCluster, "a", HELLO, Number(one?.node.id.slice(1)));
  const most = SERVER.maxPendingPerConnection;
  const frames = Array.from({ length: most + 50 }, (_, at) =>
    encodeMessage({ type: "close", frameId: at + 1, group: 0, session: 1, acknowledgedThrough: 0 }),
  );
  caller.stream.write(new Uint8Array(Buffer.concat(frames)));
  testCluster.until(() => caller.received.length === most + 51);
  const failures = caller.received.flatMap((message) => (message.type === "failure" ? [message.failure] : []));
  const refused = failures.filter(({ code }) => code === "OVERLOADED");
  expect(refused.length).toBe(50);
  expect(refused[0]).toMatchObject({
    applied: "no",
    retryAfterMs: 10,
    message: expect.stringContaining("this connection"),
  });
  expect(failures.filter(({ code }) => code === "NO_LEADER").length).toBe(most);
});

test("a client that names sessions which are none keeps none of them alive", () => {
  const queueLimits = { ...QUEUE, sessionExpiryMs: 8_000 };
  const testCluster = createTestCluster(1, 1, { queueLimits });
  const one = testCluster.start(3000);
  testCluster.until(() => isLeader(one));
  const caller = call(testCluster, "a");
  const command = encodeCommand({ type: "resolve" });
  const before = one.node.status()?.lastIndex;
  const resolve = (session: number) => ({ ...request(session, 1, command), frameId: session });
  caller.send(...Array.from({ length: 2_000 }, (_, at) => resolve(1_000 + at)));
  testCluster.until(() => caller.received.length === 2_001);
  // Connected sessions are touched every second by an entry for all of them: here there is none to be touched.
  testCluster.pass(5_000);
  expect(one.node.status()?.lastIndex).toBe(before ?? -1);
  caller.openSession("c1");
  caller.send(resolve((before ?? 0) + 1));
  testCluster.pass(20_000);
  expect(one.node.status()?.sessions).toBe(1);
});
