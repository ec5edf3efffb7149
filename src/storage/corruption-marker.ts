// How does a node remember that its data are wrong although every checksum is right? By a marker file among them that holds the reason.
import { missing } from "./corrupt.ts";
import { type Disk, type Done, isNoSpace } from "./disk.ts";

/** Beside log and snapshots, so that it is quarantined with them. */
export const CORRUPTION_MARKER_PATH = "g0/damaged";

/** Durable when done. The file's existence alone is the marker, so it counts from its first moment. */
export function markDamaged(disk: Disk, why: string, done: Done): void {
  if (disk.size(CORRUPTION_MARKER_PATH) !== null) return done(null);
  const bytes = new TextEncoder().encode(`${why}\n`);
  disk.create(CORRUPTION_MARKER_PATH, 0, (error, file) => {
    if (error !== null || file === null) return done(error);
    disk.write(file, 0, bytes, (failed) => {
      disk.close(file);
      // On a full disk the marker has no reason in it.
      if (failed !== null && !isNoSpace(failed)) return done(failed);
      disk.syncDirectory("g0", done);
    });
  });
}

/** Throws CORRUPT when the directory was marked. */
export function refuseMarked(disk: Disk): void {
  const bytes = disk.read(CORRUPTION_MARKER_PATH);
  if (bytes === null) return;
  const why = new TextDecoder().decode(bytes).trim();
  throw missing(why === "" ? "this directory was marked as damaged" : why);
}
