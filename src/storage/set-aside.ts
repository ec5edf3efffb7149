// Where do data go that cannot be trusted any more? Into `damaged-<number>` beside their successors: the newest is kept, for people.
import { type Disk, type Done, isNoSpace } from "./disk.ts";
import { MARK_PATH } from "./mark.ts";
import { META_PATH } from "./meta.ts";
import { LOG_DIRECTORY } from "./segment.ts";
import { inSequence, type Step } from "./sequence.ts";
import { removeSnapshot, SNAPSHOT_DIRECTORY, snapshotDirectories } from "./snapshot-files.ts";

const ASIDE_NAME = /^damaged-([1-9]\d{0,8})$/;
/** What the data of a node consist of, at the top of its directory. */
const DATA = [META_PATH, "g0"] as const;

export const asideDirectory = (number: number): string => `damaged-${number}`;

/** The numbers of all there are, in order. */
export function asideNumbers(disk: Disk): readonly number[] {
  const numbers = disk.list(".").map((name) => Number(ASIDE_NAME.exec(name)?.[1] ?? 0));
  return numbers.filter((number) => number > 0).sort((a, b) => a - b);
}

/** Moves what is not moved yet. May be cut short at any point and called again. */
export function setAside(disk: Disk, number: number, done: Done): void {
  const directory = asideDirectory(number);
  const present = new Set(disk.list("."));
  const moves = DATA.filter((name) => present.has(name)).map(
    (name): Step =>
      (next) =>
        disk.rename(name, `${directory}/${name}`, next),
  );
  inSequence(
    [
      (next) => disk.makeDirectory(directory, next),
      (next) => disk.syncDirectory(".", next),
      ...moves,
      (next) => disk.syncDirectory(directory, next),
      (next) => disk.syncDirectory(".", next),
    ],
    done,
  );
}

/** Deletes all but the newest `keep`. What a person put in there is left alone, and then the error is told. */
export function removeAsides(disk: Disk, keep: 0 | 1, done: Done): void {
  const numbers = asideNumbers(disk);
  const older = numbers.slice(0, numbers.length - keep);
  inSequence(
    older.map(
      (number): Step =>
        (next) =>
          removeAside(disk, asideDirectory(number), next),
    ),
    done,
  );
}

/** Once more without them when there is no room for `attempt`: they are kept for people only as long as there is. */
export function sparingAsides(disk: Disk, attempt: Step, done: Done): void {
  attempt((error) => {
    if (error === null || !isNoSpace(error) || asideNumbers(disk).length === 0) return done(error);
    removeAsides(disk, 0, () => attempt(done));
  });
}

function removeAside(disk: Disk, directory: string, done: Done): void {
  const inside = (path: string): string => `${directory}/${path}`;
  const names = new Set(disk.list(directory));
  const groups = new Set(names.has("g0") ? disk.list(inside("g0")) : []);
  const files = [
    ...(names.has(META_PATH) ? [META_PATH] : []),
    ...(groups.has(MARK_PATH.slice("g0/".length)) ? [MARK_PATH] : []),
    ...disk.list(inside(LOG_DIRECTORY)).map((name) => `${LOG_DIRECTORY}/${name}`),
  ];
  const directories = [LOG_DIRECTORY, SNAPSHOT_DIRECTORY].filter((path) => groups.has(path.slice("g0/".length)));
  inSequence(
    [
      ...files.map(
        (file): Step =>
          (next) =>
            disk.remove(inside(file), next),
      ),
      ...snapshotDirectories(disk, directory).map(
        (snapshot): Step =>
          (next) =>
            removeSnapshot(disk, snapshot, next),
      ),
      ...[...directories, ...(names.has("g0") ? ["g0"] : []), "."].map(
        (path): Step =>
          (next) =>
            disk.removeDirectory(path === "." ? directory : inside(path), next),
      ),
    ],
    done,
  );
}
