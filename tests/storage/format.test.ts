// Can a directory be read by the versions it should be, and is FORMAT.md true? One that each version wrote stays here as it is.
import { expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { STORAGE } from "../../src/config.ts";
import { crc32 } from "../../src/lib/crc32.ts";
import { encodeMetaSlot } from "../../src/storage/meta.ts";
import { decodeManifest, encodeManifest } from "../../src/storage/snapshot/manifest.ts";
import { decodeSegmentHeader, encodeSegmentHeader } from "../../src/storage/wal/segment.ts";
import type { ClusterId } from "../../src/raft/types.ts";
import {
  BLOCK,
  close,
  createRealBench,
  createSimBench,
  entries,
  entry,
  hardState,
  INCARNATION,
  N1,
  opened,
  partsOf,
  persist,
  type RealBench,
  refused,
  shown,
  snapshotMeta,
} from "../kit/test-storage.ts";
import { GOLDEN_SEGMENT_BYTES, goldenDirectory, OLDER_VERSION } from "./golden.ts";

function goldenBench(version: number): RealBench {
  const bench = createRealBench();
  fs.cpSync(goldenDirectory(version), bench.directory, { recursive: true });
  // A checkout knows no modes but the executable one.
  fs.chmodSync(bench.directory, 0o700);
  return bench;
}

test("the golden directory of this version opens, holds what it always held, and takes new entries", async () => {
  using bench = goldenBench(STORAGE.formatVersion);
  let storage = await opened(bench, { segmentBytes: GOLDEN_SEGMENT_BYTES });
  const expected = [...entries(9, 12, 2, 700), ...entries(13, 16, 2), ...entries(17, 20, 3)];
  expect(storage.recovered.hardState).toEqual(hardState(3));
  expect(storage.recovered.identity).toEqual({
    nodeId: N1,
    incarnation: INCARNATION,
    clusterId: "00112233445566aa" as ClusterId,
  });
  expect(storage.recovered.snapshot).toEqual(snapshotMeta(12, 2));
  expect(shown(storage.recovered.entries.slice(-12))).toEqual(shown(expected));
  expect(storage.readPart(12, 2)).toEqual(partsOf(12)[2]!);
  await persist(bench, storage, { entries: entries(21, 22, 3) });
  await close(bench, storage);
  storage = await opened(bench);
  expect(storage.recovered.entries.at(-1)?.index).toBe(22);
  await close(bench, storage);
});

test("a directory of an earlier format is refused politely and left alone", async () => {
  using bench = goldenBench(OLDER_VERSION);
  const before = bench.read("meta");
  const error = await refused(bench);
  expect([error.code, error.exitCode, error.message]).toEqual([
    "OLDER_FORMAT",
    6,
    `meta has format version ${OLDER_VERSION}, and this raftq knows format version ${STORAGE.formatVersion}`,
  ]);
  expect(bench.read("meta")).toEqual(before);
});

test("a directory of a newer format is refused politely and left alone", async () => {
  using bench = goldenBench(STORAGE.formatVersion);
  const file = path.join(bench.directory, "meta");
  const meta = {
    nodeId: N1,
    incarnation: INCARNATION,
    clusterId: null,
    hardState: hardState(1),
    segmentAtOpen: 1,
    oldestSegment: 1,
    durableFrame: 0,
  };
  const version = STORAGE.formatVersion + 1;
  const newer = Buffer.concat([encodeMetaSlot(meta, 100, version), encodeMetaSlot(meta, 101, version)]);
  fs.writeFileSync(file, newer);
  const error = await refused(bench);
  expect(error.code).toBe("NEWER_FORMAT");
  expect(error.message).toContain(`format version ${version}`);
  expect(fs.readFileSync(file)).toEqual(newer);
  await refused(bench);
});

const golden = (file: string): { readonly bytes: Buffer; readonly view: DataView } => {
  const bytes = fs.readFileSync(path.join(goldenDirectory(STORAGE.formatVersion), file));
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
};
const u48 = (view: DataView, at: number): number => view.getUint16(at) * 2 ** 32 + view.getUint32(at + 2);

test("meta is laid out as FORMAT.md describes", () => {
  const { bytes, view } = golden("meta");
  expect(bytes.length).toBe(2 * BLOCK);
  const [a, b] = [u48(view, 16), u48(view, BLOCK + 16)];
  expect(b).toBe(a + 1);
  for (const slot of [bytes.subarray(0, BLOCK), bytes.subarray(BLOCK)]) {
    expect(slot.toString("latin1", 0, 8)).toBe("raftqmet");
    expect(slot.readUInt32BE(8)).toBe(STORAGE.formatVersion);
    expect(slot.readUInt32BE(12)).toBe(crc32(slot.subarray(16), crc32(slot.subarray(0, 12))));
    const length = slot.readUInt16BE(22);
    expect(slot[24]).toBe(0x98);
    expect(slot.subarray(24 + length).every((byte) => byte === 0)).toBe(true);
  }
});

test("segments and frames are laid out as FORMAT.md describes", () => {
  const size = GOLDEN_SEGMENT_BYTES;
  const names = fs.readdirSync(path.join(goldenDirectory(STORAGE.formatVersion), "g0/log")).sort();
  const kinds: number[] = [];
  let records = 0;
  for (const name of names) {
    const { bytes, view } = golden(`g0/log/${name}`);
    const salt = Number.parseInt(name.slice(11, 19), 16);
    expect(bytes.length).toBe(size);
    expect(bytes.toString("latin1", 0, 8)).toBe("raftqseg");
    expect([8, 12, 16, 20, 24].map((at) => view.getUint32(at))).toEqual([
      STORAGE.formatVersion,
      Number(name.slice(0, 10)),
      salt,
      BLOCK,
      size,
    ]);
    expect(view.getUint32(28)).toBe(crc32(bytes.subarray(0, 28), salt));
    for (let at = BLOCK; at < bytes.length && bytes.toString("latin1", at, at + 4) === "rqF1";) {
      const length = view.getUint32(at + 8);
      expect(view.getUint32(at + 4)).toBe(crc32(bytes.subarray(at + 8, at + length), salt));
      expect(view.getUint32(at + 16)).toBe(Number(name.slice(0, 10)));
      expect(view.getUint32(at + 20)).toBe(at);
      const kind = bytes[at + 12]!;
      kinds.push(kind);
      if (kind === 1) {
        const first = u48(view, at + 44);
        expect(bytes.subarray(at + 64, at + 64 + 52 + 16).length).toBe(68);
        expect(u48(view, at + 64 + 8)).toBe(first);
        records += u48(view, at + 50) - first + 1;
      }
      at += Math.ceil(length / BLOCK) * BLOCK;
    }
  }
  expect(new Set(kinds)).toEqual(new Set([0, 1, 2, 4]));
  expect(records).toBeGreaterThan(8);
});

test("a manifest is laid out as FORMAT.md describes", () => {
  const { bytes } = golden("g0/snapshot/12-2/manifest");
  expect(bytes.toString("latin1", 0, 8)).toBe("raftqman");
  expect(bytes.readUInt32BE(8)).toBe(STORAGE.formatVersion);
  expect(bytes.readUInt32BE(12)).toBe(crc32(bytes.subarray(16), crc32(bytes.subarray(0, 12))));
  expect([...bytes.subarray(16, 20)]).toEqual([0x96, 12, 2, 1]);
});

test("a manifest whose list of parts is not made of pairs is refused, although its checksum is right", () => {
  const whole = encodeManifest({ meta: snapshotMeta(20), parts: [{ bytes: 1, crc: 2 }] }, STORAGE.formatVersion);
  expect(decodeManifest(whole, STORAGE.formatVersion)?.parts).toEqual([{ bytes: 1, crc: 2 }]);
  // As an array of 1 or 3 values, followed by two or four: another reader would find other values.
  for (const [count, values] of [
    [1, [1, 2]],
    [3, [1, 2, 3, 4]],
  ] as const) {
    const forged = new Uint8Array([...whole.subarray(0, -3), 0x90 | count, ...values]);
    new DataView(forged.buffer).setUint32(12, crc32(forged.subarray(16), crc32(forged.subarray(0, 12))));
    expect(decodeManifest(forged, STORAGE.formatVersion)).toBeNull();
  }
});

test("a manifest with a number that no record can hold, or a configuration from behind the snapshot, is refused", () => {
  const read = (more: Partial<ReturnType<typeof snapshotMeta>>) =>
    decodeManifest(
      encodeManifest({ meta: { ...snapshotMeta(20), ...more }, parts: [{ bytes: 1, crc: 2 }] }, STORAGE.formatVersion),
      STORAGE.formatVersion,
    );
  const most = 2 ** 48 - 1;
  const edge = { index: most, term: most, configurationIndex: most, time: most };
  expect(read(edge)?.meta).toMatchObject(edge);
  for (const field of ["index", "term", "configurationIndex", "time"] as const)
    expect(read({ ...edge, [field]: most + 1 })).toBeNull();
  expect(read({ configurationIndex: 21 })).toBeNull();
});

test("a segment whose header names blocks larger than the file is no segment", () => {
  const segment = {
    path: "g0/log/0000000007-9af3c2d1.seg",
    number: 7,
    salt: 0x9af3c2d1,
    blockBytes: BLOCK,
    bytes: 8 * BLOCK,
  };
  const read = (given: typeof segment) => decodeSegmentHeader(segment.path, segment, encodeSegmentHeader(given, 1));
  expect(read(segment)).toEqual(segment);
  expect(read({ ...segment, bytes: BLOCK })).toBeNull();
  expect(read({ ...segment, bytes: 0 })).toBeNull();
});

test("a segment whose header names blocks that no disk has is no segment: nothing is made as large as it claims", () => {
  const named = { number: 7, salt: 0x9af3c2d1 };
  const bytes = 2 ** 32 - 1;
  const read = (blockBytes: number) => {
    const header = encodeSegmentHeader({ path: "", ...named, blockBytes: BLOCK, bytes }, 1);
    const view = new DataView(header.buffer);
    view.setUint32(20, blockBytes);
    view.setUint32(28, crc32(header.subarray(0, 28), named.salt));
    return decodeSegmentHeader("", named, header);
  };
  for (const good of [512, 4_096, 65_536]) expect(read(good)).toMatchObject({ blockBytes: good });
  for (const bad of [0, 1, 256, 513, 4_097, 131_072, 2 ** 31, 0x65dd_ffff]) expect(read(bad)).toBeNull();
});

test("a stray file with the last segment number is refused by name; a number beyond is none of ours", async () => {
  const begin = async (stray: string) => {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 3) });
    bench.kill();
    const disk = bench.disk.restart();
    await bench.call<void>((done) => disk.create(`g0/log/${stray}-00000000.seg`, 0, () => done()));
    bench.kill();
    return bench;
  };
  const last = await refused(await begin("4294967295"));
  expect([last.code, last.message]).toEqual(["CORRUPT", expect.stringContaining("the last number there is")]);
  for (const stray of ["4294967296", "9999999999"]) {
    const bench = await begin(stray);
    for (let starts = 0; starts < 3; starts++) {
      const { recovered } = await opened(bench);
      expect(shown(recovered.entries)).toEqual(shown(entries(1, 3)));
      bench.kill();
    }
  }
});

test("an entry's record lies in the log as it is", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: [entry(1, 7, 33)] });
  const [segment] = bench.disk.files().filter((file) => file.startsWith("g0/log/"));
  const { record } = entry(1, 7, 33);
  const at = 2 * BLOCK + 64;
  expect(Buffer.from(bench.disk.durable(segment!)!.subarray(at, at + record.length)).equals(record)).toBe(true);
});

test("a part may be as large as the limit allows", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 3) });
  const parts = [new Uint8Array(STORAGE.maxPartBytes).fill(3), new Uint8Array(1)];
  let next = 0;
  await bench.call<void>((done) =>
    storage.saveSnapshot(snapshotMeta(2), { nextPart: () => parts[next++] ?? null }, () => done()),
  );
  await persist(bench, storage, { snapshot: { meta: snapshotMeta(2), reset: false, keepFrom: 3 } });
  expect(storage.snapshotBytes()).toBe(STORAGE.maxPartBytes + 1);
  bench.powerCut();
  expect((await opened(bench)).readPart(2, 0)).toEqual(parts[0]!);
});
