// What does a damaged data directory do? It opens with what FORMAT.md promises, or is refused by name; a record is read or is not.
import { STORAGE } from "../../src/config.ts";
import { crc32 } from "../../src/lib/crc32.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import { Malformed } from "../../src/lib/messagepack.ts";
import type { Random } from "../../src/lib/random.ts";
import { decodeConfiguration, encodeConfiguration } from "../../src/raft/configuration.ts";
import { decodeEntry, encodeEntry, fieldsOf } from "../../src/raft/entry.ts";
import { decodeFrame, encodeFrame, type FrameContent } from "../../src/storage/wal/frame.ts";
import { decodeManifest, encodeManifest } from "../../src/storage/snapshot/manifest.ts";
import { encodeMetaSlot, META_PATH, META_SLOT_BYTES, readMeta } from "../../src/storage/meta.ts";
import { decodeSegmentHeader, encodeSegmentHeader, LOG_DIRECTORY } from "../../src/storage/wal/segment.ts";
import type { Storage } from "../../src/storage/types.ts";
import {
  BLOCK,
  close,
  createSimBench,
  createSimBenchWith,
  entries,
  entry,
  hardState,
  INCARNATION,
  N1,
  opened,
  partsOf,
  persist,
  saveAndCount,
  shown,
  type SimBench,
  SMALL_SEGMENT,
  snapshotMeta,
  VOTE,
} from "../kit/test-storage.ts";
import { expectSameValues, type Nested } from "./compare.ts";
import { mutate } from "./mutate.ts";
import { choicesOf, expectThat, type FuzzTarget, gist, randomBytes, sameBytes } from "./target.ts";
import { imageOf, logSegments } from "../kit/log-frames.ts";
import { joined, mutateBytes } from "../kit/mutate-bytes.ts";
import { pick } from "../kit/pick.ts";

const { formatVersion } = STORAGE;
const PLACE = { number: 7, salt: 0x9af3c2d1, blockBytes: BLOCK };
const SEGMENT = { ...PLACE, path: "g0/log/0000000007-9af3c2d1.seg", bytes: SMALL_SEGMENT };

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** One kind of record: its first byte in an input selects it. `seal` makes the checksum right again after a change. */
interface Kind {
  readonly example: (random: Random) => Uint8Array;
  readonly seal: (bytes: Uint8Array) => void;
  readonly read: (bytes: Uint8Array) => string;
}

const configurationBytes = (): Uint8Array => encodeConfiguration(snapshotMeta(1).configuration);

function contentOf(random: Random): FrameContent {
  switch (random.below(5)) {
    case 0:
      return { kind: "opening" };
    case 1:
      return { kind: "closing" };
    case 2:
      return { kind: "continues", nextSegment: random.below(99) };
    case 3:
      return {
        kind: "snapshot",
        index: random.below(99),
        term: 1,
        manifestCrc: random.below(99),
        reset: random.chance(50),
      };
    default:
      return { kind: "batch", entries: entries(3, 3 + random.below(5), 2, random.below(30)) };
  }
}

