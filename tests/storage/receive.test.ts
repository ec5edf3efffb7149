// What becomes of the parts of a snapshot that another node sends? Wrong ones are refused, an abandoned one leaves nothing.
import { expect, test } from "bun:test";
import type { SnapshotMeta } from "../../src/raft/types.ts";
import type { Storage } from "../../src/storage/types.ts";
import {
  close,
  createSimBench,
  entries,
  hardState,
  opened,
  partsOf,
  persist,
  type SimBench,
  saveAndCount,
  snapshotMeta,
  sourceOf,
} from "../kit/test-storage.ts";

interface Sent {
  readonly meta: SnapshotMeta;
  readonly manifest: Uint8Array;
  readonly parts: readonly Uint8Array[];
}

/** A snapshot as the leader would send it. */
async function sent(index: number, parts = partsOf(index)): Promise<Sent> {
  const bench = createSimBench(5);
  const storage = await opened(bench);
  const meta = snapshotMeta(index, 2);
  await bench.call<void>((done) => storage.saveSnapshot(meta, sourceOf(parts), () => done()));
  return { meta, manifest: storage.manifest(index)!.bytes, parts };
}

function send(
  bench: SimBench,
  storage: Storage,
  { meta, manifest, parts }: Sent,
  part: number,
  bytes = parts[part]!,
): Promise<number> {
  return bench.call((done) => storage.storePart({ meta, manifest, part, parts: parts.length, offset: 0, bytes }, done));
}

const snapshotDirectories = (bench: SimBench): string[] => [
  ...new Set(
    bench.disk
      .files()
      .filter((file) => file.startsWith("g0/snapshot/"))
      .map((file) => file.split("/")[2]!),
  ),
];

test("a damaged, repeated or early part is refused with the part that is wanted", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  const snapshot = await sent(30);
  const damaged = snapshot.parts[1]!.slice();
  damaged[500]! ^= 1;
  expect(await send(bench, storage, snapshot, 1)).toBe(0);
  expect(await send(bench, storage, snapshot, 0)).toBe(1);
  expect(await send(bench, storage, snapshot, 1, damaged)).toBe(1);
  expect(await send(bench, storage, snapshot, 1, snapshot.parts[1]!.slice(1))).toBe(1);
  expect(await send(bench, storage, snapshot, 2)).toBe(1);
  expect(await send(bench, storage, snapshot, 1)).toBe(2);
  expect(await send(bench, storage, snapshot, 1)).toBe(2);
  expect(storage.manifest(30)).toBeNull();
  expect(await send(bench, storage, snapshot, 2)).toBe(3);
  expect(storage.manifest(30)).toEqual({ meta: snapshot.meta, bytes: snapshot.manifest, parts: 3 });
  expect(await send(bench, storage, snapshot, 0)).toBe(3);
  expect([0, 1, 2].map((part) => storage.readPart(30, part))).toEqual([...snapshot.parts]);
});

test("a part comes in chunks: they wait until it is whole, a wrong one is answered with the place to go on from, and a wrong part begins again", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  const snapshot = await sent(30);
  const chunk = (part: number, offset: number, end: number, damage = false): Promise<readonly [number, number]> => {
    const bytes = snapshot.parts[part]!.slice(offset, end);
    if (damage) bytes[0]! ^= 1;
    const { meta, manifest, parts } = snapshot;
    const received = { meta, manifest, part, parts: parts.length, offset, bytes };
    return bench.call((done) => storage.storePart(received, (next, nextOffset) => done([next, nextOffset] as const)));
  };
  expect(await chunk(0, 400, 700)).toEqual([0, 0]);
  expect(await chunk(0, 0, 400)).toEqual([0, 400]);
  expect(await chunk(0, 300, 700)).toEqual([0, 400]);
  expect(await chunk(0, 400, 700, true)).toEqual([0, 700]);
  expect(await chunk(0, 700, 1_000)).toEqual([0, 0]);
  expect(await chunk(0, 0, 999)).toEqual([0, 999]);
  expect(await chunk(0, 999, 1_000)).toEqual([1, 0]);
  expect(await chunk(1, 0, 10)).toEqual([1, 10]);
  expect(await chunk(1, 0, snapshot.parts[1]!.length)).toEqual([2, 0]);
  expect(await chunk(2, 0, 500)).toEqual([2, 500]);
  expect(storage.manifest(30)).toBeNull();
  expect(await chunk(2, 500, snapshot.parts[2]!.length)).toEqual([3, 0]);
  expect([0, 1, 2].map((part) => storage.readPart(30, part))).toEqual([...snapshot.parts]);
});

