// What does a node do when its disk cannot be read? It stops with an error that names it, at its start as well as later.
import { expect, test } from "bun:test";
import { createTestCluster, isLeader, type TestNode } from "../kit/test-cluster.ts";
import { enqueueCommand, request, type TestClient } from "../kit/test-client.ts";

const PORTS = [3000, 3001, 3002];
const JOB_BYTES = 200_000;
/** Together more than the log that a cluster's node keeps without a snapshot. */
const JOBS = 8;

const savedSnapshot = ({ logged }: TestNode): boolean => logged.some(({ event }) => event === "snapshot-saved");

function fill(testClient: TestClient): void {
  const session = testClient.openSession("c1");
  for (let number = 1; number <= JOBS; number++)
    testClient.ask(request(session, number, enqueueCommand(new Uint8Array(JOB_BYTES).fill(number))));
}

test("a node whose disk fails at any read of its start stops with DISK_FAILED, also when it is its snapshot", () => {
  const testCluster = createTestCluster();
  const first = testCluster.start(3000);
  testCluster.until(() => isLeader(first));
  fill(testCluster.visit(3000));
  testCluster.until(() => savedSnapshot(first));
  testCluster.pass(500);
  testCluster.end(3000, "kill");
  const codes: (string | undefined)[] = [];
  for (let nth = 1; codes.at(-1) !== "started"; nth++) {
    testCluster.failRead(3000, nth);
    const again = testCluster.start(3000);
    testCluster.until(() => again.stopped() !== undefined || isLeader(again));
    codes.push(again.stopped() === undefined ? "started" : again.stopped()?.code);
    testCluster.end(3000, "kill");
  }
  // Meta, the log's segments, the manifest, the parts.
  expect(codes.length).toBeGreaterThan(4);
  expect(new Set(codes)).toEqual(new Set(["DISK_FAILED", "started"]));
});

test("a leader that cannot read the snapshot that a follower needs stops with DISK_FAILED", () => {
  const testCluster = createTestCluster(3);
  const nodes = PORTS.map((port) => testCluster.start(port, PORTS, 3));
  testCluster.until(() => nodes.some(isLeader));
  const leader = nodes.findIndex(isLeader);
  const behind = PORTS[(leader + 1) % 3]!;
  testCluster.end(behind, "kill");
  fill(testCluster.visit(PORTS[leader]!));
  testCluster.until(() => savedSnapshot(nodes[leader]!));
  testCluster.pass(500);
  testCluster.failRead(PORTS[leader]!, 1);
  testCluster.start(behind, PORTS, 3);
  testCluster.until(() => nodes[leader]!.stopped() !== undefined);
  expect(nodes[leader]!.stopped()?.code).toBe("DISK_FAILED");
});
