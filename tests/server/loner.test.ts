// When does a node that founded a cluster alone give way to another cluster? Only while nothing was done in its own,
// and only to a cluster that knows its id.
import { expect, test } from "bun:test";
import { QUEUE } from "../../src/config.ts";
import type { Raft } from "../../src/raft/raft.ts";
import type { ClusterId, Incarnation, Member, NodeId } from "../../src/raft/types.ts";
import type { NodeSettings } from "../../src/server/types.ts";
import { dialsNode } from "../../src/wire/protocol.ts";
import { createTestCluster, isLeader } from "../kit/test-cluster.ts";

const FOREIGN = "00112233445566ff" as ClusterId;
const STRANGER: Member = {
  id: "x" as NodeId,
  incarnation: "00112233445566ff" as Incarnation,
  address: "127.0.0.1:9",
};
const PORT = 3000;

function loner(...command: [join?: readonly number[], expected?: number | null, more?: Partial<NodeSettings>]) {
  const testCluster = createTestCluster(8);
  const alone = testCluster.start(PORT, ...command);
  testCluster.until(() => isLeader(alone));
  testCluster.pass(2_000);
  /** Gives the code that the dialer is refused with. */
  const hello = (features: readonly string[]): string | undefined => {
    const testClient = testCluster.visit(PORT, { role: "peer", clusterId: FOREIGN, node: STRANGER, features });
    testCluster.pass(1_000);
    return testClient.closed[0]?.code;
  };
  /** A client opens a session. */
  const use = (): void => void testCluster.visit(PORT).openSession("c1");
  return { testCluster, alone, hello, use };
}

const MEANT = [dialsNode("n3000" as NodeId)];

test("a hello of another cluster that names no node here, or another one, changes nothing", () => {
  const { alone, hello } = loner();
  expect(hello([])).toBe("CLUSTER_MISMATCH");
  expect(hello([dialsNode("n3001" as NodeId), "something newer"])).toBe("CLUSTER_MISMATCH");
  expect(alone.stopped()).toBeUndefined();
});

test("a cluster of one in which nothing was done yet gives way to the cluster that knows its id", () => {
  const { alone, hello } = loner();
  hello(MEANT);
  expect(alone.stopped()?.code).toBe("CLUSTER_MISMATCH");
  expect(alone.stopped()?.message).toContain(FOREIGN);
});

test("a cluster of one that a client has used stays, whoever knows its id, also after a restart", () => {
  const { testCluster, alone, hello, use } = loner();
  use();
  expect(hello(MEANT)).toBe("CLUSTER_MISMATCH");
  expect(alone.stopped()).toBeUndefined();
  testCluster.end(PORT, "kill");
  const again = testCluster.start(PORT);
  testCluster.until(() => isLeader(again));
  expect(hello(MEANT)).toBe("CLUSTER_MISMATCH");
  expect(again.stopped()).toBeUndefined();
});

test("a cluster of one whose work lies in a snapshot stays, though its log holds nothing of it any more", () => {
  // A snapshot at every other entry, and nothing is kept of the log before it.
  const queueLimits = { ...QUEUE, checkpointEntries: 2 };
  const settings = { queueLimits, compactMinBytes: 1, compactFactor: 0, keepLogBytes: 0 };
  const { testCluster, alone, hello, use } = loner([], null, settings);
  use();
  const raft = (): Raft => alone.node.inspect()!.raft;
  testCluster.until(() => raft().snapshot !== null && raft().log.entries.every(({ kind }) => kind !== "open"), 30_000);
  expect(hello(MEANT)).toBe("CLUSTER_MISMATCH");
  expect(alone.stopped()).toBeUndefined();
});

test("a cluster of one that was asked for, by --expect 1, stays: it was not founded by mistake", () => {
  const { alone, hello } = loner([PORT], 1);
  expect(hello(MEANT)).toBe("CLUSTER_MISMATCH");
  expect(alone.stopped()).toBeUndefined();
});

test("founders of one cluster do not give way, though nothing was done yet and the command names nobody any more", () => {
  const testCluster = createTestCluster(10);
  const ports = [3000, 3001, 3002];
  const nodes = ports.map((port) => testCluster.start(port, ports, 3));
  testCluster.until(() => nodes.every(({ node }) => (node.status()?.commitIndex ?? 0) > 1));
  testCluster.end(PORT, "kill");
  const again = testCluster.start(PORT);
  testCluster.until(() => again.node.status() !== null);
  testCluster.visit(PORT, { role: "peer", clusterId: FOREIGN, node: STRANGER, features: MEANT });
  testCluster.pass(1_000);
  expect(again.stopped()).toBeUndefined();
});

test("a member that was wiped and started without naming the others is stopped by them, under its own id only", () => {
  for (const id of ["n3002", "stranger"] as NodeId[]) {
    const testCluster = createTestCluster(9);
    const ports = [3000, 3001, 3002];
    const nodes = ports.map((port) => testCluster.start(port, ports, 3));
    testCluster.until(() => nodes.every(({ node }) => (node.status()?.commitIndex ?? 0) > 1));
    testCluster.end(3002, "wipe");
    const alone = testCluster.start(3002, [], null, { id });
    testCluster.pass(2_000);
    expect(alone.logged.some(({ text }) => text.includes("FOUNDED new cluster"))).toBe(true);
    expect(alone.stopped()?.code).toBe(id === "n3002" ? "CLUSTER_MISMATCH" : undefined);
  }
});
