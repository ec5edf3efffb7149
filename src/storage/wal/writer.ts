// How do frames reach the disk? One at a time, each durable before the next, in segments that are made ahead of their need.
import { assert } from "../../lib/assert.ts";
import type { Entry } from "../../raft/entry.ts";
import { encodeFrame, FRAME_HEADER_BYTES, frameBytes, type FrameContent, type FramePointer } from "./frame.ts";
import { type Disk, type DiskFile, noSpace } from "../disk.ts";
import type { LiveSegments } from "./live-segments.ts";
import type { RecoveredLog } from "./recovery.ts";
import { encodeSegmentHeader, LOG_DIRECTORY, segmentPath, type Segment } from "./segment.ts";
import { createPreallocator } from "./preallocator.ts";
import {
  answerOf,
  attempt,
  createFile,
  failWith,
  freeBytes,
  openFile,
  removeFile,
  type Steps,
  write,
} from "../steps.ts";
import type { OpenStorage } from "../types.ts";

export interface LogSettings {
  readonly segmentBytes: number;
  readonly blockBytes: number;
  readonly formatVersion: number;
  readonly drawSalt: () => number;
  readonly liveSegments: LiveSegments;
  readonly after: OpenStorage["after"];
  readonly bytesKept: OpenStorage["bytesKept"];
  /** A segment was made, or could not be made. */
  readonly onSpaceChanged: () => void;
}

export interface LogWriter {
  /** The segment begun by this writer. */
  readonly startSegment: number;
  /** The newest frame that is durable and holds something, or the one that this writer began with. */
  readonly provenFrame: () => number;
  /**
   * Made durable one after the other, until there is no space for the next one: so many of them are durable then. The frame of a
   * snapshot has its block where others have none. One call at a time.
   */
  readonly append: (contents: readonly FrameContent[]) => Steps<number>;
  /** Writes an empty frame, unless the last one is: it proves that the frame before it is whole. */
  readonly appendClosing: () => Steps;
  /** Keeps files of these, of which the log needs nothing any more, for segments to come; gives back those that it does not keep. */
  readonly reuse: (segments: readonly Segment[]) => readonly Segment[];
  /** Gives back what `reuse` kept. */
  readonly dropReused: () => readonly Segment[];
  /** Makes the next segment ahead of its need; tries at once when it waits for space. */
  readonly prepare: () => void;
  /** The next segment could not be made for lack of space. It is tried again and again. */
  readonly lacksSpace: () => boolean;
  /** After an append without space: calls back, once, when there is some. */
  readonly whenSpace: (callback: () => void) => void;
  /** The frame of a snapshot has its block, whether there is space or not. */
  readonly canCount: () => boolean;
  /** Waits for a segment that is being made, and closes the files. */
  readonly close: (done: () => void) => void;
}

export interface OpenSegment {
  readonly segment: Segment;
  readonly file: DiskFile;
}

/**
 * Blocks that every segment keeps for frames of snapshots, while the next segment cannot be made: what they free is the space for
 * it. Two: a snapshot that was under way when the disk became full may free nothing; the next one stands for all there is.
 */
const SNAPSHOT_BLOCKS = 2;
/** What a segment holds beside other frames, in blocks: header, opening, continuing frame, and those of snapshots. */
const OWN_BLOCKS = 3 + SNAPSHOT_BLOCKS;

/** Entries of one persist in as few frames as fit a segment. */
export function batchFrames(
  entries: readonly Entry[],
  segmentBytes: number,
  blockBytes: number,
): readonly FrameContent[] {
  const limit = segmentBytes - OWN_BLOCKS * blockBytes - FRAME_HEADER_BYTES;
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
  const content = recovered.copied ?? { kind: "opening" };
  const { blockBytes, liveSegments } = settings;
  const number = recovered.nextNumber;
  const make = segmentMaker(disk, settings, recovered.nextSegment);
  const current = yield* make(firstBytes(content, settings, yield* freeBytes(disk)), null);
  const { segment, file } = current;
  const bytes = encodeFrame(segment, blockBytes, number, recovered.previous, content);
  yield* write(disk, file, bytes, blockBytes);
  liveSegments.begin(segment);
  liveSegments.add(content, bytes.length);
  const last = { segment: segment.segment, number, end: blockBytes + bytes.length };
  return createWriter(disk, settings, make, { current, last, proven: number, isEmpty: content.kind === "opening" });
}

