// What does a snapshot consist of? The manifest says it: which log it stands for, and length and checksum of every part.
import { crc32 } from "../lib/crc32.ts";
import { createReader, createWriter, Malformed } from "../lib/msgpack.ts";
import { MAX_U48 } from "../lib/u48.ts";
import { decodeConfiguration, encodeConfiguration } from "../raft/configuration.ts";
import type { SnapshotMeta } from "../raft/types.ts";
import { ascii, startsWith, viewOf } from "./bytes.ts";

export interface Part {
  readonly bytes: number;
  readonly crc: number;
}

export interface Manifest {
  readonly meta: SnapshotMeta;
  readonly parts: readonly Part[];
}

const MAGIC = ascii("raftqman");
const AT_VERSION = 8; // u32
const AT_CRC = 12; // u32: over everything before and behind it
const HEADER_BYTES = 16;
const FIELDS = 6;
const U32 = 0xffff_ffff;

export function encodeManifest({ meta, parts }: Manifest, formatVersion: number): Uint8Array {
  const writer = createWriter(HEADER_BYTES)
    .array(FIELDS)
    .uint(meta.index)
    .uint(meta.term)
    .uint(meta.configurationIndex);
  writer
    .uint(meta.time)
    .binary(encodeConfiguration(meta.configuration))
    .array(2 * parts.length);
  for (const part of parts) writer.uint(part.bytes).uint(part.crc);
  const bytes = writer.finish();
  const view = viewOf(bytes);
  bytes.set(MAGIC);
  view.setUint32(AT_VERSION, formatVersion);
  view.setUint32(AT_CRC, ownCrc(bytes));
  return bytes;
}

function ownCrc(bytes: Uint8Array): number {
  return crc32(bytes.subarray(HEADER_BYTES), crc32(bytes.subarray(0, AT_CRC)));
}

/** The checksum that a snapshot frame of the log repeats: of the whole manifest. */
export function manifestCrc(bytes: Uint8Array): number {
  return crc32(bytes);
}

/** null: damaged. */
export function manifestVersion(bytes: Uint8Array): number | null {
  if (bytes.length < HEADER_BYTES || !startsWith(bytes, MAGIC)) return null;
  const view = viewOf(bytes);
  return ownCrc(bytes) === view.getUint32(AT_CRC) ? view.getUint32(AT_VERSION) : null;
}

/** null: damaged, or of a newer format, which is judged before (newer.ts). */
export function decodeManifest(bytes: Uint8Array, formatVersion: number): Manifest | null {
  const version = manifestVersion(bytes);
  if (version === null || version > formatVersion) return null;
  try {
    return readFields(bytes.subarray(HEADER_BYTES));
  } catch (error) {
    if (error instanceof Malformed) return null;
    throw error;
  }
}

function readFields(bytes: Uint8Array): Manifest {
  const reader = createReader(bytes);
  reader.array(FIELDS, FIELDS);
  const index = reader.uint(MAX_U48);
  const term = reader.uint(MAX_U48);
  const configurationIndex = reader.uint(index);
  const time = reader.uint(MAX_U48);
  const configuration = decodeConfiguration(reader.binary(bytes.length));
  const numbers = reader.array(2, bytes.length);
  if (numbers % 2 !== 0) throw new Malformed("a part has a length and a checksum");
  const parts: Part[] = [];
  for (let at = 0; at < numbers; at += 2) parts.push({ bytes: reader.uint(U32), crc: reader.uint(U32) });
  reader.end();
  return { meta: { index, term, configuration, configurationIndex, time }, parts };
}
