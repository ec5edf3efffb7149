// Encodes and decodes the name and the header of a segment, one file of the log: a header block that repeats the name, then frames, then zeros.
import { crc32 } from "../../lib/crc32.ts";
import { ascii, startsWith, viewOf } from "../fields.ts";
import type { FrameSegment } from "./frame.ts";

export const LOG_DIRECTORY = "g0/log";

export interface Segment extends FrameSegment {
  readonly path: string;
  readonly bytes: number;
}

const MAGIC = ascii("raftqseg");
const AT_VERSION = 8; // u32
const AT_NUMBER = 12; // u32
const AT_SALT = 16; // u32
const AT_BLOCK_BYTES = 20; // u32
const AT_BYTES = 24; // u32
const AT_CRC = 28; // u32: over the bytes before it, seeded with the salt
export const SEGMENT_HEADER_BYTES = 32;
/** No disk writes smaller pieces whole, and no file system has larger blocks. */
const MIN_BLOCK_BYTES = 512;
const MAX_BLOCK_BYTES = 65_536;

/** Four bytes in the header; at one segment a second, enough for 136 years. */
export const MAX_SEGMENT_NUMBER = 0xffff_ffff;
const SEGMENT_NAME = /^(\d{10})-([0-9a-f]{8})\.seg$/;

export function segmentPath(number: number, salt: number): string {
  return `${LOG_DIRECTORY}/${String(number).padStart(10, "0")}-${salt.toString(16).padStart(8, "0")}.seg`;
}

interface NamedSegment {
  readonly number: number;
  readonly salt: number;
}

/** Number and salt from a file name in the log directory; null: not a segment. */
export function parseSegmentName(name: string): NamedSegment | null {
  const match = SEGMENT_NAME.exec(name);
  if (match === null || Number(match[1]) > MAX_SEGMENT_NUMBER) return null;
  return { number: Number(match[1]), salt: Number.parseInt(match[2] ?? "", 16) };
}

export function encodeSegmentHeader(segment: Segment, formatVersion: number): Uint8Array {
  const header = new Uint8Array(segment.blockBytes);
  const view = viewOf(header);
  header.set(MAGIC);
  view.setUint32(AT_VERSION, formatVersion);
  view.setUint32(AT_NUMBER, segment.number);
  view.setUint32(AT_SALT, segment.salt);
  view.setUint32(AT_BLOCK_BYTES, segment.blockBytes);
  view.setUint32(AT_BYTES, segment.bytes);
  view.setUint32(AT_CRC, crc32(header.subarray(0, AT_CRC), segment.salt));
  return header;
}

/** The version of the whole file, because one run of a node writes all of it; null: the header is damaged. */
export function segmentVersion({ salt }: NamedSegment, header: Uint8Array): number | null {
  if (header.length < SEGMENT_HEADER_BYTES || !startsWith(header, MAGIC)) return null;
  const view = viewOf(header);
  return crc32(header.subarray(0, AT_CRC), salt) === view.getUint32(AT_CRC) ? view.getUint32(AT_VERSION) : null;
}

/**
 * The segment that `header` describes; null when it is damaged or does not belong to this file name. Its version was checked before
 * (format-version.ts).
 */
export function decodeSegmentHeader(path: string, named: NamedSegment, header: Uint8Array): Segment | null {
  if (segmentVersion(named, header) === null) return null;
  const view = viewOf(header);
  if (view.getUint32(AT_NUMBER) !== named.number || view.getUint32(AT_SALT) !== named.salt) return null;
  const blockBytes = view.getUint32(AT_BLOCK_BYTES);
  const bytes = view.getUint32(AT_BYTES);
  if (!isBlockSize(blockBytes) || blockBytes >= bytes) return null;
  return { path, number: named.number, salt: named.salt, blockBytes, bytes };
}

/** A power of two within reason: no memory is reserved for whatever a damaged header claims. */
function isBlockSize(bytes: number): boolean {
  return bytes >= MIN_BLOCK_BYTES && bytes <= MAX_BLOCK_BYTES && (bytes & (bytes - 1)) === 0;
}
