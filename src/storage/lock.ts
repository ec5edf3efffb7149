// Locks a directory for one process. The kernel holds the lock (flock) and gives it back when that process ends, however it ends; process
// ids would mean nothing across containers and machines.
import { dlopen, FFIType, read } from "bun:ffi";
import fs from "node:fs";
import { join } from "node:path";
import { RaftqError } from "../lib/errors.ts";
import { PRIVATE_FILE_MODE } from "./directory-checks.ts";

const { O_RDONLY, O_RDWR, O_CREAT, O_DIRECTORY, O_NOFOLLOW } = fs.constants;
const LOCK_FILE = "LOCK";

const LIBC = "libc.so.6";
const LOCK_EX = 2;
const LOCK_NB = 4;
const EWOULDBLOCK = 11;

/** Every lock of this machine that a process of this container could see: `1: FLOCK ADVISORY WRITE <pid> <device>:<inode> …`. */
const KERNEL_LOCKS = "/proc/locks";
const FLOCK_LINE = /: FLOCK +ADVISORY +WRITE (\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) /g;

export interface DirectoryLock {
  release(): void;
}

export type LockResult =
  | { readonly type: "acquired"; readonly lock: DirectoryLock }
  /** `holder`: "process 123", as far as it can be known. */
  | { readonly type: "held"; readonly holder: string };

/** Acquires the lock, or throws LOCKED naming the holder, or UNWRITABLE where the file system has no locks. The directory must exist. */
export function acquireLock(directory: string): DirectoryLock {
  const result = tryLock(directory);
  if (result.type === "acquired") return result.lock;
  throw new RaftqError("LOCKED", `${directory} is in use by ${result.holder}`);
}

/**
 * Locks the directory itself, since people delete lock files; where directories cannot be locked (NFS), a file in it. Throws
 * UNWRITABLE when neither can.
 */
export function tryLock(directory: string): LockResult {
  try {
    const result = lockPath(directory, O_RDONLY | O_DIRECTORY);
    if (typeof result !== "number") return result;
    const second = lockPath(join(directory, LOCK_FILE), O_RDWR | O_CREAT);
    if (typeof second !== "number") return second;
    throw new Error(`its file system has no locks (error ${second})`);
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    throw new RaftqError("UNWRITABLE", `${directory} cannot be locked: ${what}`, error);
  }
}

/** A number: why the file system refuses, as errno. */
function lockPath(path: string, flags: number): LockResult | number {
  const descriptor = fs.openSync(path, flags | O_NOFOLLOW, PRIVATE_FILE_MODE);
  const error = flock(descriptor);
  const locked = fs.fstatSync(descriptor);
  // Another process may have deleted it, and a third made it anew, since it was opened: that one has the name now.
  if (error === null && fs.statSync(path, { throwIfNoEntry: false })?.ino === locked.ino) {
    return { type: "acquired", lock: { release: () => fs.closeSync(descriptor) } };
  }
  fs.closeSync(descriptor);
  return error === null || error === EWOULDBLOCK ? { type: "held", holder: holderOf(locked) } : error;
}

/** Null, or errno. */
function flock(descriptor: number): number | null {
  const libc = dlopen(LIBC, {
    flock: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
    __errno_location: { args: [], returns: FFIType.ptr },
  });
  try {
    if (libc.symbols.flock(descriptor, LOCK_EX | LOCK_NB) === 0) return null;
    const location = libc.symbols.__errno_location();
    return location === null ? 0 : read.i32(location);
  } finally {
    libc.close();
  }
}

/** The kernel's list leaves out processes of other containers, and some file systems have another device number there. */
function holderOf({ dev, ino }: fs.Stats): string {
  for (const [, pid, major = "", minor = "", inode] of locksOfTheKernel().matchAll(FLOCK_LINE)) {
    if (Number(inode) === ino && deviceNumber(parseInt(major, 16), parseInt(minor, 16)) === dev)
      return `process ${pid}`;
  }
  return "a process that cannot be seen from here, perhaps of another container or machine";
}

function locksOfTheKernel(): string {
  try {
    return fs.readFileSync(KERNEL_LOCKS, "utf8");
  } catch {
    return "";
  }
}

/** As stat(2) gives it on Linux: 12 bits of the major number between 20 of the minor one. */
const deviceNumber = (major: number, minor: number): number => (minor & 0xff) + major * 0x100 + (minor >> 8) * 0x100000;
