// Appends frames to the log, each durable before the next, and goes on in the next segment when one is full.
import { STORAGE } from "../../config.ts";
import { assert } from "../../lib/assert.ts";
import type { Entry } from "../../raft/entry.ts";
import type { Disk } from "../disk.ts";
import { attempt, failWith, freeBytes, removeFile, type Steps, write } from "../steps.ts";
import { encodeFrame, FRAME_HEADER_BYTES, frameBytes, type FrameContent, type FramePointer } from "./frame.ts";
import { addFrame, addSegment, type LiveSegments } from "./live-segments.ts";
import {
  closePreallocator,
  createPreallocator,
  makeSegment,
  type OpenSegment,
  preallocate,
  type Preallocator,
  type SegmentSettings,
  takeSegment,
} from "./preallocator.ts";
import type { RecoveredLog } from "./recovery.ts";

export interface LogSettings extends SegmentSettings {
  readonly liveSegments: LiveSegments;
}

export interface LogWriter {
  readonly disk: Disk;
  readonly settings: LogSettings;
  readonly preallocator: Preallocator;
  /** The number of the segment that this writer began with. */
  readonly segmentAtOpen: number;
  /** The segment that is being written. */
  current: OpenSegment;
  /** The newest frame that is durable. */
  last: FramePointer;
  /** That frame is an opening or a closing one: it needs no closing frame behind it. */
  lastIsEmpty: boolean;
  /** The number of the next frame. */
  nextNumber: number;
  /**
   * The number of the newest durable frame with a payload, or of the frame that this writer began with: what meta records as the durable
   * frame. Opening and closing frames that come later do not count, since nothing is lost with them.
   */
  lastContentFrame: number;
}

/** What a segment holds beside other frames, in blocks: header, opening, continuing frame, and those of snapshots. */
const OVERHEAD_BLOCKS = 3 + STORAGE.snapshotFrameBlocks;
/** What stays free behind other frames: for the continuing frame, and those of snapshots. */
const RESERVED_BLOCKS = 1 + STORAGE.snapshotFrameBlocks;

/** Entries of one persist in as few frames as fit a segment. */
export function batchFrames(
  entries: readonly Entry[],
  segmentBytes: number,
  blockBytes: number,
): readonly FrameContent[] {
  const limit = segmentBytes - OVERHEAD_BLOCKS * blockBytes - FRAME_HEADER_BYTES;
  const frames: FrameContent[] = [];
  let from = 0;
  let bytes = 0;
  entries.forEach((entry, at) => {
    if (at > from && bytes + entry.record.length > limit) {
      frames.push({ kind: "batch", entries: entries.slice(from, at) });
      from = at;
      bytes = 0;
    }
    bytes += entry.record.length;
  });
  if (from < entries.length) frames.push({ kind: "batch", entries: from === 0 ? entries : entries.slice(from) });
  return frames;
}

/** Begins a new segment behind what was recovered: its first frame is the copy of the last one, or an empty frame. */
export function* beginLog(disk: Disk, recovered: RecoveredLog, settings: LogSettings): Steps<LogWriter> {
  const content = recovered.frameToCopy ?? { kind: "opening" };
  const { blockBytes, liveSegments } = settings;
  const number = recovered.nextNumber;
  const preallocator = createPreallocator(disk, settings, recovered.nextSegment);
  const bytes = firstSegmentBytes(content, settings, yield* freeBytes(disk));
  const current = yield* makeSegment(preallocator, bytes, null);
  const { segment, file } = current;
  const frame = encodeFrame(segment, blockBytes, number, recovered.previous, content);
  const written = yield* attempt(write(disk, file, frame, blockBytes));
  if (written.error !== null) {
    disk.close(file);
    // Without its first frame it only takes space, of which there may be none.
    yield* attempt(removeFile(disk, segment.path));
    return yield* failWith(written.error);
  }
  addSegment(liveSegments, segment);
  addFrame(liveSegments, content, frame.length);
  return {
    disk,
    settings,
    preallocator,
    segmentAtOpen: segment.number,
    current,
    last: { segment: segment.number, number, end: blockBytes + frame.length },
    lastIsEmpty: content.kind === "opening",
    nextNumber: number + 1,
    lastContentFrame: number,
  };
}

/**
 * The size of the segment that a start begins. Runs may be short, and each keeps its segment: on a disk that is nearly full many
 * starts must not use up what is kept for a snapshot. Where the next segment does not fit beside it, it takes half of what is free:
 * the log goes on in it, and the other half is for the snapshot that makes the log shorter. The least holds the frame to copy.
 */
