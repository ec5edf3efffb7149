// What becomes of a directory that a newer raftq wrote? It is refused by name and left as it is, whichever of its files is newer; a file
// that does not match its own checksum is damaged.
import { expect, test } from "bun:test";
import { crc32 } from "../../src/lib/crc32.ts";
import { createWriter } from "../kit/handmade-messagepack.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import { encodeVersion } from "../../src/queue/commands.ts";
import { queueWith } from "../kit/queue-log.ts";
import { freeze } from "../../src/queue/snapshot.ts";
import { QUEUE, STORAGE } from "../../src/config.ts";
import { encodeEntry } from "../../src/raft/entry.ts";
import { CORRUPTION_MARKER_PATH } from "../../src/storage/rejoin/quarantine.ts";
import { encodeAtomicFile } from "../../src/storage/rejoin/atomic-file.ts";
import type { ClusterId } from "../../src/raft/types.ts";
import {
  BLOCK,
  close,
  createSimBench,
  entries,
  entry,
  hardState,
  opened,
  persist,
  refused,
  saveAndCount,
  type SimBench,
  snapshotMeta,
  sourceOf,
} from "../kit/test-storage.ts";

const KNOWN = STORAGE.formatVersion;
const NEWER = KNOWN + 1;
const AT_FORMAT = 5;
const AT_STATE_MACHINE = 6;

/** The first part of a real state: [number, [[kind, format, state machine version, …], …]]. */
function firstPart(): Uint8Array {
  const part = freeze(queueWith(QUEUE), STORAGE.maxPartBytes).nextPart()!;
  expect([...part.subarray(3, 7)]).toEqual([0x9b, 1, 4, 1]);
  return part;
}

function changed(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const other = bytes.slice();
  other[at] = value;
  return other;
}

/** A header of another length, as a newer format may well have one. */
function longerHeader(): Uint8Array {
  const writer = createWriter().array(2).uint(0).array(1).array(14).uint(1).uint(5);
  for (let field = 2; field < 14; field++) writer.uint(field);
  return writer.finish();
}

