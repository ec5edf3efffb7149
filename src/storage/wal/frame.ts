// Encodes and decodes a frame, one write to the log: aligned to blocks, numbered, and chained to the frame before it.
import { crc32 } from "../../lib/crc32.ts";
import { decodeEntry, type Entry } from "../../raft/entry.ts";
import type { LogIndex, Term } from "../../raft/types.ts";
import { aligned, readU48, viewOf, writeU48 } from "../fields.ts";

/** Names a frame: by its segment's number and its own, and where it ends. Segment 0: there is none. */
export interface FramePointer {
  readonly segment: number;
  readonly number: number;
  /** The first byte behind it, aligned. */
  readonly end: number;
}

export const NO_FRAME: FramePointer = { segment: 0, number: 0, end: 0 };

export type FrameContent =
  /** The first frame of a segment, when it holds nothing but which frame came before. */
  | { readonly kind: "opening" }
  | { readonly kind: "batch"; readonly entries: readonly Entry[] }
  /** Makes a snapshot count. `reset`: nothing earlier in the log counts any more. */
  | {
      readonly kind: "snapshot";
      readonly index: LogIndex;
      readonly term: Term;
      readonly manifestCrc: number;
      readonly reset: boolean;
    }
  /** Holds nothing: its presence proves that the frame before it was whole. */
  | { readonly kind: "closing" }
  /** The last frame of a full segment. */
  | { readonly kind: "continues"; readonly nextSegment: number };

export interface Frame {
  readonly offset: number;
  readonly number: number;
  readonly previous: FramePointer;
  readonly end: number;
  readonly content: FrameContent;
}

/** What the encoding of a frame depends on of the segment that it lies in. */
export interface FrameSegment {
  readonly number: number;
  readonly salt: number;
  readonly blockBytes: number;
}

const KINDS = [
  "opening",
  "batch",
  "snapshot",
  "closing",
  "continues",
] as const satisfies readonly FrameContent["kind"][];

const MAGIC = 0x72714631; // "rqF1"
const AT_CRC = 4; // u32: over everything behind it up to `length`, seeded with the segment's salt
const AT_LENGTH = 8; // u32: header and payload, without the padding
const AT_KIND = 12; // u8
const AT_FLAGS = 13; // u8: 1 = reset
const AT_SEGMENT = 16; // u32
const AT_OFFSET = 20; // u32
const AT_NUMBER = 24; // u48
const AT_PREVIOUS_SEGMENT = 30; // u32
const AT_PREVIOUS_NUMBER = 34; // u48
const AT_PREVIOUS_END = 40; // u32
const AT_FIRST = 44; // u48
const AT_LAST = 50; // u48
export const FRAME_HEADER_BYTES = 64;

const FLAG_RESET = 1;
const SNAPSHOT_PAYLOAD_BYTES = 16;
const CONTINUES_PAYLOAD_BYTES = 4;

function payloadBytes(content: FrameContent): number {
  switch (content.kind) {
    case "batch":
      return content.entries.reduce((sum, entry) => sum + entry.record.length, 0);
    case "snapshot":
      return SNAPSHOT_PAYLOAD_BYTES;
    case "continues":
      return CONTINUES_PAYLOAD_BYTES;
    case "opening":
    case "closing":
      return 0;
  }
}

/** Bytes on disk of a frame with this content. */
export function frameBytes(content: FrameContent, blockBytes: number): number {
  return aligned(FRAME_HEADER_BYTES + payloadBytes(content), blockBytes);
}

export function encodeFrame(
  segment: FrameSegment,
  offset: number,
  number: number,
  previous: FramePointer,
  content: FrameContent,
): Uint8Array {
  const length = FRAME_HEADER_BYTES + payloadBytes(content);
  const bytes = new Uint8Array(aligned(length, segment.blockBytes));
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC);
  view.setUint32(AT_LENGTH, length);
  bytes[AT_KIND] = KINDS.indexOf(content.kind);
  view.setUint32(AT_SEGMENT, segment.number);
  view.setUint32(AT_OFFSET, offset);
  writeU48(view, AT_NUMBER, number);
  view.setUint32(AT_PREVIOUS_SEGMENT, previous.segment);
  writeU48(view, AT_PREVIOUS_NUMBER, previous.number);
  view.setUint32(AT_PREVIOUS_END, previous.end);
  writePayload(bytes, view, content);
  view.setUint32(AT_CRC, crc32(bytes.subarray(AT_LENGTH, length), segment.salt));
  return bytes;
}

function writePayload(bytes: Uint8Array, view: DataView, content: FrameContent): void {
  switch (content.kind) {
    case "batch": {
      writeU48(view, AT_FIRST, content.entries[0]?.index ?? 0);
      writeU48(view, AT_LAST, content.entries.at(-1)?.index ?? 0);
      let at = FRAME_HEADER_BYTES;
      for (const { record } of content.entries) {
        bytes.set(record, at);
        at += record.length;
      }
      return;
    }
    case "snapshot":
      bytes[AT_FLAGS] = content.reset ? FLAG_RESET : 0;
      writeU48(view, FRAME_HEADER_BYTES, content.index);
      writeU48(view, FRAME_HEADER_BYTES + 6, content.term);
      view.setUint32(FRAME_HEADER_BYTES + 12, content.manifestCrc);
      return;
    case "continues":
      view.setUint32(FRAME_HEADER_BYTES, content.nextSegment);
      return;
    case "opening":
    case "closing":
      return;
  }
}

