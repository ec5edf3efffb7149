// Is a torn tail distinguished from corruption? The last write may be cut; damage to anything durable before it is corruption.
import { expect, test } from "bun:test";
import { STORAGE } from "../../src/config.ts";
import { type Frame } from "../../src/storage/wal/frame.ts";
import { decodeManifest, encodeManifest } from "../../src/storage/snapshot/manifest.ts";
import { readMeta } from "../../src/storage/meta.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import type { Entry } from "../../src/raft/entry.ts";
import {
  BLOCK,
  close,
  createSimBench,
  createSimBenchWith,
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
  VOTE,
} from "../kit/test-storage.ts";
import { type DiskImage, imageOf, logSegments } from "../kit/log-frames.ts";

/** A new bench with the same files, some of them changed; null deletes one. */
function benchWith(image: DiskImage, change: ReadonlyMap<string, Uint8Array | null>): Promise<SimBench> {
  const files = [...image].map(([file, bytes]) => [file, change.get(file) === undefined ? bytes : change.get(file)]);
  return createSimBenchWith(new Map(files.filter((file): file is [string, Uint8Array] => file[1] !== null)));
}

const with1 = (image: DiskImage, file: string, bytes: Uint8Array | null): Promise<SimBench> =>
  benchWith(image, new Map([[file, bytes]]));

/** The segments that hold frames, with these frames. */
const framesIn = (image: DiskImage): { readonly file: string; readonly frames: readonly Frame[] }[] =>
  logSegments(image).map(({ path, frames }) => ({ file: path, frames }));

/** A log of three batches in one segment, killed before the closing frame: so the last frame may be torn. */
async function threeBatches(): Promise<{ readonly image: DiskImage; readonly file: string; readonly last: Frame }> {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { hardState: hardState(2, VOTE), entries: entries(1, 3) });
  await persist(bench, storage, { entries: entries(4, 6) });
  await persist(bench, storage, { entries: entries(7, 9, 1, 1_500) });
  bench.kill();
  const image = imageOf(bench.disk);
  const newest = framesIn(image).at(-1)!;
  return { image, file: newest.file, last: newest.frames.at(-1)! };
}

async function logOf(bench: SimBench): Promise<{ log: readonly Entry[]; summary: string }> {
  const storage = await opened(bench);
  expect(storage.recovered.hardState).toEqual(hardState(2, VOTE));
  return { log: storage.recovered.entries, summary: storage.recovered.summary };
}

const LENGTH_OF_LAST = 64 + 3 * (52 + 1_500);

test("a last frame that ends at any byte is cut, and everything before it is kept", async () => {
  const { image, file, last } = await threeBatches();
  expect(last.end - last.offset).toBe(2 * BLOCK);
  for (let kept = 0; kept < LENGTH_OF_LAST; kept += kept < 70 ? 1 : 37) {
    const bytes = image.get(file)!.slice();
    bytes.fill(0, last.offset + kept, last.end);
    const { log, summary } = await logOf(await with1(image, file, bytes));
    expect(shown(log)).toEqual(shown(entries(1, 6)));
    // So many bytes show that it is a frame of this place; fewer prove nothing in a file that was used before.
    if (kept >= 24) expect(summary).toContain("torn tail");
  }
  const { log } = await logOf(await with1(image, file, image.get(file)!));
  expect(shown(log)).toEqual(shown([...entries(1, 6), ...entries(7, 9, 1, 1_500)]));
});

test("a last frame garbled from any byte on is cut", async () => {
  const { image, file, last } = await threeBatches();
  for (let from = 0; from < LENGTH_OF_LAST; from += 61) {
    const bytes = image.get(file)!.slice();
    for (let at = last.offset + from; at < last.end; at++) bytes[at] = bytes[at]! ^ (0x55 + (at & 0x2a));
    const { log } = await logOf(await with1(image, file, bytes));
    expect(shown(log)).toEqual(shown(entries(1, 6)));
  }
});

