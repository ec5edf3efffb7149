// What does an older raftq do beside a newer one? It ends by name, with exit code 6: at a start from what the newer one wrote, and when
// the newer one sends it a snapshot.
import { expect, test } from "bun:test";
import { createCheckedCluster, type CheckedCluster } from "./checked-cluster.ts";

const [A, B, C] = [3000, 3001, 3002];

/** The state of these nodes is one that a newer state machine has made. */
function makeNewer(cluster: CheckedCluster, ports: readonly number[]): void {
  for (const port of ports) Object.assign(cluster.at(port).node.inspect()!.queue, { version: 2 });
}

/** Until the log does not reach back to where a node is that went away before. */
function untilCompacted(cluster: CheckedCluster): void {
  const compacted = (): boolean => cluster.at(cluster.leader()).logged.some(({ event }) => event === "snapshot-saved");
  while (!compacted()) cluster.enqueue(20);
  cluster.enqueue(40);
}

/** A and B have made a snapshot by a newer state machine while C was away. */
function newerMajority(seed: number): CheckedCluster {
  const cluster = createCheckedCluster(3, seed, { compactMinBytes: 16 * 1024, keepLogBytes: 1 });
  cluster.enqueue(5);
  if (cluster.leader() === C) cluster.lead(A);
  cluster.until("another one leads", () => cluster.leader() !== C);
  cluster.quiet();
  cluster.end(C, "kill");
  makeNewer(cluster, [A, B]);
  untilCompacted(cluster);
  cluster.quiet();
  return cluster;
}

test("a follower that is sent a snapshot of a newer state machine stops by name, and writes nothing of it", () => {
  const cluster = newerMajority(1);
  const kept = (): string[] => {
    const files = cluster.testCluster.diskOf(C).files();
    return files.filter((file) => !file.startsWith("g0/log/"));
  };
  const before = kept();
  const follower = cluster.start(C);
  cluster.until("it stops", () => follower.stopped() !== undefined);
  const end = follower.stopped();
  expect([end?.code, end?.exitCode]).toEqual(["VERSION", 6]);
  expect(end?.message).toContain("state machine version 2, and this raftq knows version 1");
  expect(kept()).toEqual(before);
});

test("members that start from what a newer raftq wrote end by name, and none of them asks to be let in again", () => {
  const cluster = newerMajority(2);
  for (const port of [A, B]) {
    cluster.end(port, "kill");
    const before = cluster.testCluster.diskOf(port).backup();
    expect([...before.keys()].some((path) => path.startsWith("g0/snapshot/") && path.endsWith("manifest"))).toBe(true);
    const back = cluster.start(port);
    cluster.until("it ends", () => back.stopped() !== undefined);
    expect([back.stopped()?.code, back.stopped()?.exitCode]).toEqual(["NEWER_FORMAT", 6]);
    expect(back.stopped()?.message).toMatch(/^g0\/snapshot\/\d+-\d+\/part-000000 holds state machine version 2/);
    expect(cluster.testCluster.diskOf(port).backup()).toEqual(before);
  }
});
