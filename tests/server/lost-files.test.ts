// Does a node notice that somebody has deleted its files while it runs? It stops within seconds, by name, and the others go on.
import { expect, test } from "bun:test";
import { createCheckedCluster } from "./checked-cluster.ts";
import { createTestCluster } from "../kit/test-cluster.ts";

const [A, B, C] = [3000, 3001, 3002];
/** Once a second it looks; then it needs to end. */
const SOON_MS = 1_500;

test("a leader whose meta, newest segments or whole directory is deleted stops within seconds, and the others serve on", () => {
  for (const [seed, lost] of [/^meta$/, /^g0\/log\/.*-[0-9a-f]{8}\.seg$/, /./].entries()) {
    const cluster = createCheckedCluster(3, 60 + seed);
    cluster.enqueue(5);
    const victim = cluster.leader();
    const disk = cluster.testCluster.diskOf(victim);
    const gone = disk.files().filter((file) => lost.test(file));
    for (const file of seed === 1 ? gone.slice(-2) : gone) disk.delete(file);
    cluster.until("it stops", () => cluster.at(victim).stopped() !== undefined, SOON_MS);
    const end = cluster.at(victim).stopped();
    expect([end?.code, end?.exitCode]).toEqual(["DISK_FAILED", 1]);
    expect(end?.message).toContain("was deleted or replaced while the node ran");
    // It is not damage: no note, no mark, nothing is set aside.
    expect(disk.files().filter((file) => /rejoin|damaged/.test(file))).toEqual([]);
    cluster.until("another one leads", () => cluster.leader() !== victim);
    cluster.enqueue(5);
    cluster.expectAllThere();
  }
});

test("a follower that lost its files acknowledges nothing after it has noticed: without it and another one nothing commits", () => {
  const cluster = createCheckedCluster(3, 70);
  if (cluster.leader() !== A) cluster.lead(A);
  cluster.until("A leads", () => cluster.leader() === A);
  cluster.end(C, "kill");
  const disk = cluster.testCluster.diskOf(B);
  for (const file of disk.files()) disk.delete(file);
  cluster.until("it stops", () => cluster.at(B).stopped() !== undefined, SOON_MS);
  const committed = cluster.at(A).node.status()?.commitIndex;
  cluster.poke();
  cluster.testCluster.pass(3_000);
  expect(cluster.at(A).node.status()?.commitIndex).toBe(committed);
});

test("a node that waits to be let in, or for the other founders, notices it as well", () => {
  for (const expected of [null, 3]) {
    const testCluster = createTestCluster();
    const node = testCluster.start(A, [B, C], expected);
    testCluster.until(() => testCluster.diskOf(A).files().includes("meta"));
    testCluster.diskOf(A).delete("meta");
    testCluster.until(() => node.stopped() !== undefined, SOON_MS);
    expect(node.stopped()?.code).toBe("DISK_FAILED");
  }
});