test("after a torn tail was cut, the log goes on and the torn bytes never come back", async () => {
  const { image, file, last } = await threeBatches();
  const bytes = image.get(file)!.slice();
  bytes[last.offset + 100]! ^= 1;
  const bench = await with1(image, file, bytes);
  const storage = await opened(bench);
  await persist(bench, storage, { hardState: hardState(5), entries: entries(7, 8, 5) });
  bench.disk.overwrite(file, last.offset, image.get(file)!.slice(last.offset, last.end));
  bench.powerCut();
  expect(shown((await opened(bench)).recovered.entries)).toEqual(shown([...entries(1, 6), ...entries(7, 8, 5)]));
});

test("a flipped bit in any field of a frame before the last one is corruption, never a truncation", async () => {
  const { image, file, last } = await threeBatches();
  const middle = framesIn(image).at(-1)!.frames.at(-2)!;
  expect(middle.end).toBe(last.offset);
  for (let at = 0; at < 64 + 3 * 68; at++) {
    const bytes = image.get(file)!.slice();
    bytes[middle.offset + at]! ^= 1 << (at % 8);
    const error = await refused(await with1(image, file, bytes));
    expect(error.code).toBe("CORRUPT");
    expect(error.message).toContain(file);
    expect(error.message).toContain(`byte ${middle.offset}`);
  }
});

test("once the closing frame is written, damage to the last batch is corruption too", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  bench.pass(100);
  bench.kill();
  const image = imageOf(bench.disk);
  const newest = framesIn(image).at(-1)!;
  expect(newest.frames.map((frame) => frame.content.kind)).toEqual(["opening", "batch", "closing"]);
  const bytes = image.get(newest.file)!.slice();
  bytes[newest.frames[1]!.offset + 70]! ^= 4;
  expect((await refused(await with1(image, newest.file, bytes))).code).toBe("CORRUPT");
});

/** The image with zeros from `offset` to the end of a file: as if its last writes had never been done. */
async function withoutTail(image: DiskImage, file: string, offset: number): Promise<SimBench> {
  return with1(image, file, image.get(file)!.slice().fill(0, offset));
}

const durableFrameIn = (image: DiskImage): number =>
  readMeta({ read: (path) => image.get(path) ?? null }, STORAGE.formatVersion)?.meta.durableFrame ?? 0;

for (const stop of ["quiet", "close"] as const) {
  test(`the last batch and the closing frame behind it, lost together, are corruption: after ${stop}`, async () => {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { hardState: hardState(2, VOTE), entries: entries(1, 3) });
    await persist(bench, storage, { entries: entries(4, 6) });
    if (stop === "close") await close(bench, storage);
    else bench.pass(STORAGE.quietMs + 10);
    bench.kill();
    const image = imageOf(bench.disk);
    const { file, frames } = framesIn(image).at(-1)!;
    expect(frames.map((frame) => frame.content.kind)).toEqual(["opening", "batch", "batch", "closing"]);
    const [, first, second, closing] = frames;
    for (const { offset } of [first!, second!]) {
      const bare = await withoutTail(image, file, offset);
      const before = imageOf(bare.disk);
      const error = await refused(bare);
      expect(error.code).toBe("CORRUPT");
      expect(error.message).toContain(`${file} is damaged at byte ${offset}`);
      expect(error.message).toContain(`frame ${second!.number}`);
      expect(imageOf(bare.disk)).toEqual(before);
    }
    // Nothing was in it.
    const { log, summary } = await logOf(await withoutTail(image, file, closing!.offset));
    expect(shown(log)).toEqual(shown(entries(1, 6)));
    expect(summary).not.toContain("torn");
    // One slot of meta is enough.
    for (const slot of [0, 1]) {
      const lost = await benchWith(
        image,
        new Map([
          [file, image.get(file)!.slice().fill(0, second!.offset)],
          [
            "meta",
            image
              .get("meta")!
              .slice()
              .fill(0, slot * BLOCK, (slot + 1) * BLOCK),
          ],
        ]),
      );
      expect((await refused(lost)).code).toBe("CORRUPT");
    }
  });
}

