// What does a full disk do to a data directory? What has no space is reported or given up, what needs none goes on, nothing
// is fatal or lost.
import { describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { createRealDisk } from "../../src/storage/real-disk.ts";
import type { Storage, Unwritten } from "../../src/storage/types.ts";
import {
  batch,
  BLOCK,
  close,
  createRealBench,
  createSimBench,
  entries,
  hardState,
  KiB,
  opened,
  partsOf,
  persist,
  refused,
  saveAndCount,
  shown,
  type SimBench,
  SMALL_SEGMENT,
  snapshotMeta,
  sourceOf,
} from "../kit/test-storage.ts";

/** Begins a persist; the returned function answers whether it was acknowledged. */
function begin(bench: SimBench, storage: Storage, from: number, to = from): () => boolean {
  let done = false;
  storage.persist(batch({ entries: entries(from, to, 1, KiB) }), (unwritten) => {
    done = unwritten === null;
  });
  bench.pass(20);
  return () => done;
}

/** Persists one entry after the other until one is not acknowledged; gives its index. */
function fillUp(bench: SimBench, storage: Storage, from: number): number {
  for (let at = from; ; at++) if (!begin(bench, storage, at)()) return at;
}

const snapshotFiles = (bench: SimBench): string[] =>
  bench.disk.files().filter((file) => file.startsWith("g0/snapshot/"));

describe("the log", () => {
  test("goes on in the segments it has, then reports what had no space, and goes on when there is some", async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    bench.pass(20);
    bench.disk.leave(0);
    expect(storage.lacksSpace()).toBe(false);
    const stuck = fillUp(bench, storage, 1);
    // Two segments of 40 KiB, of which five blocks are the log's own.
    expect(stuck).toBeGreaterThan(4);
    expect(storage.lacksSpace()).toBe(true);
    let calls = 0;
    storage.whenSpace(() => calls++);
    bench.pass(10_000);
    bench.disk.leave(SMALL_SEGMENT - 1);
    bench.pass(1_000);
    expect(storage.lacksSpace()).toBe(true);
    expect(calls).toBe(0);
    bench.disk.leave(4 * SMALL_SEGMENT);
    bench.pass(1_000);
    expect(storage.lacksSpace()).toBe(false);
    expect(calls).toBe(1);
    await persist(bench, storage, { entries: entries(stuck, stuck + 1) });
    expect(bench.failures).toEqual([]);
    bench.powerCut();
    expect((await opened(bench)).recovered.entries.map(({ index }) => index)).toEqual(
      Array.from({ length: stuck + 1 }, (_, at) => at + 1),
    );
  });

  test("reports which entries of one write had no space: those in front of them are durable", async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    bench.pass(20);
    bench.disk.leave(0);
    const unwritten = await bench.call<Unwritten | null>((done) =>
      storage.persist(batch({ hardState: hardState(7), entries: entries(1, 100, 1, KiB) }), done),
    );
    expect(unwritten).toMatchObject({ snapshot: false });
    const from = unwritten?.entriesFrom ?? 0;
    expect(from).toBeGreaterThan(5);
    bench.powerCut();
    bench.disk.leave(Infinity);
    const { recovered } = await opened(bench);
    expect(recovered.entries.at(-1)?.index).toBe(from - 1);
    expect(recovered.hardState.currentTerm).toBe(7);
  });

  test("what had no space was not acknowledged, and a stop does not wait for space", async () => {
    for (const how of ["close", "kill"] as const) {
      const bench = createSimBench();
      const storage = await opened(bench);
      bench.disk.leave(0);
      const stuck = fillUp(bench, storage, 1);
      if (how === "close") await close(bench, storage);
      else bench.kill();
      bench.disk.leave(Infinity);
      const before = bench.disk.files();
      bench.pass(2_000);
      // No timer of the earlier life makes segments.
      expect(bench.disk.files()).toEqual(before);
      const again = await opened(bench);
      expect(again.recovered.entries.at(-1)?.index).toBe(stuck - 1);
      expect(bench.failures).toEqual([]);
    }
  });

  test("a stop at any moment before, while and after space runs out does not hang, and loses nothing acknowledged", async () => {
    for (let steps = 0; steps < 150; steps += 4) {
      const bench = createSimBench(steps);
      const storage = await opened(bench);
      bench.disk.leave(2 * SMALL_SEGMENT);
      let acknowledged = 0;
      storage.persist(batch({ entries: entries(1, 20, 1, KiB) }), () => {
        acknowledged = 20;
        storage.persist(batch({ entries: entries(21, 150, 1, KiB) }), (unwritten) => {
          acknowledged = (unwritten?.entriesFrom ?? 151) - 1;
        });
      });
      for (let step = 0; step < steps; step++) bench.scheduler.step();
      await close(bench, storage);
      expect(acknowledged).toBeLessThan(150);
      bench.disk.leave(Infinity);
      expect((await opened(bench)).recovered.entries.length).toBeGreaterThanOrEqual(acknowledged);
      expect(bench.failures).toEqual([]);
    }
  });

  /** Entries had no space; there is some now, and a caller waits for it. */
  async function waiting(): Promise<{ bench: SimBench; storage: Storage; stuck: number; woken: () => boolean }> {
    const bench = createSimBench();
    const storage = await opened(bench);
    bench.pass(20);
    bench.disk.leave(0);
    const stuck = fillUp(bench, storage, 1);
    let isWoken = false;
    storage.whenSpace(() => {
      isWoken = true;
    });
    bench.pass(200);
    bench.disk.leave(100 * SMALL_SEGMENT);
    return { bench, storage, stuck, woken: () => isWoken };
  }

  test("who waits for space tries again when a segment could not be made for another reason: that has ended, or stops the node", async () => {
    for (const failures of [1, 2]) {
      const { bench, storage, stuck, woken } = await waiting();
      for (let nth = 1; nth <= failures; nth++) {
        bench.disk.fail("create", 1, "EMFILE");
        if (nth === 1) bench.pass(1_000);
      }
      expect(woken()).toBe(true);
      expect(begin(bench, storage, stuck)()).toBe(failures === 1);
      expect(bench.failures).toHaveLength(failures - 1);
    }
  });

  test("every caller that waits for space is called, once", async () => {
    const { bench, storage, woken } = await waiting();
    let calls = 0;
    storage.whenSpace(() => calls++);
    bench.pass(5_000);
    expect([woken(), calls]).toEqual([true, 1]);
  });

  test("a segment that could not be made ahead, for another reason than space, is tried once more when it is needed meanwhile", async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    bench.disk.fail("create", 1, "EMFILE");
    // The next segment is being made, and this entry does not fit into the first one.
    await persist(bench, storage, { entries: entries(1, 1, 1, SMALL_SEGMENT) });
    expect(bench.failures).toEqual([]);
    bench.powerCut();
    expect((await opened(bench)).recovered.entries).toHaveLength(1);
  });

  test("a segment that has space, but not for its name, leaves no file behind", async () => {
    const { bench, storage } = await waiting();
    const segments = (): number => bench.disk.files().filter((file) => file.startsWith("g0/log/")).length;
    const before = segments();
    bench.disk.fail("sync", 2, "EDQUOT");
    bench.pass(2_000);
    expect(storage.lacksSpace()).toBe(false);
    expect(segments()).toBe(before + 1);
  });

  test("the first failed write inside a segment is fatal, whatever its reason", async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    bench.pass(20);
    bench.disk.fail("write", 1, "ENOSPC");
    expect(begin(bench, storage, 1)()).toBe(false);
    expect(bench.failures).toHaveLength(1);
  });

  test("a failed sync is fatal, whatever its reason", async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    bench.pass(20);
    bench.disk.fail("sync", 1, "ENOSPC");
    expect(begin(bench, storage, 1)()).toBe(false);
    expect(bench.failures).toHaveLength(1);
  });

  test("terms and votes need no space, also when entries had none", async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    bench.pass(20);
    bench.disk.leave(0);
    fillUp(bench, storage, 1);
    for (let term = 2; term < 200; term++) await persist(bench, storage, { hardState: hardState(term) });
    bench.powerCut();
    bench.disk.leave(SMALL_SEGMENT);
    expect((await opened(bench)).recovered.hardState.currentTerm).toBe(199);
  });

  test("a frame that only proves the one before it is not waited for", async () => {
    const full = async (last: number | null): Promise<{ bench: SimBench; storage: Storage; stuck: number }> => {
      const bench = createSimBench();
      const storage = await opened(bench);
      bench.pass(20);
      bench.disk.leave(0);
      if (last === null) return { bench, storage, stuck: fillUp(bench, storage, 1) };
      for (let at = 1; at <= last; at++) expect(begin(bench, storage, at)()).toBe(true);
      return { bench, storage, stuck: last + 1 };
    };
    const { stuck } = await full(null);
    const { bench, storage } = await full(stuck - 1);
    bench.pass(500);
    await persist(bench, storage, { hardState: hardState(7) });
    await close(bench, storage);
  });

  test("compaction gives the space back, and the log goes on by itself", async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    bench.pass(20);
    bench.disk.leave(4 * KiB);
    let last = 0;
    // The next segment is needed and cannot be made; what is there holds the frame of a small snapshot.
    while (!storage.lacksSpace()) expect(begin(bench, storage, ++last)()).toBe(true);
    await saveAndCount(bench, storage, snapshotMeta(last), last + 1, partsOf(last, 1, 500));
    bench.pass(20);
    expect(storage.lacksSpace()).toBe(false);
    for (let more = 0; more < 5; more++) expect(begin(bench, storage, ++last)()).toBe(true);
    expect(bench.failures).toEqual([]);
  });

  test("on a real disk the space of a segment is reserved, not only its length", async () => {
    using bench = createRealBench();
    const storage = await opened(bench, { segmentBytes: 256 * KiB });
    await persist(bench, storage, { entries: entries(1, 1) });
    const disk = createRealDisk(bench.directory);
    for (const name of disk.list("g0/log")) {
      const { size, blocks } = statSync(join(bench.directory, "g0/log", name));
      expect(blocks * 512).toBeGreaterThanOrEqual(size);
    }
    const free = await new Promise<number>((done) => disk.freeBytes(done));
    expect(free).toBeGreaterThan(0);
    expect(Number.isFinite(free)).toBe(true);
    await close(bench, storage);
  });
});

