// What do nodes do for the sessions of their clients without being asked? They keep those alive that are connected, make room when there
// are many, forget what is due, and start every cluster with limits that all of it keeps.
import { expect, test } from "bun:test";
import { QUEUE } from "../../src/config.ts";
import { decodeTouch, encodeCommand } from "../../src/queue/commands.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import type { Reply } from "../../src/queue/types.ts";
import { fieldsOf } from "../../src/raft/entry.ts";
import { nonce } from "../queue/log.ts";
import { OPEN } from "../wire/messages.ts";
import { createTown, type Guest, type Settled, type Town } from "./town.ts";

const CLIENT = { role: "client", node: null, clusterId: null } as const;
const RESOLVE = encodeCommand({ type: "resolve" });
const isLeader = ({ node }: Settled): boolean => node.status()?.state === "leader";
const portOf = ({ node }: Settled): number => Number(node.id.slice(1));
const eventsOf = ({ logged }: Settled, event: string): readonly string[] =>
  logged.filter((line) => line.event === event).map(({ text }) => text);
const kindsOf = ({ node }: Settled): readonly string[] =>
  node.inspect()?.raft.log.entries.map(({ kind }) => kind) ?? [];

function alone(limits: Partial<QueueLimits>): { readonly town: Town; readonly node: Settled } {
  const town = createTown(1, 1, { queueLimits: { ...QUEUE, ...limits } });
  const node = town.start(3000);
  town.until(() => isLeader(node) && kindsOf(node).includes("version"));
  return { town, node };
}

let frameId = 0;
/** The reply, or the code of the failure, to `message` with the next frame id. */
function ask(town: Town, guest: Guest, message: (frame: number) => Parameters<Guest["send"]>[0]): Reply | string {
  const frame = ++frameId;
  guest.send(message(frame));
  const answer = () => guest.received.find((received) => "frameId" in received && received.frameId === frame);
  town.until(() => answer() !== undefined);
  const given = answer();
  if (given?.type === "failure") return given.failure.code;
  if (given?.type !== "reply") throw new Error(`answered by ${given?.type}`);
  const reply = decodeReply(given.reply);
  return reply.type === "refused" ? reply.code : reply;
}

function open(town: Town, guest: Guest, clientId: string, more: { generated?: boolean; resume?: boolean } = {}) {
  return ask(town, guest, (frame) => ({ ...OPEN, ...more, frameId: frame, clientId, nonce: nonce(7) }));
}
function opened(town: Town, guest: Guest, clientId: string, more: { generated?: boolean } = {}): number {
  const reply = open(town, guest, clientId, more);
  if (typeof reply === "string" || reply.type !== "opened")
    throw new Error(`${clientId} was not let in: ${JSON.stringify(reply)}`);
  return reply.session;
}
const settle = (town: Town, guest: Guest, session: number, number = 1): Reply | string =>
  ask(town, guest, (frame) => {
    const request = { type: "request", frameId: frame, group: 0, session, number } as const;
    return { ...request, acknowledgedThrough: number - 1, command: RESOLVE };
  });
/** A client that opens a session and is killed. */
function passing(town: Town, clientId: string): Reply | string {
  const guest = town.visit(3000, CLIENT);
  const reply = open(town, guest, clientId);
  guest.close();
  return reply;
}

test("a client that is connected and silent keeps its session and its answers, while others work past the expiry", () => {
  const { town, node } = alone({ sessionExpiryMs: 8_000 });
  const [silent, busy] = [town.visit(3000, CLIENT), town.visit(3000, CLIENT)];
  const session = opened(town, silent, "silent");
  const first = settle(town, silent, session);
  const gone = town.visit(3000, CLIENT);
  const lost = opened(town, gone, "gone");
  gone.close();
  const other = opened(town, busy, "busy");
  for (let number = 1; number <= 20; number++) {
    town.pass(1_000);
    settle(town, busy, other, number);
  }
  expect(settle(town, silent, session)).toEqual(first);
  expect(settle(town, busy, lost)).toBe("SESSION_EXPIRED");
  expect(node.node.status()?.sessions).toBe(2);
  // One entry for all of them, an eighth of the expiry apart.
  expect(kindsOf(node).filter((kind) => kind === "touch").length).toBeLessThan(25);
});

