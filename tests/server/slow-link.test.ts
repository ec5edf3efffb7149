// Does everything arrive over links between members that are slow, and who leads meanwhile? Real nodes on simulated links.
import { expect, test } from "bun:test";
import { createClient } from "../../src/client/client.ts";
import { CLIENT, QUEUE } from "../../src/config.ts";
import { seededRandom } from "../../src/lib/random.ts";
import type { NodeSettings } from "../../src/server/types.ts";
import { createTestCluster, isLeader, portOf, type TestNode } from "../kit/test-cluster.ts";

const PORTS = [3000, 3001, 3002];
/** Bytes per millisecond. */
const KBIT = 1 / 8;

const raftOf = ({ node }: TestNode) => node.inspect()?.raft;
const termOf = (nodes: readonly TestNode[]): number => Math.max(...nodes.map((node) => raftOf(node)?.currentTerm ?? 0));

/** Three members that lead already, and then have slow links between each other; clients reach them as before. */
function slowed(seed: number, kbit: number, more: Partial<NodeSettings> = {}) {
  const testCluster = createTestCluster(seed);
  const start = (port: number): TestNode => testCluster.start(port, PORTS, 3, more);
  const nodes = PORTS.map(start);
  testCluster.until(() => nodes.some(isLeader));
  testCluster.pass(1_000);
  for (const from of PORTS)
    for (const to of PORTS) if (from !== to) testCluster.network.slow(`n${from}`, `n${to}`, kbit * KBIT);
  const client = createClient(
    { network: testCluster.network.hostOf("client"), clock: testCluster.clock, random: seededRandom(seed) },
    {
      addresses: PORTS.map((port) => `127.0.0.1:${port}`),
      clientId: "writer",
      nonce: new Uint8Array(16).fill(7),
      timeoutMs: 10 * 60_000,
      follow: true,
      numbered: false,
      batch: false,
      closeOnLeave: true,
      acknowledge: { when: "delivered", earlier: "fetched", whenIdle: false },
      generated: false,
      limits: { ...CLIENT.limits, silenceMs: 10 * 60_000 },
    },
    () => {},
  );
  const answers: boolean[] = [];
  const enqueue = (bytes: number): void => {
    const jobs = [{ encoding: 0, payload: new Uint8Array(bytes).map((_, at) => at) }];
    client.submit({ type: "enqueue", queue: "default", jobs }, ({ ok }) => void answers.push(ok));
  };
  const leader = nodes.find(isLeader)!;
  return { testCluster, nodes, start, enqueue, answers, leader };
}

for (const [kbit, bytes, withinMs] of [
  [512, 900_000, 60_000],
  [64, 200_000, 120_000],
] as const) {
  test(`a job of ${bytes} bytes is committed over links of ${kbit} kbit/s, under the leader that took it`, () => {
    const { testCluster, nodes, enqueue, answers } = slowed(1, kbit);
    const before = termOf(nodes);
    enqueue(bytes);
    testCluster.until(() => answers.length > 0, withinMs);
    expect(answers).toEqual([true]);
    expect(termOf(nodes)).toBe(before);
    testCluster.until(
      () => nodes.every((node) => raftOf(node)?.commitIndex === raftOf(nodes[0]!)?.lastIndex),
      withinMs,
    );
    expect(termOf(nodes)).toBe(before);
  });
}

test("a snapshot of 110 kB arrives over links of 32 kbit/s, in chunks, and nobody else is disturbed", () => {
  const small = { compactMinBytes: 16 * 1_024, segmentBytes: 256 * 1_024, keepLogBytes: 0 };
  const { testCluster, nodes, start, enqueue, answers, leader } = slowed(2, 512, {
    ...small,
    queueLimits: { ...QUEUE, checkpointEntries: 4 },
  });
  const behind = nodes.find((node) => node !== leader)!;
  const port = portOf(behind);
  testCluster.end(port, "kill");
  for (let at = 0; at < 12; at++) enqueue(10_000);
  testCluster.until(() => answers.length === 12 && (raftOf(leader)?.snapshot?.index ?? 0) > 8, 60_000);
  const before = raftOf(leader)!.currentTerm;
  for (const other of PORTS) {
    if (other === port) continue;
    testCluster.network.slow(`n${port}`, `n${other}`, 32 * KBIT);
    testCluster.network.slow(`n${other}`, `n${port}`, 32 * KBIT);
  }
  const back = start(port);
  const chunks = new Set<number>();
  testCluster.until(() => {
    for (const { snapshot } of raftOf(leader)?.progress.values() ?? []) chunks.add(snapshot?.nextOffset ?? 0);
    return back.node.inspect()?.queue.appliedIndex === raftOf(leader)?.lastIndex;
  }, 120_000);
  expect(chunks.size).toBeGreaterThan(3);
  expect([raftOf(leader)?.role, raftOf(leader)?.currentTerm]).toEqual(["leader", before]);
});

test("a follower receives something from its leader every few heartbeats while a large job comes to it over 64 kbit/s", () => {
  const { testCluster, nodes, enqueue, leader } = slowed(3, 64);
  testCluster.pass(1_000);
  enqueue(100_000);
  testCluster.pass(500);
  const receivedAt = new Map<TestNode, number>();
  const gaps: number[] = [];
  const end = testCluster.clock.now() + 10_000;
  while (testCluster.clock.now() < end && testCluster.step()) {
    for (const node of nodes) {
      const at = raftOf(node)?.leaderMessageAt ?? 0;
      if (node === leader || receivedAt.get(node) === at) continue;
      gaps.push(at - (receivedAt.get(node) ?? at));
      receivedAt.set(node, at);
    }
  }
  expect(raftOf(leader)?.commitIndex).toBeLessThan(raftOf(leader)!.lastIndex);
  gaps.sort((a, b) => a - b);
  expect(gaps.length).toBeGreaterThan(200);
  expect(gaps[Math.floor(gaps.length / 2)]).toBeLessThan(100);
  expect(gaps.at(-1)).toBeLessThan(200);
});

test("a link that carries nothing any more is dialed again, and the log names the message in flight, and how much of it was acknowledged", () => {
  const { testCluster, enqueue, leader } = slowed(4, 512);
  enqueue(500_000);
  testCluster.pass(3_000);
  const isApart = (name: string): boolean => name === leader.node.id;
  testCluster.network.cut((from, to) => isApart(from) !== isApart(to), true);
  testCluster.pass(5_000);
  const stalls = leader.logged.filter(({ event }) => event === "peer-stalled").map(({ text }) => text);
  expect(stalls.length).toBeGreaterThan(0);
  for (const text of stalls)
    expect(text).toMatch(
      /^n300\d at 127\.0\.0\.1:300\d has not answered for 1[.\d]*s; it has acknowledged [1-9]\d+ of 500\d\d\d bytes of the AppendEntries in flight for [\d.]+s: dialing it again$/,
    );
});
