// Who may send what to a node? Every message of a client with every role, and members that are none any more.
import { expect, test } from "bun:test";
import type { Raft } from "../../src/raft/raft.ts";
import type { Incarnation, MemberId, NodeId } from "../../src/raft/types.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { EVERYBODY, type Trust } from "../../src/wire/network.ts";
import { type ClientMessage, type AccessRole, ROLES } from "../../src/wire/protocol.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { sharedSecret } from "../kit/simulated-network.ts";
import { OPEN, member } from "../kit/messages.ts";
import type { NodeSettings } from "../../src/server/types.ts";
import { createTestCluster, isLeader, portOf, type TestCluster, type TestNode } from "../kit/test-cluster.ts";
import type { TestClient } from "../kit/test-client.ts";

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
  open: { ...OPEN, frameId: 1, clientId: "c1", nonce: new Uint8Array(16) },
  request: { type: "request", frameId: 1, group: 0, session: 1, number: 1, acknowledgedThrough: 0, command: ENQUEUE },
  close: { type: "close", frameId: 1, group: 0, session: 1, acknowledgedThrough: 0 },
  join: { type: "join", frameId: 1, member: member(4), comesBack: false },
  remove: { type: "remove", frameId: 1, ids: [member(4).id] },
  readmit: { type: "readmit", frameId: 1, id: member(4).id },
  transfer: { type: "transfer", frameId: 1, to: member(4).id },
};

/** What the page of the protocol promises; written down again here, so that a change of the table is seen. */
const MAY: Readonly<Record<AccessRole, readonly ClientMessage["type"][]>> = {
  "read-only": ["ping", "status", "log", "trace", "peek"],
  client: ["ping", "status", "log", "trace", "peek", "open", "request", "close"],
  admin: [
    "ping",
    "status",
    "log",
    "trace",
    "peek",
    "open",
    "request",
    "close",
    "join",
    "remove",
    "readmit",
    "transfer",
  ],
  // With the certificate of a node: members speak in frames of their own.
  peer: ["ping", "join"],
};

function certified(role: AccessRole, node: string | null = null): (self: string, other: string) => Trust {
  const identity = { role, node: node as NodeId | null };
  // The client sees the node's own certificate.
  return (self, other) => {
    if (other === "client") return { type: "certificate", identity, handshakeMs: 0 };
    if (self !== "client") return EVERYBODY;
    return { type: "certificate", identity: { role: "peer", node: "n3000" as NodeId }, handshakeMs: 0 };
  };
}

function answerOf(testClient: TestClient): string {
  const [answer] = testClient.received.filter((message) => "frameId" in message);
  return answer?.type === "failure" ? answer.failure.code : (answer?.type ?? "nothing");
}

const CASES = ROLES.flatMap((role) => Object.values(MESSAGES).map((message) => [role, message.type, message] as const));

test.each(CASES)("%s, sending %s, is %#", (role, type, message) => {
  const testCluster = createTestCluster(1, 1, { trust: certified(role, role === "peer" ? "n4" : null) });
  const node = testCluster.start(3000);
  testCluster.until(() => isLeader(node));
  const testClient = testCluster.visit(3000, { role: role === "peer" ? "admin" : role, node: null, clusterId: null });
  testClient.send(message);
  testCluster.until(() => answerOf(testClient) !== "nothing");
  expect(answerOf(testClient) === "UNAUTHORISED").toBe(!MAY[role].includes(type));
  expect(testClient.closed).toEqual([]);
});

test("a refused message changes nothing and is reported once in the node's log", () => {
  const testCluster = createTestCluster(1, 1, { trust: certified("read-only") });
  const node = testCluster.start(3000);
  testCluster.until(() => isLeader(node));
  testCluster.until(() => (node.node.inspect()?.queue.version ?? 0) > 0);
  const before = node.node.status()?.lastIndex;
  const testClient = testCluster.visit(3000);
  testClient.send(MESSAGES.open);
  testClient.send(MESSAGES.open);
  testCluster.until(() => testClient.received.length === 3);
  expect(node.node.status()?.lastIndex).toBe(before);
  const refusals = node.logged.filter(({ event }) => event === "refused");
  expect(refusals.map(({ text }) => text)).toEqual([
    'refused client: "open" needs the role client; yours is read-only',
  ]);
});

test("a node's certificate lets it join as itself, as nobody else", () => {
  const testCluster = createTestCluster(1, 1, { trust: certified("peer", "n3") });
  const node = testCluster.start(3000);
  testCluster.until(() => isLeader(node));
  const testClient = testCluster.visit(3000);
  testClient.send(MESSAGES.join);
  testCluster.until(() => answerOf(testClient) !== "nothing");
  expect(answerOf(testClient)).toBe("UNAUTHORISED");
});

