// Where do data go that cannot be trusted any more? They are quarantined in `damaged-<number>`, beside their successors: the newest is
// kept, for people.
import { type Disk, type Done, isNoSpace } from "./disk.ts";
import { CORRUPTION_MARKER_PATH } from "./corruption-marker.ts";
import { META_PATH } from "./meta.ts";
import { LOG_DIRECTORY } from "./segment.ts";
import { inSequence, type DiskOperation } from "./serial-queue.ts";
import { removeSnapshot, SNAPSHOT_DIRECTORY, snapshotDirectories } from "./snapshot-files.ts";

const QUARANTINE_NAME = /^damaged-([1-9]\d{0,8})$/;
/** What the data of a node consist of, at the top of its directory. */
const DATA = [META_PATH, "g0"] as const;

export const quarantineDirectory = (number: number): string => `damaged-${number}`;

/** The numbers of all there are, in order. */
export function quarantineNumbers(disk: Disk): readonly number[] {
  const numbers = disk.list(".").map((name) => Number(QUARANTINE_NAME.exec(name)?.[1] ?? 0));
  return numbers.filter((number) => number > 0).sort((a, b) => a - b);
}

/** Moves what is not moved yet. May be cut short at any point and called again. */
export function quarantine(disk: Disk, number: number, done: Done): void {
  const directory = quarantineDirectory(number);
  const present = new Set(disk.list("."));
  const moves = DATA.filter((name) => present.has(name)).map(
    (name): DiskOperation =>
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

/** Deletes all but the newest `keep`. Files that a person put in there are left alone, and then there is an error. */
export function removeQuarantined(disk: Disk, keep: 0 | 1, done: Done): void {
  const numbers = quarantineNumbers(disk);
  const older = numbers.slice(0, numbers.length - keep);
  inSequence(
    older.map(
      (number): DiskOperation =>
        (next) =>
          removeOneQuarantined(disk, quarantineDirectory(number), next),
    ),
    done,
  );
}

/** When there is no space for `attempt`, deletes the quarantined data and tries once more: they are kept only while there is space. */
export function retryWithoutQuarantine(disk: Disk, attempt: DiskOperation, done: Done): void {
  attempt((error) => {
    if (error === null || !isNoSpace(error) || quarantineNumbers(disk).length === 0) return done(error);
    removeQuarantined(disk, 0, () => attempt(done));
  });
}

function removeOneQuarantined(disk: Disk, directory: string, done: Done): void {
  const inside = (path: string): string => `${directory}/${path}`;
  const names = new Set(disk.list(directory));
  const groups = new Set(names.has("g0") ? disk.list(inside("g0")) : []);
  const files = [
    ...(names.has(META_PATH) ? [META_PATH] : []),
    ...(groups.has(CORRUPTION_MARKER_PATH.slice("g0/".length)) ? [CORRUPTION_MARKER_PATH] : []),
    ...disk.list(inside(LOG_DIRECTORY)).map((name) => `${LOG_DIRECTORY}/${name}`),
  ];
  const directories = [LOG_DIRECTORY, SNAPSHOT_DIRECTORY].filter((path) => groups.has(path.slice("g0/".length)));
  inSequence(
    [
      ...files.map(
        (file): DiskOperation =>
          (next) =>
            disk.remove(inside(file), next),
      ),
      ...snapshotDirectories(disk, directory).map(
        (snapshot): DiskOperation =>
          (next) =>
            removeSnapshot(disk, snapshot, next),
      ),
      ...[...directories, ...(names.has("g0") ? ["g0"] : []), "."].map(
        (path): DiskOperation =>
          (next) =>
            disk.removeDirectory(path === "." ? directory : inside(path), next),
      ),
    ],
    done,
  );
}
