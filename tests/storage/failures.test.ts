// What happens when the disk fails or hangs? The first failed write or sync is reported once, and nothing is acknowledged after it.
import { expect, test } from "bun:test";
import { STORAGE } from "../../src/config.ts";
import { readMeta } from "../../src/storage/meta.ts";
import type { Storage } from "../../src/storage/types.ts";
import {
  batch,
  close,
  createSimBench,
  entries,
  hardState,
  opened,
  partsOf,
  persist,
  refused,
  shown,
  type SimBench,
  snapshotMeta,
  sourceOf,
  VOTE,
} from "../kit/test-storage.ts";

/** Waits until the next segment is made, but not so long that a closing frame is written. */
function settle(bench: SimBench): void {
  bench.pass(20);
}

/** Starts everything a storage can do and counts what is answered. */
function tryEverything(bench: SimBench, storage: Storage): () => number {
  let answered = 0;
  const count = (): void => {
    answered++;
  };
  storage.persist({ seq: 2, hardState: hardState(9), entries: entries(4, 5), snapshot: null, sendAfter: [] }, count);
  storage.saveSnapshot(snapshotMeta(2), sourceOf(partsOf(2)), count);
  bench.pass(1_000);
  return () => answered;
}

for (const operation of ["write", "sync"] as const) {
  for (const nth of [1, 2, 3]) {
    test(`a failing ${operation} (${nth}) of a persist is reported once and nothing is acknowledged any more`, async () => {
      const bench = createSimBench();
      const storage = await opened(bench);
      await persist(bench, storage, { hardState: hardState(2), entries: entries(1, 3) });
      settle(bench);
      bench.disk.fail(operation, nth);
      let acknowledged = false;
      storage.persist(
        { seq: 1, hardState: hardState(3, VOTE), entries: entries(4, 4), snapshot: null, sendAfter: [] },
        () => {
          acknowledged = true;
        },
      );
      bench.pass(1_000);
      expect(acknowledged).toBe(false);
      expect(bench.failures.map((error) => error.message)).toEqual([`injected: this ${operation} failed`]);
      bench.kill();
      const again = await opened(bench);
      expect(shown(again.recovered.entries).slice(0, 3)).toEqual(shown(entries(1, 3)));
      expect(again.recovered.hardState.currentTerm).toBeGreaterThanOrEqual(2);
    });
  }
}

test("what a failed sync left in the page cache is acknowledged after recovery only because it was written again", async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const bench = createSimBench(seed);
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 3) });
    settle(bench);
    bench.disk.fail("sync", 1);
    storage.persist({ seq: 1, hardState: null, entries: entries(4, 6), snapshot: null, sendAfter: [] }, () => {
      throw new Error("acknowledged in spite of the failed sync");
    });
    bench.pass(100);
    bench.kill();
    const reported = (await opened(bench)).recovered.entries;
    expect(shown(reported)).toEqual(shown(entries(1, 6)));
    bench.powerCut();
    expect(shown((await opened(bench)).recovered.entries)).toEqual(shown(reported));
  }
});

test("a failing closing frame in the quiet is fatal too", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  settle(bench);
  bench.disk.fail("sync", 1);
  bench.pass(100);
  expect(bench.failures).toHaveLength(1);
  expect(tryEverything(bench, storage)()).toBe(0);
  expect(bench.failures).toHaveLength(1);
});

for (const slot of [1, 2]) {
  test(`a failing write of slot ${slot} of meta, which names the newest frame after the quiet, is fatal too`, async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 3) });
    settle(bench);
    // The closing frame comes first.
    bench.disk.fail("write", 1 + slot);
    bench.pass(100);
    expect(bench.failures).toHaveLength(1);
    expect(tryEverything(bench, storage)()).toBe(0);
    await close(bench, storage);
    expect(bench.failures).toHaveLength(1);
    expect(shown((await opened(bench)).recovered.entries)).toEqual(shown(entries(1, 3)));
  });
}