test("a manifest that is damaged, or of another snapshot, is refused", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  const snapshot = await sent(30);
  const damaged = snapshot.manifest.slice();
  damaged[40]! ^= 1;
  expect(await send(bench, storage, { ...snapshot, manifest: damaged }, 0)).toBe(0);
  expect(await send(bench, storage, { ...snapshot, meta: snapshotMeta(31, 2) }, 0)).toBe(0);
  expect(await send(bench, storage, { ...snapshot, parts: snapshot.parts.slice(1) }, 0)).toBe(0);
  expect(snapshotDirectories(bench)).toEqual([]);
});

test("part 0 of a newer snapshot drops what an earlier sender left", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  const older = await sent(30);
  const newer = await sent(40, partsOf(40, 2));
  expect(await send(bench, storage, older, 0)).toBe(1);
  expect(await send(bench, storage, newer, 0)).toBe(1);
  expect(snapshotDirectories(bench)).toEqual(["40-2"]);
  expect(await send(bench, storage, older, 1)).toBe(0);
  expect(await send(bench, storage, newer, 1)).toBe(2);
  await persist(bench, storage, {
    hardState: hardState(2),
    snapshot: { meta: newer.meta, reset: true, keepFrom: 41 },
  });
  bench.powerCut();
  const { recovered } = await opened(bench);
  expect(recovered.snapshot).toEqual(newer.meta);
  expect(recovered.entries).toEqual([]);
});

test("part 0 sent again starts afresh", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  const snapshot = await sent(30);
  expect(await send(bench, storage, snapshot, 0)).toBe(1);
  expect(await send(bench, storage, snapshot, 1)).toBe(2);
  expect(await send(bench, storage, snapshot, 0)).toBe(1);
  expect(await send(bench, storage, snapshot, 1)).toBe(2);
  expect(await send(bench, storage, snapshot, 2)).toBe(3);
});

test("the snapshot that counts is never overwritten by a received one", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { hardState: hardState(2), entries: entries(1, 30, 2) });
  await saveAndCount(bench, storage, snapshotMeta(30, 2), 31);
  const other = await sent(30, partsOf(30, 5));
  expect(await send(bench, storage, other, 0)).toBe(5);
  expect(storage.readPart(30, 2)).toEqual(partsOf(30)[2]!);
  await close(bench, storage);
  expect((await opened(bench)).readPart(30, 2)).toEqual(partsOf(30)[2]!);
});

test("what arrived of an unfinished snapshot is gone after a restart", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const bench = createSimBench(seed);
    const storage = await opened(bench);
    const snapshot = await sent(30);
    await send(bench, storage, snapshot, 0);
    await send(bench, storage, snapshot, 1);
    if (seed % 2 === 0) bench.kill();
    else bench.powerCut();
    const again = await opened(bench);
    expect(snapshotDirectories(bench)).toEqual([]);
    expect(again.recovered.snapshot).toBeNull();
    expect(await send(bench, again, snapshot, 2)).toBe(0);
  }
});

test("the own snapshot and the leader's of the same index never get into each other's way (simulator seed 906)", async () => {
  for (const early of [0, 1, 2]) {
    const bench = createSimBench();
    const storage = await opened(bench);
    const snapshot = await sent(30);
    // The leader's parts come in first, or while the own snapshot is being written.
    for (let part = 0; part < early; part++) await send(bench, storage, snapshot, part);
    let saved = false;
    storage.saveSnapshot(snapshot.meta, sourceOf(snapshot.parts), () => {
      saved = true;
    });
    let wanted = await send(bench, storage, snapshot, early);
    while (wanted < snapshot.parts.length) wanted = await send(bench, storage, snapshot, wanted);
    expect(saved).toBe(true);
    expect(storage.manifest(30)?.parts).toBe(3);
    expect([0, 1, 2].map((part) => storage.readPart(30, part))).toEqual([...snapshot.parts]);
  }
});