/** A snapshot of three parts of 1,000 bytes, and a storage that it is sent to. */
async function receiving() {
  const sender = createSimBench();
  const from = await opened(sender);
  await persist(sender, from, { entries: entries(1, 9) });
  const meta = snapshotMeta(9);
  await saveAndCount(sender, from, meta, 10, partsOf(9));
  const { bytes: manifest, parts } = from.manifest(9)!;
  const received = (part: number) => ({ meta, manifest, part, parts, offset: 0, bytes: from.readPart(9, part) });

  const bench = createSimBench();
  const storage = await opened(bench);
  bench.pass(20);
  const store = (part: number): number | null => {
    let answer: number | null = null;
    storage.storePart(received(part), (nextPart) => {
      answer = nextPart;
    });
    bench.pass(50);
    return answer;
  };
  return { bench, storage, store };
}

describe("a snapshot", () => {
  test("without space is given up, leaves nothing, and is no failure; with space it is saved", async () => {
    for (let left = 0; left < 3_200; left += 400) {
      const bench = createSimBench();
      const storage = await opened(bench);
      await persist(bench, storage, { entries: entries(1, 5) });
      bench.pass(20);
      bench.disk.leave(left);
      const save = (): Promise<boolean> =>
        bench.call((done) => storage.saveSnapshot(snapshotMeta(5), sourceOf(partsOf(5)), done));
      expect(await save()).toBe(false);
      expect(snapshotFiles(bench)).toEqual([]);
      expect(storage.manifest(5)).toBeNull();
      bench.disk.leave(5_000);
      expect(await save()).toBe(true);
      await persist(bench, storage, { snapshot: { meta: snapshotMeta(5), reset: false, keepFrom: 6 } });
      expect(bench.failures).toEqual([]);
      bench.powerCut();
      bench.disk.leave(Infinity);
      expect((await opened(bench)).recovered.snapshot?.index).toBe(5);
    }
  });

  test("that a sync has no space for is given up too", async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 5) });
    bench.pass(100);
    bench.disk.fail("sync", 2, "EDQUOT");
    const isSaved = await bench.call<boolean>((done) =>
      storage.saveSnapshot(snapshotMeta(5), sourceOf(partsOf(5)), done),
    );
    expect(isSaved).toBe(false);
    expect(snapshotFiles(bench)).toEqual([]);
    expect(bench.failures).toEqual([]);
  });

  test("of another node is not begun when it does not fit, dropped when space runs out, and comes in when there is some", async () => {
    const { bench, store, storage } = await receiving();
    bench.disk.leave(2_000);
    expect(store(0)).toBeNull();
    expect(snapshotFiles(bench)).toEqual([]);
    bench.disk.leave(4_000);
    expect(store(0)).toBe(1);
    bench.disk.leave(500);
    expect(store(1)).toBeNull();
    expect(snapshotFiles(bench)).toEqual([]);
    // The sender comes again, with the part that was not answered.
    expect(store(1)).toBe(0);
    bench.disk.leave(Infinity);
    expect([store(0), store(1), store(2)]).toEqual([1, 2, 3]);
    expect(storage.manifest(9)?.parts).toBe(3);
    expect(bench.failures).toEqual([]);
  });
});

