// Where does the next segment come from? It is preallocated, from a file that the log no longer needs, or as a new one; on a full disk
// that is tried again until there is space.
import { STORAGE } from "../../config.ts";
import { type Disk, isNoSpace } from "../disk.ts";
import type { LogSettings, OpenSegment, SegmentMaker } from "./writer.ts";
import type { Segment } from "./segment.ts";
import { runSteps } from "../steps.ts";

type SegmentDone = (error: Error | null, opened: OpenSegment | null) => void;

export interface Preallocator {
  /** Makes one ahead. Tries at once when it waits for space. */
  readonly prepare: () => void;
  /** The prepared segment, or a new one if there is none of at least that size; neither error nor segment: there is no space. */
  readonly take: (bytes: number, done: SegmentDone) => void;
  /** Keeps some of these files, for segments to come, and gives back the others. Nothing of them may be log any more, for good. */
  readonly reuse: (segments: readonly Segment[]) => readonly Segment[];
  /** Gives back all that `reuse` kept. */
  readonly dropReused: () => readonly Segment[];
  readonly isReady: () => boolean;
  readonly lacksSpace: () => boolean;
  /** After a `take` without space: calls back, once, when there is some. */
  readonly whenSpace: (callback: () => void) => void;
  readonly close: (done: () => void) => void;
}

/** Any other reason why a segment cannot be made ahead is no failure until it is needed: then making it is tried once more. */
export function createPreallocator(
  disk: Disk,
  make: SegmentMaker,
  { segmentBytes, after, onSpaceChanged }: Pick<LogSettings, "segmentBytes" | "after" | "onSpaceChanged">,
): Preallocator {
  let ready: OpenSegment | null = null;
  /** Oldest first, all of the usual size. */
  let old: Segment[] = [];
  let making = false;
  let closed = false;
  let lacksSpace = false;
  /** The request for a segment of that size that is being made. */
  let wanted: { readonly bytes: number; readonly done: SegmentDone } | null = null;
  /** The size of the one that was wanted and had no space. */
  let missedBytes = 0;
  let cancelRetry: (() => void) | null = null;
  let whenSpace: (() => void) | null = null;
  let whenMade: (() => void) | null = null;

  const attempt = (): void => {
    if (making) return;
    cancelRetry?.();
    cancelRetry = null;
    making = true;
    const isAhead = wanted === null;
    const bytes = Math.max(segmentBytes, missedBytes, wanted?.bytes ?? 0);
    runSteps(make(bytes, bytes === segmentBytes ? (old.shift() ?? null) : null), ({ error, result }) => {
      making = false;
      ready = result;
      lacksSpace = error !== null && isNoSpace(error);
      if (closed) return whenMade?.();
      if (lacksSpace) cancelRetry = after(STORAGE.spaceRetryMs, attempt);
      onSpaceChanged();
      serve(isAhead ? null : error);
      // After another failure nothing tries again by itself, so the waiting write does: it ends then, or stops the node.
      if (!lacksSpace) reportSpace();
    });
  };
  const reportSpace = (): void => {
    const callback = whenSpace;
    whenSpace = null;
    missedBytes = 0;
    callback?.();
  };
  /** `error`: what an attempt for who waits has just met. */
  const serve = (error: Error | null): void => {
    if (wanted === null || making) return;
    const { bytes, done } = wanted;
    const prepared = ready;
    ready = null;
    if (prepared !== null && prepared.segment.bytes >= bytes) {
      wanted = null;
      return done(null, prepared);
    }
    if (prepared !== null) return replace(prepared);
    if (!lacksSpace && error === null) return attempt();
    wanted = null;
    if (lacksSpace) missedBytes = Math.max(missedBytes, bytes);
    done(lacksSpace ? null : error, null);
  };
  /** It is too small: it goes first, because the larger one may need its space. */
  const replace = (prepared: OpenSegment): void => {
    making = true;
    disk.close(prepared.file);
    disk.remove(prepared.segment.path, () => {
      making = false;
      attempt();
    });
  };
  return {
    prepare: () => {
      if (ready === null && !closed) attempt();
    },
    take: (bytes, done) => {
      wanted = { bytes, done };
      serve(null);
    },
    reuse: (segments) => {
      const fitting = closed ? [] : segments.filter(({ bytes }) => bytes === segmentBytes);
      const kept = fitting.slice(0, Math.max(0, STORAGE.maxReusedSegments - old.length));
      old.push(...kept);
      return segments.filter((segment) => !kept.includes(segment));
    },
    dropReused: () => {
      const all = old;
      old = [];
      return all;
    },
    isReady: () => ready !== null,
    lacksSpace: () => lacksSpace,
    whenSpace: (callback) => {
      whenSpace = callback;
    },
    close: (done) => {
      closed = true;
      cancelRetry?.();
      const finish = (): void => {
        if (ready !== null) disk.close(ready.file);
        done();
      };
      if (making) whenMade = finish;
      else finish();
    },
  };
}
