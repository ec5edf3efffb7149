// How do the file operations of `Disk` reach a real file system? Explicit positions, durable when written (O_DSYNC), past the page
// cache where that is possible (O_DIRECT), on the thread pool, by callback.
import { ptr } from "bun:ffi";
import fs from "node:fs";
import { dirname, join, resolve } from "node:path";
import { assert, must } from "../lib/assert.ts";
import { RaftqError } from "../lib/errors.ts";
import type { Disk, DiskFile, Done } from "./disk.ts";
import { findMissing } from "./in-place.ts";
import { type DirectoryLock, takeLock } from "./lock.ts";
import { requireLocal } from "./network-disk.ts";
import { PRIVATE_DIRECTORY_MODE, requirePrivate } from "./private-directory.ts";

const FILE_MODE = 0o600;
const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW, O_DSYNC, O_DIRECT } = fs.constants;
const CREATE_FLAGS = O_CREAT | O_EXCL | O_RDWR | O_DSYNC;
/** In a directory that is ours alone nobody else can place a link; a restored backup might hold one. */
const OPEN_FLAGS = O_RDWR | O_NOFOLLOW | O_DSYNC;
/** Any of these in it, and the directory holds a node's data. */
const OUR_NAMES = ["meta", "g0"] as const;
/**
 * Past the page cache: what it would keep is never read while the node runs, and the copy into it costs up to a third of a write's
 * CPU and time (src/README.md, Decisions).
 */
const DIRECT_FLAGS = O_RDWR | O_NOFOLLOW | O_DSYNC | O_DIRECT;
/** Such a write begins and ends at multiples of this, in the file and in memory: enough for every disk that people have. */
const DIRECT_BYTES = 4_096;
/** What ends elsewhere is written in two steps, if it is so much that this is worth it. */
const LARGE_BYTES = 256 * 1024;
/** A new file is filled in slices, each durable before the next: one big write would stall the log's. */
const ZEROS = new Uint8Array(1024 * 1024);

/** One file, open once or twice. */
interface Descriptors {
  readonly cached: number;
  /** null: its file system, or this system, has no such writes. */
  readonly direct: number | null;
  /** Such a write was refused. */
  refused: boolean;
  /** Where it is; null while it is renamed. */
  at: string | null;
}