/** The segment that a start begins is smaller than others by this factor, but has at least so many blocks for other frames. */
const FIRST_SHARE = 32;
const FIRST_BLOCKS = 8;

/**
 * The size of the segment that a start begins. Runs may be short, and each keeps its segment: on a disk that is nearly full many
 * starts must not use up what is kept for a snapshot. Where the next segment does not fit beside it, it takes half of what is free:
 * the log goes on in it, and the other half is for the snapshot that makes the log shorter. The least holds the frame to copy.
 */
function firstBytes(content: FrameContent, { segmentBytes, blockBytes }: LogSettings, free: number): number {
  const least = frameBytes(content, blockBytes) + (OWN_BLOCKS - 1) * blockBytes;
  const most = Math.max(segmentBytes, least);
  const usual = Math.min(most, Math.max(segmentBytes / FIRST_SHARE, least + FIRST_BLOCKS * blockBytes));
  if (free >= usual + segmentBytes) return usual;
  const half = Math.floor(free / 2 / blockBytes) * blockBytes;
  return Math.min(most, Math.max(free < usual ? least : usual, half));
}

/** The size of a segment in which `content` fits between the other frames that a segment needs. */
function segmentBytesFor(content: FrameContent, { segmentBytes, blockBytes }: LogSettings): number {
  return Math.max(segmentBytes, frameBytes(content, blockBytes) + OWN_BLOCKS * blockBytes);
}

/** `old`: a file of that size to be used again; null: a new one. */
export type SegmentMaker = (bytes: number, old: Segment | null) => Steps<OpenSegment>;

/** Makes segments under rising numbers: sized, with a header, and durable together with their name. */
function segmentMaker(disk: Disk, settings: LogSettings, firstNumber: number): SegmentMaker {
  let next = firstNumber;
  return function* (bytes, old) {
    const number = next++;
    const salt = settings.drawSalt();
    const path = segmentPath(number, salt);
    const segment: Segment = { path, segment: number, salt, blockBytes: settings.blockBytes, bytes };
    const file = old === null ? yield* createSegment(disk, settings, segment) : yield* renamed(disk, old, segment);
    const begun = yield* attempt(beginSegment(disk, settings, file, segment));
    if (begun.error === null) return { segment, file };
    disk.close(file);
    // Without its name or header it only takes space, of which there may be none.
    yield* attempt(removeFile(disk, path));
    return yield* failWith(begun.error);
  };
}

/** Its space is asked for first: to write until nothing fits any more would take the last space from everybody on this file system. */
function* createSegment(disk: Disk, { bytesKept }: LogSettings, { path, bytes }: Segment): Steps<DiskFile> {
  const free = yield* freeBytes(disk);
  const needed = bytes + bytesKept(free);
  if (free < needed) yield* failWith(noSpace(needed, free));
  return yield* createFile(disk, path, bytes);
}

/** Its earlier frames name where they belong, and their checksums begin with another salt: none of them can be read here. */
function* renamed(disk: Disk, old: Segment, { path }: Segment): Steps<DiskFile> {
  yield (done) => disk.rename(old.path, path, done);
  return yield* openFile(disk, path);
}

function* beginSegment(disk: Disk, { formatVersion }: LogSettings, file: DiskFile, segment: Segment): Steps {
  yield* write(disk, file, encodeSegmentHeader(segment, formatVersion));
  yield (done) => disk.syncDirectory(LOG_DIRECTORY, done);
}

