// The manifest of a snapshot: where in the log it is, and length and checksum of every part.
import { STORAGE } from "../../config.ts";
import { crc32 } from "../../lib/crc32.ts";
import { binaryOf, converted, decodeOrNull, encode, list, tuple, uint } from "../../lib/layout.ts";
import { decodeConfiguration, encodeConfiguration } from "../../raft/configuration.ts";
import type { SnapshotMeta } from "../../raft/types.ts";
import { ascii, startsWith, u48, viewOf } from "../fields.ts";

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
const MAX_U32 = 0xffff_ffff;
const UNLIMITED = Number.MAX_SAFE_INTEGER;

/** As the values lie in the array: length and checksum of each part in turn. */
interface Flat extends SnapshotMeta {
  readonly partNumbers: readonly number[];
}

const layout = converted<Manifest, Flat>(
  tuple<Flat>(
    "a manifest",
    {
      index: u48,
      term: u48,
      configurationIndex: u48,
      time: u48,
      configuration: binaryOf("configuration", UNLIMITED, encodeConfiguration, decodeConfiguration),
      partNumbers: list(uint(MAX_U32), UNLIMITED, 2),
    },
    {
      check: ({ index, configurationIndex, partNumbers }) => {
        if (configurationIndex > index) return "a snapshot's configuration comes from behind the snapshot";
        if (partNumbers.length % 2 !== 0) return "a part has a length and a checksum";
        const isTooLarge = partNumbers.some((number, at) => at % 2 === 0 && number > STORAGE.maxPartBytes);
        return isTooLarge ? `a part has at most ${STORAGE.maxPartBytes} bytes` : null;
      },
    },
  ),
  ({ meta, parts }) => ({ ...meta, partNumbers: parts.flatMap(({ bytes, crc }) => [bytes, crc]) }),
  ({ partNumbers, ...meta }) => ({ meta, parts: partsIn(partNumbers) }),
);

function partsIn(numbers: readonly number[]): readonly Part[] {
  return Array.from({ length: numbers.length / 2 }, (_, at) => ({
    bytes: numbers[2 * at] ?? 0,
    crc: numbers[2 * at + 1] ?? 0,
  }));
}

export function encodeManifest(manifest: Manifest, formatVersion: number): Uint8Array {
  const bytes = encode(layout, manifest, HEADER_BYTES);
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
  if (bytes.length < HEADER_BYTES || bytes.length > STORAGE.maxManifestBytes || !startsWith(bytes, MAGIC)) return null;
  const view = viewOf(bytes);
  return ownCrc(bytes) === view.getUint32(AT_CRC) ? view.getUint32(AT_VERSION) : null;
}

/** null: damaged, or of another format, which is refused before (format-version.ts). */
export function decodeManifest(bytes: Uint8Array, formatVersion: number): Manifest | null {
  return manifestVersion(bytes) === formatVersion ? decodeOrNull(layout, bytes.subarray(HEADER_BYTES)) : null;
}
