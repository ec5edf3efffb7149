// When does a leader make a checkpoint by itself? Once a second while somebody needs one for a snapshot, and every 10 s of work otherwise.
import { expect, test } from "bun:test";
import { QUEUE, SERVER } from "../../src/config.ts";
import type { Raft } from "../../src/raft/raft.ts";
import { createRing, type Ring } from "./ring.ts";

const MiB = 1024 * 1024;
/** The entries bring no checkpoint, the log is due for no snapshot, and all of it can be looked at. */
const CALM = { queueLimits: QUEUE, compactMinBytes: 16 * MiB, keepLogBytes: 64 * MiB };

const leading = (ring: Ring): Raft => ring.at(ring.leader()).node.inspect()!.raft;
const ticksBehind = (ring: Ring, index: number): number =>
  leading(ring).log.entries.filter((entry) => entry.kind === "tick" && entry.index > index).length;

/** A job every quarter of a second. */
function work(ring: Ring, ms: number, each = (): void => {}): void {
  const end = ring.testCluster.clock.now() + ms;
  while (ring.testCluster.clock.now() < end) {
    each();
    ring.enqueue(1);
    ring.testCluster.pass(240);
  }
}

/** Of so many seconds of work. */
function ticksOf(ring: Ring, seconds: number, each?: () => void): number {
  const before = leading(ring).lastIndex;
  work(ring, seconds * 1_000, each);
  return ticksBehind(ring, before);
}

test("nobody needs one: the leader makes one in 10 s of work, one behind the last work, and none while nothing happens", () => {
  const ring = createRing(3, 51, CALM);
  const begun = leading(ring).lastIndex;
  while (ticksBehind(ring, begun) === 0) work(ring, 10);
  expect(ticksOf(ring, 9)).toBe(0);
  expect(ticksOf(ring, 12)).toBe(2);
  const last = leading(ring).lastIndex;
  ring.testCluster.pass(2 * SERVER.checkpointMs);
  expect(ticksBehind(ring, last)).toBe(1);
  expect(leading(ring).lastIndex).toBe(last + 1);
});

test("its log is due for a snapshot again and again: it makes one a second, and each lets a snapshot count", () => {
  const ring = createRing(3, 52, { ...CALM, compactMinBytes: 8 * 1024 });
  const counted = new Set<number>();
  const ticks = ticksOf(ring, 6, () => counted.add(leading(ring).snapshot?.index ?? 0));
  expect(ticks).toBeGreaterThanOrEqual(5);
  expect(ticks).toBeLessThanOrEqual(7);
  expect(counted.size).toBeGreaterThanOrEqual(5);
});

test("a member's disk is low: it makes one a second, as long as that is so", () => {
  const ring = createRing(3, 53, CALM);
  const low = ring.ports.find((port) => port !== ring.leader())!;
  const isLow = (): boolean => leading(ring).progress.get(ring.memberAt(low))?.diskLow === true;
  const keepLow = (): void => ring.testCluster.leave(low, 10 * 1024);
  keepLow();
  ring.until("the leader knows", isLow);
  const ticks = ticksOf(ring, 6, keepLow);
  expect(ticks).toBeGreaterThanOrEqual(5);
  expect(ticks).toBeLessThanOrEqual(7);
  ring.testCluster.leave(low, 4 * MiB);
  ring.until("there is room again", () => !isLow());
  expect(ticksOf(ring, 6)).toBeLessThanOrEqual(1);
});