test("thousands of client ids that never come back keep nobody out, and no connected client loses its session", () => {
  const { town, node } = alone({ maxSessions: 20, maxClientIds: 2_000, dormantAfterMs: 600 });
  const silent = town.visit(3000, CLIENT);
  const session = opened(town, silent, "silent");
  let refused = 0;
  for (let client = 0; client < 400; client++) {
    // As a client does: it waits a little, and asks again.
    while (passing(town, `pod-${client}`) === "SESSIONS_FULL") {
      refused++;
      town.pass(200);
    }
  }
  const { sessions, dormantSessions } = node.node.status() ?? {};
  expect([sessions, (sessions ?? 0) + (dormantSessions ?? 0)]).toEqual([20, 401]);
  expect(refused).toBeLessThan(400);
  expect(settle(town, silent, session)).toMatchObject({ type: "void" });
  expect(eventsOf(node, "sessions")).toEqual([
    "16 of 20 sessions are live: when all are, those that nobody has used for the longest become dormant",
  ]);
});

test("clients that all come in one moment do not push out one that is connected", () => {
  const { town } = alone({ maxSessions: 10, dormantAfterMs: 500 });
  const silent = town.visit(3000, CLIENT);
  const session = opened(town, silent, "silent");
  // Nobody touched it since: there was no crowd.
  town.pass(5_000);
  const crowd = town.visit(3000, CLIENT);
  for (let client = 0; client < 12; client++)
    crowd.send({ ...OPEN, frameId: 1_000_000 + client, clientId: `c${client}`, nonce: nonce(1) });
  town.until(() => crowd.received.length === 13);
  expect(settle(town, silent, session)).toMatchObject({ type: "void" });
});

test("from 80 % of the client ids on a leader warns once, and again only after there were fewer", () => {
  const { town, node } = alone({ maxSessions: 100, maxClientIds: 10, generatedExpiryMs: 1_000 });
  const guest = town.visit(3000, CLIENT);
  const ids = Array.from({ length: 8 }, (_, at) => opened(town, guest, `g${at}`, { generated: true }));
  town.pass(100);
  const WARNING =
    "8 of 10 client ids are in use: when all are, new ones are refused until old ones are forgotten. Use an --id again instead of a new one each time";
  expect(eventsOf(node, "sessions")).toEqual([WARNING]);
  const close = (session: number): void => {
    ask(town, guest, (frame) => ({ type: "close", frameId: frame, group: 0, session, acknowledgedThrough: 0 }));
  };
  ids.slice(0, 1).forEach(close);
  opened(town, guest, "again", { generated: true });
  town.pass(100);
  expect(eventsOf(node, "sessions")).toEqual([WARNING]);
  ids.slice(1, 3).forEach(close);
  town.pass(100);
  for (const id of ["x", "y"]) opened(town, guest, id);
  town.pass(100);
  expect(eventsOf(node, "sessions")).toEqual([WARNING, WARNING]);
});

test("what is due happens although nobody asks anything, by a tick for each moment and none when nothing is due", () => {
  const { town, node } = alone({
    maxSessions: 5,
    dormantAfterMs: 50,
    generatedExpiryMs: 4_000,
    sessionExpiryMs: 60_000,
  });
  for (let client = 0; client < 50; client++) {
    town.pass(60);
    const guest = town.visit(3000, CLIENT);
    opened(town, guest, `g${client}`, { generated: true });
    guest.close();
  }
  expect(node.node.status()?.dormantSessions).toBe(45);
  const ticks = (): number => kindsOf(node).filter((kind) => kind === "tick").length;
  const before = ticks();
  town.pass(8_000);
  expect([node.node.status()?.sessions, node.node.status()?.dormantSessions]).toEqual([5, 0]);
  const made = ticks() - before;
  expect(made).toBeGreaterThan(1);
  expect(made).toBeLessThanOrEqual(46);
  town.pass(9_000);
  expect(ticks() - before - made).toBeLessThan(3);
  town.pass(60_000);
  expect(node.node.status()?.sessions).toBe(0);
});

