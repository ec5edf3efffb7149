// How does a node remember that its data are wrong although every checksum is right? By a marker file among them that holds the reason.
import { corrupt } from "../corrupt.ts";
import { type Disk, isNoSpace } from "../disk.ts";
import { attempt, createFile, failWith, type Steps, write } from "../steps.ts";

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

/** Throws CORRUPT when the directory was marked. */
export function refuseMarked(disk: Disk): void {
  const bytes = disk.read(CORRUPTION_MARKER_PATH);
  if (bytes === null) return;
  const why = new TextDecoder().decode(bytes).trim();
  throw corrupt(why === "" ? "this directory was marked as damaged" : why);
}
