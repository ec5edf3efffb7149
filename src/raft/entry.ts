// One log entry, byte for byte: a portable record, identical on every node, encoded once and carried everywhere.
import { assert } from "../lib/assert.ts";
import { crc32Behind } from "../lib/crc32.ts";
import { byteRange } from "../lib/byte-range.ts";
import { MAX_U48 } from "../lib/u48.ts";
import type { LogIndex, Term } from "./types.ts";

/** Record kinds. All are reserved from the first format version; a kind this build does not know stops the node. */
export const KIND_NAMES = ["noop", "config", "command", "batch", "open", "close", "tick", "touch", "version"] as const;
export type EntryKind = (typeof KIND_NAMES)[number];

/** One entry of the log. `record` is its whole encoding; the other fields repeat what Raft itself needs of it. */
export interface Entry {
  readonly index: LogIndex;
  readonly term: Term;
  readonly kind: EntryKind;
  readonly record: Uint8Array;
}

/** What a proposer gives; the leader adds index, term, time and wall. */
export interface Draft {
  readonly kind: EntryKind;
  /** The session (the index of its OPEN entry), or 0. */
  readonly session: number;
  readonly number: number;
  readonly acknowledgedThrough: number;
  readonly body: Uint8Array;
}

export interface Stamp {
  readonly index: LogIndex;
  readonly term: Term;
  /** Cluster time in milliseconds: it only moves forward and is what `apply` may depend on. */
  readonly time: number;
  /** The leader's wall clock in Unix milliseconds: for people only. */
  readonly wall: number;
}

/** Every field of a record, as `apply` and `log` see it. */
export type RecordFields = Stamp & Draft & { readonly flags: number };

// Offsets, all numbers big-endian; u48 because an index that needs more would take a thousand years.
const AT_LENGTH = 0; // u32: bytes of the whole record, header included
const AT_CRC = 4; // u32: CRC-32 of everything behind it
const AT_INDEX = 8; // u48
const AT_TERM = 14; // u48
const AT_KIND = 20; // u8
const AT_FLAGS = 21; // u8: 0 in this version
const AT_TIME = 22; // u48
const AT_WALL = 28; // u48
const AT_SESSION = 34; // u48
const AT_NUMBER = 40; // u48
const AT_ACKNOWLEDGED = 46; // u48
export const RECORD_HEADER_BYTES = 52;

const TWO_32 = 0x1_0000_0000;

// Plain byte access instead of a DataView: a view would give every record of the log an ArrayBuffer object of its own.

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

function readU32(bytes: Uint8Array, at: number): number {
  return (
    byteAt(bytes, at) * 0x100_0000 +
    ((byteAt(bytes, at + 1) << 16) | (byteAt(bytes, at + 2) << 8) | byteAt(bytes, at + 3))
  );
}

/** Callers have checked that the record is long enough. */
function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}

function writeU48(bytes: Uint8Array, at: number, value: number): void {
  assert(Number.isInteger(value) && value >= 0 && value <= MAX_U48, "a record field is from 0 to 2^48-1");
  const high = Math.floor(value / TWO_32);
  bytes[at] = high >>> 8;
  bytes[at + 1] = high;
  writeU32(bytes, at + 2, value >>> 0);
}

function readU48(bytes: Uint8Array, at: number): number {
  return (byteAt(bytes, at) * 0x100 + byteAt(bytes, at + 1)) * TWO_32 + readU32(bytes, at + 2);
}

export function encodeEntry(stamp: Stamp, draft: Draft): Entry {
  const record = new Uint8Array(RECORD_HEADER_BYTES + draft.body.length);
  writeU32(record, AT_LENGTH, record.length);
  writeU48(record, AT_INDEX, stamp.index);
  writeU48(record, AT_TERM, stamp.term);
  record[AT_KIND] = KIND_NAMES.indexOf(draft.kind);
  writeU48(record, AT_TIME, stamp.time);
  writeU48(record, AT_WALL, stamp.wall);
  writeU48(record, AT_SESSION, draft.session);
  writeU48(record, AT_NUMBER, draft.number);
  writeU48(record, AT_ACKNOWLEDGED, draft.acknowledgedThrough);
  record.set(draft.body, RECORD_HEADER_BYTES);
  writeU32(record, AT_CRC, crc32Behind(record, AT_INDEX));
  return { index: stamp.index, term: stamp.term, kind: draft.kind, record };
}

export type DecodedEntry =
  | { readonly ok: true; readonly entry: Entry; readonly end: number }
  /** `newer`: the checksum is right, and this build does not know the kind. */
  | { readonly ok: false; readonly why: string; readonly newer: boolean };

const damaged = (why: string): DecodedEntry => ({ ok: false, why, newer: false });

/** The record that starts at `at`, in memory of its own. Checks length, checksum and kind; never throws. */
export function decodeEntry(bytes: Uint8Array, at: number): DecodedEntry {
  if (bytes.length - at < RECORD_HEADER_BYTES) return damaged("a record is cut off inside its header");
  const length = readU32(bytes, at + AT_LENGTH);
  if (length < RECORD_HEADER_BYTES || length > bytes.length - at) {
    return damaged(`a record claims ${length} bytes where ${bytes.length - at} are left`);
  }
  const record = bytes.slice(at, at + length);
  if (crc32Behind(record, AT_INDEX) !== readU32(record, AT_CRC)) {
    return damaged("a record's checksum does not match its bytes");
  }
  const kindByte = byteAt(record, AT_KIND);
  const kind = KIND_NAMES[kindByte];
  if (kind === undefined)
    return { ok: false, why: `record kind ${kindByte} is not known to this version of raftq`, newer: true };
  return {
    ok: true,
    entry: { index: readU48(record, AT_INDEX), term: readU48(record, AT_TERM), kind, record },
    end: at + length,
  };
}

/** All fields of an entry whose record was checked by `decodeEntry` or made by `encodeEntry`. `body` may be a view. */
export function fieldsOf(entry: Entry): RecordFields {
  const { record } = entry;
  return {
    index: entry.index,
    term: entry.term,
    kind: entry.kind,
    flags: byteAt(record, AT_FLAGS),
    time: readU48(record, AT_TIME),
    wall: readU48(record, AT_WALL),
    session: readU48(record, AT_SESSION),
    number: readU48(record, AT_NUMBER),
    acknowledgedThrough: readU48(record, AT_ACKNOWLEDGED),
    body: byteRange(record, RECORD_HEADER_BYTES),
  };
}

/** Cluster time of an entry, without decoding the rest. */
export function timeOf(entry: Entry): number {
  return readU48(entry.record, AT_TIME);
}
