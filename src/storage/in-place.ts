// Are a node's files still where it put them? That they are deleted or replaced while they are open is not noticed by any write: that
// goes on into a file which has no name any more.
import fs from "node:fs";
import { dirname } from "node:path";

/** A file that is open. */
export interface Placed {
  readonly cached: number;
  /** Its path; null while it gets another one. */
  readonly at: string | null;
}

/**
 * One that is open and not at its path, or one of `named` that is not there; null: all are in place. Both are asked again at the end:
 * what was closed, renamed or removed by its owner meanwhile is not meant.
 */
export function findMissing(
  opened: () => readonly Placed[],
  named: () => readonly string[],
  done: (path: string | null) => void,
): void {
  const wanted = named();
  const missing: { readonly path: string; readonly isMeant: () => boolean }[] = [];
  const steps: ((next: () => void) => void)[] = [
    ...opened().map((file) => (next: () => void) => {
      const { at } = file;
      if (at === null) return next();
      isAt(at, file.cached, (isThere) => {
        if (!isThere) missing.push({ path: at, isMeant: () => file.at === at && opened().includes(file) });
        next();
      });
    }),
    ...[...new Set(wanted.map((path) => dirname(path)))].map((directory) => (next: () => void) => {
      listNames(directory, (names) => {
        for (const path of wanted.filter((one) => dirname(one) === directory))
          if (names !== null && !names.has(path.slice(directory.length + 1)))
            missing.push({ path, isMeant: () => named().includes(path) });
        next();
      });
    }),
  ];
  const run = (at: number): void => {
    const step = steps[at];
    if (step !== undefined) step(() => run(at + 1));
    else done(missing.find(({ isMeant }) => isMeant())?.path ?? null);
  };
  run(0);
}

const GONE: readonly unknown[] = ["ENOENT", "ENOTDIR", "ELOOP", "ESTALE"];

/** Nothing is at this path. Any other error shows nothing about what is there. */
export function isGone(error: Error): boolean {
  return "code" in error && GONE.includes(error.code);
}

function isAt(path: string, descriptor: number, done: (isThere: boolean) => void): void {
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
