// Where is the directory that a format version wrote, and what is in it?
import path from "node:path";

/** One that raftq does not read any more. */
export const OLDER_VERSION = 3;

export function goldenDirectory(version: number): string {
  return path.join(import.meta.dir, `golden/v${version}`);
}

/** A few blocks: small, so that a few entries fill several segments. */
export const GOLDEN_SEGMENT_BYTES = 9 * 4096;
