// What becomes of a founder that missed the founding, when the others need its vote? Its first entry is gone from their logs by then.
// And of a founding when a machine loses power in the middle of it?
import { expect, test } from "bun:test";
import { QUEUE, SERVER, WIRE } from "../../src/config.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import type { NodeSettings } from "../../src/server/types.ts";
import { createTestCluster, type TestNode } from "../kit/test-cluster.ts";
import { OPEN } from "../kit/messages.ts";

const PORTS = [3000, 3001, 3002];
const LATE = "n3002";
/** Small files and many snapshots. */
const SETTINGS: Partial<NodeSettings> = {
  electionMinMs: 100,
  electionMaxMs: 150,
  segmentBytes: 32 * 1024,
  compactMinBytes: 4 * 1024,
  keepLogBytes: 512,
  queueLimits: { ...QUEUE, checkpointEntries: 8, checkpointBytes: 4 * 1024 },
};

const isLeader = ({ node }: TestNode): boolean => node.status()?.state === "leader";

test("a founder that heard nothing of its founding takes part when another has lost its disk (seed 8003156)", () => {
  const testCluster = createTestCluster(1);
  const nodes = PORTS.map((port) => testCluster.start(port, PORTS, 3, SETTINGS));
  const [first, second, late] = nodes as [TestNode, TestNode, TestNode];
  // All have heard each other, and nobody may write yet.
  testCluster.pass(SERVER.bootstrapGraceMs - 50);
  const heal = testCluster.network.cut((_, to) => to === LATE, true);
  testCluster.until(() => isLeader(first) || isLeader(second));
  expect(late.node.status()).toBeNull();
  const leader = isLeader(first) ? first : second;
  const testClient = testCluster.visit(Number(leader.node.id.slice(1)));
  testClient.send({ ...OPEN, frameId: 1, clientId: "c1", nonce: new Uint8Array(16).fill(7) });
  const jobs = [{ encoding: 0, payload: new Uint8Array(1_000) }];
  const command = encodeCommand({ type: "enqueue", queue: "default", jobs });
  testCluster.until(() => testClient.received.length > 1);
  const session = leader.node.inspect()?.raft.commitIndex ?? 0;
  for (let number = 1; number <= 30; number++) {
    testClient.send({
      type: "request",
      frameId: 1 + number,
      group: 0,
      session,
      number,
      acknowledgedThrough: 0,
      command,
    });
  }
  const isShort = ({ node }: TestNode): boolean => (node.inspect()?.raft.firstIndex ?? 0) > 1;
  testCluster.until(() => isShort(first) && isShort(second));
  testCluster.end(3000, "wipe");
  heal();
  const back = testCluster.start(3000, PORTS, 3, SETTINGS);
  const isWhole = (node: TestNode): boolean => node.node.inspect()?.queue.ready === 30;
  testCluster.until(() => [back, second, late].every(isWhole), 30_000);
  expect([back, second, late].filter(isLeader).length).toBe(1);
});

test("a founder that owes an answer and has lost power is asked again within seconds (seed 9973365)", () => {
  const testCluster = createTestCluster(1);
  const [first, second] = [3000, 3001];
  const founders = [first, second];
  for (const port of founders) testCluster.start(port, founders, founders.length);
  testCluster.pass(SERVER.bootstrapGraceMs / 2);
  // It has received what the other asks, and nothing tells that one that no answer will come.
  testCluster.pause(first);
  testCluster.pass(100);
  testCluster.end(first, "powerCut");
  const nodes = [testCluster.start(first, founders, founders.length)];
  testCluster.until(() => nodes.some(isLeader), 2 * WIRE.peerSilenceMs + SERVER.bootstrapGraceMs + 1_000);
});
