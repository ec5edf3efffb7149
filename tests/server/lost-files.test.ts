// Does a node notice that somebody has deleted its files while it runs? It stops within seconds, by name, and the others go on.
import { expect, test } from "bun:test";
import { createRing } from "./ring.ts";
import { createTestCluster } from "./test-cluster.ts";

const [A, B, C] = [3000, 3001, 3002];
/** Once a second it looks; then it needs to end. */
const SOON_MS = 1_500;

test("a leader whose meta, newest segments or whole directory is deleted stops within seconds, and the others serve on", () => {
  for (const [seed, lost] of [/^meta$/, /^g0\/log\/.*-[0-9a-f]{8}\.seg$/, /./].entries()) {
    const ring = createRing(3, 60 + seed);
    ring.enqueue(5);
    const victim = ring.leader();
    const disk = ring.testCluster.diskOf(victim);
    const gone = disk.files().filter((file) => lost.test(file));
    for (const file of seed === 1 ? gone.slice(-2) : gone) disk.delete(file);
    ring.until("it stops", () => ring.at(victim).stopped() !== undefined, SOON_MS);
    const end = ring.at(victim).stopped();
    expect([end?.code, end?.exitCode]).toEqual(["DISK_FAILED", 1]);
    expect(end?.message).toContain("was deleted or replaced while the node ran");
    // It is not damage: no note, no mark, nothing is set aside.
    expect(disk.files().filter((file) => /rejoin|damaged/.test(file))).toEqual([]);
    ring.until("another one leads", () => ring.leader() !== victim);
    ring.enqueue(5);
    ring.expectAllThere();
  }
});

test("a follower that lost its files acknowledges nothing after it has noticed: without it and another one nothing commits", () => {
  const ring = createRing(3, 70);
  if (ring.leader() !== A) ring.lead(A);
  ring.until("A leads", () => ring.leader() === A);
  ring.end(C, "kill");
  const disk = ring.testCluster.diskOf(B);
  for (const file of disk.files()) disk.delete(file);
  ring.until("it stops", () => ring.at(B).stopped() !== undefined, SOON_MS);
  const committed = ring.at(A).node.status()?.commitIndex;
  ring.poke();
  ring.testCluster.pass(3_000);
  expect(ring.at(A).node.status()?.commitIndex).toBe(committed);
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
