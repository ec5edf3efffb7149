// How is a small file replaced atomically? The new one is made durable beside the earlier one, then renamed over it.
import { crc32 } from "../lib/crc32.ts";
import { ascii, startsWith, viewOf } from "./bytes.ts";
import type { Disk, DiskFile, Done } from "./disk.ts";
import { inSequence } from "./serial-queue.ts";
import { refuseOtherFormat } from "./versions.ts";

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

/** Durable, in place of the earlier one, when done reports no error; until then the earlier one stands. */
export function writeAtomicFile(
  disk: Disk,
  { path, magic }: AtomicFile,
  fields: Uint8Array,
  formatVersion: number,
  done: Done,
): void {
  const newPath = newPathOf(path);
  const bytes = encodeAtomicFile(magic, fields, formatVersion);
  const create = (error: Error | null): void => {
    if (error !== null) return done(error);
    disk.create(newPath, 0, (failed, file) => {
      if (failed !== null || file === null) return done(failed);
      fill(file);
    });
  };
  const fill = (file: DiskFile): void =>
    disk.write(file, 0, bytes, (error) => {
      disk.close(file);
      if (error !== null) return done(error);
      inSequence([(next) => disk.rename(newPath, path, next), (next) => disk.syncDirectory(".", next)], done);
    });
  if (disk.size(newPath) === null) create(null);
  else disk.remove(newPath, create);
}

/** Gone for good when done reports no error. */
export function removeAtomicFile(disk: Disk, { path }: AtomicFile, done: Done): void {
  if (disk.size(path) === null) return disk.syncDirectory(".", done);
  inSequence([(next) => disk.remove(path, next), (next) => disk.syncDirectory(".", next)], done);
}