test("a persist does not wait while meta names the newest frame", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  settle(bench);
  const order: string[] = [];
  const inMeta = (): number => readMeta({ read: bench.disk.durable }, STORAGE.formatVersion)?.sequence ?? 0;
  const before = inMeta();
  bench.disk.whenBegun(
    1,
    () => {
      order.push("meta begun");
      bench.disk.whenBegun(
        1,
        () => order.push(inMeta() === before ? "log begun beside it" : "log begun behind it"),
        (operation, path) => operation === "write" && path.startsWith("g0/log/"),
      );
      storage.persist(batch({ entries: entries(4, 4) }), () => order.push("acknowledged"));
    },
    (operation, path) => operation === "write" && path.startsWith("meta"),
  );
  bench.pass(100);
  expect(order).toEqual(["meta begun", "log begun beside it", "acknowledged"]);
  expect(inMeta()).toBeGreaterThan(before);
});

test("a record of the durable frame that is being written when a directory is closed is waited for, and nothing is written afterwards", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  settle(bench);
  let closed = false;
  bench.disk.whenBegun(
    1,
    () => storage.close(() => (closed = true)),
    (operation, path) => operation === "write" && path.startsWith("meta"),
  );
  for (let ms = 0; !closed && ms < 1_000; ms++) bench.pass(1);
  expect(closed).toBe(true);
  const left = bench.disk.backup();
  expect(bench.disk.openFiles()).toBe(0);
  bench.pass(2 * STORAGE.durableFrameMs);
  expect(bench.disk.backup()).toEqual(left);
  expect(bench.failures).toEqual([]);
  expect(shown((await opened(bench)).recovered.entries)).toEqual(shown(entries(1, 3)));
});

test("a failing snapshot write is reported and the snapshot is not", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  bench.pass(100);
  bench.disk.fail("write", 2);
  let saved = false;
  storage.saveSnapshot(snapshotMeta(2), sourceOf(partsOf(2)), () => {
    saved = true;
  });
  bench.pass(100);
  expect(saved).toBe(false);
  expect(storage.manifest(2)).toBeNull();
  expect(bench.failures).toHaveLength(1);
});

test("a failure during recovery refuses to open, and the next attempt finds everything", async () => {
  for (const operation of ["write", "sync", "create"] as const) {
    for (let nth = 1; nth <= 8; nth++) {
      const bench = createSimBench(nth);
      const storage = await opened(bench);
      await persist(bench, storage, { hardState: hardState(2, VOTE), entries: entries(1, 3) });
      bench.kill();
      bench.disk.fail(operation, nth);
      const result = await bench.open();
      if (result instanceof Error) {
        expect(result.code).toBe("DISK_FAILED");
        expect(result.message).toContain("injected");
      }
      bench.powerCut();
      const again = await opened(bench);
      expect(shown(again.recovered.entries)).toEqual(shown(entries(1, 3)));
      expect(again.recovered.hardState).toEqual(hardState(2, VOTE));
    }
  }
});

test("a hanging disk acknowledges nothing, and goes on when it answers again", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  const release = bench.disk.hang();
  let acknowledged = false;
  storage.persist({ seq: 1, hardState: null, entries: entries(1, 3), snapshot: null, sendAfter: [] }, () => {
    acknowledged = true;
  });
  bench.pass(10_000);
  expect(acknowledged).toBe(false);
  release();
  bench.pass(10);
  expect(acknowledged).toBe(true);
  await close(bench, storage);
});

test("a directory that is in use is refused and stays usable for its holder", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  expect((await refused(bench)).code).toBe("LOCKED");
  await persist(bench, storage, { entries: entries(1, 1) });
  await close(bench, storage);
  await close(bench, await opened(bench));
});

test("closing is answered and unlocks, also when something failed before it or fails in it", async () => {
  for (const failsInClose of [false, true]) {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 3) });
    settle(bench);
    bench.disk.fail("write", 1);
    if (!failsInClose) bench.pass(100);
    await close(bench, storage);
    expect(bench.failures).toHaveLength(1);
    expect(shown((await opened(bench)).recovered.entries)).toEqual(shown(entries(1, 3)));
  }
});

for (const nth of [1, 2]) {
  test(`a segment ahead that cannot be made (sync ${nth}) leaves no file open`, async () => {
    const bench = createSimBench();
    await opened(bench);
    // Its header, its name.
    bench.disk.fail("sync", nth);
    settle(bench);
    expect(bench.failures).toEqual([]);
    expect(bench.disk.openFiles()).toBe(2);
  });
}
