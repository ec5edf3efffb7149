// What does a node answer, and how do nodes find each other? Real nodes on simulated disks, clocks and network.
import { describe, expect, test } from "bun:test";
import { QUEUE, WIRE } from "../../src/config.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import type { Reply } from "../../src/queue/types.ts";
import type { NodeId } from "../../src/raft/types.ts";
import type { Message } from "../../src/wire/connection.ts";
import { createTown, type Guest, type Settled } from "./town.ts";
import { OPEN } from "../wire/messages.ts";

const NONCE = new Uint8Array(16).fill(7);
const enqueue = (text: string): Uint8Array =>
  encodeCommand({
    type: "enqueue",
    queue: "default",
    jobs: [{ encoding: 1, payload: new TextEncoder().encode(text) }],
  });
const DEQUEUE = encodeCommand({ type: "dequeue", queues: ["default"], max: 1, maxBytes: 1_000, leaseMs: 0, waitMs: 0 });

const isLeader = ({ node }: Settled): boolean => node.status()?.state === "leader";
const leaderOf = (nodes: readonly Settled[]): Settled | undefined => nodes.find(isLeader);
const portOf = ({ node }: Settled): number => Number(node.id.slice(1));

function answerTo(guest: Guest, frameId: number): Message | undefined {
  return guest.received.find((message) => "frameId" in message && message.frameId === frameId);
}
function replyOf(message: Message | undefined): Reply {
  if (message?.type !== "reply") throw new Error(`expected a reply, got ${JSON.stringify(message)}`);
  return decodeReply(message.reply);
}
const request = (frameId: number, session: number, number: number, command: Uint8Array, acknowledgedThrough = 0) =>
  ({ type: "request", frameId, group: 0, session, number, acknowledgedThrough, command }) as const;

/** A town with one node that leads, a guest there, and its session. */
function alone() {
  const town = createTown();
  const one = town.start(3000);
  town.until(() => isLeader(one));
  const guest = town.visit(3000);
  guest.send({ ...OPEN, frameId: 1, clientId: "c1", nonce: NONCE });
  town.until(() => answerTo(guest, 1) !== undefined);
  const opened = replyOf(answerTo(guest, 1));
  if (opened.type !== "opened") throw new Error(opened.type);
  return { town, one, guest, session: opened.session };
}

/** Three founders, and who leads them. */
function three() {
  const town = createTown(3);
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => town.start(port, ports, 3));
  town.until(() => leaderOf(nodes) !== undefined);
  const leader = leaderOf(nodes) as Settled;
  return { town, nodes, leader, others: nodes.filter((node) => node !== leader) };
}