function firstSegmentBytes(content: FrameContent, { segmentBytes, blockBytes }: LogSettings, free: number): number {
  const { firstSegmentDivisor, firstSegmentMinBlocks } = STORAGE;
  const least = frameBytes(content, blockBytes) + (OVERHEAD_BLOCKS - 1) * blockBytes;
  const most = Math.max(segmentBytes, least);
  const usual = Math.min(
    most,
    Math.max(segmentBytes / firstSegmentDivisor, least + firstSegmentMinBlocks * blockBytes),
  );
  if (free >= usual + segmentBytes) return usual;
  const half = Math.floor(free / 2 / blockBytes) * blockBytes;
  return Math.min(most, Math.max(free < usual ? least : usual, half));
}

/**
 * Makes frames durable one after the other, until there is no space for the next one; returns how many are. The frame of a snapshot may
 * use the blocks that are reserved for such frames. One call at a time.
 */
export function* append(log: LogWriter, contents: readonly FrameContent[]): Steps<number> {
  for (const [at, content] of contents.entries()) {
    const bytes = frameBytes(content, log.settings.blockBytes);
    if (!fits(log, bytes, RESERVED_BLOCKS)) {
      const hasSpace = yield* rotateFor(log, content, bytes);
      if (!hasSpace) return at;
    }
    const pointer = yield* writeFrame(log, log.current, log.last.end, log.last, content);
    log.last = pointer;
    log.lastIsEmpty = content.kind === "closing";
    if (!log.lastIsEmpty) log.lastContentFrame = pointer.number;
    addFrame(log.settings.liveSegments, content, bytes);
  }
  return contents.length;
}

/**
 * Writes a closing frame, or the opening frame of the next segment, unless the last frame is such a one: it proves that the frame before
 * it is whole. Without space it writes none: what is written next proves the frame as well.
 */
export function* proveLastFrame(log: LogWriter): Steps {
  const { blockBytes, segmentBytes } = log.settings;
  if (log.lastIsEmpty) return;
  if (fits(log, blockBytes, RESERVED_BLOCKS)) yield* append(log, [{ kind: "closing" }]);
  else yield* rotate(log, segmentBytes);
}

/** Is there a block for the frame of a snapshot, in the current segment or in the one that was made ahead? */
export function fitsSnapshotFrame(log: LogWriter): boolean {
  return fits(log, log.settings.blockBytes, 1) || log.preallocator.ready !== null;
}

/** Waits for a segment that is being made, and closes the files. */
export function closeLog({ disk, current, preallocator }: LogWriter, done: () => void): void {
  disk.close(current.file);
  closePreallocator(preallocator, done);
}

/** Into the current segment, with `blocks` left behind it. */
function fits({ last, current, settings }: LogWriter, bytes: number, blocks: number): boolean {
  return last.end + bytes + blocks * settings.blockBytes <= current.segment.bytes;
}

/** Goes on in a segment that holds this frame, or in the current one if that reserves a block for it. False: there is no space for it. */
function* rotateFor(log: LogWriter, content: FrameContent, bytes: number): Steps<boolean> {
  const { segmentBytes, blockBytes } = log.settings;
  const rotated = yield* rotate(log, Math.max(segmentBytes, bytes + OVERHEAD_BLOCKS * blockBytes));
  if (!rotated) return content.kind === "snapshot" && fits(log, bytes, 1);
  assert(fits(log, bytes, RESERVED_BLOCKS), "a new segment holds the frame it was made for");
  return true;
}

/**
 * Goes on in a segment of at least `bytes`. False: there is no space for one. The next segment's opening frame is durable before this
 * one names it as its continuation, and that before any other frame: so for whatever is acknowledged from the next segment, both ends
 * of the link are durable.
 */
function* rotate(log: LogWriter, bytes: number): Steps<boolean> {
  const { blockBytes, liveSegments } = log.settings;
  const next = yield* takeSegment(log.preallocator, bytes);
  if (next === null) return false;
  const { current: full, last: previous } = log;
  // Both name the last frame as their predecessor: after a crash between the two, the log goes on without the continuing frame.
  const opening = yield* writeFrame(log, next, blockBytes, previous, { kind: "opening" });
  yield* writeFrame(log, full, previous.end, previous, { kind: "continues", nextSegment: next.segment.number });
  log.disk.close(full.file);
  log.current = next;
  log.last = opening;
  log.lastIsEmpty = true;
  addSegment(liveSegments, next.segment);
  addFrame(liveSegments, { kind: "opening" }, blockBytes);
  preallocate(log.preallocator);
  return true;
}

function* writeFrame(
  log: LogWriter,
  { segment, file }: OpenSegment,
  offset: number,
  previous: FramePointer,
  content: FrameContent,
): Steps<FramePointer> {
  const number = log.nextNumber++;
  const bytes = encodeFrame(segment, offset, number, previous, content);
  // Every frame passes here, and each level of steps costs a little: so not as steps of its own.
  yield (done) => log.disk.write(file, offset, bytes, done);
  return { segment: segment.number, number, end: offset + bytes.length };
}