describe("a snapshot that frees the space that the log needs", () => {
  /** All segments are full, and none can be made. */
  async function full() {
    const bench = createSimBench();
    const storage = await opened(bench);
    bench.pass(20);
    bench.disk.leave(6 * KiB);
    return { bench, storage, last: fillUp(bench, storage, 1) - 1 };
  }

  test("counts all the same, and then the log goes on", async () => {
    const { bench, storage, last } = await full();
    await saveAndCount(bench, storage, snapshotMeta(last), last + 1);
    bench.pass(500);
    await persist(bench, storage, { entries: entries(last + 1, last + 3) });
    expect(bench.failures).toEqual([]);
    bench.powerCut();
    bench.disk.leave(Infinity);
    const { recovered } = await opened(bench);
    expect(recovered.snapshot?.index).toBe(last);
    expect(recovered.entries.at(-1)?.index).toBe(last + 3);
  });

  test("may stand for entries that had no space: the log is reset to it", async () => {
    const { bench, storage, last } = await full();
    const meta = snapshotMeta(last + 50);
    await bench.call<void>((done) => storage.saveSnapshot(meta, sourceOf(partsOf(9)), () => done()));
    await persist(bench, storage, { snapshot: { meta, reset: true, keepFrom: last + 51 } });
    bench.pass(500);
    await persist(bench, storage, { entries: entries(last + 51, last + 52) });
    bench.powerCut();
    bench.disk.leave(Infinity);
    const { recovered } = await opened(bench);
    expect(recovered.snapshot?.index).toBe(last + 50);
    expect(shown(recovered.entries)).toEqual(shown(entries(last + 51, last + 52)));
  });

  test("has its place twice, also when the first one frees nothing; a third one is reported as unwritten", async () => {
    const { bench, storage } = await full();
    bench.disk.leave(20 * KiB);
    const keepAll = async (index: number): Promise<Unwritten | null> => {
      const meta = snapshotMeta(index);
      await bench.call<void>((done) => storage.saveSnapshot(meta, sourceOf(partsOf(index, 1)), () => done()));
      return bench.call((done) => storage.persist(batch({ snapshot: { meta, reset: false, keepFrom: 1 } }), done));
    };
    expect([await keepAll(1), await keepAll(2)]).toEqual([null, null]);
    expect(await keepAll(3)).toEqual({ entriesFrom: null, snapshot: true });
    bench.powerCut();
    bench.disk.leave(Infinity);
    expect((await opened(bench)).recovered.snapshot?.index).toBe(2);
  });
});