/** A member's directory with a snapshot, two segments and contacts. */
async function directory(): Promise<SimBench> {
  const bench = createSimBench();
  let storage = await opened(bench);
  await persist(bench, storage, { hardState: hardState(1), entries: entries(1, 20) });
  await bench.call<void>((done) => storage.setCluster("00112233445566aa" as ClusterId, () => done()));
  await saveAndCount(bench, storage, snapshotMeta(12), 11, [firstPart(), new Uint8Array(10)]);
  storage.recordKnownMembers(["127.0.0.1:3001"]);
  bench.pass(100);
  bench.kill();
  storage = await opened(bench);
  await persist(bench, storage, { entries: entries(21, 24) });
  bench.pass(100);
  bench.kill();
  return bench;
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const segments = (bench: SimBench): string[] => bench.disk.files().filter((file) => file.startsWith("g0/log/"));
const MANIFEST = "g0/snapshot/12-1/manifest";

type Rewrite = (bench: SimBench) => string;

function rewritten(bench: SimBench, file: string, change: (bytes: Uint8Array) => void): string {
  const bytes = bench.disk.cached(file)!.slice();
  change(bytes);
  bench.disk.overwrite(file, 0, bytes);
  return file;
}

/** A newer version at byte 8, and the checksum at byte 12 over everything else: the form of all files but segments. */
function seal(bytes: Uint8Array, version = NEWER): void {
  view(bytes).setUint32(8, version);
  view(bytes).setUint32(12, crc32(bytes.subarray(16), crc32(bytes.subarray(0, 12))));
}

function newerSegment(file: string): Rewrite {
  return (bench) =>
    rewritten(bench, file, (bytes) => {
      view(bytes).setUint32(8, NEWER);
      view(bytes).setUint32(28, crc32(bytes.subarray(0, 28), Number.parseInt(file.slice(-12, -4), 16)));
    });
}

/** Sealed again, the last frame of a segment with other bytes. */
function otherFrame(at: number, value: number): Rewrite {
  return (bench) => {
    const file = segments(bench).at(-2)!;
    return rewritten(bench, file, (bytes) => {
      let last = BLOCK;
      const isFrame = (offset: number) => offset < bytes.length && view(bytes).getUint32(offset) === 0x72714631;
      while (isFrame(last + BLOCK)) last += BLOCK;
      const length = view(bytes).getUint32(last + 8);
      bytes[last + at] = value;
      const salt = Number.parseInt(file.slice(-12, -4), 16);
      view(bytes).setUint32(last + 4, crc32(bytes.subarray(last + 8, last + length), salt));
    });
  };
}

const VERSIONED: readonly (readonly [string, Rewrite])[] = [
  [
    "meta",
    (bench) => rewritten(bench, "meta", (bytes) => [0, 4_096].forEach((at) => seal(bytes.subarray(at, at + 4_096)))),
  ],
  ["one slot of meta", (bench) => rewritten(bench, "meta", (bytes) => seal(bytes.subarray(4_096)))],
  ["the oldest segment", (bench) => newerSegment(segments(bench)[0]!)(bench)],
  ["a segment that was made ahead", (bench) => newerSegment(segments(bench).at(-1)!)(bench)],
  ["the manifest", (bench) => rewritten(bench, MANIFEST, (bytes) => seal(bytes))],
  ["contacts", (bench) => rewritten(bench, "contacts", (bytes) => seal(bytes))],
];

/** Refused under this name, and every file is as it was, after this start and after the next one. */
async function expectLeftAlone(bench: SimBench, texts: readonly string[]): Promise<void> {
  const before = bench.disk.backup();
  for (let start = 0; start < 2; start++) {
    const error = await refused(bench);
    expect([error.code, error.message]).toEqual(["NEWER_FORMAT", expect.stringContaining(texts[0]!)]);
    for (const text of texts) expect(error.message).toContain(text);
    bench.kill();
    expect(bench.disk.backup()).toEqual(before);
  }
}

test.each(VERSIONED)(
  "a newer version of %s is refused with its path and both versions, and no byte is changed",
  async (_, make) => {
    const bench = await directory();
    const file = make(bench);
    await expectLeftAlone(bench, [file, `format version ${NEWER}`, `knows format version ${KNOWN}`]);
  },
);

test.each(VERSIONED)("a newer version of %s under a wrong checksum is no newer version", async (_, make) => {
  const bench = await directory();
  const file = make(bench);
  // Between the version and the checksum of a segment, and in the checksum of all others.
  const places = file === "meta" ? [12, 4_096 + 12] : [12];
  for (const at of places) bench.disk.flipBit(file, at, 3);
  // Nothing depends on contacts, or on a segment that was made ahead.
  const mayOpen = file === "contacts" || file === segments(bench).at(-1);
  const result = await bench.open();
  expect(result instanceof RaftqError ? result.code : "opened").toBe(mayOpen ? "opened" : "CORRUPT");
});

test.each(VERSIONED)(
  "a newer version of %s is no damage where other files are damaged, or marked so",
  async (_, make) => {
    const marked = await directory();
    await marked.call<void>((done) => marked.disk.restart().create(CORRUPTION_MARKER_PATH, 0, () => done()));
    marked.kill();
    await expectLeftAlone(marked, [make(marked)]);

    const damaged = await directory();
    const file = make(damaged);
    for (const other of ["meta", MANIFEST, segments(damaged)[0]!]) if (other !== file) damaged.disk.truncate(other, 20);
    await expectLeftAlone(damaged, [file]);
  },
);

test.each(["asking", "agreed", "moved"] as const)(
  "a newer file is not set aside by a node on its way back, at the stage %s",
  async (stage) => {
    for (const [, make] of VERSIONED) {
      const bench = await directory();
      const file = make(bench);
      const fields = createWriter().array(6).text("n1").text("0123456789abcdee");
      fields.uint(["asking", "agreed", "moved"].indexOf(stage)).text("00112233445566aa").uint(1).text("why");
      const note = encodeAtomicFile("raftqrej", fields.finish(), KNOWN);
      await bench.call<void>((done) => bench.disk.restart().create("rejoin", note.length, () => done()));
      bench.disk.overwrite("rejoin", 0, note);
      bench.kill();
      await expectLeftAlone(bench, [file, `format version ${NEWER}`]);
    }
  },
);

test("a newer rejoin is refused, and so is one beside whole data", async () => {
  const bench = await directory();
  const note = encodeAtomicFile("raftqrej", new Uint8Array([0x90]), NEWER);
  await bench.call<void>((done) => bench.disk.restart().create("rejoin", note.length, () => done()));
  bench.disk.overwrite("rejoin", 0, note);
  bench.kill();
  await expectLeftAlone(bench, ["rejoin", `format version ${NEWER}`, `knows format version ${KNOWN}`]);
});

const PART = "g0/snapshot/12-1/part-000000";

test("a snapshot of a newer format, or of a newer state machine, is refused before anything is written", async () => {
  const cases = [
    [changed(firstPart(), AT_FORMAT, 5), "snapshot format 5"],
    [longerHeader(), "snapshot format 5"],
    [changed(firstPart(), AT_STATE_MACHINE, 2), "state machine version 2"],
  ] as const;
  for (const [part, text] of cases) {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 20) });
    await saveAndCount(bench, storage, snapshotMeta(12), 11, [part]);
    bench.kill();
    await expectLeftAlone(bench, [PART, text]);
    // Without the checksum that the manifest names, it is no part of this snapshot.
    bench.disk.flipBit(PART, part.length - 1, 0);
    expect((await refused(bench)).code).toBe("CORRUPT");
  }
});