describe("one node", () => {
  test("answers in order, and a retry with the same bytes", () => {
    const { town, guest, session } = alone();
    guest.send(request(2, session, 1, enqueue("42")));
    guest.send(request(3, session, 2, DEQUEUE));
    guest.send(request(4, session, 3, DEQUEUE));
    town.until(() => answerTo(guest, 4) !== undefined);
    expect(replyOf(answerTo(guest, 2))).toMatchObject({ type: "enqueued", firstId: 1 });
    expect(replyOf(answerTo(guest, 3))).toMatchObject({ type: "dequeued", jobs: [{ id: 1 }] });
    expect(replyOf(answerTo(guest, 4))).toMatchObject({ type: "dequeued", jobs: [] });
    guest.send(request(5, session, 2, DEQUEUE));
    town.until(() => answerTo(guest, 5) !== undefined);
    const [first, again] = [answerTo(guest, 3), answerTo(guest, 5)];
    expect(again).toMatchObject({ type: "reply", duplicate: true });
    expect(again?.type === "reply" && first?.type === "reply" && Buffer.compare(again.reply, first.reply)).toBe(0);
  });

  test("a resolve of a number that was answered acknowledges, and gives the number's answer once more", () => {
    const { town, guest, session } = alone();
    guest.send(request(2, session, 1, enqueue("42")));
    guest.send(request(3, session, 2, DEQUEUE));
    town.until(() => answerTo(guest, 3) !== undefined);
    const resolve = encodeCommand({ type: "resolve" });
    guest.send(request(4, session, 2, resolve, 2));
    town.until(() => answerTo(guest, 4) !== undefined);
    expect(replyOf(answerTo(guest, 4))).toMatchObject({ type: "dequeued", jobs: [{ id: 1 }] });
    guest.send(request(5, session, 2, resolve));
    guest.send({ ...OPEN, frameId: 6, clientId: "c1", nonce: NONCE.map((byte) => byte + 1) });
    town.until(() => answerTo(guest, 6) !== undefined);
    expect(answerTo(guest, 5)).toMatchObject({ type: "failure", failure: { code: "FORGOTTEN" } });
    expect(replyOf(answerTo(guest, 6))).toMatchObject({ type: "opened", lastNumber: 2, acknowledgedThrough: 2 });
  });

  test("a number that comes twice while it is under way is one entry, and both get its answer", () => {
    const { town, one, guest, session } = alone();
    const before = one.node.status()?.lastIndex ?? 0;
    const other = town.visit(3000);
    guest.send(request(2, session, 1, enqueue("7")));
    other.send(request(2, session, 1, enqueue("7")));
    town.until(() => answerTo(guest, 2) !== undefined && answerTo(other, 2) !== undefined);
    expect(replyOf(answerTo(guest, 2))).toEqual(replyOf(answerTo(other, 2)));
    expect(one.node.status()?.ready).toBe(1);
    expect((one.node.status()?.lastIndex ?? 0) - before).toBeLessThanOrEqual(2);
  });

  test("a number with another command is a conflict, under way as well as executed", () => {
    const { town, guest, session } = alone();
    guest.send(request(2, session, 1, enqueue("7")));
    guest.send(request(3, session, 1, enqueue("8")));
    town.until(() => answerTo(guest, 3) !== undefined);
    expect(answerTo(guest, 3)).toMatchObject({ type: "failure", failure: { code: "CONFLICT", applied: "no" } });
    town.until(() => answerTo(guest, 2) !== undefined);
    guest.send(request(4, session, 1, enqueue("8")));
    town.until(() => answerTo(guest, 4) !== undefined);
    expect(answerTo(guest, 4)).toMatchObject({ type: "failure", failure: { code: "CONFLICT" } });
  });

  test("a gap is told and leaves no trace in the log", () => {
    const { town, one, guest, session } = alone();
    const before = one.node.status()?.lastIndex;
    guest.send(request(2, session, 2, enqueue("2")));
    town.until(() => answerTo(guest, 2) !== undefined);
    expect(answerTo(guest, 2)).toMatchObject({ type: "failure", failure: { code: "OUT_OF_ORDER", applied: "no" } });
    expect(one.node.status()?.lastIndex).toBe(before ?? -1);
  });

  test("a malformed command is its number's answer, and the numbers behind it go on", () => {
    const { town, guest, session } = alone();
    guest.send(request(2, session, 1, new Uint8Array([0x93, 0xff])));
    guest.send(request(3, session, 2, enqueue("2")));
    town.until(() => answerTo(guest, 3) !== undefined);
    expect(replyOf(answerTo(guest, 2))).toMatchObject({ type: "refused", code: "BAD_REQUEST" });
    expect(replyOf(answerTo(guest, 3))).toMatchObject({ type: "enqueued" });
  });

  test("a read sees everything that was sent before it on the connection and answered", () => {
    const { town, guest, session } = alone();
    guest.send(request(2, session, 1, enqueue("2")));
    town.until(() => answerTo(guest, 2) !== undefined);
    guest.send({ type: "log", frameId: 3, from: 1, to: 0, local: false });
    town.until(() => answerTo(guest, 3) !== undefined);
    const page = answerTo(guest, 3);
    expect(page).toMatchObject({ type: "logAnswer", page: { more: false } });
    expect(page?.type === "logAnswer" && page.page.entries.at(-1)).toMatchObject({
      client: "c1",
      requestNumber: 1,
      kind: "command",
    });
  });

  test("as many jobs as one request may hold, as large as they may be together, come in and go out by one request each", () => {
    const { town, guest, session } = alone();
    const sizes = Array.from({ length: QUEUE.maxJobsPerCommand }, () =>
      Math.floor(WIRE.maxPayloadBytes / QUEUE.maxJobsPerCommand),
    );
    sizes[0] = WIRE.maxPayloadBytes - sizes.slice(1).reduce((sum, size) => sum + size, 0);
    const jobs = sizes.map((size, at) => ({ encoding: 1, payload: new Uint8Array(size).fill(at % 251) }));
    const most = { max: QUEUE.maxJobsPerCommand, maxBytes: WIRE.maxPayloadBytes, leaseMs: 0, waitMs: 0 };
    guest.send(request(2, session, 1, encodeCommand({ type: "enqueue", queue: "default", jobs })));
    guest.send(request(3, session, 2, encodeCommand({ type: "dequeue", queues: ["default"], ...most })));
    town.until(() => answerTo(guest, 3) !== undefined);
    expect(replyOf(answerTo(guest, 2))).toMatchObject({ type: "enqueued", firstId: 1, count: jobs.length });
    const reply = replyOf(answerTo(guest, 3));
    const out = reply.type === "dequeued" ? reply.jobs : [];
    expect(out.map(({ id }) => id)).toEqual(jobs.map((_, at) => at + 1));
    expect(out.every(({ payload }, at) => Buffer.compare(payload, jobs[at]!.payload) === 0)).toBe(true);
    // One more than may be is refused as the number's answer, and nothing of it is kept.
    const tooMany = encodeCommand({ type: "enqueue", queue: "default", jobs: [...jobs.slice(1), jobs[1]!, jobs[1]!] });
    guest.send(request(4, session, 3, tooMany));
    guest.send({ type: "peek", frameId: 5 });
    town.until(() => answerTo(guest, 4) !== undefined && answerTo(guest, 5) !== undefined);
    expect(replyOf(answerTo(guest, 4))).toMatchObject({ type: "refused", code: "BAD_REQUEST" });
    expect(answerTo(guest, 5)).toMatchObject({ peeked: { job: null, ready: 0 } });
  });

  test("peek shows the oldest job and leaves it there, and no entry in the log", () => {
    const { town, one, guest, session } = alone();
    guest.send({ type: "peek", frameId: 2 });
    guest.send(request(3, session, 1, enqueue("42")));
    guest.send(request(4, session, 2, enqueue("43")));
    town.until(() => answerTo(guest, 4) !== undefined && answerTo(guest, 2) !== undefined);
    expect(answerTo(guest, 2)).toMatchObject({ type: "peekAnswer", peeked: { appliedIndex: session } });
    const { lastIndex } = one.node.status() ?? {};
    for (const frameId of [5, 6]) {
      guest.send({ type: "peek", frameId });
      town.until(() => answerTo(guest, frameId) !== undefined);
      const payload = new TextEncoder().encode("42");
      const peeked = { job: { id: 1, encoding: 1, payload }, ready: 2, appliedIndex: session + 2 };
      expect(answerTo(guest, frameId)).toEqual({ type: "peekAnswer", frameId, peeked });
    }
    expect(one.node.status()?.lastIndex).toBe(lastIndex!);
    guest.send(request(7, session, 3, DEQUEUE));
    guest.send(request(8, session, 4, DEQUEUE));
    town.until(() => answerTo(guest, 8) !== undefined);
    guest.send({ type: "peek", frameId: 9 });
    town.until(() => answerTo(guest, 9) !== undefined);
    expect(answerTo(guest, 9)).toMatchObject({ peeked: { job: null, ready: 0, appliedIndex: session + 4 } });
  });

  test("the log names the client of an entry also when its session is closed", () => {
    const { town, guest, session } = alone();
    guest.send(request(2, session, 1, enqueue("2")));
    town.until(() => answerTo(guest, 2) !== undefined);
    guest.send({ type: "close", frameId: 3, group: 0, session, acknowledgedThrough: 0 });
    town.until(() => answerTo(guest, 3) !== undefined);
    guest.send({ type: "log", frameId: 4, from: 1, to: 0, local: false });
    town.until(() => answerTo(guest, 4) !== undefined);
    const page = answerTo(guest, 4);
    const entries = page?.type === "logAnswer" ? page.page.entries : [];
    expect(entries.slice(-2).map(({ kind, client }) => [kind, client])).toEqual([
      ["command", "c1"],
      ["close", "c1"],
    ]);
  });

  test("its uptime is its own time, from 0 at each start, whatever the calendar says", () => {
    const town = createTown();
    for (let starts = 0; starts < 2; starts++) {
      const before = town.clock.now();
      const one = town.start(3000);
      town.until(() => one.node.status() !== null);
      town.pass(starts === 0 ? 5_000 : 10);
      const lived = town.clock.now() - before;
      const { uptimeMs = -1 } = one.node.status() ?? {};
      expect(uptimeMs).toBeGreaterThanOrEqual(0);
      expect(Math.abs(uptimeMs - lived)).toBeLessThanOrEqual(1);
      town.end(3000, "kill");
    }
  });

  test("what was acknowledged is there after a power cut", () => {
    const { town, guest, session } = alone();
    guest.send(request(2, session, 1, enqueue("42")));
    town.until(() => answerTo(guest, 2) !== undefined);
    town.end(3000, "powerCut");
    const again = town.start(3000);
    town.until(() => isLeader(again) && again.node.status()?.ready === 1);
    expect(again.node.clusterId()).not.toBeNull();
  });
});