test("a client that asks nothing is sent to the leader by a node that leads no more, and only then", () => {
  const town = createTown(3);
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => town.start(port, ports, 3));
  town.until(() => nodes.some(isLeader));
  const leader = nodes.find(isLeader) as Settled;
  const [idle, stranger, follower] = [leader, leader, nodes.find((node) => node !== leader) as Settled].map((node) =>
    town.visit(portOf(node)),
  ) as [Guest, Guest, Guest];
  town.until(() => kindsOf(leader).includes("version"));
  opened(town, idle, "c1");
  town.pass(2_000);
  expect([idle.closed, stranger.closed, follower.closed]).toEqual([[], [], []]);
  stranger.send({ type: "transfer", frameId: 1, to: null });
  town.until(() => !isLeader(leader) && nodes.some(isLeader));
  const next = nodes.find(isLeader) as Settled;
  town.until(() => idle.closed.length > 0);
  town.pass(1_000);
  expect(idle.closed).toMatchObject([{ code: "NOT_LEADER", leader: next.node.status()?.node.address }]);
  expect([stranger.closed, follower.closed]).toEqual([[], []]);
});

test("a cluster has the limits that it started with, whatever its nodes are started with later", () => {
  const { town, node } = alone({ maxSessions: 1 });
  opened(town, town.visit(3000, CLIENT), "c1");
  town.end(3000, "kill");
  const again = town.start(3000, [], null, { queueLimits: QUEUE });
  town.until(() => isLeader(again) && again.node.inspect()?.queue.sessionCount === 1);
  expect(again.node.inspect()?.queue.limits).toEqual({ ...QUEUE, maxSessions: 1 });
  expect(open(town, town.visit(3000, CLIENT), "c2")).toBe("SESSIONS_FULL");
  expect(kindsOf(again).filter((kind) => kind === "version")).toEqual(["version"]);
  expect(node.stopped()).toBeUndefined();
});

test("a founder that is stopped before the cluster has its limits leaves them to the next leader, and stands still for nobody", () => {
  for (let seed = 1; seed <= 5; seed++) {
    const town = createTown(seed);
    const ports = [3000, 3001, 3002];
    const nodes = ports.map((port) => town.start(port, ports, 3));
    town.until(() => nodes.some(isLeader));
    const leader = nodes.find(isLeader) as Settled;
    leader.node.stop();
    let atOneMoment = 0;
    for (let now = town.clock.now(); leader.stopped() === undefined;) {
      expect(atOneMoment).toBeLessThan(1_000);
      town.step();
      atOneMoment = town.clock.now() === now ? atOneMoment + 1 : 0;
      now = town.clock.now();
    }
    const others = nodes.filter((node) => node !== leader);
    town.until(() => others.some((node) => isLeader(node) && (node.node.inspect()?.queue.version ?? 0) > 0));
    const next = others.find(isLeader) as Settled;
    expect(typeof opened(town, town.visit(portOf(next), CLIENT), "c1")).toBe("number");
  }
});

test("touches name the sessions that are live, not those that were", () => {
  const { town, node } = alone({ sessionExpiryMs: 8_000 });
  const guest = town.visit(3000, CLIENT);
  for (let client = 0; client < 200; client++) {
    const session = opened(town, guest, `g${client}`, { generated: true });
    ask(town, guest, (frame) => ({ type: "close", frameId: frame, group: 0, session, acknowledgedThrough: 0 }));
  }
  const kept = opened(town, guest, "kept");
  town.pass(2_000);
  const touches = node.node.inspect()?.raft.log.entries.filter(({ kind }) => kind === "touch") ?? [];
  expect(decodeTouch(fieldsOf(touches.at(-1)!).body)).toEqual([kept]);
});
