// What becomes of a file, or of a sender, that claims more than there can be? It is refused before memory is made for it.
import { expect, test } from "bun:test";
import { STORAGE, WIRE } from "../../src/config.ts";
import type { Disk } from "../../src/storage/disk.ts";
import { decodeManifest, encodeManifest, type Part } from "../../src/storage/snapshot/manifest.ts";
import { openStorage } from "../../src/storage/open.ts";
import type { Opened } from "../../src/storage/types.ts";
import {
  createSimBench,
  entries,
  opened,
  partsOf,
  persist,
  saveAndCount,
  settings,
  snapshotMeta,
  sourceOf,
} from "../kit/test-storage.ts";

const { maxManifestBytes, maxPartBytes } = STORAGE;

const manifestOf = (parts: readonly Part[]): Uint8Array =>
  encodeManifest({ meta: snapshotMeta(20), parts }, STORAGE.formatVersion);
const part = (bytes: number): Part => ({ bytes, crc: 0xffff_ffff });

test("a manifest that claims a part larger than any is refused, although its checksum is right", () => {
  const read = (bytes: number) => decodeManifest(manifestOf([part(1), part(bytes)]), STORAGE.formatVersion);
  expect(read(maxPartBytes)?.parts).toHaveLength(2);
  for (const bytes of [maxPartBytes + 1, 2 ** 31, 2 ** 32 - 1]) expect(read(bytes)).toBeNull();
});

test("a manifest that is larger than any is refused; the largest one travels with a part in one frame", () => {
  const read = (count: number) =>
    decodeManifest(manifestOf(Array.from({ length: count }, () => part(maxPartBytes))), STORAGE.formatVersion);
  const perPart = manifestOf([part(maxPartBytes), part(maxPartBytes)]).length - manifestOf([part(maxPartBytes)]).length;
  const most = Math.floor((maxManifestBytes - 256) / perPart);
  expect(read(most)?.parts).toHaveLength(most);
  expect(read(most + 100)).toBeNull();
  expect(maxManifestBytes + maxPartBytes).toBeLessThan(WIRE.maxPeerFrameBytes);
});

test("a snapshot of another node whose manifest claims such a part is refused, and nothing of it is kept", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  const bytes = new Uint8Array(100);
  const received = { meta: snapshotMeta(20), manifest: manifestOf([part(2 ** 31)]), part: 0, parts: 1 };
  for (const offset of [0, 100]) {
    const wanted = await bench.call<number>((done) => storage.storePart({ ...received, offset, bytes }, done));
    expect(wanted).toBe(0);
  }
  expect(bench.disk.files().filter((file) => file.startsWith("g0/snapshot/"))).toEqual([]);
});

test("a file of a snapshot that is larger than what it should be is corruption, and not read", async () => {
  for (const [name, counts] of [
    ["manifest", true],
    ["part-000000", true],
    ["part-000001", true],
    ["manifest", false],
    ["part-000000", false],
  ] as const) {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 9) });
    await saveAndCount(bench, storage, snapshotMeta(5), 1);
    await bench.call<void>((done) => storage.saveSnapshot(snapshotMeta(9), sourceOf(partsOf(9)), () => done()));
    bench.kill();
    const path = `g0/snapshot/${counts ? 5 : 9}-1/${name}`;
    const disk = bench.disk.restart();
    const huge: Disk = {
      ...disk,
      size: (asked) => (asked === path ? 2 ** 40 : disk.size(asked)),
      read: (asked) => {
        if (asked === path) throw new Error(`all of ${path} was read`);
        return disk.read(asked);
      },
    };
    const found = await bench.call<Opened>((done) => openStorage(huge, settings(bench, bench.after, {}), done));
    // One that does not count is deleted, whatever is in it.
    expect(found.ok).toBe(!counts);
    if (found.ok) continue;
    expect(found.error.code).toBe("CORRUPT");
    expect(found.error.message).toContain(path);
  }
});