const KINDS: readonly Kind[] = [
  {
    example: (random) => entry(random.between(1, 99), 3, random.below(60)).record,
    seal: (bytes) => {
      if (bytes.length < 8) return;
      view(bytes).setUint32(0, bytes.length);
      view(bytes).setUint32(4, crc32(bytes.subarray(8)));
    },
    read: readEntry,
  },
  {
    example: (random) =>
      encodeFrame(PLACE, BLOCK, 12, { segment: 7, number: 11, end: BLOCK }, contentOf(random)).subarray(0, 600),
    seal: (bytes) => {
      if (bytes.length < 64) return;
      const length = Math.min(view(bytes).getUint32(8), bytes.length);
      view(bytes).setUint32(4, crc32(bytes.subarray(8, length), PLACE.salt));
    },
    read: readFrame,
  },
  {
    example: () =>
      encodeManifest(
        {
          meta: snapshotMeta(20),
          parts: [
            { bytes: 9, crc: 1 },
            { bytes: 0, crc: 2 },
          ],
        },
        formatVersion,
      ),
    seal: (bytes) => {
      if (bytes.length < 16) return;
      view(bytes).setUint32(12, crc32(bytes.subarray(16), crc32(bytes.subarray(0, 12))));
    },
    read: readManifest,
  },
  {
    example: (random) => exampleMeta(random).subarray(0, 200),
    seal: (bytes) => {
      if (bytes.length < 24) return;
      const slot = wholeSlot(bytes);
      view(bytes).setUint32(12, crc32(slot.subarray(16), crc32(slot.subarray(0, 12))));
    },
    read: readSlot,
  },
  {
    example: () => encodeSegmentHeader(SEGMENT, formatVersion).subarray(0, 40),
    seal: (bytes) => {
      if (bytes.length >= 32) view(bytes).setUint32(28, crc32(bytes.subarray(0, 28), PLACE.salt));
    },
    read: (bytes) => {
      const header = decodeSegmentHeader(SEGMENT.path, PLACE, bytes);
      if (header === null) return "no header";
      expectThat(
        sameBytes(encodeSegmentHeader(header, formatVersion).subarray(0, 8), bytes.subarray(0, 8)),
        "another header",
      );
      expectThat(header.blockBytes >= 512 && header.bytes >= header.blockBytes, "a header of a segment that cannot be");
      return "header";
    },
  },
  {
    example: configurationBytes,
    seal: () => {},
    read: (bytes) => {
      try {
        const configuration = decodeConfiguration(bytes);
        expectSameValues(bytes, encodeConfiguration(configuration));
        return "configuration";
      } catch (error) {
        if (error instanceof Malformed) return `no configuration: ${gist(error.message)}`;
        throw error;
      }
    },
  },
];

function readEntry(bytes: Uint8Array): string {
  const decoded = decodeEntry(bytes, 0);
  if (!decoded.ok) return gist(decoded.why);
  const fields = fieldsOf(decoded.entry);
  const again = encodeEntry(fields, fields).record;
  if (fields.flags === 0) expectThat(sameBytes(again, bytes.subarray(0, decoded.end)), "an entry has other bytes");
  return `entry ${fields.kind}`;
}

function readFrame(bytes: Uint8Array): string {
  const padded = new Uint8Array(BLOCK + Math.max(BLOCK, bytes.length));
  padded.set(bytes, BLOCK);
  const decoded = decodeFrame(padded, PLACE, BLOCK);
  if (!decoded.ok) return gist(decoded.why);
  const { number, previous, content, offset, end } = decoded.frame;
  expectThat(end <= padded.length + BLOCK && end > offset, "a frame ends where it cannot");
  const again = decodeFrame(
    joined(new Uint8Array(BLOCK), encodeFrame(PLACE, BLOCK, number, previous, content)),
    PLACE,
    BLOCK,
  );
  expectThat(Bun.deepEquals(again, decoded, true), "a frame comes back as another one");
  return `frame ${content.kind}`;
}

/** index, term, configurationIndex, time, configuration, … */
const CONFIGURATION_OF_MANIFEST: Nested = [4];

function readManifest(bytes: Uint8Array): string {
  const manifest = decodeManifest(bytes, formatVersion);
  if (manifest === null) return "no manifest";
  const encoded = encodeManifest(manifest, formatVersion);
  expectSameValues(bytes.subarray(16), encoded.subarray(16), CONFIGURATION_OF_MANIFEST);
  return "manifest";
}

const wholeSlot = (bytes: Uint8Array): Uint8Array => {
  const slot = new Uint8Array(META_SLOT_BYTES);
  slot.set(bytes.subarray(0, META_SLOT_BYTES));
  return slot;
};

function exampleMeta(random: Random): Uint8Array {
  const votes = { currentTerm: random.below(99), votedFor: random.chance(50) ? VOTE : null };
  const meta = {
    nodeId: N1,
    incarnation: INCARNATION,
    clusterId: null,
    hardState: votes,
    segmentAtOpen: 3,
    oldestSegment: 1,
    durableFrame: random.below(99),
  };
  return encodeMetaSlot(meta, random.below(99), formatVersion);
}

