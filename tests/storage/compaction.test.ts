// Does the disk stay bounded? Segments are deleted, oldest first, once a snapshot that counts stands for them.
import { expect, test } from "bun:test";
import { STORAGE } from "../../src/config.ts";
import type { Storage } from "../../src/storage/types.ts";
import {
  batch,
  close,
  createSimBench,
  entries,
  KiB,
  opened,
  partsOf,
  persist,
  saveAndCount,
  shown,
  type SimBench,
  SMALL_SEGMENT,
  snapshotMeta,
  sourceOf,
} from "../kit/test-storage.ts";

const segments = (bench: SimBench): string[] => bench.disk.files().filter((file) => file.startsWith("g0/log/"));
const snapshots = (bench: SimBench): string[] => [
  ...new Set(
    bench.disk
      .files()
      .filter((file) => file.startsWith("g0/snapshot/"))
      .map((file) => file.split("/")[2]!),
  ),
];

async function fill(bench: SimBench, storage: Storage, from: number, to: number): Promise<void> {
  for (let at = from; at <= to; at++) await persist(bench, storage, { entries: entries(at, at, 1, 1 * KiB) });
}

test("a long life with snapshots keeps the disk bounded", async () => {
  const bench = createSimBench();
  let storage = await opened(bench);
  let largest = 0;
  for (let round = 1; round <= 25; round++) {
    const last = round * 40;
    await fill(bench, storage, last - 39, last);
    await saveAndCount(bench, storage, snapshotMeta(last), last - 5);
    bench.pass(20);
    largest = Math.max(largest, bench.disk.bytes());
    if (round % 8 === 0) {
      await close(bench, storage);
      storage = await opened(bench);
    }
  }
  expect(largest).toBeLessThan((8 + STORAGE.maxRecycledSegments) * SMALL_SEGMENT);
  expect(snapshots(bench)).toEqual(["1000-1"]);
  await close(bench, storage);
  const { recovered } = await opened(bench);
  expect(recovered.snapshot?.index).toBe(1_000);
  expect(recovered.entries.at(-1)?.index).toBe(1_000);
  expect(recovered.entries[0]!.index).toBeLessThanOrEqual(995);
});

/** A log that a snapshot has just made superfluous, all of it; `files`: as many segments are there. */
async function compacted() {
  const bench = createSimBench();
  const storage = await opened(bench);
  await fill(bench, storage, 1, 60);
  await saveAndCount(bench, storage, snapshotMeta(60), 61);
  bench.pass(20);
  return { bench, storage, files: segments(bench).length };
}

test("the files of segments that a snapshot made superfluous are used again: no new ones are made, and nothing old is read", async () => {
  const { bench, storage, files } = await compacted();
  bench.disk.fail("create", 1);
  await fill(bench, storage, 61, 80);
  expect(segments(bench).length).toBe(files);
  bench.disk.forgive();
  bench.powerCut();
  const { recovered } = await opened(bench);
  expect([recovered.snapshot?.index, recovered.entries.at(-1)?.index]).toEqual([60, 80]);
  // What is not log any more is gone after a start.
  expect(segments(bench).length).toBeLessThan(files);
});

test("files that are kept to be used again go when their room is needed", async () => {
  const { bench, storage, files } = await compacted();
  storage.reclaimSpace();
  bench.pass(20);
  expect(segments(bench).length).toBeLessThan(files);
  await fill(bench, storage, 61, 80);
  await close(bench, storage);
  expect((await opened(bench)).recovered.entries.at(-1)?.index).toBe(80);
});

test("many short lives, each with a few entries, leave the disk bounded", async () => {
  const bench = createSimBench();
  let storage = await opened(bench);
  for (let life = 1; life <= 30; life++) {
    await fill(bench, storage, life, life);
    // A snapshot whenever the log has outgrown its limit (that the server gets to one: tests/server/short-runs.test.ts), and the
    // last entries kept for followers.
    if (storage.logBytes() > SMALL_SEGMENT)
      await saveAndCount(bench, storage, snapshotMeta(life), Math.max(1, life - 25));
    bench.pass(20);
    await close(bench, storage);
    storage = await opened(bench);
    expect(storage.recovered.entries.at(-1)?.index ?? storage.recovered.snapshot?.index).toBe(life);
    expect(bench.disk.bytes()).toBeLessThan(12 * SMALL_SEGMENT);
  }
});

