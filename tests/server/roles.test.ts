// Who may send what to a node? Every message of a client with every role, and members that are none any more.
import { expect, test } from "bun:test";
import type { NodeId } from "../../src/raft/types.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { EVERYBODY, type Trust } from "../../src/wire/network.ts";
import { type ClientMessage, type Role, ROLES } from "../../src/wire/protocol.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { sharedSecret } from "../sim/network.ts";
import { member } from "../wire/messages.ts";
import { createTown, type Guest, type Settled } from "./town.ts";

const ENQUEUE = encodeCommand({
  type: "enqueue",
  queue: "default",
  jobs: [{ encoding: 0, payload: new Uint8Array(1) }],
});

const MESSAGES: { readonly [Type in ClientMessage["type"]]: Extract<ClientMessage, { readonly type: Type }> } = {
  ping: { type: "ping", frameId: 1 },
  status: { type: "status", frameId: 1, linearizable: true },
  log: { type: "log", frameId: 1, from: 1, to: 0, local: false },
  trace: { type: "trace", frameId: 1, index: 1 },
  peek: { type: "peek", frameId: 1 },
  open: { type: "open", frameId: 1, group: 0, clientId: "c1", nonce: new Uint8Array(16) },
  request: { type: "request", frameId: 1, group: 0, session: 1, number: 1, answeredUpTo: 0, command: ENQUEUE },
  close: { type: "close", frameId: 1, group: 0, session: 1 },
  join: { type: "join", frameId: 1, member: member(4), comesBack: false },
  remove: { type: "remove", frameId: 1, ids: [member(4).id] },
  transfer: { type: "transfer", frameId: 1, to: member(4).id },
};

/** What the page of the protocol promises; written down again here, so that a change of the table is seen. */
const MAY: Readonly<Record<Role, readonly ClientMessage["type"][]>> = {
  "read-only": ["ping", "status", "log", "trace", "peek"],
  client: ["ping", "status", "log", "trace", "peek", "open", "request", "close"],
  admin: ["ping", "status", "log", "trace", "peek", "open", "request", "close", "join", "remove", "transfer"],
  // With the certificate of a node: members speak in frames of their own.
  peer: ["ping", "join"],
};

const isLeader = ({ node }: Settled): boolean => node.status()?.state === "leader";

function certified(role: Role, node: string | null = null): (self: string, other: string) => Trust {
  const identity = { role, node: node as NodeId | null };
  // The guest sees the node's own certificate.
  return (self, other) => {
    if (other === "guest") return { type: "certificate", identity, handshakeMs: 0 };
    if (self !== "guest") return EVERYBODY;
    return { type: "certificate", identity: { role: "peer", node: "n3000" as NodeId }, handshakeMs: 0 };
  };
}

function answerOf(guest: Guest): string {
  const [answer] = guest.received.filter((message) => "frameId" in message);
  return answer?.type === "failure" ? answer.failure.code : (answer?.type ?? "nothing");
}

const CASES = ROLES.flatMap((role) => Object.values(MESSAGES).map((message) => [role, message.type, message] as const));

test.each(CASES)("%s, sending %s, is %#", (role, type, message) => {
  const town = createTown(1, 1, { trust: certified(role, role === "peer" ? "n4" : null) });
  const node = town.start(3000);
  town.until(() => isLeader(node));
  const guest = town.visit(3000, { role: role === "peer" ? "admin" : role, node: null, clusterId: null });
  guest.send(message);
  town.until(() => answerOf(guest) !== "nothing");
  expect(answerOf(guest) === "UNAUTHORISED").toBe(!MAY[role].includes(type));
  expect(guest.closed).toEqual([]);
});

