// Where is the directory that a format version wrote, and what is in it?
import path from "node:path";

/** All that a raftq must open, oldest first. */
export const GOLDEN_VERSIONS = [1, 2] as const;
export type GoldenVersion = (typeof GOLDEN_VERSIONS)[number];

export function goldenDirectory(version: GoldenVersion): string {
  return path.join(import.meta.dir, `golden/v${version}`);
}

/** A few blocks: small, so that a few entries fill several segments. */
export function goldenSegment(version: GoldenVersion): number {
  return (version === 1 ? 5 : 9) * 4096;
}
