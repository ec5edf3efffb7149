// How do frames reach the disk? One at a time, each synced before the next, in segments that are made ahead of their need.
import { assert } from "../lib/assert.ts";
import type { Entry } from "../raft/entry.ts";
import { encodeFrame, FRAME_HEADER_BYTES, frameBytes, type FrameContent, type FramePointer } from "./batch-frame.ts";
import { type Disk, type DiskFile, type Done, noSpace } from "./disk.ts";
import type { Extents } from "./extents.ts";
import type { RecoveredLog } from "./recovery.ts";
import { encodeSegmentHeader, LOG_DIRECTORY, segmentPath, type Segment } from "./segment.ts";
import { inSequence } from "./sequence.ts";
import { createSpare } from "./spare.ts";
import type { OpenStorage } from "./types.ts";

export interface LogSettings {
  readonly segmentBytes: number;
  readonly blockBytes: number;
  readonly formatVersion: number;
  readonly drawSalt: () => number;
  readonly extents: Extents;
  readonly after: OpenStorage["after"];
  /** A segment was made, or could not be made. */
  readonly onSpaceChanged: () => void;
}

export interface LogWriter {
  /** The segment begun by this writer. */
  readonly startSegment: number;
  /** Written and synced one after the other; done when all are durable. One call at a time. */
  readonly append: (contents: readonly FrameContent[], done: Done) => void;
  /** Writes an empty frame, unless the last one is: it proves that the frame before it is whole. */
  readonly appendClosing: (done: Done) => void;
  /** Makes the next segment ahead of its need; tries at once when it waits for space. */
  readonly prepare: () => void;
  /** The next segment could not be made for lack of space. It is tried again and again. */
  readonly lacksSpace: () => boolean;
  /** An append waits for the next segment. */
  readonly awaitsSegment: () => boolean;
  /** From now on an append that would have to wait for space calls this instead, and nothing is tried any more. */
  readonly waitNoMore: (stuck: () => void) => void;
  /** Waits for a segment that is being made, and closes the files. */
  readonly close: (done: () => void) => void;
}

export interface OpenSegment {
  readonly segment: Segment;
  readonly file: DiskFile;
}

export type Opened = (error: Error | null, opened: OpenSegment | null) => void;

