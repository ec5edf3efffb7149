// Replaces a small file atomically: the new one is made durable beside the earlier one, then renamed over it.
import { crc32 } from "../../lib/crc32.ts";
import type { Disk } from "../disk.ts";
import { ascii, startsWith, viewOf } from "../fields.ts";
import { refuseOtherFormat } from "../file-errors.ts";
import { type Steps, writeNewFile } from "../steps.ts";

export interface AtomicFile {
  readonly path: string;
  /** 8 characters. */
  readonly magic: string;
}

export type AtomicFileContent =
  | { readonly state: "none" }
  /** `fields`: what was written, its checksum verified. */
  | { readonly state: "good"; readonly fields: Uint8Array }
  | { readonly state: "bad" };

const AT_VERSION = 8; // u32
const AT_CRC = 12; // u32: over everything before and behind it
const AT_FIELDS = 16;

const newPathOf = (path: string): string => `${path}.new`;

export function encodeAtomicFile(magic: string, fields: Uint8Array, formatVersion: number): Uint8Array {
  const bytes = new Uint8Array(AT_FIELDS + fields.length);
  bytes.set(ascii(magic));
  viewOf(bytes).setUint32(AT_VERSION, formatVersion);
  bytes.set(fields, AT_FIELDS);
  viewOf(bytes).setUint32(AT_CRC, ownCrc(bytes));
  return bytes;
}

function ownCrc(bytes: Uint8Array): number {
  return crc32(bytes.subarray(AT_FIELDS), crc32(bytes.subarray(0, AT_CRC)));
}

/** Throws NEWER_FORMAT, OLDER_FORMAT. */
export function readAtomicFile(disk: Disk, { path, magic }: AtomicFile, formatVersion: number): AtomicFileContent {
  const bytes = disk.read(path);
  if (bytes === null) return { state: "none" };
  if (bytes.length < AT_FIELDS || !startsWith(bytes, ascii(magic))) return { state: "bad" };
  const view = viewOf(bytes);
  if (ownCrc(bytes) !== view.getUint32(AT_CRC)) return { state: "bad" };
  const version = view.getUint32(AT_VERSION);
  refuseOtherFormat(path, version, formatVersion);
  return { state: "good", fields: bytes.subarray(AT_FIELDS) };
}

/** Replaces the earlier one, durably; until the end the earlier one is valid. */
export function* writeAtomicFile(
  disk: Disk,
  { path, magic }: AtomicFile,
  fields: Uint8Array,
  formatVersion: number,
): Steps {
  const newPath = newPathOf(path);
  if (disk.size(newPath) !== null) yield (done) => disk.remove(newPath, done);
  yield* writeNewFile(disk, newPath, encodeAtomicFile(magic, fields, formatVersion));
  yield (done) => disk.rename(newPath, path, done);
  yield (done) => disk.syncDirectory(".", done);
}

/** Durably removed at the end. */
export function* removeAtomicFile(disk: Disk, { path }: AtomicFile): Steps {
  if (disk.size(path) !== null) yield (done) => disk.remove(path, done);
  yield (done) => disk.syncDirectory(".", done);
}