/** `newer`: the checksum is right, and what it covers is not known to this raftq. */
interface Unreadable {
  readonly ok: false;
  readonly why: string;
  readonly newer: boolean;
}

export type DecodedFrame = { readonly ok: true; readonly frame: Frame } | Unreadable;

const unreadable = (why: string): Unreadable => ({ ok: false, why, newer: false });
const unknown = (what: string): Unreadable => ({
  ok: false,
  why: `${what}, which this raftq does not know`,
  newer: true,
});

/** The frame at `offset` of a segment's `bytes`. Never throws. A batch's records are copied out of `bytes`. */
export function decodeFrame(bytes: Uint8Array, segment: FrameSegment, offset: number): DecodedFrame {
  if (bytes.length - offset < FRAME_HEADER_BYTES) return unreadable("no space for a frame");
  const view = viewOf(bytes.subarray(offset));
  if (view.getUint32(0) !== MAGIC) return unreadable("no frame begins here");
  const length = view.getUint32(AT_LENGTH);
  if (length < FRAME_HEADER_BYTES || length > bytes.length - offset) {
    return unreadable(`a frame claims ${length} bytes where ${bytes.length - offset} are left`);
  }
  // Before the checksum: a file that is used again is full of frames of its earlier use.
  if (!namesPosition(view, segment, offset)) return unreadable("a frame belongs to another place");
  const covered = bytes.subarray(offset + AT_LENGTH, offset + length);
  if (crc32(covered, segment.salt) !== view.getUint32(AT_CRC)) {
    return unreadable("a frame's checksum does not match its bytes");
  }
  const content = readContent(bytes.subarray(offset, offset + length));
  if ("ok" in content) return content;
  return {
    ok: true,
    frame: {
      offset,
      number: readU48(view, AT_NUMBER),
      previous: {
        segment: view.getUint32(AT_PREVIOUS_SEGMENT),
        number: readU48(view, AT_PREVIOUS_NUMBER),
        end: view.getUint32(AT_PREVIOUS_END),
      },
      end: offset + aligned(length, segment.blockBytes),
      content,
    },
  };
}

function namesPosition(view: DataView, { number }: FrameSegment, offset: number): boolean {
  return view.getUint32(AT_SEGMENT) === number && view.getUint32(AT_OFFSET) === offset;
}

/** Bytes of a frame that was begun at `offset` and cannot be read; 0: there is no sign that one was. */
export function tornBytes(bytes: Uint8Array, segment: FrameSegment, offset: number): number {
  if (bytes.length - offset < FRAME_HEADER_BYTES) return 0;
  const view = viewOf(bytes.subarray(offset));
  if (view.getUint32(0) !== MAGIC || !namesPosition(view, segment, offset)) return 0;
  return Math.min(bytes.length - offset, aligned(view.getUint32(AT_LENGTH), segment.blockBytes));
}

/** The content, or why it cannot be read although the checksum matches. */
function readContent(bytes: Uint8Array): FrameContent | Unreadable {
  const view = viewOf(bytes);
  const kindByte = view.getUint8(AT_KIND);
  const kind = KINDS[kindByte];
  const flags = view.getUint8(AT_FLAGS);
  if (kind === undefined) return unknown(`a frame is of kind ${kindByte}`);
  if ((flags & ~FLAG_RESET) !== 0) return unknown(`a frame has the flags ${flags}`);
  switch (kind) {
    case "opening":
    case "closing":
      return { kind };
    case "batch": {
      const entries = readRecords(bytes);
      if ("ok" in entries) return entries;
      const spans = entries[0]?.index === readU48(view, AT_FIRST) && entries.at(-1)?.index === readU48(view, AT_LAST);
      return spans ? { kind, entries } : unreadable("a frame's records are not those its header names");
    }
    case "snapshot":
      if (bytes.length !== FRAME_HEADER_BYTES + SNAPSHOT_PAYLOAD_BYTES)
        return unreadable("a snapshot frame has a wrong length");
      return {
        kind,
        index: readU48(view, FRAME_HEADER_BYTES),
        term: readU48(view, FRAME_HEADER_BYTES + 6),
        manifestCrc: view.getUint32(FRAME_HEADER_BYTES + 12),
        reset: (flags & FLAG_RESET) !== 0,
      };
    case "continues":
      if (bytes.length !== FRAME_HEADER_BYTES + CONTINUES_PAYLOAD_BYTES)
        return unreadable("a continuing frame has a wrong length");
      return { kind, nextSegment: view.getUint32(FRAME_HEADER_BYTES) };
  }
}

function readRecords(bytes: Uint8Array): readonly Entry[] | Unreadable {
  const entries: Entry[] = [];
  for (let at = FRAME_HEADER_BYTES; at < bytes.length;) {
    const decoded = decodeEntry(bytes, at);
    if (!decoded.ok) return decoded;
    const last = entries.at(-1);
    if (last !== undefined && decoded.entry.index !== last.index + 1)
      return unreadable("a frame's records leave a gap");
    entries.push(decoded.entry);
    at = decoded.end;
  }
  return entries.length === 0 ? unreadable("a batch frame holds no record") : entries;
}
