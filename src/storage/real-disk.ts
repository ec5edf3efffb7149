// The Disk port on a real file system: explicit positions, durable when written (O_DSYNC), past the page cache where that is possible
// (O_DIRECT), on the thread pool, by callback.
import { ptr } from "bun:ffi";
import fs from "node:fs";
import { join } from "node:path";
import { STORAGE } from "../config.ts";
import { assert, must } from "../lib/assert.ts";
import { PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE, prepareDirectory, requireLocal } from "./directory-checks.ts";
import type { Disk, DiskFile, Done } from "./disk.ts";
import { type DirectoryLock, acquireLock } from "./lock.ts";
import { findMissing } from "./missing-files.ts";

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW, O_DSYNC, O_DIRECT } = fs.constants;
const CREATE_FLAGS = O_CREAT | O_EXCL | O_RDWR | O_DSYNC;
/** No other user can place a link in a directory that is private to this one; a restored backup might hold one. */
const OPEN_FLAGS = O_RDWR | O_NOFOLLOW | O_DSYNC;
/**
 * Past the page cache: what it would keep is never read while the node runs, and the copy into it costs up to a third of a write's
 * CPU and time (src/README.md, Decisions).
 */
const DIRECT_FLAGS = O_RDWR | O_NOFOLLOW | O_DSYNC | O_DIRECT;
/** Such a write begins and ends at multiples of this, in the file and in memory: enough for every common disk. */
const DIRECT_BYTES = 4_096;
const ZEROS = new Uint8Array(STORAGE.zeroFillBytes);

/** One file, open once or twice: for writes through the page cache, and past it. */
interface Descriptors {
  readonly buffered: number;
  /** null: its file system, or this system, has no such writes. */
  readonly direct: number | null;
  /** A direct write was refused. */
  directRefused: boolean;
  /** null while it is renamed. */
  path: string | null;
}

interface RealDisk {
  readonly directory: string;
  readonly opened: Map<DiskFile, Descriptors>;
  /** Descriptors that are being closed. */
  closing: number;
  /** To be called when none is. */
  whenClosed: (() => void)[];
}

/** `directory` is created when it is locked. `allowNetworkDisk`: also on a file system that other machines may use. */
export function createRealDisk(directory: string, allowNetworkDisk = false): Disk {
  assert(O_DSYNC > 0, "this system has O_DSYNC: without it no write would be durable");
  const disk: RealDisk = { directory, opened: new Map(), closing: 0, whenClosed: [] };
  const fullPath = (path: string): string => join(directory, path);
  let directoryLock: DirectoryLock | null = null;
  return {
    list: (path) => ifExists(() => fs.readdirSync(fullPath(path)).sort(), []),
    // A plain array: `slice` of a Buffer would not copy, and keep the whole file in memory.
    read: (path) =>
      ifExists(() => new Uint8Array(fs.readFileSync(fullPath(path), { flag: O_RDONLY | O_NOFOLLOW })), null),
    readAt: (path, offset, length) => readAt(fullPath(path), offset, length),
    size: (path) => ifExists(() => fs.statSync(fullPath(path)).size, null),
    makeDirectory: (path, done) => {
      fs.mkdir(fullPath(path), { recursive: true, mode: PRIVATE_DIRECTORY_MODE }, (error) => done(error));
    },
    create: (path, size, done) => createFile(disk, path, size, done),
    open: (path, done) => openFile(disk, path, done),
    write: (file, offset, bytes, done) => writeFile(descriptorsOf(disk, file), offset, bytes, done),
    close: (file) => {
      const descriptors = descriptorsOf(disk, file);
      disk.opened.delete(file);
      closeBoth(disk, descriptors);
    },
    syncDirectory: (path, done) => syncDirectory(fullPath(path), done),
    rename: (from, to, done) => rename(disk, fullPath(from), fullPath(to), done),
    remove: (path, done) => fs.unlink(fullPath(path), (error) => done(error)),
    removeDirectory: (path, done) => fs.rmdir(fullPath(path), (error) => done(error)),
    freeBytes: (done) => freeBytes(disk, done),
    findMissing: (files, done) =>
      findMissing(
        () => [...disk.opened.values()],
        () => files().map(fullPath),
        done,
      ),
    lock: () => {
      prepareDirectory(directory, process.geteuid?.());
      requireLocal(directory, allowNetworkDisk);
      directoryLock = acquireLock(directory);
    },
    unlock: () => {
      directoryLock?.release();
      directoryLock = null;
    },
  };
}

