// When does a leader make a checkpoint by itself? Once a second while somebody needs one for a snapshot, and every 10 s of work otherwise.
import { expect, test } from "bun:test";
import { QUEUE, SERVER } from "../../src/config.ts";
import type { Raft } from "../../src/raft/raft.ts";
import { createCheckedCluster, type CheckedCluster } from "./checked-cluster.ts";

const MiB = 1024 * 1024;
/** The entries bring no checkpoint, the log is due for no snapshot, and all of it can be looked at. */
const CALM = { queueLimits: QUEUE, compactMinBytes: 16 * MiB, keepLogBytes: 64 * MiB };

const leading = (cluster: CheckedCluster): Raft => cluster.at(cluster.leader()).node.inspect()!.raft;
const ticksBehind = (cluster: CheckedCluster, index: number): number =>
  leading(cluster).log.entries.filter((entry) => entry.kind === "tick" && entry.index > index).length;

/** A job every quarter of a second. */
function work(cluster: CheckedCluster, ms: number, each = (): void => {}): void {
  const end = cluster.testCluster.clock.now() + ms;
  while (cluster.testCluster.clock.now() < end) {
    each();
    cluster.enqueue(1);
    cluster.testCluster.pass(240);
  }
}

/** Of so many seconds of work. */
function ticksOf(cluster: CheckedCluster, seconds: number, each?: () => void): number {
  const before = leading(cluster).lastIndex;
  work(cluster, seconds * 1_000, each);
  return ticksBehind(cluster, before);
}

test("nobody needs one: the leader makes one in 10 s of work, one behind the last work, and none while nothing happens", () => {
  const cluster = createCheckedCluster(3, 51, CALM);
  const begun = leading(cluster).lastIndex;
  while (ticksBehind(cluster, begun) === 0) work(cluster, 10);
  expect(ticksOf(cluster, 9)).toBe(0);
  expect(ticksOf(cluster, 12)).toBe(2);
  const last = leading(cluster).lastIndex;
  cluster.testCluster.pass(2 * SERVER.checkpointMs);
  expect(ticksBehind(cluster, last)).toBe(1);
  expect(leading(cluster).lastIndex).toBe(last + 1);
});

test("its log is due for a snapshot again and again: it makes one a second, and each lets a snapshot count", () => {
  const cluster = createCheckedCluster(3, 52, { ...CALM, compactMinBytes: 8 * 1024 });
  const counted = new Set<number>();
  const ticks = ticksOf(cluster, 6, () => counted.add(leading(cluster).snapshot?.index ?? 0));
  expect(ticks).toBeGreaterThanOrEqual(5);
  expect(ticks).toBeLessThanOrEqual(7);
  expect(counted.size).toBeGreaterThanOrEqual(5);
});

test("a member's disk is low: it makes one a second, as long as that is so", () => {
  const cluster = createCheckedCluster(3, 53, CALM);
  const low = cluster.ports.find((port) => port !== cluster.leader())!;
  const isLow = (): boolean => leading(cluster).progress.get(cluster.memberAt(low))?.diskLow === true;
  const keepLow = (): void => cluster.testCluster.leave(low, 10 * 1024);
  keepLow();
  cluster.until("the leader knows", isLow);
  const ticks = ticksOf(cluster, 6, keepLow);
  expect(ticks).toBeGreaterThanOrEqual(5);
  expect(ticks).toBeLessThanOrEqual(7);
  cluster.testCluster.leave(low, 4 * MiB);
  cluster.until("there is room again", () => !isLow());
  expect(ticksOf(cluster, 6)).toBeLessThanOrEqual(1);
});