test("while writes never pause, the end of the log can be lost without a sign for about the last second, and no earlier", async () => {
  const bench = createSimBench();
  const segmentBytes = 200 * BLOCK;
  const storage = await opened(bench, { segmentBytes });
  const writtenAt: number[] = [];
  while (bench.scheduler.now() < 2_700) {
    await persist(bench, storage, { entries: entries(writtenAt.length + 1, writtenAt.length + 1) });
    writtenAt.push(bench.scheduler.now());
    bench.pass(STORAGE.quietMs / 2);
  }
  const now = bench.scheduler.now();
  bench.kill();
  const image = imageOf(bench.disk);
  const all = framesIn(image);
  expect(all.length).toBeGreaterThan(1);
  const batches = all.flatMap(({ file, frames }) => frames.map((frame) => ({ file, frame })));
  expect(batches.every(({ frame }) => frame.content.kind !== "closing")).toBe(true);
  const outcomes: string[] = [];
  for (const { file, frame } of batches.filter((found) => found.file === all.at(-1)!.file)) {
    if (frame.content.kind !== "batch") continue;
    const index = frame.content.entries[0]!.index;
    const result = await (await withoutTail(image, file, frame.offset)).open({ segmentBytes });
    const isOld = writtenAt[index - 1]! < now - STORAGE.durableFrameMs - 10;
    if (result instanceof RaftqError) {
      expect({ index, code: result.code, durable: frame.number <= durableFrameIn(image) }).toEqual({
        index,
        code: "CORRUPT",
        durable: true,
      });
    } else {
      expect(shown(result.recovered.entries)).toEqual(shown(entries(1, index - 1)));
      expect({ index, isOld }).toEqual({ index, isOld: false });
    }
    outcomes.push(result instanceof RaftqError ? "refused" : "cut");
  }
  expect(outcomes).toContain("refused");
  expect(outcomes.at(-1)).toBe("cut");
});

test("every change of meta names the newest frame as well", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  await persist(bench, storage, { hardState: hardState(2, VOTE) });
  bench.kill();
  const image = imageOf(bench.disk);
  const { file, frames } = framesIn(image).at(-1)!;
  expect(frames.map((frame) => frame.content.kind)).toEqual(["opening", "batch"]);
  expect(durableFrameIn(image)).toBe(frames[1]!.number);
  expect((await refused(await withoutTail(image, file, frames[1]!.offset))).code).toBe("CORRUPT");
});

test("an old copy of a segment under the present meta is corruption", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  bench.pass(100);
  const old = imageOf(bench.disk);
  await persist(bench, storage, { entries: entries(4, 6) });
  await close(bench, storage);
  bench.kill();
  const { file } = framesIn(imageOf(bench.disk)).at(-1)!;
  expect((await refused(await with1(imageOf(bench.disk), file, old.get(file)!))).code).toBe("CORRUPT");
});

test("lives, snapshots and truncations leave a log that reaches what meta names, whatever became of the segments", async () => {
  const bench = createSimBench();
  for (let life = 1; life <= 13; life++) {
    const storage = await opened(bench);
    const last = storage.recovered.entries.at(-1)?.index ?? storage.recovered.snapshot?.index ?? 0;
    await persist(bench, storage, { hardState: hardState(life), entries: entries(last + 1, last + 12, life, 2 * KiB) });
    if (life % 3 === 0) await saveAndCount(bench, storage, snapshotMeta(last + 10, life), last + 11);
    if (life % 4 === 0) {
      const meta = snapshotMeta(last + 50, life);
      await bench.call((done) => storage.saveSnapshot(meta, sourceOf(partsOf(meta.index)), done));
      await persist(bench, storage, { snapshot: { meta, reset: true, keepFrom: meta.index + 1 } });
    }
    bench.pass([5, 100, 1_100][life % 3]!);
    if (life % 2 === 0) await close(bench, storage);
    if (life % 5 === 0) bench.powerCut();
    else bench.kill();
    const image = imageOf(bench.disk);
    const { file, frames } = framesIn(image).at(-1)!;
    const durable = frames.filter(
      ({ number, content }) => content.kind !== "opening" && number <= durableFrameIn(image),
    );
    const from = durable.findLast(({ content }) => content.kind !== "closing");
    if (from !== undefined) expect((await refused(await withoutTail(image, file, from.offset))).code).toBe("CORRUPT");
  }
  expect((await opened(bench)).recovered.entries.length).toBeGreaterThan(0);
});

