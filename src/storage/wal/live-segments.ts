// Keeps track of the segments that still hold live entries, and of how large the log has grown: alike at recovery and when writing.
import { STORAGE } from "../../config.ts";
import type { LogIndex } from "../../raft/types.ts";
import type { FrameContent } from "./frame.ts";
import type { LocatedFrame } from "./recovery.ts";
import type { Segment } from "./segment.ts";

interface LiveSegment {
  readonly segment: Segment;
  /** The last entry in it that no later frame has truncated; 0: none. */
  lastLive: LogIndex;
  usedBytes: number;
}

export interface LiveSegments {
  /** All that are log, oldest first. The frames that are added lie in the last one. */
  readonly segments: LiveSegment[];
  /** Frames that the last snapshot does not cover; also, as if it was a frame, the empty rest of each segment that has ended. */
  sinceSnapshot: { readonly lastIndex: LogIndex; readonly bytes: number }[];
  /** The one with the last snapshot frame. */
  snapshotSegment: Segment | null;
  snapshotIndex: LogIndex;
  /** Where the log ends. */
  lastIndex: LogIndex;
  /** What a snapshot would free: the sum of `sinceSnapshot`. */
  logBytes: number;
}

export function recoverLiveSegments(frames: readonly LocatedFrame[]): LiveSegments {
  const live: LiveSegments = {
    segments: [],
    sinceSnapshot: [],
    snapshotSegment: null,
    snapshotIndex: 0,
    lastIndex: 0,
    logBytes: 0,
  };
  for (const { segment, frame } of frames) {
    if (segment !== live.segments.at(-1)?.segment) addSegment(live, segment);
    addFrame(live, frame.content, frame.end - frame.offset);
  }
  return live;
}

/** The frames added from now on lie in this segment. */
export function addSegment(live: LiveSegments, segment: Segment): void {
  // Every start begins a segment: short runs leave files behind them that are as large as full ones.
  const ended = live.segments.at(-1);
  if (ended !== undefined) grow(live, Math.max(0, ended.segment.bytes - ended.usedBytes));
  live.segments.push({ segment, lastLive: 0, usedBytes: segment.blockBytes });
}

export function addFrame(live: LiveSegments, content: FrameContent, bytes: number): void {
  const current = live.segments.at(-1);
  if (current !== undefined) current.usedBytes += bytes;
  switch (content.kind) {
    case "batch": {
      const first = content.entries[0]?.index ?? 0;
      if (first <= live.lastIndex) truncateTo(live, first - 1);
      live.lastIndex = content.entries.at(-1)?.index ?? 0;
      if (current !== undefined) current.lastLive = live.lastIndex;
      break;
    }
    case "snapshot":
      if (content.reset) {
        truncateTo(live, 0);
        live.lastIndex = content.index;
      }
      live.snapshotSegment = current?.segment ?? null;
      live.snapshotIndex = content.index;
      live.sinceSnapshot = content.reset ? [] : live.sinceSnapshot.filter((frame) => frame.lastIndex > content.index);
      live.logBytes = live.sinceSnapshot.reduce((sum, frame) => sum + frame.bytes, 0);
      return;
    case "opening":
    case "closing":
    case "continues":
      break;
  }
  grow(live, bytes);
}

function truncateTo({ segments }: LiveSegments, index: LogIndex): void {
  for (const segment of segments) segment.lastLive = Math.min(segment.lastLive, index);
}

function grow(live: LiveSegments, bytes: number): void {
  live.sinceSnapshot.push({ lastIndex: live.lastIndex, bytes });
  live.logBytes += bytes;
}

/**
 * Takes out and returns the segments, oldest first, without an entry at or above `keepFrom`; never the newest one, or the one with the
 * last snapshot frame. Of very many segments, also those with entries that only the snapshot stands for.
 */
export function dropBelow(live: LiveSegments, keepFrom: LogIndex): readonly Segment[] {
  const { segments, snapshotSegment, snapshotIndex } = live;
  const newest = segments.at(-1)?.segment;
  const firstWith = (index: LogIndex): number =>
    segments.findIndex(
      ({ segment, lastLive }) => lastLive >= index || segment === snapshotSegment || segment === newest,
    );
  const tooMany = Math.min(firstWith(snapshotIndex + 1), segments.length - STORAGE.maxKeptSegments);
  const firstKept = Math.max(0, firstWith(keepFrom), tooMany);
  return segments.splice(0, firstKept).map(({ segment }) => segment);
}