/** Entries of one persist in as few frames as fit a segment, which also holds a header, an opening and a continuing frame. */
export function batchFrames(
  entries: readonly Entry[],
  segmentBytes: number,
  blockBytes: number,
): readonly FrameContent[] {
  const limit = segmentBytes - 3 * blockBytes - FRAME_HEADER_BYTES;
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

export type LogBegun = (error: Error | null, log: LogWriter | null) => void;

/** Begins a new segment behind what was recovered: its first frame is the copy of the last one, or an empty frame. */
export function beginLog(disk: Disk, recovered: RecoveredLog, settings: LogSettings, done: LogBegun): void {
  const content = recovered.copied ?? { kind: "opening" };
  const { blockBytes, extents } = settings;
  const make = segmentMaker(disk, settings, recovered.nextSegment);
  make(roomFor(content, settings), (error, current) => {
    if (error !== null || current === null) return done(error, null);
    const number = recovered.nextNumber;
    const { segment } = current;
    const bytes = encodeFrame(segment, blockBytes, number, recovered.previous, content);
    writeSynced(disk, current.file, blockBytes, bytes, (failed) => {
      if (failed !== null) return done(failed, null);
      extents.begin(segment);
      extents.note(content, bytes.length);
      const last = { segment: segment.segment, number, end: blockBytes + bytes.length };
      done(null, createWriter(disk, settings, make, { current, last, isEmpty: content.kind === "opening" }));
    });
  });
}

/** The size of a segment in which `content` fits between the other frames that a segment needs. */
function roomFor(content: FrameContent, { segmentBytes, blockBytes }: LogSettings): number {
  return Math.max(segmentBytes, frameBytes(content, blockBytes) + 3 * blockBytes);
}

function writeSynced(disk: Disk, file: DiskFile, offset: number, bytes: Uint8Array, done: Done): void {
  disk.write(file, offset, bytes, (error) => (error === null ? disk.sync(file, done) : done(error)));
}

export type SegmentMaker = (bytes: number, done: Opened) => void;

/** Creates segments under rising numbers: sized, with a header, and durable together with their name. */
function segmentMaker(disk: Disk, settings: LogSettings, firstNumber: number): SegmentMaker {
  let next = firstNumber;
  return (bytes, done) => {
    const number = next++;
    const salt = settings.drawSalt();
    const path = segmentPath(number, salt);
    const segment: Segment = { path, segment: number, salt, blockBytes: settings.blockBytes, bytes };
    const create = (): void =>
      disk.create(path, bytes, (error, file) => {
        if (error !== null || file === null) return done(error, null);
        inSequence(
          [
            (step) => writeSynced(disk, file, 0, encodeSegmentHeader(segment, settings.formatVersion), step),
            (step) => disk.syncDirectory(LOG_DIRECTORY, step),
          ],
          (failed) => {
            if (failed === null) return done(null, { segment, file });
            disk.close(file);
            done(failed, null);
          },
        );
      });
    // Asked first: to write until nothing fits any more would take the last room from everybody on this file system.
    disk.freeBytes((free) => (free < bytes ? done(noSpace(bytes, free), null) : create()));
  };
}

interface Begun {
  current: OpenSegment;
  last: FramePointer;
  /** The last frame says nothing, so it needs no closing frame behind it. */
  isEmpty: boolean;
}

function createWriter(disk: Disk, settings: LogSettings, make: SegmentMaker, state: Begun): LogWriter {
  const { blockBytes, segmentBytes, extents } = settings;
  const startSegment = state.current.segment.segment;
  let nextNumber = state.last.number + 1;
  const spare = createSpare(disk, make, settings);

  const put = (
    target: OpenSegment,
    offset: number,
    content: FrameContent,
    done: (error: Error | null, at: FramePointer) => void,
  ): void => {
    const number = nextNumber++;
    const bytes = encodeFrame(target.segment, offset, number, state.last, content);
    const pointer = { segment: target.segment.segment, number, end: offset + bytes.length };
    writeSynced(disk, target.file, offset, bytes, (error) => done(error, pointer));
  };

  // The next segment's opening frame is synced before this one says that it continues there, and that before any other frame:
  // so whatever is acknowledged from the next segment, both ends of the link are durable.
  const rotate = (bytes: number, done: Done): void => {
    spare.take(bytes, (error, next) => {
      if (error !== null || next === null) return done(error);
      put(next, blockBytes, { kind: "opening" }, (failed, opening) => {
        if (failed !== null) return done(failed);
        const full = state.current;
        put(full, state.last.end, { kind: "continues", nextSegment: next.segment.segment }, (cut) => {
          if (cut !== null) return done(cut);
          disk.close(full.file);
          state.current = next;
          state.last = opening;
          state.isEmpty = true;
          extents.begin(next.segment);
          extents.note({ kind: "opening" }, blockBytes);
          spare.prepare();
          done(null);
        });
      });
    });
  };

  const appendOne = (content: FrameContent, done: Done): void => {
    const bytes = frameBytes(content, blockBytes);
    const fits = state.last.end + bytes + blockBytes <= state.current.segment.bytes;
    if (!fits) {
      return rotate(roomFor(content, settings), (error) => {
        if (error !== null) return done(error);
        assert(
          state.last.end + bytes + blockBytes <= state.current.segment.bytes,
          "a new segment holds the frame it was made for",
        );
        appendOne(content, done);
      });
    }
    put(state.current, state.last.end, content, (error, pointer) => {
      if (error !== null) return done(error);
      state.last = pointer;
      state.isEmpty = content.kind === "closing";
      extents.note(content, bytes);
      done(null);
    });
  };

  return {
    startSegment,
    append: (contents, done) =>
      inSequence(
        contents.map((content) => (next: Done) => appendOne(content, next)),
        done,
      ),
    appendClosing: (done) => {
      if (state.isEmpty) return done(null);
      const fits = state.last.end + 2 * blockBytes <= state.current.segment.bytes;
      if (fits) appendOne({ kind: "closing" }, done);
      // Not worth waiting for: what is written next proves the frame as well.
      else if (spare.lacksSpace()) done(null);
      else rotate(segmentBytes, done);
    },
    prepare: spare.prepare,
    lacksSpace: spare.lacksSpace,
    awaitsSegment: spare.isAwaited,
    waitNoMore: spare.waitNoMore,
    close: (done) => {
      disk.close(state.current.file);
      spare.close(done);
    },
  };
}