/** Several segments, a snapshot in between, killed while writing. */
async function longLog(): Promise<DiskImage> {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { hardState: hardState(2, VOTE) });
  for (let at = 1; at <= 40; at++) await persist(bench, storage, { entries: entries(at, at, 1, 2 * KiB) });
  await saveAndCount(bench, storage, snapshotMeta(20), 10);
  bench.pass(5);
  for (let at = 41; at <= 50; at++) await persist(bench, storage, { entries: entries(at, at, 1, 2 * KiB) });
  bench.kill();
  const image = imageOf(bench.disk);
  expect(framesIn(image).length).toBeGreaterThan(4);
  return image;
}

test("a deleted segment is corruption", async () => {
  const image = await longLog();
  for (const { file } of framesIn(image)) {
    const error = await refused(await with1(image, file, null));
    expect(error.code).toBe("CORRUPT");
    expect(error.message).toContain("missing");
  }
});

test("a shortened segment is corruption", async () => {
  const image = await longLog();
  for (const { file } of framesIn(image)) {
    for (const size of [0, 100, BLOCK, BLOCK + 10, 2 * BLOCK, SMALL_SEGMENT - 1]) {
      expect((await refused(await with1(image, file, image.get(file)!.slice(0, size)))).code).toBe("CORRUPT");
    }
  }
});

test("a flipped bit in a segment's header or first frame is corruption", async () => {
  const image = await longLog();
  for (const { file } of framesIn(image)) {
    for (const at of [0, 9, 13, 17, 21, 25, 29, BLOCK, BLOCK + 5, BLOCK + 13, BLOCK + 26, BLOCK + 41]) {
      const bytes = image.get(file)!.slice();
      bytes[at]! ^= 2;
      expect((await refused(await with1(image, file, bytes))).code).toBe("CORRUPT");
    }
  }
});

test("a segment of zeros in place of any segment of the log is corruption", async () => {
  const image = await longLog();
  for (const { file } of framesIn(image)) {
    expect((await refused(await with1(image, file, new Uint8Array(SMALL_SEGMENT)))).code).toBe("CORRUPT");
  }
});

test("segments swapped against each other are corruption", async () => {
  const image = await longLog();
  const [a, b] = framesIn(image).slice(1);
  const swapped = await benchWith(
    image,
    new Map([
      [a!.file, image.get(b!.file)!],
      [b!.file, image.get(a!.file)!],
    ]),
  );
  expect((await refused(swapped)).code).toBe("CORRUPT");
});

test("a damaged snapshot that counts is corruption when opening, and when a part of it is read later", async () => {
  const image = await longLog();
  const directory = "g0/snapshot/20-1";
  const flipped = (file: string): Uint8Array => {
    const bytes = image.get(file)!.slice();
    bytes[bytes.length >> 1]! ^= 1;
    return bytes;
  };
  const manifest = `${directory}/manifest`;
  const part = `${directory}/part-000001`;
  for (const [file, bytes] of [
    [manifest, null],
    [manifest, flipped(manifest)],
    [manifest, image.get(manifest)!.slice(0, 10)],
    [part, null],
    [part, image.get(part)!.slice(1)],
    [part, flipped(part)],
  ] as const) {
    const error = await refused(await with1(image, file, bytes));
    expect(error.code).toBe("CORRUPT");
    expect(error.message).toContain(file);
  }
  const another = encodeManifest(
    {
      meta: { ...snapshotMeta(20), time: 1 },
      parts: decodeManifest(image.get(manifest)!, STORAGE.formatVersion)!.parts,
    },
    STORAGE.formatVersion,
  );
  expect((await refused(await with1(image, manifest, another))).message).toContain("not the one that the log names");
  const bench = await with1(image, part, image.get(part)!);
  const storage = await opened(bench);
  bench.disk.flipBit(part, 10, 1);
  expect(storage.readPart(20, 0)).toEqual(partsOf(20)[0]!);
  expect(() => storage.readPart(20, 1)).toThrow("does not match");
});