describe("three nodes", () => {
  test("found one cluster together, and followers name the leader", () => {
    const { town, nodes, leader, others } = three();
    expect(new Set(nodes.map(({ node }) => node.clusterId())).size).toBe(1);
    const [follower] = others as [Settled];
    const guest = town.visit(portOf(follower));
    guest.send({ ...OPEN, frameId: 1, clientId: "c1", nonce: NONCE });
    town.until(() => answerTo(guest, 1) !== undefined);
    const answer = answerTo(guest, 1);
    expect(answer).toMatchObject({
      type: "failure",
      failure: { code: "NOT_LEADER", leader: `127.0.0.1:${portOf(leader)}` },
    });
  });

  test("reads that come together cost one round of heartbeats, and followers name the leader", () => {
    const { town, leader, others } = three();
    const raft = () => leader.node.inspect()!.raft;
    const guest = town.visit(portOf(leader));
    // Behind the first entry of its term, and the cluster's version.
    town.until(() => raft().commitIndex > (raft().leadership?.noopIndex ?? Infinity));
    const { readContext } = raft().leadership!;
    const { lastIndex } = raft();
    for (let frameId = 1; frameId <= 200; frameId++) guest.send({ type: "peek", frameId });
    town.until(() => answerTo(guest, 200) !== undefined);
    expect(guest.received.filter(({ type }) => type === "peekAnswer")).toHaveLength(200);
    expect(raft().leadership!.readContext - readContext).toBeLessThan(10);
    expect(raft().lastIndex).toBe(lastIndex);
    const elsewhere = town.visit(portOf(others[0]!));
    elsewhere.send({ type: "peek", frameId: 1 });
    town.until(() => answerTo(elsewhere, 1) !== undefined);
    expect(answerTo(elsewhere, 1)).toMatchObject({ failure: { code: "NOT_LEADER" } });
  });

  test("a leader without its majority confirms no peek, and says so", () => {
    const { town, leader } = three();
    const guest = town.visit(portOf(leader));
    guest.send({ type: "peek", frameId: 1 });
    town.until(() => answerTo(guest, 1) !== undefined);
    const inside = new Set([leader.node.id as string, "guest"]);
    town.network.cut((from, to) => inside.has(from) !== inside.has(to), false);
    guest.send({ type: "peek", frameId: 2 });
    town.until(() => answerTo(guest, 2) !== undefined);
    expect(answerTo(guest, 2)).toMatchObject({ type: "failure", failure: { applied: "no" } });
  });

  test("only a leader that a majority confirms says that a session is over which it does not know (seed 6004973)", () => {
    const { town, leader } = three();
    town.pass(500);
    const guest = town.visit(portOf(leader));
    const applied = leader.node.inspect()?.queue.appliedIndex ?? 0;
    const unknown = (frameId: number): Message | undefined => {
      guest.send(request(frameId, applied + 1_000, 1, DEQUEUE));
      town.until(() => answerTo(guest, frameId) !== undefined);
      return answerTo(guest, frameId);
    };
    const before = leader.node.status()?.lastIndex;
    expect(unknown(1)).toMatchObject({ type: "failure", failure: { code: "SESSION_EXPIRED", applied: "no" } });
    expect(leader.node.status()?.lastIndex).toBe(before);
    // The next leader may have opened it meanwhile.
    const inside = new Set([leader.node.id as string, "guest"]);
    town.network.cut((from, to) => inside.has(from) !== inside.has(to), false);
    expect(unknown(2)).toMatchObject({ type: "failure", failure: { applied: "no" } });
    expect(unknown(2)).not.toMatchObject({ failure: { code: "SESSION_EXPIRED" } });
  });

  test("a graceful stop hands over first, and another leads at once", () => {
    const { town, nodes, leader, others } = three();
    town.pass(500);
    leader.node.stop();
    const since = town.clock.now();
    town.until(() => leaderOf(others) !== undefined);
    expect(town.clock.now() - since).toBeLessThan(100);
    town.until(() => leader.stopped() !== undefined);
    expect(leader.stopped()).toBeNull();
    expect(nodes.length).toBe(3);
  });

  test("after a long silence of the network, members are dialed anew: a system that sends lost bytes again waits longer each time", () => {
    const { town, nodes } = three();
    town.pass(500);
    const heal = town.network.cut(() => true, true);
    town.pass(7_000);
    heal();
    const since = town.clock.now();
    town.until(() => leaderOf(nodes) !== undefined && nodes.every(({ node }) => node.inspect()?.raft.leader !== null));
    expect(town.clock.now() - since).toBeLessThan(2_000);
  });

  test("a leader without its majority steps down, and then nobody is promised anything", () => {
    const { town, leader } = three();
    town.pass(500);
    const guest = town.visit(portOf(leader));
    const inside = new Set([leader.node.id as string, "guest"]);
    town.network.cut((from, to) => inside.has(from) !== inside.has(to), false);
    guest.send({ ...OPEN, frameId: 1, clientId: "c1", nonce: NONCE });
    town.until(() => answerTo(guest, 1) !== undefined);
    expect(answerTo(guest, 1)).toMatchObject({
      type: "failure",
      failure: { code: "LEADER_CHANGED", applied: "unknown" },
    });
    guest.send({ ...OPEN, frameId: 2, clientId: "c1", nonce: NONCE });
    town.until(() => answerTo(guest, 2) !== undefined);
    expect(answerTo(guest, 2)).toMatchObject({ type: "failure", failure: { code: "NO_LEADER", applied: "no" } });
  });

  test("requests that wait for an election do not keep the node busy", () => {
    const { town, leader, others } = three();
    town.pass(500);
    const [one, other] = others as [Settled, Settled];
    town.end(portOf(leader), "kill");
    town.end(portOf(other), "kill");
    town.until(() => one.node.status()?.leader === null);
    const guest = town.visit(portOf(one));
    const ask = (frameId: number): void => guest.send({ ...OPEN, frameId, clientId: "c1", nonce: NONCE });
    const before = town.events();
    for (let frameId = 1; frameId <= 200; frameId++) {
      ask(frameId);
      town.pass(10);
    }
    town.pass(1_000);
    for (let frameId = 1; frameId <= 200; frameId++) {
      expect(answerTo(guest, frameId)).toMatchObject({ type: "failure", failure: { code: "NO_LEADER" } });
    }
    expect((town.events() - before) / 200).toBeLessThan(20);
  });

  test("fresh founders beside a living member of another cluster join it and never found a second one", () => {
    const town = createTown(5);
    const ports = [3000, 3001, 3002];
    const old = ports.map((port) => town.start(port, ports, 3));
    const fourth = town.start(3003, ports);
    town.until(() => fourth.node.status()?.members.filter(({ role }) => role === "voter").length === 4, 20_000);
    const cluster = fourth.node.clusterId();
    for (const node of old) town.end(portOf(node), "wipe");
    const wiped = ports.map((port) => town.start(port, ports, 3));
    town.pass(20_000);
    for (const { node } of wiped) expect([null, cluster]).toContain(node.clusterId());
    expect(wiped.some(({ logged }) => logged.some(({ event }) => event === "founded"))).toBe(false);
  });

  test("fresh founders that name a node of a cluster that they did not found join nothing, found nothing, and say so", () => {
    const town = createTown(6);
    const ports = [3000, 3001, 3002];
    const living = town.start(3000);
    town.until(() => isLeader(living));
    const fresh = [town.start(3001, ports, 3), town.start(3002, ports, 3)];
    town.until(() => fresh.every(({ stopped }) => stopped() !== undefined));
    for (const { stopped, logged } of fresh) {
      expect(stopped()?.code).toBe("CLUSTER_MISMATCH");
      expect(stopped()?.message).toContain(`127.0.0.1:3000 belongs to cluster ${living.node.clusterId()} already`);
      expect(logged.some(({ event }) => event === "founded" || event === "joining")).toBe(false);
    }
    town.pass(2_000);
    expect(living.node.status()?.members).toHaveLength(1);
  });

  test("a member resumes whatever --expect and --join say, and a new node founds nothing with numbers that do not fit", () => {
    const { town, nodes } = three();
    const cluster = nodes[0]?.node.clusterId();
    for (const node of nodes) town.end(portOf(node), "kill");
    const flags = [
      [[3000, 3001, 3002, 3003], 9],
      [[], 2],
      [[3007], null],
    ] as const;
    const again = flags.map(([join, expected], at) => town.start(3000 + at, join, expected));
    town.until(() => again.every(({ node }) => (node.status()?.commitIndex ?? 0) > 1));
    for (const { node } of again) expect(node.clusterId()).toBe(cluster ?? null);
    const alone = town.start(3005, [], 2);
    town.until(() => alone.stopped() !== undefined);
    expect([alone.stopped()?.code, alone.node.clusterId()]).toEqual(["USAGE", null]);
  });

  test("a founder that dies at any write of the founding is found out after its restart, and nobody is left outside", () => {
    for (let round = 0; round < 24; round++) {
      const town = createTown(40 + round, 60);
      const ports = [3000, 3001, 3002];
      const nodes = ports.map((port) => town.start(port, ports, 3));
      town.pass(300);
      // The first write is the entry, the second the cluster id.
      town.failWrite(3000, 1 + (round % 2));
      town.pass(2_000);
      const first = nodes[0] as Settled;
      expect(first.stopped()?.code).toBe("DISK_FAILED");
      town.end(3000, "kill");
      nodes[0] = town.start(3000, ports, 3);
      town.until(() => nodes.every(({ node }) => (node.status()?.commitIndex ?? 0) > 1), 20_000);
      expect(new Set(nodes.map(({ node }) => node.clusterId())).size).toBe(1);
    }
  });

  test("a founder that first hears one with a lost disk still takes over the entry that names it", () => {
    const town = createTown(8);
    const ports = [3000, 3001, 3002];
    const nodes = ports.map((port) => town.start(port, ports, 3));
    const [first, late, quick] = nodes as [Settled, Settled, Settled];
    const between = (a: Settled, b: Settled) => (from: string, to: string) =>
      (from === a.node.id && to === b.node.id) || (from === b.node.id && to === a.node.id);
    town.until(() => first.node.clusterId() !== null);
    const healFirst = town.network.cut(between(first, late), false);
    const healQuick = town.network.cut(between(quick, late), false);
    town.until(() => quick.node.clusterId() !== null);
    expect(late.node.clusterId()).toBeNull();
    town.end(3000, "wipe");
    const back = town.start(3000, ports, 3);
    town.until(() => back.logged.some(({ event }) => event === "joining"));
    healFirst();
    town.until(() => late.logged.some(({ event }) => event === "joining"));
    healQuick();
    const members = [back, late, quick];
    town.until(() => members.every(({ node }) => (node.status()?.commitIndex ?? 0) > 1), 30_000);
    expect(new Set(members.map(({ node }) => node.clusterId())).size).toBe(1);
  });

  test("a member that tells its new address asks nobody of another cluster to let it in, and does not stop for it", () => {
    const town = createTown(7);
    const ports = [3000, 3001, 3002];
    const nodes = ports.map((port) => town.start(port, ports, 3));
    town.until(() => nodes.every(({ node }) => (node.status()?.commitIndex ?? 0) > 1));
    town.pass(2_000);
    for (const port of ports) town.end(port, port === 3000 ? "kill" : "wipe");
    // Another cluster has taken the places of its neighbours.
    const other = town.start(3001, [3001, 3002], 2, { id: "other" as NodeId });
    town.start(3002, [3001, 3002], 2, { id: "another" as NodeId });
    town.pass(2_000);
    const moved = town.start(3000, [], null, { advertise: "127.0.0.1:3005", port: 3005 });
    town.pass(5_000);
    expect(moved.logged.some(({ event }) => event === "moved")).toBe(true);
    expect(other.node.status()?.members.length).toBe(2);
    expect(moved.stopped()).toBeUndefined();
  });

  test("founders that do not agree on their number all refuse and say why", () => {
    const town = createTown(6);
    const first = town.start(3000, [3000, 3001], 2);
    const second = town.start(3001, [3000, 3001, 3002], 3);
    town.until(() => first.stopped() !== undefined && second.stopped() !== undefined);
    expect(first.stopped()?.code).toBe("USAGE");
    expect(second.stopped()?.message).toContain("expects 3 founders");
  });

  test("a wiped node comes back under its old id and is a voter again", () => {
    const { town, others } = three();
    const [victim] = others as [Settled];
    const id = victim.node.id;
    town.end(portOf(victim), "wipe");
    const back = town.start(
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
    town.until(isVoter, 30_000);
    expect(back.node.status()?.state).not.toBe("learner");
  });

  test("a leader that is cut off tells nobody that it was removed: the next leader may have let it in", () => {
    const { town, leader } = three();
    town.pass(500);
    const guest = town.visit(portOf(leader));
    const inside = new Set([leader.node.id as string, "guest"]);
    town.network.cut((from, to) => inside.has(from) !== inside.has(to), false);
    const member = { id: "n3009", incarnation: "00000000000000aa", address: "127.0.0.1:3009" } as never;
    guest.send({ type: "join", frameId: 9, member, comesBack: true });
    town.until(() => answerTo(guest, 9) !== undefined);
    expect(answerTo(guest, 9)).toMatchObject({ type: "failure", failure: { code: "NO_LEADER" } });
  });

  test("a removal that is asked for again is done; who never was a member is unknown", () => {
    const { town, leader, others } = three();
    town.pass(500);
    const [gone] = others as [Settled];
    const guest = town.visit(portOf(leader));
    const remove = (frameId: number, ...ids: string[]): Message | undefined => {
      guest.send({ type: "remove", frameId, ids: ids as NodeId[] });
      town.until(() => answerTo(guest, frameId) !== undefined);
      return answerTo(guest, frameId);
    };
    expect(remove(1, gone.node.id)).toMatchObject({ type: "done" });
    town.pass(500);
    const before = leader.node.status()?.lastIndex;
    expect(remove(2, gone.node.id)).toMatchObject({ type: "done" });
    expect(leader.node.status()?.lastIndex).toBe(before);
    const unknown = { type: "failure", failure: { code: "UNKNOWN_NODE", message: "n9: no member of this cluster" } };
    expect(remove(3, gone.node.id, "n9")).toMatchObject(unknown);
  });

  test("who asks to join under the id of a living node is refused", () => {
    const { town, others } = three();
    const [taken] = others as [Settled];
    town.pass(500);
    const member = { id: taken.node.id, incarnation: "00000000000000aa", address: "127.0.0.1:3009" } as never;
    const leader = town.visit(Number((taken.node.status()?.leader ?? "n0").slice(1)));
    leader.send({ type: "join", frameId: 9, member, comesBack: false });
    town.until(() => answerTo(leader, 9) !== undefined);
    expect(answerTo(leader, 9)).toMatchObject({
      type: "failure",
      failure: { code: "CONFLICT" },
    });
  });
});