test("a secret that allows to be a member allows everything", () => {
  const secret = sharedSecret(seededRandom(1));
  const testCluster = createTestCluster(1, 1, { trust: () => secret });
  const node = testCluster.start(3000);
  testCluster.until(() => isLeader(node));
  for (const message of Object.values(MESSAGES)) {
    const testClient = testCluster.visit(3000);
    testClient.send(message);
    testCluster.until(() => answerOf(testClient) !== "nothing");
    expect(answerOf(testClient)).not.toBe("UNAUTHORISED");
  }
});

test("founders with different secrets found nothing, and each reports why", () => {
  const secrets = [1, 2].map((seed) => sharedSecret(seededRandom(seed)));
  const testCluster = createTestCluster(1, 1, { trust: (self) => secrets[self === "n3002" ? 1 : 0] as Trust });
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => testCluster.start(port, ports, 3));
  const why = "the shared secret is another one here";
  testCluster.until(() =>
    nodes.every(({ logged }) => logged.some(({ event, text }) => event === "peer-refused" && text.includes(why))),
  );
  testCluster.pass(3_000);
  expect(nodes.map(({ node }) => node.clusterId())).toEqual([null, null, null]);
  for (const { logged } of nodes) expect(logged.filter(({ event }) => event === "peer-refused").length).toBeLessThan(4);
});

test("without a secret or certificates, every client may send every message", () => {
  const testCluster = createTestCluster();
  const node = testCluster.start(3000);
  testCluster.until(() => isLeader(node));
  const testClient = testCluster.visit(3000, { role: "client", node: null, clusterId: null });
  testClient.send(MESSAGES.remove);
  testCluster.until(() => answerOf(testClient) !== "nothing");
  expect(answerOf(testClient)).toBe("UNKNOWN_NODE");
});

test("a member that was removed is refused while a leader lives, and both sides log it", () => {
  const testCluster = createTestCluster(3);
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => testCluster.start(port, ports, 3));
  testCluster.until(() => nodes.some(isLeader));
  const leader = nodes.find(isLeader) as TestNode;
  const gone = nodes.find((node) => node !== leader) as TestNode;
  const port = portOf(gone);
  testCluster.end(port, "kill");
  const testClient = testCluster.visit(portOf(leader));
  testClient.send({ type: "remove", frameId: 1, ids: [gone.node.id] });
  testCluster.until(() => answerOf(testClient) !== "nothing");
  expect(answerOf(testClient)).toBe("done");
  const back = testCluster.start(port, ports, 3);
  const others = nodes.filter((node) => node !== gone);
  const why = `${gone.node.id} is no member of this cluster any more`;
  const reports = ({ logged }: TestNode): boolean => logged.some(({ text }) => text.includes(why));
  testCluster.until(() => [back, ...others].every(reports));
  const links = (leader.node.inspect()?.raft.configuration.voters ?? []).map(({ id }) => id);
  expect(links).not.toContain(gone.node.id);
  expect(back.node.inspect()?.raft.leader).toBeNull();
});

/** Three members, one of which was removed and is gone. */
function withoutOne(more: Partial<NodeSettings> = {}): {
  readonly testCluster: TestCluster;
  readonly gone: TestNode;
  readonly others: readonly TestNode[];
} {
  const testCluster = createTestCluster(3);
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => testCluster.start(port, ports, 3, more));
  testCluster.until(() => nodes.some(isLeader));
  const leader = nodes.find(isLeader) as TestNode;
  const gone = nodes.find((node) => node !== leader) as TestNode;
  const testClient = testCluster.visit(portOf(leader));
  testClient.send({ type: "remove", frameId: 1, ids: [gone.node.id] });
  testCluster.until(() => answerOf(testClient) === "done");
  testCluster.pass(1_000);
  testCluster.end(portOf(gone), "kill");
  return { testCluster, gone, others: nodes.filter((node) => node !== gone) };
}

/** A connection as a member of the cluster that `of` belongs to. */
function asMember(testCluster: TestCluster, of: TestNode, id: string): TestClient {
  const node = { id: id as NodeId, incarnation: "00000000000000ab" as Incarnation, address: "127.0.0.1:3009" };
  return testCluster.visit(portOf(of), { role: "peer", clusterId: of.node.clusterId(), node });
}

test("a removed node is refused by every member, under any incarnation, and also when no leader lives", () => {
  const { testCluster, gone, others } = withoutOne();
  for (const other of others)
    expect(asMember(testCluster, other, gone.node.id).closed.at(-1)?.code).toBe("UNAUTHORISED");
  const [first, second] = others as [TestNode, TestNode];
  testCluster.end(portOf(second), "kill");
  testCluster.until(() => first.node.inspect()?.raft.leader === null);
  expect(asMember(testCluster, first, gone.node.id).closed.at(-1)?.code).toBe("UNAUTHORISED");
});

