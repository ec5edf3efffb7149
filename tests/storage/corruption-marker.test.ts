// Are data that were found to be wrong ever used again? The mark is durable before the directory is let go.
import { expect, test } from "bun:test";
import { CORRUPTION_MARKER_PATH } from "../../src/storage/rejoin/quarantine.ts";
import { batch, close, createSimBench, entries, KiB, opened, persist, refused } from "../kit/test-storage.ts";

const WHY = "the state of this node is wrong at index 4096";

test("a directory that was marked as damaged is refused from then on, with the reason, also after a power cut", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  storage.markDamaged(WHY);
  await close(bench, storage);
  bench.powerCut();
  for (let start = 0; start < 2; start++) {
    const error = await refused(bench);
    expect([error.code, error.message]).toEqual(["CORRUPT", WHY]);
  }
});

test("a mark that was cut short is one all the same", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  await close(bench, storage);
  const disk = bench.disk.restart();
  await bench.call<void>((done) => disk.create(CORRUPTION_MARKER_PATH, 0, () => done()));
  bench.kill();
  expect((await refused(bench)).message).toBe("this directory was marked as damaged");
});

test("a second mark leaves the first reason", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  storage.markDamaged(WHY);
  storage.markDamaged("another reason");
  await close(bench, storage);
  expect((await refused(bench)).message).toBe(WHY);
});

test("without room for its reason the mark counts all the same, also after a power cut, and nothing is a failure", async () => {
  for (let bytes = 0; bytes < WHY.length; bytes += 13) {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 3) });
    bench.pass(100);
    bench.disk.leave(bytes);
    storage.markDamaged(WHY);
    await close(bench, storage);
    bench.powerCut();
    expect((await refused(bench)).code).toBe("CORRUPT");
    expect(bench.failures).toEqual([]);
  }
});

/** More than the four operations that a mark takes: create, write, sync, sync of its directory, each at most 1 ms. */
const MARK_MS = 5;

test("a mark is durable at once: it does not wait for what is being written to the log", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const bench = createSimBench(seed);
    const storage = await opened(bench);
    let persisted = false;
    // Ten segments, of which each is made, and linked to the one before it, by operations of its own.
    storage.persist(batch({ entries: entries(1, 200, 1, KiB) }), () => {
      persisted = true;
    });
    storage.markDamaged(WHY);
    bench.pass(MARK_MS);
    expect(persisted).toBe(false);
    bench.powerCut();
    expect((await refused(bench)).message).toBe(WHY);
  }
});

test("a mark is durable before the directory is let go, also when a write to the log fails at the same time, or has failed", async () => {
  for (const passed of [0, MARK_MS]) {
    const bench = createSimBench();
    const storage = await opened(bench);
    bench.pass(100);
    bench.disk.fail("write", 1);
    storage.persist(batch({ entries: entries(1, 3) }), () => undefined);
    bench.pass(passed);
    storage.markDamaged(WHY);
    await close(bench, storage);
    expect(bench.failures).toHaveLength(1);
    bench.powerCut();
    expect((await refused(bench)).message).toBe(WHY);
  }
});

test("a mark that cannot be written does not keep the directory from being let go", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  bench.pass(100);
  bench.disk.fail("create", 1);
  storage.markDamaged(WHY);
  await close(bench, storage);
  expect(bench.failures).toHaveLength(1);
  bench.kill();
  expect((await opened(bench)).recovered.entries).toHaveLength(3);
});