interface Begun {
  current: OpenSegment;
  last: FramePointer;
  /** Empty frames that come later are not counted: nothing is lost with them. */
  proven: number;
  /** The last frame holds nothing, so it needs no closing frame behind it. */
  isEmpty: boolean;
}

function createWriter(disk: Disk, settings: LogSettings, make: SegmentMaker, state: Begun): LogWriter {
  const { blockBytes, segmentBytes, liveSegments } = settings;
  const startSegment = state.current.segment.segment;
  let nextNumber = state.last.number + 1;
  const preallocator = createPreallocator(disk, make, settings);

  function* put(target: OpenSegment, offset: number, content: FrameContent): Steps<FramePointer> {
    const number = nextNumber++;
    const bytes = encodeFrame(target.segment, offset, number, state.last, content);
    // Every frame passes here, and each level of steps costs a little: so not as steps of its own.
    yield (done) => disk.write(target.file, offset, bytes, done);
    return { segment: target.segment.segment, number, end: offset + bytes.length };
  }

  /**
   * False: there is no space for another segment. The next segment's opening frame is durable before this one names it as its
   * continuation, and that before any other frame: so for whatever is acknowledged from the next segment, both ends of the link are
   * durable.
   */
  function* rotate(bytes: number): Steps<boolean> {
    const next = yield* answerOf<OpenSegment | null>((done) => preallocator.take(bytes, done));
    if (next === null) return false;
    const opening = yield* put(next, blockBytes, { kind: "opening" });
    const full = state.current;
    yield* put(full, state.last.end, { kind: "continues", nextSegment: next.segment.segment });
    disk.close(full.file);
    state.current = next;
    state.last = opening;
    state.isEmpty = true;
    liveSegments.begin(next.segment);
    liveSegments.add({ kind: "opening" }, blockBytes);
    preallocator.prepare();
    return true;
  }

  /** Behind it, `blocks` remain. */
  const fits = (bytes: number, blocks: number): boolean =>
    state.last.end + bytes + blocks * blockBytes <= state.current.segment.bytes;

  const written = (content: FrameContent, bytes: number, pointer: FramePointer): void => {
    state.last = pointer;
    state.isEmpty = content.kind === "closing";
    if (!state.isEmpty) state.proven = pointer.number;
    liveSegments.add(content, bytes);
  };

  /** False: there is no space for it. */
  function* rotateFor(content: FrameContent, bytes: number): Steps<boolean> {
    if (!(yield* rotate(segmentBytesFor(content, settings)))) return content.kind === "snapshot" && fits(bytes, 1);
    assert(fits(bytes, 1 + SNAPSHOT_BLOCKS), "a new segment holds the frame it was made for");
    return true;
  }

  function* append(contents: readonly FrameContent[]): Steps<number> {
    for (const [at, content] of contents.entries()) {
      const bytes = frameBytes(content, blockBytes);
      if (!fits(bytes, 1 + SNAPSHOT_BLOCKS) && !(yield* rotateFor(content, bytes))) return at;
      written(content, bytes, yield* put(state.current, state.last.end, content));
    }
    return contents.length;
  }

  /** Without space there is none: what is written next proves the frame as well. */
  function* appendClosing(): Steps {
    if (state.isEmpty) return;
    if (fits(blockBytes, 1 + SNAPSHOT_BLOCKS)) yield* append([{ kind: "closing" }]);
    else yield* rotate(segmentBytes);
  }

  return {
    startSegment,
    provenFrame: () => state.proven,
    append,
    appendClosing,
    reuse: preallocator.reuse,
    dropReused: preallocator.dropReused,
    prepare: preallocator.prepare,
    lacksSpace: preallocator.lacksSpace,
    whenSpace: preallocator.whenSpace,
    canCount: () => fits(blockBytes, 1) || preallocator.isReady(),
    close: (done) => {
      disk.close(state.current.file);
      preallocator.close(done);
    },
  };
}