test("a newcomer that comes to know of a removal before it knows that the node was let in again follows that node, if it leads", () => {
  // Entry by entry, so that the newcomer sees the removal first.
  const slowly = { maxAppendBytes: 1 };
  const { testCluster, gone, others } = withoutOne(slowly);
  const ports = [3000, 3001, 3002];
  const leader = others.find(isLeader) as TestNode;
  const order = (message: ClientMessage): void => {
    const testClient = testCluster.visit(portOf([...others, gone].find(isLeader) ?? leader));
    testClient.send(message);
    testCluster.until(() => answerOf(testClient) === "done");
  };
  order({ type: "readmit", frameId: 1, id: gone.node.id });
  testCluster.end(portOf(gone), "wipe");
  const back = testCluster.start(portOf(gone), ports, null, slowly);
  const votersOf = ({ node }: TestNode): readonly string[] =>
    node.inspect()?.raft.configuration.voters.map(({ id }) => id) ?? [];
  testCluster.until(() => others.every((node) => votersOf(node).includes(gone.node.id)));
  // A handover in the middle of the change may fail: the leader appends its second half meanwhile.
  const isSettled = ({ configuration, configurationIndex, commitIndex }: Raft): boolean =>
    configuration.outgoing.length === 0 && configurationIndex <= commitIndex;
  testCluster.until(() => isSettled(leader.node.inspect()!.raft));
  order({ type: "transfer", frameId: 1, to: gone.node.id });
  testCluster.until(() => isLeader(back));
  const newcomer = testCluster.start(3003, ports, null, slowly);
  testCluster.until(() => votersOf(newcomer).includes("n3003"));
  expect(isLeader(back)).toBe(true);
  // A voter refuses every removed member; before that, it refuses one that was removed while another member leads.
  expect(newcomer.logged.filter(({ text }) => text.includes("no member of this cluster any more"))).toEqual([]);
});

test("nor does it get a member to distrust its disk that has just started and cannot know what has committed", () => {
  const { testCluster, gone, others } = withoutOne();
  for (const other of others) testCluster.end(portOf(other), "kill");
  const [port = 0] = others.map(portOf);
  const alone = testCluster.start(port, [3000, 3001, 3002], 3);
  testCluster.until(() => alone.node.inspect() !== null);
  const term = alone.node.status()?.term ?? 0;
  const testClient = asMember(testCluster, alone, gone.node.id);
  testClient.send({ type: "Heartbeat", term: term + 50, leaderCommit: 0, time: 0, readContext: 0 });
  testClient.send({ type: "StaleDisk", term: term + 50, acknowledgedIndex: 1e9 });
  testCluster.pass(100);
  expect(alone.node.inspect()?.raft.leader).toBe(`${gone.node.id}@00000000000000ab` as MemberId);
  expect(alone.logged.filter(({ text }) => text.includes("older than what it promised"))).toEqual([]);
  expect(alone.node.status()?.state).toBe("follower");
});

test.each([
  ["a stale disk", (term: number) => ({ type: "StaleDisk", term: term + 50, acknowledgedIndex: 1e9 }) as const],
  ["TimeoutNow", (term: number) => ({ type: "TimeoutNow", term }) as const],
  [
    "votes for the leader's successor",
    (term: number) =>
      ({
        type: "RequestVote",
        term: term + 7,
        preVote: false,
        transfer: true,
        lastLogIndex: 1e9,
        lastLogTerm: term,
      }) as const,
  ],
])("who never was a member changes nothing by %s", (_, message) => {
  const testCluster = createTestCluster(3);
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => testCluster.start(port, ports, 3));
  testCluster.until(() => nodes.some(isLeader));
  testCluster.pass(500);
  const leader = nodes.find(isLeader) as TestNode;
  const term = leader.node.status()?.term ?? 0;
  for (const node of nodes) {
    const testClient = asMember(testCluster, node, "n3009");
    testCluster.pass(10);
    testClient.send(message(term));
  }
  testCluster.pass(2_000);
  expect(isLeader(leader)).toBe(true);
  expect(nodes.map(({ node }) => node.status()?.term)).toEqual([term, term, term]);
});

test("a term that cannot be ends its connection with a line in the log, and the cluster serves on", () => {
  const testCluster = createTestCluster(3);
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => testCluster.start(port, ports, 3));
  testCluster.until(() => nodes.some(isLeader));
  const node = nodes.find((one) => !isLeader(one)) as TestNode;
  const testClient = asMember(testCluster, node, "n3009");
  testCluster.pass(10);
  const term = 2 ** 48 - 1;
  testClient.send({ type: "RequestVote", term, preVote: false, transfer: false, lastLogIndex: 1e9, lastLogTerm: 1 });
  testCluster.pass(100);
  expect(testClient.closed.at(-1)?.code).toBe("BAD_REQUEST");
  expect(node.logged.filter(({ text }) => text.includes(`n3009 speaks of term ${term}`))).toHaveLength(1);
  expect(node.node.status()?.term).toBeLessThan(10);
});

test("the types in this file are those of the protocol", () => {
  for (const [type, message] of Object.entries(MESSAGES)) expect(message.type as string).toBe(type);
  expect(new Set<string>(Object.values(MAY).flat())).toEqual(new Set(Object.keys(MESSAGES)));
});