test("a snapshot of another node does not take the last space when its frame has no place, or it could never count", async () => {
  const { bench, storage, store } = await receiving();
  bench.disk.leave(20_000);
  const last = fillUp(bench, storage, 1) - 1;
  for (const index of [last - 1, last]) {
    const meta = snapshotMeta(index);
    await bench.call<void>((done) => storage.saveSnapshot(meta, sourceOf(partsOf(index, 1)), () => done()));
    await persist(bench, storage, { snapshot: { meta, reset: false, keepFrom: 1 } });
  }
  expect(storage.lacksSpace()).toBe(true);
  bench.disk.leave(SMALL_SEGMENT - 1);
  expect(store(0)).toBeNull();
  bench.disk.leave(SMALL_SEGMENT + 10_000);
  bench.pass(1_000);
  expect([store(0), store(1), store(2)]).toEqual([1, 2, 3]);
});

describe("a node that is started on a full disk", () => {
  test("uses the space of the segment that its earlier life had made ahead", async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 3) });
    bench.pass(20);
    bench.disk.leave(0);
    bench.kill();
    const again = await opened(bench);
    expect(shown(again.recovered.entries)).toEqual(shown(entries(1, 3)));
    await persist(bench, again, { entries: entries(4, 4) });
    bench.powerCut();
    bench.disk.leave(SMALL_SEGMENT);
    expect(shown((await opened(bench)).recovered.entries)).toEqual(shown(entries(1, 4)));
  });

  test("needs space for its last frame, not for a whole segment, and goes on with what it has", async () => {
    const bench = createSimBench();
    const storage = await opened(bench, { segmentBytes: 256 * KiB });
    await persist(bench, storage, { entries: entries(1, 3) });
    bench.pass(20);
    bench.kill();
    bench.disk.leave(0);
    let last = 3;
    // Each life takes half of what is free: the first one has the space of the segment that was made ahead.
    for (let life = 0; life < 2; life++) {
      const again = await opened(bench, { segmentBytes: 256 * KiB });
      bench.pass(20);
      expect(again.lacksSpace()).toBe(true);
      last++;
      await persist(bench, again, { hardState: hardState(life + 2), entries: entries(last, last) });
      bench.powerCut();
    }
    const again = await opened(bench, { segmentBytes: 256 * KiB });
    expect(shown(again.recovered.entries)).toEqual(shown(entries(1, last++)));
    // When there is space, it goes on without a restart.
    bench.disk.leave(3 * 256 * KiB);
    bench.pass(1_000);
    for (let count = 0; count < 100; count++, last++) await persist(bench, again, { entries: entries(last, last) });
    expect(bench.failures).toEqual([]);
  });

  /** A file system that copies on write may have no space for what it has space reserved for. */
  test("and has no space at any one write or sync of its start: it starts without that or not at all, and never finds its log damaged", async () => {
    const start = { entries: entries(1, 3) };
    const later = entries(4, 40, 1, 2 * KiB);
    let started = 0;
    for (const operation of ["write", "sync"] as const) {
      for (let nth = 1; nth <= 14; nth++) {
        const bench = createSimBench();
        await persist(bench, await opened(bench), start);
        bench.kill();
        bench.disk.fail(operation, nth, "ENOSPC");
        const second = await opened(bench).catch((error: Error) => error);
        bench.disk.forgive();
        if (second instanceof Error) expect(second).toMatchObject({ code: "DISK_FULL" });
        else started++;
        const storage = second instanceof Error ? await opened(bench) : second;
        // Through several segments, so that the chain of them is followed from each to the one before it.
        for (const entry of later) await persist(bench, storage, { entries: [entry] });
        bench.powerCut();
        expect(shown((await opened(bench)).recovered.entries)).toEqual(shown([...start.entries, ...later]));
      }
    }
    expect(started).toBeGreaterThan(10);
  });

  test("keeps what a snapshot needs: many starts take little", async () => {
    const bench = createSimBench();
    const real = { segmentBytes: 1024 * KiB };
    const storage = await opened(bench, real);
    await persist(bench, storage, { entries: entries(1, 3) });
    bench.pass(20);
    bench.disk.leave(2 * 1024 * KiB);
    for (let life = 0; life < 10; life++) {
      bench.kill();
      await opened(bench, real);
      bench.pass(20);
    }
    expect(await bench.call<number>((done) => bench.disk.restart().freeBytes(done))).toBeGreaterThan(1024 * KiB);
  });

  test("gives up a snapshot that never came to count, if that is what it takes", async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 3) });
    await saveAndCount(bench, storage, snapshotMeta(2), 3, partsOf(2));
    await persist(bench, storage, { entries: entries(4, 6) });
    await bench.call<void>((done) => storage.saveSnapshot(snapshotMeta(5), sourceOf(partsOf(5, 30)), () => done()));
    bench.pass(20);
    bench.kill();
    bench.disk.delete(bench.disk.files().findLast((file) => file.startsWith("g0/log/"))!);
    bench.disk.leave(0);
    const { recovered } = await opened(bench);
    expect(recovered.snapshot?.index).toBe(2);
    expect(recovered.entries.at(-1)?.index).toBe(6);
    expect(snapshotFiles(bench).every((file) => file.includes("/2-1/"))).toBe(true);
  });

  test("refuses when there is too little for that, with the number, changes nothing, and starts when there is space", async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 3) });
    bench.pass(20);
    const spare = bench.disk.files().at(-2)!;
    expect(spare).toStartWith("g0/log/");
    bench.kill();
    bench.disk.delete(spare);
    // Header, the copied frame, the continuing frame, and two places for snapshots.
    bench.disk.leave(5 * BLOCK - 1);
    const before = bench.disk.files();
    const error = await refused(bench);
    expect(error.code).toBe("DISK_FULL");
    expect(error.message).toContain("20479 bytes are free, 20480 are needed; free that much");
    expect(bench.disk.files()).toEqual(before);
    bench.disk.leave(5 * BLOCK);
    expect(shown((await opened(bench)).recovered.entries)).toEqual(shown(entries(1, 3)));
  });

  test("takes back what an unfinished snapshot holds", async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 3) });
    bench.pass(20);
    bench.disk.delete(bench.disk.files().at(-2)!);
    const source = { nextPart: () => new Uint8Array(SMALL_SEGMENT) };
    storage.saveSnapshot(snapshotMeta(3), source, () => undefined);
    bench.pass(20);
    expect(snapshotFiles(bench).length).toBeGreaterThan(1);
    bench.kill();
    bench.disk.leave(0);
    expect(shown((await opened(bench)).recovered.entries)).toEqual(shown(entries(1, 3)));
    expect(snapshotFiles(bench)).toEqual([]);
  });
});
