// How do the file operations of `Disk` reach a real file system? Explicit positions, fdatasync, on the thread pool, by callback.
import fs from "node:fs";
import { dirname, join, resolve } from "node:path";
import { must } from "../lib/assert.ts";
import { RaftqError } from "../lib/errors.ts";
import type { Disk, DiskFile, Done } from "./disk.ts";
import { takeLock } from "./lock.ts";
import { PRIVATE_DIRECTORY_MODE, requirePrivate } from "./private-directory.ts";

const FILE_MODE = 0o600;
/** In a directory that is ours alone nobody else can place a link; a restored backup might hold one. */
const { O_RDONLY, O_RDWR, O_NOFOLLOW } = fs.constants;
/** Any of these in it, and the directory holds a node's data. */
const OUR_NAMES = ["meta", "g0"] as const;
/** A new file is filled and synced in slices: one big sync would stall the log's. */
const ZEROS = new Uint8Array(1024 * 1024);

/** `directory` is created when it is locked. */
export function createRealDisk(directory: string): Disk {
  const descriptors = new Map<DiskFile, number>();
  const full = (path: string): string => join(directory, path);
  const descriptorOf = (file: DiskFile): number => must(descriptors.get(file), `${file.path} is open`);
  let release: (() => void) | null = null;

  const opened = (path: string, descriptor: number): DiskFile => {
    const file: DiskFile = { path };
    descriptors.set(file, descriptor);
    return file;
  };

  return {
    list: (path) => ifThere(() => fs.readdirSync(full(path)).sort(), []),
    // A plain array: `slice` of a Buffer would not copy, and keep the whole file in memory.
    read: (path) => ifThere(() => new Uint8Array(fs.readFileSync(full(path), { flag: O_RDONLY | O_NOFOLLOW })), null),
    readAt: (path, offset, length) => readAt(full(path), offset, length),
    size: (path) => ifThere(() => fs.statSync(full(path)).size, null),
    makeDirectory: (path, done) => {
      fs.mkdir(full(path), { recursive: true, mode: PRIVATE_DIRECTORY_MODE }, (error) => done(error));
    },
    create: (path, size, done) => {
      fs.open(full(path), "wx", FILE_MODE, (error, descriptor) => {
        if (error !== null) return done(error, null);
        fillWithZeros(descriptor, 0, size, (failed) => {
          if (failed === null) return done(null, opened(path, descriptor));
          // Half a file would hold the very room that is missing.
          fs.close(descriptor, () => fs.unlink(full(path), () => done(failed, null)));
        });
      });
    },
    open: (path, done) => {
      fs.open(full(path), O_RDWR | O_NOFOLLOW, (error, descriptor) => {
        if (error !== null) return done(error, null);
        done(null, opened(path, descriptor));
      });
    },
    write: (file, offset, bytes, done) => writeAll(descriptorOf(file), offset, bytes, done),
    sync: (file, done) => fs.fdatasync(descriptorOf(file), (error) => done(error)),
    close: (file) => {
      const descriptor = descriptorOf(file);
      descriptors.delete(file);
      fs.close(descriptor);
    },
    syncDirectory: (path, done) => syncDirectory(full(path), done),
    rename: (from, to, done) => fs.rename(full(from), full(to), (error) => done(error)),
    remove: (path, done) => fs.unlink(full(path), (error) => done(error)),
    removeDirectory: (path, done) => fs.rmdir(full(path), (error) => done(error)),
    freeBytes: (done) => {
      fs.statfs(directory, { bigint: true }, (error, found) => {
        done(error === null && found.bavail >= 0n ? Number(found.bavail * found.bsize) : Infinity);
      });
    },
    lock: () => {
      prepareDirectory(directory);
      release = takeLock(directory, process.pid);
    },
    unlock: () => {
      release?.();
      release = null;
    },
  };
}

/** `read()`, or `otherwise` when the file does not exist. */
function ifThere<T, U>(read: () => T, otherwise: U): T | U {
  try {
    return read();
  } catch (error) {
    if (codeOf(error) === "ENOENT") return otherwise;
    throw error;
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

function readAt(path: string, offset: number, length: number): Uint8Array {
  const descriptor = fs.openSync(path, O_RDONLY | O_NOFOLLOW);
  try {
    const bytes = new Uint8Array(length);
    let at = 0;
    while (at < length) {
      const count = fs.readSync(descriptor, bytes, at, length - at, offset + at);
      if (count === 0) break;
      at += count;
    }
    return bytes.subarray(0, at);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** The kernel may take fewer bytes than it is given: near a full disk it does, before it reports the error. */
function writeAll(descriptor: number, offset: number, bytes: Uint8Array, done: Done): void {
  fs.write(descriptor, bytes, 0, bytes.length, offset, (error, count) => {
    if (error !== null) return done(error);
    if (count === bytes.length) return done(null);
    if (count === 0) return done(new Error(`the disk took none of ${bytes.length} bytes`));
    writeAll(descriptor, offset + count, bytes.subarray(count), done);
  });
}

function fillWithZeros(descriptor: number, from: number, size: number, done: Done): void {
  const slice = ZEROS.subarray(0, Math.min(ZEROS.length, size - from));
  writeAll(descriptor, from, slice, (error) => {
    if (error !== null) return done(error);
    fs.fsync(descriptor, (failed) => {
      if (failed !== null || from + slice.length >= size) return done(failed);
      fillWithZeros(descriptor, from + slice.length, size, done);
    });
  });
}

function syncDirectory(path: string, done: Done): void {
  fs.open(path, "r", (error, descriptor) => {
    if (error !== null) return done(error);
    fs.fsync(descriptor, (failed) => fs.close(descriptor, () => done(failed)));
  });
}

/** Throws UNWRITABLE or NOT_PRIVATE. */
function prepareDirectory(directory: string): void {
  try {
    const made = fs.mkdirSync(directory, { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
    if (made !== undefined) syncNames(resolve(directory), dirname(resolve(made)));
    requirePrivate(
      directory,
      process.geteuid?.(),
      OUR_NAMES.some((name) => fs.existsSync(join(directory, name))),
    );
    fs.accessSync(directory, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
  } catch (error) {
    if (error instanceof RaftqError) throw error;
    const what = error instanceof Error ? error.message : String(error);
    throw new RaftqError("UNWRITABLE", `the data directory ${directory} cannot be written: ${what}`, error);
  }
}

/** Makes the names of new directories durable, from `directory` up to the one that was there before. */
function syncNames(directory: string, existing: string): void {
  for (let at = directory; at !== existing;) {
    at = dirname(at);
    const descriptor = fs.openSync(at, "r");
    fs.fsyncSync(descriptor);
    fs.closeSync(descriptor);
  }
}
