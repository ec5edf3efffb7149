// When is a disk low? By what is free and what is needed, with a margin before it ends; the file system is asked at a limited rate.
import { expect, test } from "bun:test";
import { SERVER } from "../../src/config.ts";
import { createQueue } from "../../src/queue/queue.ts";
import { snapshotBytes } from "../../src/queue/snapshot.ts";
import {
  createDiskSpace,
  fitsSnapshot,
  measureDiskSpace,
  snapshotHadNoSpace,
  stopMeasuring,
} from "../../src/server/disk-watermarks.ts";
import { createInbox } from "../../src/server/inbox.ts";
import { createTestClock } from "../kit/simulated-clock.ts";

const SEGMENT = 1_000_000;

function createBench(free: number) {
  const queue = createQueue();
  const state = { free, lacksSpace: false, writtenBytes: 0, asked: 0 };
  const events: (boolean | string)[] = [];
  const clock = createTestClock();
  const freeBytes = (done: (bytes: number) => void): void => {
    state.asked++;
    clock.after(1, () => done(state.free));
  };
  const inbox = createInbox(clock, () => {
    for (const input of inbox.inputs.splice(0)) if (input.type === "diskLow") events.push(input.low);
    inbox.isTurnPlanned = false;
  });
  const diskSpace = createDiskSpace({
    disk: { freeBytes },
    clock,
    storage: { lacksSpace: () => state.lacksSpace, reclaimSpace: () => {} },
    log: ({ text }) => events.push(text),
    inbox,
    stateMachine: { queue },
    snapshots: state,
    segmentBytes: SEGMENT,
  });
  measureDiskSpace(diskSpace);
  clock.pass(2);
  return { diskSpace, state, events, pass: clock.pass, reserve: snapshotBytes(queue) + 2 * SEGMENT };
}

test("low begins below the reserve and ends a segment above it; each is logged once, with figures", () => {
  const bench = createBench(10 * SEGMENT);
  const { state, events, pass, reserve, diskSpace } = bench;
  state.free = reserve;
  pass(5_000);
  expect(events).toEqual([]);
  expect(diskSpace.isBelowSoftWatermark).toBe(true);
  state.free = reserve - 1;
  pass(5_000);
  expect(events).toEqual([
    "disk low: 1.9 MiB free, 1.9 MiB needed; enqueues are refused while fewer than a majority of the voters have disk space",
    true,
  ]);
  state.free = reserve + SEGMENT - 1;
  pass(5_000);
  expect(events).toHaveLength(2);
  state.free = reserve + SEGMENT;
  pass(5_000);
  expect(events.slice(2)).toEqual(["the disk has space again: 2.9 MiB free, 2.9 MiB needed", false]);
});

test("the file system is asked about once a second, more often while it is low, and at once when something has changed", () => {
  const { state, pass, diskSpace } = createBench(10 * SEGMENT);
  pass(10_000);
  expect(state.asked).toBeLessThanOrEqual(11);
  state.free = 0;
  pass(1_100);
  state.asked = 0;
  pass(10_000);
  expect(state.asked).toBeGreaterThan(30);
  expect(state.asked).toBeLessThanOrEqual(40);
  state.free = 10 * SEGMENT;
  measureDiskSpace(diskSpace);
  measureDiskSpace(diskSpace);
  measureDiskSpace(diskSpace);
  pass(3);
  expect(diskSpace.isBelowHardWatermark).toBe(false);
  stopMeasuring(diskSpace);
  state.asked = 0;
  pass(10_000);
  expect(state.asked).toBe(0);
});

test("what of the reserve a snapshot has taken already is not asked for again", () => {
  const { state, events, pass, reserve } = createBench(10 * SEGMENT);
  state.writtenBytes = 10_000;
  state.free = reserve - 10_000;
  pass(2_000);
  expect(events).toEqual([]);
});

test("after a snapshot found no space none is tried for a while, also when there seems to be some", () => {
  const { diskSpace, pass } = createBench(10 * SEGMENT);
  expect(fitsSnapshot(diskSpace)).toBe(true);
  snapshotHadNoSpace(diskSpace);
  pass(SERVER.diskCheckMs - 100);
  expect(fitsSnapshot(diskSpace)).toBe(false);
  pass(200);
  expect(fitsSnapshot(diskSpace)).toBe(true);
});

test("space that cannot be asked for is enough, until a segment cannot be made", () => {
  const { state, events, pass, diskSpace } = createBench(Infinity);
  pass(2_000);
  expect(diskSpace.isBelowSoftWatermark).toBe(false);
  state.lacksSpace = true;
  pass(2_000);
  expect(events.at(-1)).toBe(true);
  state.lacksSpace = false;
  pass(2_000);
  expect(events.at(-1)).toBe(false);
});
