// Runs disk operations that read from top to bottom: a generator yields each of them and goes on when it has ended. The driver resumes it
// inside the disk's own callbacks: no promise, no `await`, nothing in between.
import { must } from "../lib/assert.ts";
import type { Disk, DiskFile, Done } from "./disk.ts";

/** Begins an operation, which ends with `done`. */
export type Operation = (done: Done) => void;

/** Operations one after the other, and what comes of them. The first one that fails ends them, unless they are attempted. */
export type Steps<T = void> = Generator<Operation, T, void>;

/** How steps ended: the error of the operation that failed, or the result. */
export type Ended<T> = { readonly error: Error; readonly result: null } | { readonly error: null; readonly result: T };

/**
 * Runs the steps. Whatever they throw beside the errors of operations is a fault of this program and goes on up. `mayGoOn` is asked
 * whenever an operation has ended: if not, nothing more happens, `done` included.
 */
export function runSteps<T>(
  steps: Steps<T>,
  done: (ended: Ended<T>) => void,
  mayGoOn: () => boolean = () => true,
): void {
  const resume = (failed: Error | null): void => {
    if (!mayGoOn()) return;
    let next: IteratorResult<Operation, T>;
    try {
      next = failed === null ? steps.next() : steps.throw(failed);
    } catch (error) {
      if (failed === null || error !== failed) throw error;
      return done({ error: failed, result: null });
    }
    if (next.done === true) done({ error: null, result: next.value });
    else next.value(resume);
  };
  resume(null);
}

/** An operation that answers with more than an error. */
export function* resultOf<T>(begin: (done: (error: Error | null, answer: T) => void) => void): Steps<T> {
  const received: { answer: { readonly value: T } | null } = { answer: null };
  yield (done) =>
    begin((error, value) => {
      received.answer = { value };
      done(error);
    });
  return must(received.answer, "the answer of an operation that has ended").value;
}

/** Steps whose failure does not end what they are part of. */
export const attempt = <T>(steps: Steps<T>): Steps<Ended<T>> =>
  resultOf((done) => runSteps(steps, (ended) => done(null, ended)));

/** Ends the steps that it is part of, as an operation that fails does. */
export function* failWith(error: Error): Steps<never> {
  yield (done) => done(error);
  throw error;
}

export const createFile = (disk: Disk, path: string, bytes: number): Steps<DiskFile> =>
  fileOf((done) => disk.create(path, bytes, done));

export const openFile = (disk: Disk, path: string): Steps<DiskFile> => fileOf((done) => disk.open(path, done));

function* fileOf(begin: (done: (error: Error | null, file: DiskFile | null) => void) => void): Steps<DiskFile> {
  return must(yield* resultOf(begin), "the file that was made or opened");
}

export const freeBytes = (disk: Disk): Steps<number> =>
  resultOf((done) => disk.freeBytes((bytes) => done(null, bytes)));

export function* write(disk: Disk, file: DiskFile, bytes: Uint8Array, offset = 0): Steps {
  yield (done) => disk.write(file, offset, bytes, done);
}

export function* removeFile(disk: Disk, path: string): Steps {
  yield (done) => disk.remove(path, done);
}

/** A file that must not exist, with these bytes: durable, but for its name. */
export function* writeNewFile(disk: Disk, path: string, bytes: Uint8Array): Steps {
  const file = yield* createFile(disk, path, 0);
  try {
    yield* write(disk, file, bytes);
  } finally {
    disk.close(file);
  }
}
