// Where does the next segment come from? One is made ahead of its need; when the disk is full it is tried again until there is space.
import { STORAGE } from "../config.ts";
import { type Disk, isNoSpace } from "./disk.ts";
import type { LogSettings, Opened, OpenSegment, SegmentMaker } from "./log.ts";

export interface Spare {
  /** Makes one ahead. Tries at once when it waits for space. */
  readonly prepare: () => void;
  /** The prepared segment, or a new one if there is none of at least that size. Lack of space is no error: it waits. */
  readonly take: (bytes: number, done: Opened) => void;
  readonly lacksSpace: () => boolean;
  /** Somebody has to wait for it. */
  readonly isAwaited: () => boolean;
  readonly waitNoMore: (stuck: () => void) => void;
  readonly close: (done: () => void) => void;
}

/** Any other reason why a segment cannot be made ahead is no failure until it is needed: then making it is tried once more. */
export function createSpare(
  disk: Disk,
  make: SegmentMaker,
  { segmentBytes, after, onSpaceChanged }: Pick<LogSettings, "segmentBytes" | "after" | "onSpaceChanged">,
): Spare {
  let ready: OpenSegment | null = null;
  let making = false;
  let lacksSpace = false;
  /** Who waits for a segment of that size. */
  let wanted: { readonly bytes: number; readonly done: Opened } | null = null;
  let cancelRetry: (() => void) | null = null;
  let whenStuck: (() => void) | null = null;
  let whenMade: (() => void) | null = null;

  const attempt = (): void => {
    if (making) return;
    cancelRetry?.();
    cancelRetry = null;
    making = true;
    make(Math.max(segmentBytes, wanted?.bytes ?? 0), (error, opened) => {
      making = false;
      const waiting = whenMade;
      whenMade = null;
      ready = opened;
      lacksSpace = error !== null && isNoSpace(error);
      if (lacksSpace) retryLater();
      onSpaceChanged();
      waiting?.();
      serve(error);
    });
  };
  const retryLater = (): void => {
    if (whenStuck === null) cancelRetry = after(STORAGE.spaceRetryMs, attempt);
  };
  /** `error`: what the attempt that has just ended met. */
  const serve = (error: Error | null): void => {
    if (wanted === null || making) return;
    const { bytes, done } = wanted;
    const spare = ready;
    ready = null;
    if (spare !== null && spare.segment.bytes >= bytes) {
      wanted = null;
      return done(null, spare);
    }
    if (spare !== null) disk.close(spare.file);
    if (lacksSpace) whenStuck?.();
    else if (error === null) attempt();
    else {
      wanted = null;
      done(error, null);
    }
  };
  return {
    prepare: () => {
      if (ready === null && whenStuck === null) attempt();
    },
    take: (bytes, done) => {
      wanted = { bytes, done };
      serve(null);
    },
    lacksSpace: () => lacksSpace,
    isAwaited: () => wanted !== null,
    waitNoMore: (stuck) => {
      whenStuck = stuck;
      cancelRetry?.();
      if (wanted !== null && lacksSpace && !making) stuck();
    },
    close: (done) => {
      const finish = (): void => {
        if (ready !== null) disk.close(ready.file);
        done();
      };
      if (making) whenMade = finish;
      else finish();
    },
  };
}