test("a segment that was made ahead and is too small for the next entry leaves no file", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  for (let at = 1; at <= 20; at++) {
    await persist(bench, storage, { entries: entries(at, at, 1, SMALL_SEGMENT) });
    bench.pass(20);
  }
  await saveAndCount(bench, storage, snapshotMeta(20), 21);
  bench.pass(100);
  expect(segments(bench).length).toBeLessThanOrEqual(3);
  expect(bench.failures).toEqual([]);
});

test("no entry at or above keepFrom, and none above the snapshot, is deleted", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await fill(bench, storage, 1, 100);
  const before = segments(bench).length;
  await bench.call<void>((done) => storage.saveSnapshot(snapshotMeta(60), sourceOf(partsOf(60)), () => done()));
  await persist(bench, storage, { snapshot: { meta: snapshotMeta(60), reset: false, keepFrom: 30 } });
  bench.pass(20);
  expect(segments(bench).length).toBeLessThan(before);
  await persist(bench, storage, { snapshot: { meta: snapshotMeta(60), reset: false, keepFrom: 90 } });
  bench.pass(20);
  await close(bench, storage);
  const { recovered } = await opened(bench);
  expect(recovered.entries[0]!.index).toBeGreaterThan(30);
  expect(recovered.entries[0]!.index).toBeLessThanOrEqual(61);
  expect(shown(recovered.entries.slice(-40))).toEqual(shown(entries(61, 100, 1, 1 * KiB)));
});

test("nothing is deleted before the snapshot frame is durable", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await fill(bench, storage, 1, 60);
  await saveAndCount(bench, storage, snapshotMeta(20), 1);
  await bench.call<void>((done) => storage.saveSnapshot(snapshotMeta(50), sourceOf(partsOf(50)), () => done()));
  bench.pass(100);
  const before = segments(bench);
  const release = bench.disk.hang();
  storage.persist(
    {
      seq: 1,
      hardState: null,
      entries: [],
      snapshot: { meta: snapshotMeta(50), reset: false, keepFrom: 51 },
      sendAfter: [],
    },
    () => undefined,
  );
  bench.pass(100);
  expect(segments(bench)).toEqual(before);
  expect(snapshots(bench)).toEqual(["20-1", "50-1"]);
  release();
  bench.pass(100);
  expect(segments(bench).length).toBeLessThan(before.length);
  expect(snapshots(bench)).toEqual(["50-1"]);
  await close(bench, storage);
});

test("an older snapshot that finishes after a newer one counts never takes its place, and leaves nothing", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await fill(bench, storage, 1, 30);
  const newer = snapshotMeta(20);
  await bench.call((done) => storage.saveSnapshot(newer, sourceOf(partsOf(20, 1)), () => done(undefined)));
  const events: string[] = [];
  const parts = partsOf(10, 40);
  let next = 0;
  const nextPart = (): Uint8Array | null => {
    // While this one is being written, the newer one comes to count.
    if (next === 1)
      storage.persist(batch({ snapshot: { meta: newer, reset: false, keepFrom: 21 } }), () => events.push("counts"));
    return parts[next++] ?? null;
  };
  storage.saveSnapshot(snapshotMeta(10), { nextPart }, () => events.push("saved"));
  bench.pass(1_000);
  expect(events).toEqual(["counts", "saved"]);
  expect([storage.manifest(20)?.parts, storage.manifest(10)]).toEqual([1, null]);
  expect(snapshots(bench)).toEqual(["20-1"]);
  await close(bench, storage);
  expect((await opened(bench)).recovered.snapshot?.index).toBe(20);
});

test("restarts without writes leave no segments behind", async () => {
  const bench = createSimBench();
  let storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  for (let round = 0; round < 20; round++) {
    if (round % 2 === 0) await close(bench, storage);
    else bench.kill();
    storage = await opened(bench);
  }
  bench.pass(100);
  expect(segments(bench).length).toBeLessThanOrEqual(4);
  expect(shown(storage.recovered.entries)).toEqual(shown(entries(1, 3)));
});

test("segment numbers never repeat", async () => {
  const bench = createSimBench();
  const seen = new Map<string, string>();
  for (let round = 0; round < 12; round++) {
    const storage = await opened(bench);
    await fill(bench, storage, round * 10 + 1, round * 10 + 10);
    bench.pass(5);
    for (const file of segments(bench)) {
      const number = file.slice(7, 17);
      expect(seen.get(number) ?? file).toBe(file);
      seen.set(number, file);
    }
    if (round % 3 === 0) await close(bench, storage);
    else bench.kill();
  }
});