/** `directory` is created when it is locked. `allowNetworkDisk`: also on a file system that other machines may use. */
export function createRealDisk(directory: string, allowNetworkDisk = false): Disk {
  assert(O_DSYNC > 0, "this system has O_DSYNC: without it no write would be durable");
  const opened = new Map<DiskFile, Descriptors>();
  const full = (path: string): string => join(directory, path);
  const descriptorsOf = (file: DiskFile): Descriptors => must(opened.get(file), `${file.path} is open`);
  const closes = createCloses();
  let held: DirectoryLock | null = null;

  const remember = (path: string, descriptors: Descriptors): DiskFile => {
    const file: DiskFile = { path };
    opened.set(file, descriptors);
    return file;
  };

  /** A file may be open while it is renamed. */
  const rename = (from: string, to: string, done: Done): void => {
    const moved = [...opened.values()].filter(({ at }) => at === from);
    const settle = (at: string | null): void => moved.forEach((descriptors) => (descriptors.at = at));
    settle(null);
    fs.rename(from, to, (error) => {
      settle(error === null ? to : from);
      done(error);
    });
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
      openTwice(full(path), CREATE_FLAGS, (error, descriptors) => {
        if (error !== null || descriptors === null) return done(error, null);
        fillWithZeros(descriptors, 0, size, (failed) => {
          if (failed === null) return done(null, remember(path, descriptors));
          closeBoth(descriptors, closes);
          // Half a file would take the very space that is missing.
          fs.unlink(full(path), () => done(failed, null));
        });
      });
    },
    open: (path, done) => {
      openTwice(full(path), OPEN_FLAGS, (error, descriptors) => {
        if (error !== null || descriptors === null) return done(error, null);
        done(null, remember(path, descriptors));
      });
    },
    write: (file, offset, bytes, done) => writeFile(descriptorsOf(file), offset, bytes, done),
    close: (file) => {
      const descriptors = descriptorsOf(file);
      opened.delete(file);
      closeBoth(descriptors, closes);
    },
    syncDirectory: (path, done) => syncDirectory(full(path), done),
    rename: (from, to, done) => rename(full(from), full(to), done),
    remove: (path, done) => fs.unlink(full(path), (error) => done(error)),
    removeDirectory: (path, done) => fs.rmdir(full(path), (error) => done(error)),
    // A file that was removed takes its space until it is closed.
    freeBytes: (done) =>
      closes.whenDone(() => {
        fs.statfs(directory, { bigint: true }, (error, found) => {
          done(error === null && found.bavail >= 0n ? Number(found.bavail * found.bsize) : Infinity);
        });
      }),
    findMissing: (files, done) =>
      findMissing(
        () => [...opened.values()],
        () => files().map(full),
        done,
      ),
    lock: () => {
      prepareDirectory(directory);
      requireLocal(directory, allowNetworkDisk);
      held = takeLock(directory);
    },
    unlock: () => {
      held?.release();
      held = null;
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

type OpenedTwice = (error: Error | null, descriptors: Descriptors | null) => void;

function openTwice(path: string, flags: number, done: OpenedTwice): void {
  fs.open(path, flags, FILE_MODE, (error, cached) => {
    if (error !== null) return done(error, null);
    // Not in one step: a file system without such writes refuses, and may have made the file all the same.
    fs.open(path, DIRECT_FLAGS, (refused, direct) => {
      done(null, { cached, direct: refused === null ? direct : null, refused: false, at: path });
    });
  });
}

function closeBoth({ cached, direct }: Descriptors, closes: Closes): void {
  if (direct !== null) closes.close(direct);
  closes.close(cached);
}

/** On the thread pool: the last close of a large file that was removed takes long. */
interface Closes {
  readonly close: (descriptor: number) => void;
  /** Calls back when no close is under way. */
  readonly whenDone: (callback: () => void) => void;
}

function createCloses(): Closes {
  let underWay = 0;
  let waiting: (() => void)[] = [];
  return {
    close: (descriptor) => {
      underWay++;
      fs.close(descriptor, () => {
        if (--underWay > 0) return;
        const callbacks = waiting;
        waiting = [];
        for (const callback of callbacks) callback();
      });
    },
    whenDone: (callback) => {
      if (underWay === 0) callback();
      else waiting.push(callback);
    },
  };
}

/** How many of `bytes`, from the first on, can be written past the page cache. */
function directBytes(offset: number, bytes: Uint8Array): number {
  const rest = bytes.length % DIRECT_BYTES;
  if (bytes.length < DIRECT_BYTES || (rest > 0 && bytes.length < LARGE_BYTES)) return 0;
  // The runtime gives large arrays memory that begins at a page, but does not promise it.
  return offset % DIRECT_BYTES === 0 && ptr(bytes) % DIRECT_BYTES === 0 ? bytes.length - rest : 0;
}

function writeFile(descriptors: Descriptors, offset: number, bytes: Uint8Array, done: Done): void {
  const { cached, direct, refused } = descriptors;
  const head = direct === null || refused ? 0 : directBytes(offset, bytes);
  if (direct === null || head === 0) return writeAll(cached, offset, bytes, done);
  writeAll(direct, offset, head === bytes.length ? bytes : bytes.subarray(0, head), (error) => {
    if (error === null) {
      if (head === bytes.length) done(null);
      else writeAll(cached, offset + head, bytes.subarray(head), done);
    } else if (codeOf(error) === "EINVAL") {
      // Its sectors are larger than any we know of.
      descriptors.refused = true;
      writeAll(cached, offset, bytes, done);
    } else done(error);
  });
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

function fillWithZeros(descriptors: Descriptors, from: number, size: number, done: Done): void {
  const slice = ZEROS.subarray(0, Math.min(ZEROS.length, size - from));
  writeFile(descriptors, from, slice, (error) => {
    if (error !== null || from + slice.length >= size) return done(error);
    fillWithZeros(descriptors, from + slice.length, size, done);
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
    const file = fileAmong(directory);
    if (file !== null) throw new RaftqError("NOT_A_DIRECTORY", notADirectory(directory, file), error);
    const what = error instanceof Error ? error.message : String(error);
    throw new RaftqError("UNWRITABLE", `the data directory ${directory} cannot be written: ${what}`, error);
  }
}

/** The file that stands where `directory`, or a directory above it, should be. */
function fileAmong(directory: string): string | null {
  const found = isDirectory(directory);
  if (found !== null) return found ? null : directory;
  return dirname(directory) === directory ? null : fileAmong(dirname(directory));
}

/** null: it is not there, or cannot be seen. */
function isDirectory(path: string): boolean | null {
  try {
    return fs.statSync(path).isDirectory();
  } catch {
    return null;
  }
}

const notADirectory = (directory: string, file: string): string =>
  file === directory
    ? `--data ${directory} is a file, not a directory`
    : `--data ${directory} cannot be made, because ${file} is a file, not a directory`;

/** Makes the names of new directories durable, from `directory` up to the one that was there before. */
function syncNames(directory: string, existing: string): void {
  for (let at = directory; at !== existing;) {
    at = dirname(at);
    const descriptor = fs.openSync(at, "r");
    fs.fsyncSync(descriptor);
    fs.closeSync(descriptor);
  }
}