/** The slot as A of a meta file whose B is bad. */
function readSlot(bytes: Uint8Array): string {
  const file = joined(wholeSlot(bytes), new Uint8Array(META_SLOT_BYTES));
  const disk = { read: (path: string) => (path === META_PATH ? file : null) };
  try {
    const found = readMeta(disk as never, formatVersion);
    expectThat(found !== null, "a meta that is there is not found");
    const again = encodeMetaSlot(found.meta, found.sequence, formatVersion);
    const length = view(file).getUint16(22);
    expectSameValues(file.subarray(24, 24 + length), again.subarray(24, 24 + view(again).getUint16(22)));
    return "meta";
  } catch (error) {
    if (error instanceof RaftqError) return error.code;
    throw error;
  }
}

const SEALED = 1;

export const records: FuzzTarget = {
  name: "records",
  maxMs: 50,
  generate: (random) => {
    const kind = random.below(KINDS.length);
    return joined(Uint8Array.of(kind, SEALED), KINDS[kind]!.example(random));
  },
  mutate: (input, random) => {
    const kind = (input[0] ?? 0) % KINDS.length;
    const seal = random.chance(80) ? SEALED : 0;
    const body = random.chance(50) ? mutateBytes(input.subarray(2), random) : mutateTail(input.subarray(2), random);
    return joined(Uint8Array.of(kind, seal), body);
  },
  run: (input) => {
    const kind = KINDS[(input[0] ?? 0) % KINDS.length]!;
    const bytes = input.slice(2);
    if (input[1] === SEALED) kind.seal(bytes);
    return kind.read(bytes);
  },
};

/** Heads of fixed size stay; the MessagePack behind them changes. */
function mutateTail(bytes: Uint8Array, random: Random): Uint8Array {
  const head = Math.min(bytes.length, pick(random, [0, 16, 24, 52, 64]));
  return joined(bytes.subarray(0, head), mutate(bytes.subarray(head), random));
}

// ---- whole directories

/** A directory as a crash left it, and what may be found in it. */
interface Image {
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly held: Held;
  readonly frames: readonly PlacedFrame[];
}

/** What a directory opens with. */
interface Held {
  /** Index, term and bytes of each entry. */
  readonly log: readonly string[];
  readonly snapshot: number | null;
}

/** A frame of the log, and what is left when it and all later ones cannot be read; null: then nothing opens. */
interface PlacedFrame {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
  /** The next segment names the end of this one, so what leads there may be unreadable; without both, nobody misses the next. */
  readonly leadsOn: boolean;
  readonly before: Held | null;
}

const SNAPSHOT_AT = 20;
const LOG_STARTS_AT = 10;

async function makeImage(batches: number, bytes: number, snapshot: boolean, stop: "kill" | "close"): Promise<Image> {
  const bench = createSimBench();
  const storage = await opened(bench);
  await persist(bench, storage, { hardState: hardState(2, VOTE) });
  for (let at = 1; at <= batches; at++) {
    await persist(bench, storage, { entries: entries(3 * at - 2, 3 * at, 1, bytes) });
    if (snapshot && 3 * at === SNAPSHOT_AT + 1)
      await saveAndCount(bench, storage, snapshotMeta(SNAPSHOT_AT), LOG_STARTS_AT);
  }
  if (stop === "close") await close(bench, storage);
  else bench.kill();
  const files = imageOf(bench.disk);
  const held = heldBy(await opened(await createSimBenchWith(files)));
  expectThat(held.snapshot === (snapshot ? SNAPSHOT_AT : null), "an image without damage opens with its snapshot");
  return { files, held, frames: await framesOf(files) };
}

const heldBy = ({ recovered }: Storage): Held => ({
  log: shown(recovered.entries),
  snapshot: recovered.snapshot?.index ?? null,
});

/** In their order, over all segments. Destroying all of them from one on leaves a log that simply ended earlier. */
async function framesOf(files: ReadonlyMap<string, Uint8Array>): Promise<readonly PlacedFrame[]> {
  const frames = logSegments(files).flatMap(({ path, frames: found }) =>
    found.map(({ offset, content }) => ({
      path,
      offset,
      length: view(files.get(path)!).getUint32(offset + 8),
      leadsOn: content.kind === "continues",
    })),
  );
  const cut = new Map([...files].map(([path, bytes]) => [path, bytes.slice()]));
  const placed: PlacedFrame[] = [];
  for (const frame of frames.toReversed()) {
    cut.get(frame.path)!.fill(0, frame.offset);
    const result = await (await createSimBenchWith(cut)).open();
    placed.unshift({ ...frame, before: result instanceof RaftqError ? null : heldBy(result) });
  }
  return placed;
}