test("one damaged meta slot is repaired; two are corruption; without meta there is no new start over an old log", async () => {
  const { image } = await threeBatches();
  const meta = image.get("meta")!;
  const flipped = (slots: readonly number[], at: number): Uint8Array => {
    const bytes = meta.slice();
    for (const slot of slots) bytes[slot * BLOCK + at]! ^= 8;
    return bytes;
  };
  for (const at of [3, 10, 14, 18, 23, 30, 60, BLOCK - 1]) {
    for (const slot of [0, 1]) {
      const bench = await with1(image, "meta", flipped([slot], at));
      const storage = await opened(bench);
      expect(storage.recovered.hardState).toEqual(hardState(2, VOTE));
      await close(bench, storage);
      const [a, b] = [bench.disk.cached("meta")!.slice(16, BLOCK), bench.disk.cached("meta")!.slice(BLOCK + 16)];
      expect(a.slice(6)).toEqual(b.slice(6));
    }
    const error = await refused(await with1(image, "meta", flipped([0, 1], at)));
    expect(error.code).toBe("CORRUPT");
    expect(error.message).toContain("term and vote");
  }
  expect((await refused(await with1(image, "meta", null))).code).toBe("CORRUPT");
  expect((await refused(await with1(image, "meta", new Uint8Array(0)))).code).toBe("CORRUPT");
});

test("without meta an old log is corruption also when its newest segment is still empty, after a start that wrote nothing", async () => {
  for (const starts of [1, 2, 3]) {
    const bench = createSimBench();
    let storage = await opened(bench);
    await persist(bench, storage, { hardState: hardState(2, VOTE), entries: entries(1, 3) });
    for (let at = 0; at < starts; at++) {
      await close(bench, storage);
      storage = await opened(bench);
    }
    bench.kill();
    const image = imageOf(bench.disk);
    expect(
      framesIn(image)
        .at(-1)!
        .frames.map((frame) => frame.content.kind),
    ).toEqual(["opening"]);
    const error = await refused(await with1(image, "meta", null));
    expect(error.code).toBe("CORRUPT");
    expect(error.message).toContain("meta is missing");
    // Also when nothing but that newest segment is left: it names a frame before it.
    const older = framesIn(image).slice(0, -1);
    const gone = new Map<string, Uint8Array | null>(older.map(({ file }) => [file, null]));
    expect((await refused(await benchWith(image, gone.set("meta", null)))).code).toBe("CORRUPT");
  }
});

test("a meta that is older than the log, put back from a copy, is corruption: its vote may be an older one too", async () => {
  const bench = createSimBench();
  let storage = await opened(bench);
  await persist(bench, storage, { hardState: hardState(2, VOTE), entries: entries(1, 3, 2) });
  await close(bench, storage);
  const meta = bench.disk.cached("meta")!.slice();
  storage = await opened(bench);
  await persist(bench, storage, { hardState: hardState(3), entries: entries(4, 4, 3) });
  await close(bench, storage);
  const later = bench.disk.cached("meta")!.slice();
  bench.disk.overwrite("meta", 0, meta);
  const error = await refused(bench);
  expect(error.code).toBe("CORRUPT");
  expect(error.message).toContain("older than the log");
  bench.disk.overwrite("meta", 0, later);
  expect((await opened(bench)).recovered.hardState.currentTerm).toBe(3);
});

