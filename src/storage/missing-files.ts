// Finds files of the node that were deleted or replaced while they are in use. No write would notice that: it goes on into a file without a
// name.
import fs from "node:fs";
import { dirname } from "node:path";

export interface OpenFile {
  /** Its descriptor. */
  readonly buffered: number;
  /** null while it is renamed. */
  readonly path: string | null;
}

/**
 * The path of an open file that is not there, or of one of the `named` ones; null: none is missing. Both are asked again at the end:
 * what was closed, renamed or removed by its owner meanwhile does not count.
 */
export function findMissing(
  openFiles: () => readonly OpenFile[],
  named: () => readonly string[],
  done: (path: string | null) => void,
): void {
  const wanted = named();
  const missing: { readonly path: string; readonly isStillWanted: () => boolean }[] = [];
  const checks: ((next: () => void) => void)[] = [
    ...openFiles().map((file) => (next: () => void) => {
      const { path } = file;
      if (path === null) return next();
      isAtPath(path, file.buffered, (isThere) => {
        if (!isThere) missing.push({ path, isStillWanted: () => file.path === path && openFiles().includes(file) });
        next();
      });
    }),
    ...[...new Set(wanted.map((path) => dirname(path)))].map((directory) => (next: () => void) => {
      listNames(directory, (names) => {
        for (const path of wanted.filter((one) => dirname(one) === directory))
          if (names !== null && !names.has(path.slice(directory.length + 1)))
            missing.push({ path, isStillWanted: () => named().includes(path) });
        next();
      });
    }),
  ];
  const run = (at: number): void => {
    const check = checks[at];
    if (check !== undefined) check(() => run(at + 1));
    else done(missing.find(({ isStillWanted }) => isStillWanted())?.path ?? null);
  };
  run(0);
}

const GONE: readonly unknown[] = ["ENOENT", "ENOTDIR", "ELOOP", "ESTALE"];

/** Nothing is at this path. Any other error shows nothing about what is there. */
export function isGone(error: Error): boolean {
  return "code" in error && GONE.includes(error.code);
}

function isAtPath(path: string, descriptor: number, done: (isThere: boolean) => void): void {
  fs.lstat(path, { bigint: true }, (error, found) => {
    if (error !== null) return done(!isGone(error));
    fs.fstat(descriptor, { bigint: true }, (failed, open) => {
      done(failed !== null || (found.dev === open.dev && found.ino === open.ino));
    });
  });
}

/** null: unknown. */
function listNames(directory: string, done: (names: ReadonlySet<string> | null) => void): void {
  fs.readdir(directory, (error, names) => {
    if (error === null) done(new Set(names));
    else done(isGone(error) ? new Set() : null);
  });
}