test("a snapshot that does not count is refused for its format, and not for the version of its state machine", async () => {
  for (const [at, value, outcome] of [
    [AT_FORMAT, 5, "NEWER_FORMAT"],
    [AT_STATE_MACHINE, 2, "opened"],
  ] as const) {
    const bench = createSimBench();
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(1, 20) });
    const source = sourceOf([changed(firstPart(), at, value)]);
    await bench.call<void>((done) => storage.saveSnapshot(snapshotMeta(12), source, () => done()));
    bench.kill();
    const result = await bench.open();
    expect(result instanceof RaftqError ? result.code : "opened").toBe(outcome);
  }
});

test("a state of a newer state machine that was marked as wrong is damage, and one of a newer format is not", async () => {
  for (const [at, value, outcome] of [
    [AT_FORMAT, 5, "NEWER_FORMAT"],
    [AT_STATE_MACHINE, 2, "CORRUPT"],
  ] as const) {
    const marked = createSimBench();
    const storage = await opened(marked);
    await persist(marked, storage, { entries: entries(1, 20) });
    await saveAndCount(marked, storage, snapshotMeta(12), 11, [changed(firstPart(), at, value)]);
    storage.markDamaged("another digest");
    await close(marked, storage);
    expect((await refused(marked)).code).toBe(outcome);
  }
});

test("a frame of a kind, with a flag or with a record that this version does not know is no torn tail", async () => {
  for (const [at, value, text] of [
    [12, 9, "kind 9"],
    [13, 4, "flags 4"],
  ] as const) {
    const bench = await directory();
    await expectLeftAlone(bench, [otherFrame(at, value)(bench), text]);
  }
  const bench = createSimBench();
  const storage = await opened(bench);
  const { record, ...rest } = entry(1);
  const unknown = changed(record, 20, 200);
  view(unknown).setUint32(4, crc32(unknown.subarray(8)));
  await persist(bench, storage, { entries: [{ ...rest, record: unknown }] });
  bench.kill();
  await expectLeftAlone(bench, ["g0/log/", "record kind 200"]);
});

test("a log with an entry that only a newer queue can execute is refused before anything is written", async () => {
  const stamp = { index: 2, term: 1, time: 20, wall: 20 };
  const draft = {
    kind: "version",
    session: 0,
    number: 0,
    acknowledgedThrough: 0,
    body: encodeVersion({ version: 2, limits: QUEUE }),
  } as const;
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: [entry(1), encodeEntry(stamp, draft)] });
  bench.kill();
  await expectLeftAlone(bench, ["entry 2", "version 2 of the state machine"]);
});

test("a snapshot of a newer format from another member is refused by name, and nothing of it is written", async () => {
  const sender = createSimBench(5);
  const from = await opened(sender);
  const send = async (index: number, part: Uint8Array): Promise<Uint8Array> => {
    await sender.call<void>((done) => from.saveSnapshot(snapshotMeta(index), sourceOf([part]), () => done()));
    return from.manifest(index)!.bytes;
  };
  const newerManifest = (await send(30, firstPart())).slice();
  seal(newerManifest);
  const newerPart = changed(firstPart(), AT_FORMAT, 5);
  const cases = [
    [newerManifest, firstPart(), 30, `format version ${NEWER}, and this raftq knows format version ${KNOWN}`],
    [await send(31, newerPart), newerPart, 31, "snapshot format 5"],
  ] as const;
  const bench = createSimBench();
  const storage = await opened(bench);
  bench.pass(1_000);
  const before = bench.disk.backup();
  for (const [manifest, bytes, index, text] of cases) {
    const store = () =>
      storage.storePart({ meta: snapshotMeta(index), manifest, part: 0, parts: 1, offset: 0, bytes }, () => undefined);
    expect(store).toThrow(expect.objectContaining({ code: "VERSION", message: expect.stringContaining(text) }));
    // In chunks it is judged when it is whole: only a manifest that can be read states that length.
    if (index === 31) {
      const chunk = { meta: snapshotMeta(index), manifest, part: 0, parts: 1 };
      storage.storePart({ ...chunk, offset: 0, bytes: bytes.slice(0, 9) }, () => undefined);
      const last = () => storage.storePart({ ...chunk, offset: 9, bytes: bytes.slice(9) }, () => undefined);
      expect(last).toThrow(expect.objectContaining({ code: "VERSION", message: expect.stringContaining(text) }));
    }
    bench.pass(1_000);
    expect(bench.disk.backup()).toEqual(before);
  }
});
