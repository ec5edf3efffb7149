// Writes the corruption marker for data that are wrong although every checksum is right, and moves data that cannot be trusted into `damaged-<number>`, beside their
// successors. The newest of these is kept, for people.
import { type Disk, isNoSpace } from "../disk.ts";
import { corrupt } from "../file-errors.ts";
import { META_PATH } from "../meta.ts";
import { attempt, createFile, failWith, type Steps, write } from "../steps.ts";
import { removeSnapshot, SNAPSHOT_DIRECTORY, snapshotDirectories } from "../snapshot/files.ts";
import { LOG_DIRECTORY } from "../wal/segment.ts";

const QUARANTINE_NAME = /^damaged-([1-9]\d{0,8})$/;
/** What the data of a node consist of, at the top of its directory. */
const DATA = [META_PATH, "g0"] as const;

/** Beside log and snapshots, so that it is quarantined with them. */
export const CORRUPTION_MARKER_PATH = "g0/damaged";

/** Durable at the end. The file's existence alone is the marker, so it counts from its first moment. */
export function* markDamaged(disk: Disk, why: string): Steps {
  if (disk.size(CORRUPTION_MARKER_PATH) !== null) return;
  const file = yield* createFile(disk, CORRUPTION_MARKER_PATH, 0);
  const bytes = new TextEncoder().encode(`${why}\n`);
  const written = yield* attempt(write(disk, file, bytes));
  disk.close(file);
  // On a full disk the marker has no reason in it.
  if (written.error !== null && !isNoSpace(written.error)) yield* failWith(written.error);
  yield (done) => disk.syncDirectory("g0", done);
}

/** Throws CORRUPT when the directory has a corruption marker. */
export function refuseMarked(disk: Disk): void {
  const bytes = disk.read(CORRUPTION_MARKER_PATH);
  if (bytes === null) return;
  const why = new TextDecoder().decode(bytes).trim();
  throw corrupt(why === "" ? "this directory was marked as damaged" : why);
}

const quarantineDirectory = (number: number): string => `damaged-${number}`;

/** The numbers of all there are, in order. */
export function quarantineNumbers(disk: Disk): readonly number[] {
  const numbers = disk.list(".").map((name) => Number(QUARANTINE_NAME.exec(name)?.[1] ?? 0));
  return numbers.filter((number) => number > 0).sort((a, b) => a - b);
}

/** Moves what is not moved yet. May be cut short at any point and called again. */
export function* quarantine(disk: Disk, number: number): Steps {
  const directory = quarantineDirectory(number);
  const present = new Set(disk.list("."));
  yield (done) => disk.makeDirectory(directory, done);
  yield (done) => disk.syncDirectory(".", done);
  for (const name of DATA) if (present.has(name)) yield (done) => disk.rename(name, `${directory}/${name}`, done);
  yield (done) => disk.syncDirectory(directory, done);
  yield (done) => disk.syncDirectory(".", done);
}

/** Deletes all but the newest `keep`. Files that a person put in there are left alone, and then there is an error. */
export function* removeQuarantined(disk: Disk, keep: 0 | 1): Steps {
  const numbers = quarantineNumbers(disk);
  const older = numbers.slice(0, numbers.length - keep);
  for (const number of older) yield* removeOneQuarantined(disk, quarantineDirectory(number));
}

/** When there is no space for these steps, deletes the quarantined data and tries once more: they are kept only while there is space. */
export function* retryWithoutQuarantine<T>(disk: Disk, steps: () => Steps<T>): Steps<T> {
  const { error, result } = yield* attempt(steps());
  if (error === null) return result;
  if (!isNoSpace(error) || quarantineNumbers(disk).length === 0) return yield* failWith(error);
  yield* attempt(removeQuarantined(disk, 0));
  return yield* steps();
}

function* removeOneQuarantined(disk: Disk, directory: string): Steps {
  const inside = (path: string): string => `${directory}/${path}`;
  const names = new Set(disk.list(directory));
  const groups = new Set(names.has("g0") ? disk.list(inside("g0")) : []);
  const hasInGroup = (path: string): boolean => groups.has(path.slice("g0/".length));
  const files = [
    ...(names.has(META_PATH) ? [META_PATH] : []),
    ...(hasInGroup(CORRUPTION_MARKER_PATH) ? [CORRUPTION_MARKER_PATH] : []),
    ...disk.list(inside(LOG_DIRECTORY)).map((name) => `${LOG_DIRECTORY}/${name}`),
  ];
  const snapshots = snapshotDirectories(disk, directory);
  const directories = [LOG_DIRECTORY, SNAPSHOT_DIRECTORY].filter(hasInGroup);
  for (const file of files) yield (done) => disk.remove(inside(file), done);
  for (const snapshot of snapshots) yield* removeSnapshot(disk, snapshot);
  for (const path of directories) yield (done) => disk.removeDirectory(inside(path), done);
  if (names.has("g0")) yield (done) => disk.removeDirectory(inside("g0"), done);
  yield (done) => disk.removeDirectory(directory, done);
}
