// Which segments still hold live entries, and how large has the log grown? Kept alike by recovery and by the writer.
import type { LogIndex } from "../raft/types.ts";
import type { FrameContent } from "./batch-frame.ts";
import type { Segment } from "./segment.ts";

export interface Extents {
  /** The frames noted from now on lie in this segment. */
  readonly begin: (segment: Segment) => void;
  readonly note: (content: FrameContent, bytes: number) => void;
  /** Bytes of all frames with entries that the snapshot that counts does not cover. */
  readonly logBytes: () => number;
  /**
   * Takes out and gives the segments, oldest first, without an entry at or above `keepFrom`; never the newest one, or the one
   * with the last snapshot frame. */
  readonly dropBelow: (keepFrom: LogIndex) => readonly Segment[];
  readonly oldest: () => Segment | undefined;
}

export function createExtents(): Extents {
  const segments: { readonly segment: Segment; lastLive: LogIndex }[] = [];
  let sinceSnapshot: { readonly lastIndex: LogIndex; readonly bytes: number }[] = [];
  let snapshotSegment: Segment | undefined;
  let lastIndex = 0;
  let logBytes = 0;

  const truncateTo = (index: LogIndex): void => {
    for (const extent of segments) extent.lastLive = Math.min(extent.lastLive, index);
  };
  const note = (content: FrameContent, bytes: number): void => {
    switch (content.kind) {
      case "batch": {
        const first = content.entries[0]?.index ?? 0;
        if (first <= lastIndex) truncateTo(first - 1);
        lastIndex = content.entries.at(-1)?.index ?? 0;
        const extent = segments.at(-1);
        if (extent !== undefined) extent.lastLive = lastIndex;
        break;
      }
      case "snapshot":
        if (content.reset) {
          truncateTo(0);
          lastIndex = content.index;
        }
        snapshotSegment = segments.at(-1)?.segment;
        sinceSnapshot = content.reset ? [] : sinceSnapshot.filter((frame) => frame.lastIndex > content.index);
        logBytes = sinceSnapshot.reduce((sum, frame) => sum + frame.bytes, 0);
        return;
      case "opening":
      case "closing":
      case "continues":
        break;
    }
    sinceSnapshot.push({ lastIndex, bytes });
    logBytes += bytes;
  };

  return {
    begin: (segment) => {
      segments.push({ segment, lastLive: 0 });
    },
    note,
    logBytes: () => logBytes,
    dropBelow: (keepFrom) => {
      const newest = segments.at(-1)?.segment;
      const firstKept = segments.findIndex(
        ({ segment, lastLive }) => lastLive >= keepFrom || segment === snapshotSegment || segment === newest,
      );
      return segments.splice(0, Math.max(0, firstKept)).map((extent) => extent.segment);
    },
    oldest: () => segments[0]?.segment,
  };
}
