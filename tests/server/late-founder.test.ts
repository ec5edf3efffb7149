// What becomes of a founder that missed the founding, when the others need its vote? Its first entry is gone from their logs by then.
// And what becomes of a founding when a machine loses power in the middle of it?
import { expect, test } from "bun:test";
import { SERVER, WIRE } from "../../src/config.ts";
import type { NodeSettings } from "../../src/server/types.ts";
import { createTestCluster, isLeader, portOf, type TestNode } from "../kit/test-cluster.ts";
import { enqueueCommand, request } from "../kit/test-client.ts";
import { QUICK_AND_SMALL } from "../kit/node-settings.ts";

const PORTS = [3000, 3001, 3002];
const LATE = "n3002";
/** Many snapshots. */
const SETTINGS: Partial<NodeSettings> = { ...QUICK_AND_SMALL, compactMinBytes: 4 * 1024, keepLogBytes: 512 };

test("a founder that received nothing of its founding takes part when another has lost its disk (seed 8003156)", () => {
  const testCluster = createTestCluster(1);
  const nodes = PORTS.map((port) => testCluster.start(port, PORTS, 3, SETTINGS));
  const [first, second, late] = nodes as [TestNode, TestNode, TestNode];
  // All have received each other's statements, and none may write yet.
  testCluster.pass(SERVER.bootstrapGraceMs - 50);
  const heal = testCluster.network.cut((_, to) => to === LATE, true);
  testCluster.until(() => isLeader(first) || isLeader(second));
  expect(late.node.status()).toBeNull();
  const leader = isLeader(first) ? first : second;
  const testClient = testCluster.visit(portOf(leader));
  const session = testClient.openSession("c1");
  const command = enqueueCommand(new Uint8Array(1_000));
  for (let number = 1; number <= 30; number++)
    testClient.send({ ...request(session, number, command, 0), frameId: 1 + number });
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
  // It has received what the other asks, and the other does not learn that no answer will come.
  testCluster.pause(first);
  testCluster.pass(100);
  testCluster.end(first, "powerCut");
  const nodes = [testCluster.start(first, founders, founders.length)];
  testCluster.until(() => nodes.some(isLeader), 2 * WIRE.peerSilenceMs + SERVER.bootstrapGraceMs + 1_000);
});