test("a refused message changes nothing and is told once in the node's log", () => {
  const town = createTown(1, 1, { trust: certified("read-only") });
  const node = town.start(3000);
  town.until(() => isLeader(node));
  const before = node.node.status()?.lastIndex;
  const guest = town.visit(3000);
  guest.send(MESSAGES.open);
  guest.send(MESSAGES.open);
  town.until(() => guest.received.length === 3);
  expect(node.node.status()?.lastIndex).toBe(before);
  const told = node.logged.filter(({ event }) => event === "refused");
  expect(told.map(({ text }) => text)).toEqual(['refused guest: "open" needs the role client; yours is read-only']);
});

test("a node's certificate lets it join as itself, as nobody else", () => {
  const town = createTown(1, 1, { trust: certified("peer", "n3") });
  const node = town.start(3000);
  town.until(() => isLeader(node));
  const guest = town.visit(3000);
  guest.send(MESSAGES.join);
  town.until(() => answerOf(guest) !== "nothing");
  expect(answerOf(guest)).toBe("UNAUTHORISED");
});

test("a secret that allows to be a member allows everything", () => {
  const secret = sharedSecret(seededRandom(1));
  const town = createTown(1, 1, { trust: () => secret });
  const node = town.start(3000);
  town.until(() => isLeader(node));
  for (const message of Object.values(MESSAGES)) {
    const guest = town.visit(3000);
    guest.send(message);
    town.until(() => answerOf(guest) !== "nothing");
    expect(answerOf(guest)).not.toBe("UNAUTHORISED");
  }
});

test("founders with different secrets found nothing, and each says why", () => {
  const secrets = [1, 2].map((seed) => sharedSecret(seededRandom(seed)));
  const town = createTown(1, 1, { trust: (self) => secrets[self === "n3002" ? 1 : 0] as Trust });
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => town.start(port, ports, 3));
  const why = "the shared secret is another one here";
  town.until(() =>
    nodes.every(({ logged }) => logged.some(({ event, text }) => event === "peer-refused" && text.includes(why))),
  );
  town.pass(3_000);
  expect(nodes.map(({ node }) => node.clusterId())).toEqual([null, null, null]);
  for (const { logged } of nodes) expect(logged.filter(({ event }) => event === "peer-refused").length).toBeLessThan(4);
});

test("where nobody has to prove anything, everybody may do everything, as ever", () => {
  const town = createTown();
  const node = town.start(3000);
  town.until(() => isLeader(node));
  const guest = town.visit(3000, { role: "client", node: null, clusterId: null });
  guest.send(MESSAGES.remove);
  town.until(() => answerOf(guest) !== "nothing");
  expect(answerOf(guest)).toBe("UNKNOWN_NODE");
});

test("a member that was removed is refused while a leader lives, and both logs say so", () => {
  const town = createTown(3);
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => town.start(port, ports, 3));
  town.until(() => nodes.some(isLeader));
  const leader = nodes.find(isLeader) as Settled;
  const gone = nodes.find((node) => node !== leader) as Settled;
  const port = Number(gone.node.id.slice(1));
  town.end(port, "kill");
  const guest = town.visit(Number(leader.node.id.slice(1)));
  guest.send({ type: "remove", frameId: 1, ids: [gone.node.id] });
  town.until(() => answerOf(guest) !== "nothing");
  expect(answerOf(guest)).toBe("done");
  const back = town.start(port, ports, 3);
  const others = nodes.filter((node) => node !== gone);
  const why = `${gone.node.id} is no member of this cluster any more`;
  const says = ({ logged }: Settled): boolean => logged.some(({ text }) => text.includes(why));
  town.until(() => [back, ...others].every(says));
  const links = (leader.node.inspect()?.raft.configuration.voters ?? []).map(({ id }) => id);
  expect(links).not.toContain(gone.node.id);
  expect(back.node.inspect()?.raft.leader).toBeNull();
});

test("the types in this file are those of the protocol", () => {
  for (const [type, message] of Object.entries(MESSAGES)) expect(message.type as string).toBe(type);
  expect(new Set<string>(Object.values(MAY).flat())).toEqual(new Set(Object.keys(MESSAGES)));
});