let images: Promise<readonly Image[]> | null = null;
const allImages = (): Promise<readonly Image[]> =>
  (images ??= Promise.all([
    makeImage(3, 40, false, "kill"),
    makeImage(3, 1_500, false, "kill"),
    makeImage(4, 40, false, "close"),
    makeImage(12, 1_500, false, "kill"),
    makeImage(12, 900, true, "kill"),
    makeImage(12, 900, true, "close"),
  ]));

const REFUSALS: ReadonlySet<string> = new Set(["CORRUPT", "NEWER_FORMAT", "OLDER_FORMAT", "FOREIGN_DIRECTORY"]);

export const directories: FuzzTarget = {
  name: "directories",
  maxMs: 500,
  generate: (random) => randomBytes(random, random.between(4, 30)),
  mutate: mutateBytes,
  run: runDirectory,
};

async function runDirectory(input: Uint8Array): Promise<string> {
  const choices = choicesOf(input);
  const image = pick(choices, await allImages());
  const files = new Map([...image.files].map(([path, bytes]) => [path, bytes.slice()]));
  const sealed = choices.chance(30);
  const done: string[] = [];
  for (let left = choices.between(1, 3); left > 0; left--) done.push(damage(files, choices, sealed));
  const bench = await createSimBenchWith(files);
  const result = await bench.open();
  if (result instanceof RaftqError) {
    expectThat(REFUSALS.has(result.code), `refused with ${result.code}: ${result.message}`);
    return `${result.code} ${gist(result.message)}`;
  }
  if (!sealed) expectPromised(result, image, files);
  await expectGoesOn(bench, result);
  return [`opened ${sealed} ${gist(result.recovered.summary)}`, ...done.map((how) => `opened after ${how}`)].join("\n");
}

/** One damage, as disks and people do it; with `sealed` the checksum over it is right again. */
function damage(files: Map<string, Uint8Array>, choices: Random, sealed: boolean): string {
  const paths = [...files.keys()];
  if (paths.length === 0) return "nothing left";
  const path = pick(choices, paths);
  const bytes = files.get(path)!;
  const used = Math.max(1, bytes.findLastIndex((byte) => byte !== 0) + 1);
  const at = choices.below(choices.chance(70) ? used : Math.max(1, bytes.length));
  const kind = path.startsWith("g0/log")
    ? "segment"
    : path.includes("part-")
      ? "part"
      : path.includes("manifest")
        ? "manifest"
        : "meta";
  const how = choices.below(9);
  switch (how) {
    case 0:
    case 1:
      bytes[at] = (bytes[at] ?? 0) ^ (1 << choices.below(8));
      break;
    case 2:
      bytes.fill(choices.below(2) * 0xff, at, at + choices.between(1, 5_000));
      break;
    case 3:
      files.set(path, bytes.slice(0, at));
      break;
    case 4:
      files.delete(path);
      break;
    case 5: {
      const other = pick(choices, paths);
      files.set(path, files.get(other)!.slice());
      files.set(other, bytes);
      break;
    }
    case 6:
      bytes.copyWithin(at & ~(BLOCK - 1), choices.below(used) & ~(BLOCK - 1), used);
      break;
    case 7:
      files.set(path, joined(bytes, new Uint8Array(choices.below(5_000)).fill(choices.below(256))));
      break;
    default:
      for (let count = 0; count < 8; count++) bytes[at + count] = choices.below(256);
  }
  if (sealed) seal(path, files.get(path), at);
  return `${kind} ${how}`;
}

