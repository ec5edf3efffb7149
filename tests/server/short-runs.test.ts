// Does the disk stay bounded when nodes live too short for the entries to bring a checkpoint? With the limits that nodes really have.
import { expect, test } from "bun:test";
import { RAFT, STORAGE } from "../../src/config.ts";
import { createTestCluster, type TestCluster } from "../kit/test-cluster.ts";
import { enqueueCommand, request } from "../kit/test-client.ts";

/** A segment of real nodes is larger, and so are the other limits that are counted in its bytes, in the same proportion. */
const SEGMENT = STORAGE.segmentBytes / 16;
const RULES = {
  segmentBytes: SEGMENT,
  compactMinBytes: STORAGE.compactMinBytes / 16,
  keepLogBytes: RAFT.keepLogBytes / 16,
};
/** Those kept for followers, one written and one ahead, and what gathers before a snapshot is due and taken. */
const MOST_SEGMENTS = STORAGE.maxKeptSegments + 6;
const ENQUEUE = enqueueCommand(new Uint8Array(9));

/** A new client enqueues one job. */
function work(testCluster: TestCluster, port: number, life: number): void {
  const testClient = testCluster.visit(port);
  const session = testClient.openSession(`c${life}`, { nonce: new Uint8Array(16).fill(life) });
  expect(testClient.ask(request(session, 1, ENQUEUE))?.type).toBe("reply");
}

function logBytes(testCluster: TestCluster, port: number): number {
  const disk = testCluster.diskOf(port);
  const files = disk.files().filter((file) => file.startsWith("g0/log/"));
  return files.reduce((sum, file) => sum + (disk.cached(file)?.length ?? 0), 0);
}

test("of a node alone that is restarted again and again, with a few entries each time", () => {
  const testCluster = createTestCluster();
  const lives = 40;
  for (let life = 1; life <= lives; life++) {
    const { node } = testCluster.start(3000, [], null, RULES);
    testCluster.until(() => node.status()?.state === "leader");
    work(testCluster, 3000, life);
    testCluster.pass(3_000);
    expect(logBytes(testCluster, 3000)).toBeLessThanOrEqual(MOST_SEGMENTS * SEGMENT);
    testCluster.end(3000, "kill");
  }
  const { node } = testCluster.start(3000, [], null, RULES);
  testCluster.until(() => node.status()?.ready === lives);
});

test("of a follower that is restarted again and again, while the log of the others is not worth a snapshot", () => {
  const ports = [3000, 3001, 3002];
  const testCluster = createTestCluster();
  const nodes = ports.map((port) => testCluster.start(port, ports, 3, RULES));
  const leader = () => nodes.find(({ node }) => node.status()?.state === "leader");
  testCluster.until(() => leader() !== undefined);
  const leads = Number(leader()?.node.id.slice(1));
  const victim = ports.find((port) => port !== leads) as number;
  for (let life = 1; life <= 20; life++) {
    work(testCluster, leads, life);
    testCluster.end(victim, "kill");
    const { node } = testCluster.start(victim, ports, 3, RULES);
    testCluster.until(() => node.status()?.ready === life);
    testCluster.pass(6_000);
    expect(logBytes(testCluster, victim)).toBeLessThanOrEqual(MOST_SEGMENTS * SEGMENT);
  }
  expect(leader()?.node.status()?.snapshotIndex).toBe(0);
});