type FileDone = (error: Error | null, file: DiskFile | null) => void;

function createFile(disk: RealDisk, path: string, size: number, done: FileDone): void {
  const fullPath = join(disk.directory, path);
  openTwice(fullPath, CREATE_FLAGS, (error, descriptors) => {
    if (error !== null || descriptors === null) return done(error, null);
    fillWithZeros(descriptors, 0, size, (failed) => {
      if (failed === null) return done(null, remember(disk, path, descriptors));
      closeBoth(disk, descriptors);
      // Half a file would take the very space that is missing.
      fs.unlink(fullPath, () => done(failed, null));
    });
  });
}

function openFile(disk: RealDisk, path: string, done: FileDone): void {
  openTwice(join(disk.directory, path), OPEN_FLAGS, (error, descriptors) => {
    if (error !== null || descriptors === null) return done(error, null);
    done(null, remember(disk, path, descriptors));
  });
}

function remember({ opened }: RealDisk, path: string, descriptors: Descriptors): DiskFile {
  const file: DiskFile = { path };
  opened.set(file, descriptors);
  return file;
}

function descriptorsOf({ opened }: RealDisk, file: DiskFile): Descriptors {
  return must(opened.get(file), `${file.path} is open`);
}

/** A file may be open while it is renamed. */
function rename({ opened }: RealDisk, from: string, to: string, done: Done): void {
  const renamed = [...opened.values()].filter(({ path }) => path === from);
  const setPath = (path: string | null): void => renamed.forEach((descriptors) => (descriptors.path = path));
  setPath(null);
  fs.rename(from, to, (error) => {
    setPath(error === null ? to : from);
    done(error);
  });
}

/** A file that was removed takes its space until it is closed. */
function freeBytes(disk: RealDisk, done: (bytes: number) => void): void {
  const ask = (): void =>
    fs.statfs(disk.directory, { bigint: true }, (error, found) => {
      done(error === null && found.bavail >= 0n ? Number(found.bavail * found.bsize) : Infinity);
    });
  if (disk.closing === 0) ask();
  else disk.whenClosed.push(ask);
}

/** `read()`, or `otherwise` when the file does not exist. */
function ifExists<T, U>(read: () => T, otherwise: U): T | U {
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
  fs.open(path, flags, PRIVATE_FILE_MODE, (error, buffered) => {
    if (error !== null) return done(error, null);
    // Not in one step: a file system without such writes refuses, and may have made the file all the same.
    fs.open(path, DIRECT_FLAGS, (refused, direct) => {
      done(null, { buffered, direct: refused === null ? direct : null, directRefused: false, path });
    });
  });
}

function closeBoth(disk: RealDisk, { buffered, direct }: Descriptors): void {
  if (direct !== null) closeDescriptor(disk, direct);
  closeDescriptor(disk, buffered);
}

/** On the thread pool: the last close of a large file that was removed takes long. */
function closeDescriptor(disk: RealDisk, descriptor: number): void {
  disk.closing++;
  fs.close(descriptor, () => {
    if (--disk.closing > 0) return;
    const callbacks = disk.whenClosed;
    disk.whenClosed = [];
    for (const callback of callbacks) callback();
  });
}

/** How many of `bytes`, from the first on, can be written past the page cache. */
function directBytes(offset: number, bytes: Uint8Array): number {
  const rest = bytes.length % DIRECT_BYTES;
  if (bytes.length < DIRECT_BYTES || (rest > 0 && bytes.length < STORAGE.minSplitWriteBytes)) return 0;
  // The runtime gives large arrays memory that begins at a page, but does not promise it.
  return offset % DIRECT_BYTES === 0 && ptr(bytes) % DIRECT_BYTES === 0 ? bytes.length - rest : 0;
}

function writeFile(descriptors: Descriptors, offset: number, bytes: Uint8Array, done: Done): void {
  const { buffered, direct, directRefused } = descriptors;
  const head = direct === null || directRefused ? 0 : directBytes(offset, bytes);
  if (direct === null || head === 0) return writeAll(buffered, offset, bytes, done);
  writeAll(direct, offset, head === bytes.length ? bytes : bytes.subarray(0, head), (error) => {
    if (error === null) {
      if (head === bytes.length) done(null);
      else writeAll(buffered, offset + head, bytes.subarray(head), done);
    } else if (codeOf(error) === "EINVAL") {
      // Its sectors are larger than any we know of.
      descriptors.directRefused = true;
      writeAll(buffered, offset, bytes, done);
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
