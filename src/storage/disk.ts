// The Disk port: which file operations raftq needs. The real one is `real-disk.ts`, the simulated one is in the tests.
//
// Paths are relative to the node's data directory. Reads answer at once (they happen at recovery and for snapshot parts);
// everything that changes the disk answers by callback, from a later event, never from inside the call.
// A callback gets null, or the error; after the first failed write the caller must not use that file again.

export type Done = (error: Error | null) => void;

export interface DiskFile {
  readonly path: string;
}

export interface Disk {
  /** Names in a directory, sorted; [] when it does not exist. */
  list(directory: string): readonly string[];
  /** The whole file; null when it does not exist. Throws on a read error. */
  read(path: string): Uint8Array | null;
  /** `length` bytes from `offset`, fewer at the end of the file. Throws on a read error. */
  readAt(path: string, offset: number, length: number): Uint8Array;
  /** Bytes of the file; null when it does not exist. */
  size(path: string): number | null;
  makeDirectory(path: string, done: Done): void;
  /**
   * Creates a file that must not exist, `size` bytes of zeros, its content and size durable (not its name). The zeros are
   * written, so that later writes inside the file need no more space. Nothing is left of a file that could not be made.
   */
  create(path: string, size: number, done: (error: Error | null, file: DiskFile | null) => void): void;
  /** Opens an existing file for writing. */
  open(path: string, done: (error: Error | null, file: DiskFile | null) => void): void;
  /**
   * Writes all of `bytes` at `offset`: they are durable when done reports no error, and nothing else that the file holds is.
   * After an error some of them may be there, durable or not. `bytes` must not change until done.
   */
  write(file: DiskFile, offset: number, bytes: Uint8Array, done: Done): void;
  close(file: DiskFile): void;
  /** The names in the directory are durable when done reports no error. */
  syncDirectory(path: string, done: Done): void;
  rename(from: string, to: string, done: Done): void;
  remove(path: string, done: Done): void;
  /** Removes a directory that is empty. */
  removeDirectory(path: string, done: Done): void;
  /** What this process may still write to the file system of the data directory. Infinity when it cannot be known. */
  freeBytes(done: (bytes: number) => void): void;
  /**
   * Another process has deleted or replaced a file: one that is open, or one of `files`. Gives its path as people find it; null: all are
   * where they were put. `files` is asked again at the end, because some may have been removed meanwhile.
   */
  findMissing(files: () => readonly string[], done: (path: string | null) => void): void;
  /** Takes the lock of the data directory, or throws RaftqError LOCKED naming the holder's pid. */
  lock(): void;
  unlock(): void;
}

const NO_SPACE: readonly unknown[] = ["ENOSPC", "EDQUOT"];

/** The disk is full, or the quota is used up: nothing is broken, and it may be otherwise later. */
export function isNoSpace(error: Error): boolean {
  return "code" in error && NO_SPACE.includes(error.code);
}

export function noSpace(needed: number, free: number): Error {
  const message = `no space: ${Math.floor(free)} bytes are free, ${needed} are needed`;
  return Object.assign(new Error(message), { code: "ENOSPC" });
}