/** As somebody would who knows the format. */
function seal(path: string, bytes: Uint8Array | undefined, at: number): void {
  if (bytes === undefined) return;
  const block = at & ~(BLOCK - 1);
  if (path.startsWith("g0/log/")) {
    const salt = Number.parseInt(path.slice(-12, -4), 16);
    if (bytes.length < block + BLOCK) return;
    if (block === 0) view(bytes).setUint32(28, crc32(bytes.subarray(0, 28), salt));
    else {
      const length = Math.min(view(bytes).getUint32(block + 8), bytes.length - block);
      view(bytes).setUint32(block + 4, crc32(bytes.subarray(block + 8, block + Math.max(8, length)), salt));
    }
  } else if (path === META_PATH && bytes.length >= block + BLOCK) {
    const slot = bytes.subarray(block, block + BLOCK);
    view(slot).setUint32(12, crc32(slot.subarray(16), crc32(slot.subarray(0, 12))));
  } else if (path.endsWith("manifest") && bytes.length >= 16) {
    view(bytes).setUint32(12, crc32(bytes.subarray(16), crc32(bytes.subarray(0, 12))));
  }
}

/** Nothing but a torn last frame may be missing, and nothing may be there that never was. */
function expectPromised(storage: Storage, image: Image, files: ReadonlyMap<string, Uint8Array>): void {
  const { recovered, readPart } = storage;
  if (!recovered.hadData && !files.has(META_PATH)) {
    // A first start that was cut short leaves headers and opening frames, one block each.
    const contentOf = (path: string, bytes: Uint8Array): Uint8Array =>
      path.startsWith(LOG_DIRECTORY) ? bytes.subarray(2 * BLOCK) : bytes;
    const left = [...files].filter(([path, bytes]) => contentOf(path, bytes).some((byte) => byte !== 0));
    expectThat(left.length === 0, `a new start over what is left: ${left.map(([path]) => path).join(", ")}`);
    return;
  }
  const promised = promisedBy(image, files);
  const found = heldBy(storage);
  expectThat(found.log.join() === promised?.log.join(), `another log: ${recovered.summary}`);
  expectThat(Bun.deepEquals(recovered.hardState, hardState(2, VOTE), true), "another term or vote");
  expectThat(found.snapshot === promised.snapshot, "another snapshot");
  if (found.snapshot === null) return;
  for (const [part, bytes] of partsOf(found.snapshot).entries()) {
    try {
      expectThat(sameBytes(readPart(found.snapshot, part), bytes), "another part of a snapshot");
    } catch (error) {
      if (!(error instanceof RaftqError) || error.code !== "CORRUPT") throw error;
    }
  }
}

/**
 * What the frames before the first damaged one hold, if every later one is damaged too: a snapshot whose frame is among those never
 * counted. Null: it must be refused.
 */
function promisedBy({ files: whole, frames, held }: Image, files: ReadonlyMap<string, Uint8Array>): Held | null {
  const partOf = (all: ReadonlyMap<string, Uint8Array>, { path, offset, length }: PlacedFrame): Uint8Array =>
    all.get(path)?.subarray(offset, offset + length) ?? new Uint8Array(0);
  const isDamaged = (frame: PlacedFrame): boolean => !sameBytes(partOf(whole, frame), partOf(files, frame));
  const first = frames.findIndex((frame) => !frame.leadsOn && isDamaged(frame));
  if (first < 0) return held;
  if (!frames.slice(first).every((frame) => frame.leadsOn || isDamaged(frame))) return null;
  const lead = frames[first - 1];
  if (lead?.leadsOn === true) return isDamaged(lead) ? lead.before : null;
  return frames[first]!.before;
}

/** What was opened takes new entries, and a restart finds what it recovered, with them. */
async function expectGoesOn(bench: SimBench, storage: Storage): Promise<void> {
  const { recovered } = storage;
  const last = recovered.entries.at(-1)?.index ?? recovered.snapshot?.index ?? 0;
  const more = entries(last + 1, last + 2, Math.max(1, recovered.hardState.currentTerm));
  await persist(bench, storage, { entries: more });
  bench.kill();
  const again = (await opened(bench)).recovered;
  const expected = [...shown(recovered.entries), ...shown(more)];
  expectThat(shown(again.entries).join() === expected.join(), "a restart finds another log");
  expectThat(Bun.deepEquals(again.hardState, recovered.hardState, true), "a restart finds another term or vote");
}
