// Which segments still hold live entries, and how large has the log grown? Kept alike by recovery and by the writer.
import { STORAGE } from "../../config.ts";
import type { LogIndex } from "../../raft/types.ts";
import type { FrameContent } from "./frame.ts";
import type { Segment } from "./segment.ts";

export interface LiveSegments {
  /** The frames added from now on lie in this segment. */
  readonly begin: (segment: Segment) => void;
  readonly add: (content: FrameContent, bytes: number) => void;
  /** What a snapshot would free: frames that the one that counts does not cover, and the empty rest of the segments they ended. */
  readonly logBytes: () => number;
  /**
   * Takes out and gives the segments, oldest first, without an entry at or above `keepFrom`; never the newest one, or the one
   * with the last snapshot frame. Of very many segments, also those with entries that only the snapshot stands for. */
  readonly dropBelow: (keepFrom: LogIndex) => readonly Segment[];
  readonly oldest: () => Segment | undefined;
  /** All that are log, oldest first. */
  readonly all: () => readonly Segment[];
}

export function createLiveSegments(): LiveSegments {
  const segments: { readonly segment: Segment; lastLive: LogIndex; used: number }[] = [];
  let sinceSnapshot: { readonly lastIndex: LogIndex; readonly bytes: number }[] = [];
  let snapshotSegment: Segment | undefined;
  let snapshotIndex = 0;
  let lastIndex = 0;
  let logBytes = 0;

  const truncateTo = (index: LogIndex): void => {
    for (const live of segments) live.lastLive = Math.min(live.lastLive, index);
  };
  const grow = (bytes: number): void => {
    sinceSnapshot.push({ lastIndex, bytes });
    logBytes += bytes;
  };
  const add = (content: FrameContent, bytes: number): void => {
    const current = segments.at(-1);
    if (current !== undefined) current.used += bytes;
    switch (content.kind) {
      case "batch": {
        const first = content.entries[0]?.index ?? 0;
        if (first <= lastIndex) truncateTo(first - 1);
        lastIndex = content.entries.at(-1)?.index ?? 0;
        if (current !== undefined) current.lastLive = lastIndex;
        break;
      }
      case "snapshot":
        if (content.reset) {
          truncateTo(0);
          lastIndex = content.index;
        }
        snapshotSegment = current?.segment;
        snapshotIndex = content.index;
        sinceSnapshot = content.reset ? [] : sinceSnapshot.filter((frame) => frame.lastIndex > content.index);
        logBytes = sinceSnapshot.reduce((sum, frame) => sum + frame.bytes, 0);
        return;
      case "opening":
      case "closing":
      case "continues":
        break;
    }
    grow(bytes);
  };

  return {
    begin: (segment) => {
      // Every start begins a segment: short runs leave files behind them that are as large as full ones.
      const ended = segments.at(-1);
      if (ended !== undefined) grow(Math.max(0, ended.segment.bytes - ended.used));
      segments.push({ segment, lastLive: 0, used: segment.blockBytes });
    },
    add,
    logBytes: () => logBytes,
    dropBelow: (keepFrom) => {
      const newest = segments.at(-1)?.segment;
      const firstWith = (index: LogIndex): number =>
        segments.findIndex(
          ({ segment, lastLive }) => lastLive >= index || segment === snapshotSegment || segment === newest,
        );
      const tooMany = Math.min(firstWith(snapshotIndex + 1), segments.length - STORAGE.maxKeptSegments);
      const firstKept = Math.max(0, firstWith(keepFrom), tooMany);
      return segments.splice(0, firstKept).map((live) => live.segment);
    },
    oldest: () => segments[0]?.segment,
    all: () => segments.map(({ segment }) => segment),
  };
}
