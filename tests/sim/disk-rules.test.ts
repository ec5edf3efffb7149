// Do the rules find what breaks them, and nothing else? On files that stand for a log and for meta.
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/lib/random.ts";
import type { DiskFile } from "../../src/storage/disk.ts";
import {
  type MetaFile,
  META_PATH,
  META_SLOT_BYTES,
  beginMeta,
  encodeMetaSlot,
  readMeta,
} from "../../src/storage/meta.ts";
import { runSteps } from "../../src/storage/steps.ts";
import { STORAGE } from "../../src/config.ts";
import { LOG_DIRECTORY } from "../../src/storage/wal/segment.ts";
import { hardState, INCARNATION, N1 } from "../kit/test-storage.ts";
import { createSimDisk, type SimDisk, type SimPort } from "../kit/simulated-disk.ts";
import { withRules } from "./disk-rules.ts";
import { createScheduler, pass, type Scheduler } from "../kit/scheduler.ts";

interface Bench {
  readonly scheduler: Scheduler;
  readonly disk: SimDisk;
  readonly broken: string[];
  isStopped: boolean;
  isPaused: boolean;
  /** Of the next process. */
  port(): SimPort;
  run(ms: number): void;
}

function createBench(): Bench {
  const scheduler = createScheduler();
  const disk = createSimDisk(scheduler, seededRandom(1));
  const broken: string[] = [];
  const bench: Bench = {
    scheduler,
    disk,
    broken,
    isStopped: false,
    isPaused: false,
    port: () =>
      withRules(disk.restart(), {
        disk,
        after: scheduler.after,
        isStopped: () => bench.isStopped,
        isPaused: () => bench.isPaused,
        fail: (what) => broken.push(what),
      }),
    run: (ms) => pass(scheduler, ms),
  };
  return bench;
}

const ignore = (): void => undefined;
const BYTES = new Uint8Array(100).fill(1);
const SEGMENT = `${LOG_DIRECTORY}/a`;

function made(bench: Bench, port: SimPort, path: string): DiskFile {
  for (const directory of ["g0", LOG_DIRECTORY, "g0/snapshot"]) {
    port.makeDirectory(directory, ignore);
    bench.run(2);
  }
  let file: DiskFile | null = null;
  port.create(path, 8_192, (_, opened) => {
    file = opened;
  });
  bench.run(2);
  return (file as DiskFile | null) ?? expect.unreachable(`${path} was not created`);
}

for (const operation of ["write", "sync"] as const) {
  test(`after a failed ${operation} the log is not written any more`, () => {
    const bench = createBench();
    const port = bench.port();
    const file = made(bench, port, SEGMENT);
    bench.disk.fail(operation, 1);
    port.write(file, 4_096, BYTES, ignore);
    // Begun before the failure is known.
    port.write(file, 5_000, BYTES, ignore);
    bench.run(5);
    expect(bench.broken).toEqual([]);
    port.write(file, 6_000, BYTES, ignore);
    expect(bench.broken).toEqual([`writes to ${SEGMENT} after a write to ${SEGMENT} has failed`]);
  });
}

test("a process whose disk failed is gone a second later, unless it was suspended", () => {
  const bench = createBench();
  const port = bench.port();
  const file = made(bench, port, "g0/snapshot/part");
  bench.disk.fail("write", 1);
  port.write(file, 0, BYTES, ignore);
  bench.isPaused = true;
  bench.run(1_500);
  expect(bench.broken).toEqual([]);
  bench.isPaused = false;
  bench.run(1_000);
  expect(bench.broken).toEqual(["goes on 1000ms after a write to g0/snapshot/part has failed"]);
});

test("a process that stops at once, a segment that cannot be made ahead, and a full disk break no rule", () => {
  const stopped = createBench();
  const file = made(stopped, stopped.port(), SEGMENT);
  stopped.disk.fail("write", 1);
  stopped.port().write(file, 4_096, BYTES, ignore);
  stopped.isStopped = true;
  stopped.run(2_000);
  expect(stopped.broken).toEqual([]);

  for (const [offset, code] of [
    [0, "EIO"],
    [4_096, "ENOSPC"],
  ] as const) {
    const bench = createBench();
    const port = bench.port();
    const segment = made(bench, port, SEGMENT);
    bench.disk.fail("write", 1, code);
    port.write(segment, offset, BYTES, ignore);
    bench.run(2_000);
    port.write(segment, 4_096, BYTES, ignore);
    expect(bench.broken).toEqual([]);
  }
});

test("another life of the process that opens the directory again may write", () => {
  const bench = createBench();
  const port = bench.port();
  port.lock();
  const file = made(bench, port, SEGMENT);
  bench.disk.fail("write", 1);
  port.write(file, 4_096, BYTES, ignore);
  bench.run(2);
  port.unlock();
  port.lock();
  port.write(file, 4_096, BYTES, ignore);
  expect(bench.broken).toEqual([]);
});

function begunMeta(bench: Bench, port: SimPort): MetaFile {
  let begun: MetaFile | null = null;
  const found = readMeta(port, STORAGE.formatVersion);
  const identity = { nodeId: N1, incarnation: INCARNATION, clusterId: null };
  const first = { ...identity, hardState: hardState(1), segmentAtOpen: 0, oldestSegment: 0, durableFrame: 0 };
  runSteps(beginMeta(port, found?.meta ?? first, found, STORAGE.formatVersion), ({ result }) => {
    begun = result;
  });
  bench.run(20);
  return (begun as MetaFile | null) ?? expect.unreachable("meta was not begun");
}

test("a slot of meta may be written over only while the other one is durable, also in the first life of the directory", () => {
  const bench = createBench();
  const meta = begunMeta(bench, bench.port());
  runSteps(meta.update({ hardState: hardState(2) }), ignore);
  bench.run(20);
  // The newest slot stays in the page cache.
  let synced = false;
  bench.disk.whenBegun(2, () => {
    synced = true;
    bench.disk.kill();
  });
  runSteps(meta.update({ hardState: hardState(3) }), ignore);
  while (!synced && bench.scheduler.step());
  expect(bench.disk.unsettled(META_PATH)).toEqual([{ offset: 0, length: META_SLOT_BYTES }]);

  const port = bench.port();
  begunMeta(bench, port);
  expect(bench.broken).toEqual([]);
});

test("to write over the older slot of meta while the newer one may be lost is found", () => {
  const bench = createBench();
  begunMeta(bench, bench.port());
  const port = bench.port();
  let file: DiskFile | null = null;
  port.open(META_PATH, (_, opened) => {
    file = opened;
  });
  bench.run(2);
  const opened = (file as DiskFile | null) ?? expect.unreachable("meta was not opened");
  const { meta, sequence } = readMeta(port, STORAGE.formatVersion)!;
  const slot = (number: number): Uint8Array => encodeMetaSlot(meta, number, STORAGE.formatVersion);
  port.writeCached(opened, 0, slot(sequence + 1), ignore);
  bench.run(2);
  expect(bench.broken).toEqual([]);
  port.write(opened, META_SLOT_BYTES, slot(sequence + 2), ignore);
  expect(bench.broken).toEqual([
    `writes to ${META_PATH} at ${META_SLOT_BYTES}, and a power cut could leave nothing of it that can be read`,
  ]);
});
