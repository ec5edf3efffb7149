// Replays the frames of a log to its entries and its snapshot. A later frame with a smaller first index is a truncation.
import type { Entry } from "../../raft/entry.ts";
import { corrupt } from "../file-errors.ts";
import type { FrameContent } from "./frame.ts";

export type SnapshotFrame = Extract<FrameContent, { kind: "snapshot" }>;

export interface Replayed {
  readonly entries: readonly Entry[];
  readonly snapshot: SnapshotFrame | null;
}

/** Throws CORRUPT when the frames leave a gap. Frames before the last reset do not count: some of them may have been deleted already. */
export function replay(contents: readonly FrameContent[]): Replayed {
  let entries: Entry[] = [];
  let snapshot: SnapshotFrame | null = null;
  /** Where the log ends; null before the first frame that shows it: what came earlier was deleted with its segment. */
  let lastIndex: number | null = null;
  const lastReset = contents.findLastIndex((content) => content.kind === "snapshot" && content.reset);
  for (const content of contents.slice(Math.max(0, lastReset))) {
    switch (content.kind) {
      case "batch": {
        const first = content.entries[0]?.index ?? 0;
        if (lastIndex !== null && first > lastIndex + 1)
          throw corrupt(`the log has no entries from ${lastIndex + 1} to ${first - 1}`);
        const kept = Math.max(0, first - (entries[0]?.index ?? first));
        entries.length = Math.min(entries.length, kept);
        for (const entry of content.entries) entries.push(entry);
        lastIndex = content.entries.at(-1)?.index ?? 0;
        break;
      }
      case "snapshot":
        snapshot = content;
        if (!content.reset) break;
        entries = [];
        lastIndex = content.index;
        break;
      case "opening":
      case "closing":
      case "continues":
        break;
    }
  }
  const begins = entries[0]?.index;
  const covered = snapshot?.index ?? 0;
  if (begins !== undefined && begins > covered + 1)
    throw corrupt(`the log has no entries from ${covered + 1} to ${begins - 1}`);
  if (lastIndex !== null && lastIndex < covered)
    throw corrupt(`the log ends at ${lastIndex}, before its snapshot at ${covered}`);
  return { entries, snapshot };
}