test("a refused directory is left exactly as it is, and unlocked", async () => {
  const { image, file } = await threeBatches();
  const bytes = image.get(file)!.slice();
  bytes[BLOCK + 20]! ^= 1;
  const bench = await with1(image, file, bytes);
  const before = imageOf(bench.disk);
  await refused(bench);
  await refused(bench);
  expect(imageOf(bench.disk)).toEqual(before);
});

test("bytes behind a named end offset are never judged", async () => {
  const bench = createSimBench();
  let storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  bench.kill();
  const old = framesIn(imageOf(bench.disk)).at(-1)!;
  storage = await opened(bench);
  await persist(bench, storage, { entries: entries(4, 4) });
  bench.kill();
  const before = framesIn(imageOf(bench.disk));
  for (const { file, frames } of before) {
    if (file === before.at(-1)!.file) continue;
    bench.disk.overwrite(file, frames.at(-1)!.end, new Uint8Array(BLOCK).fill(0xab));
  }
  expect(old.file).toBe(before[0]!.file);
  expect(shown((await opened(bench)).recovered.entries)).toEqual(shown(entries(1, 4)));
});

test("the segment begun at the latest start is missed, although nothing but a copy is in it", async () => {
  const bench = createSimBench();
  await persist(bench, await opened(bench), { entries: entries(1, 3) });
  bench.kill();
  const before = new Set(framesIn(imageOf(bench.disk)).map(({ file }) => file));
  await opened(bench);
  bench.kill();
  const image = imageOf(bench.disk);
  const begun = framesIn(image).find(({ file }) => !before.has(file))!;
  expect(begun.frames.map((frame) => frame.content.kind)).toEqual(["batch"]);
  for (const bytes of [null, new Uint8Array(SMALL_SEGMENT), image.get(begun.file)!.slice(0, BLOCK + 50)]) {
    const error = await refused(await with1(image, begun.file, bytes));
    expect(error.code).toBe("CORRUPT");
    expect(error.message).toContain("the node had begun it");
  }
});

test("a segment without a start is noticed by its other frames, even if the frame that names it is damaged too", async () => {
  const image = await longLog();
  const segments = framesIn(image);
  const last = segments.at(-1)!;
  const full = segments.at(-2)!;
  const continues = full.frames.at(-1)!;
  expect(continues.content.kind).toBe("continues");
  const damaged = [full.file, last.file].map((file) => image.get(file)!.slice());
  damaged[0]![continues.offset + 20]! ^= 1;
  damaged[1]!.fill(0, 0, 2 * BLOCK);
  const error = await refused(
    await benchWith(
      image,
      new Map([
        [full.file, damaged[0]!],
        [last.file, damaged[1]!],
      ]),
    ),
  );
  expect(error.code).toBe("CORRUPT");
  expect(error.message).toContain(last.file);
});

test("meta that is lost is noticed also when the newest segment holds no entry yet", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  await close(bench, storage);
  await opened(bench);
  bench.kill();
  bench.disk.delete("meta");
  expect((await refused(bench)).code).toBe("CORRUPT");
});

test("without meta, a log is not taken for an unfinished first start because its frames cannot be read any more", async () => {
  const { image, file } = await threeBatches();
  const bytes = image.get(file)!.slice();
  // Every frame behind the opening one is damaged; their bytes are still there.
  for (let offset = 2 * BLOCK; offset < bytes.length; offset += BLOCK) bytes[offset]! ^= 1;
  const error = await refused(
    await benchWith(
      image,
      new Map([
        ["meta", null],
        [file, bytes],
      ]),
    ),
  );
  expect(error.code).toBe("CORRUPT");
  expect(error.message).toContain("meta is missing");
});

test("without meta and log, a snapshot that is left is not deleted by a new start", async () => {
  const image = await longLog();
  const lost = [...image.keys()].filter((file) => !file.startsWith("g0/snapshot/"));
  const error = await refused(await benchWith(image, new Map(lost.map((file) => [file, null]))));
  expect(error.code).toBe("CORRUPT");
  expect(error.message).toContain("g0/snapshot/20-1");
});
