// What does a node do when its disk cannot be read? It stops with a name for it, at its start as well as later.
import { expect, test } from "bun:test";
import { encodeCommand } from "../../src/queue/commands.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import { createTestCluster, type TestClient, type TestNode } from "../kit/test-cluster.ts";
import { OPEN } from "../kit/messages.ts";

const PORTS = [3000, 3001, 3002];
const JOB_BYTES = 200_000;
/** Together more than the log that a cluster's node keeps without a snapshot. */
const JOBS = 8;

const isLeader = ({ node }: TestNode): boolean => node.status()?.state === "leader";
const savedSnapshot = ({ logged }: TestNode): boolean => logged.some(({ event }) => event === "snapshot-saved");

function fill(testCluster: ReturnType<typeof createTestCluster>, testClient: TestClient): void {
  const answered = (frameId: number) =>
    testClient.received.find((message) => "frameId" in message && message.frameId === frameId);
  testClient.send({ ...OPEN, frameId: 1, clientId: "c1", nonce: new Uint8Array(16).fill(7) });
  testCluster.until(() => answered(1) !== undefined);
  const opened = answered(1);
  const reply = opened?.type === "reply" ? decodeReply(opened.reply) : null;
  const session = reply?.type === "opened" ? reply.session : expect.unreachable("the session was not opened");
  for (let number = 1; number <= JOBS; number++) {
    const jobs = [{ encoding: 1, payload: new Uint8Array(JOB_BYTES).fill(number) }];
    const command = encodeCommand({ type: "enqueue", queue: "default", jobs });
    testClient.send({
      type: "request",
      frameId: 1 + number,
      group: 0,
      session,
      number,
      acknowledgedThrough: number - 1,
      command,
    });
    testCluster.until(() => answered(1 + number) !== undefined);
  }
}

test("a node whose disk fails at any read of its start stops with DISK_FAILED, also when it is its snapshot", () => {
  const testCluster = createTestCluster();
  const first = testCluster.start(3000);
  testCluster.until(() => isLeader(first));
  fill(testCluster, testCluster.visit(3000));
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
  fill(testCluster, testCluster.visit(PORTS[leader]!));
  testCluster.until(() => savedSnapshot(nodes[leader]!));
  testCluster.pass(500);
  testCluster.failRead(PORTS[leader]!, 1);
  testCluster.start(behind, PORTS, 3);
  testCluster.until(() => nodes[leader]!.stopped() !== undefined);
  expect(nodes[leader]!.stopped()?.code).toBe("DISK_FAILED");
});
