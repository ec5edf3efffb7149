// Reads and writes `meta`, what a node must know before its log can be read: who it is, its term and vote, where its log begins, and how far
// it reaches at least.
import { crc32 } from "../lib/crc32.ts";
import { converted, decodeOrNull, encode, nullable, textOf, tuple, uint } from "../lib/layout.ts";
import { isMemberId, type ClusterId, type HardState, type Incarnation, type NodeId } from "../raft/types.ts";
import type { Disk, DiskFile } from "./disk.ts";
import {
  ascii,
  clusterId,
  incarnation,
  MAX_ID_BYTES,
  nodeId,
  readU48,
  startsWith,
  u48,
  viewOf,
  writeU48,
} from "./fields.ts";
import { corrupt } from "./file-errors.ts";
import { refuseOtherFormat } from "./file-errors.ts";
import { createFile, openFile, type Steps, write } from "./steps.ts";
import { MAX_SEGMENT_NUMBER } from "./wal/segment.ts";

export interface Meta {
  readonly nodeId: NodeId;
  readonly incarnation: Incarnation;
  readonly clusterId: ClusterId | null;
  readonly hardState: HardState;
  /** The segment that the latest opening of the directory has begun: it, or a later one, must be there. */
  readonly segmentAtOpen: number;
  /** The oldest segment that is still log. */
  readonly oldestSegment: number;
  /** The number of a frame that is durable, and with it every earlier one: a log that ends before it has lost something. 0: none is known. */
  readonly durableFrame: number;
}

export const META_PATH = "meta";
/** A first meta is completed under this name, so that `meta` is whole from its first moment. */
const NEW_META_PATH = "meta.new";

export const META_SLOT_BYTES = 4096;
const SLOTS = [0, 1] as const;
type Slot = (typeof SLOTS)[number];

const MAGIC = ascii("raftqmet");
const AT_VERSION = 8; // u32
const AT_CRC = 12; // u32: over everything before and behind it, to the end of the slot
const AT_SEQUENCE = 16; // u48: of this write; A and B of one update differ by 1
const AT_LENGTH = 22; // u16: of the MessagePack array that follows
const AT_FIELDS = 24;

/** As the values lie in the array. */
type Flat = Omit<Meta, "hardState"> & HardState;

const layout = converted<Meta, Flat>(
  tuple<Flat>("a meta", {
    nodeId,
    incarnation,
    clusterId: nullable(clusterId),
    currentTerm: u48,
    votedFor: nullable(textOf("member id", MAX_ID_BYTES, isMemberId)),
    segmentAtOpen: uint(MAX_SEGMENT_NUMBER),
    oldestSegment: uint(MAX_SEGMENT_NUMBER),
    durableFrame: u48,
  }),
  ({ hardState, ...rest }) => ({ ...rest, ...hardState }),
  ({ currentTerm, votedFor, ...rest }) => ({ ...rest, hardState: { currentTerm, votedFor } }),
);

export function encodeMetaSlot(meta: Meta, sequence: number, formatVersion: number): Uint8Array {
  const slot = new Uint8Array(META_SLOT_BYTES);
  const view = viewOf(slot);
  const fields = encode(layout, meta);
  slot.set(MAGIC);
  view.setUint32(AT_VERSION, formatVersion);
  writeU48(view, AT_SEQUENCE, sequence);
  view.setUint16(AT_LENGTH, fields.length);
  slot.set(fields, AT_FIELDS);
  view.setUint32(AT_CRC, slotCrc(slot));
  return slot;
}

function slotCrc(slot: Uint8Array): number {
  return crc32(slot.subarray(AT_SEQUENCE), crc32(slot.subarray(0, AT_CRC)));
}

type DecodedSlot =
  { readonly state: "good"; readonly meta: Meta; readonly sequence: number } | { readonly state: "bad" };

const BAD = { state: "bad" } as const;

/** Throws NEWER_FORMAT, OLDER_FORMAT. */
function decodeSlot(file: Uint8Array, slot: Slot, formatVersion: number): DecodedSlot {
  const bytes = file.subarray(slot * META_SLOT_BYTES, (slot + 1) * META_SLOT_BYTES);
  if (bytes.length < META_SLOT_BYTES || !startsWith(bytes, MAGIC)) return BAD;
  const view = viewOf(bytes);
  if (slotCrc(bytes) !== view.getUint32(AT_CRC)) return BAD;
  const version = view.getUint32(AT_VERSION);
  refuseOtherFormat(META_PATH, version, formatVersion);
  const meta = decodeOrNull(layout, bytes.subarray(AT_FIELDS, AT_FIELDS + view.getUint16(AT_LENGTH)));
  return meta === null ? BAD : { state: "good", meta, sequence: readU48(view, AT_SEQUENCE) };
}

export interface FoundMeta {
  readonly meta: Meta;
  readonly sequence: number;
  /**
   * The slot to write first at recovery: the damaged one, else the one written last. That one may be only in the page cache,
   * while the other is durable for sure (it was written before), so a torn write never leaves both bad.
   */
  readonly firstSlot: Slot;
}

/** Throws NEWER_FORMAT, OLDER_FORMAT: one valid slot is enough. */
export function refuseNewerMeta(disk: Pick<Disk, "read">, formatVersion: number): void {
  const file = disk.read(META_PATH);
  if (file !== null) for (const slot of SLOTS) decodeSlot(file, slot, formatVersion);
}

/** The newest meta; null when there is none. Throws CORRUPT, NEWER_FORMAT, OLDER_FORMAT. */
export function readMeta(disk: Pick<Disk, "read">, formatVersion: number): FoundMeta | null {
  const file = disk.read(META_PATH);
  if (file === null) return null;
  const a = decodeSlot(file, 0, formatVersion);
  const b = decodeSlot(file, 1, formatVersion);
  if (a.state === "good" && b.state === "good") {
    const newest = a.sequence > b.sequence ? a : b;
    return { meta: newest.meta, sequence: newest.sequence, firstSlot: newest === a ? 0 : 1 };
  }
  if (a.state === "good") return { meta: a.meta, sequence: a.sequence, firstSlot: 1 };
  if (b.state === "good") return { meta: b.meta, sequence: b.sequence, firstSlot: 0 };
  throw corrupt(`both slots of ${META_PATH} are damaged: the term and vote of this node are lost`);
}

/** Makes one slot durable, then the other. */
function* writeSlots(
  disk: Disk,
  file: DiskFile,
  order: readonly Slot[],
  encode: (sequence: number) => Uint8Array,
  from: number,
): Steps {
  for (const [at, slot] of order.entries()) yield* write(disk, file, encode(from + at), slot * META_SLOT_BYTES);
}

export interface MetaFile {
  readonly current: () => Meta;
  /** Durable in both slots at the end. One at a time. */
  readonly update: (change: Partial<Meta>) => Steps;
  readonly close: () => void;
}

/** Writes the first meta of a directory, or an existing one again; gives the handle for later updates. */
export function* beginMeta(disk: Disk, meta: Meta, found: FoundMeta | null, formatVersion: number): Steps<MetaFile> {
  const file = found === null ? yield* createMeta(disk) : yield* openFile(disk, META_PATH);
  const order: readonly Slot[] = (found?.firstSlot ?? 0) === 0 ? [0, 1] : [1, 0];
  const sequence = (found?.sequence ?? 0) + 1;
  yield* writeSlots(disk, file, order, (at) => encodeMetaSlot(meta, at, formatVersion), sequence);
  if (found === null) {
    yield (done) => disk.rename(NEW_META_PATH, META_PATH, done);
    yield (done) => disk.syncDirectory(".", done);
  }
  return metaFile(disk, file, meta, sequence + SLOTS.length, formatVersion);
}

function* createMeta(disk: Disk): Steps<DiskFile> {
  if (disk.size(NEW_META_PATH) !== null) yield (done) => disk.remove(NEW_META_PATH, done);
  return yield* createFile(disk, NEW_META_PATH, SLOTS.length * META_SLOT_BYTES);
}

function metaFile(disk: Disk, file: DiskFile, begun: Meta, nextSequence: number, formatVersion: number): MetaFile {
  let current = begun;
  let sequence = nextSequence;
  return {
    current: () => current,
    *update(change) {
      const meta = { ...current, ...change };
      const from = sequence;
      sequence += SLOTS.length;
      yield* writeSlots(disk, file, SLOTS, (at) => encodeMetaSlot(meta, at, formatVersion), from);
      current = meta;
    },
    close: () => disk.close(file),
  };
}
