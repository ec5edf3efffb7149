// Reads the log at a start: follows the chain of segments, reads every frame, and distinguishes a torn tail from corruption. A frame that
// cannot be read is a torn tail only if nothing after it can be read, in this segment and later ones, and if meta does not show that it was
// durable.
import { must } from "../../lib/assert.ts";
import { RaftqError } from "../../lib/errors.ts";
import type { Disk } from "../disk.ts";
import { corrupt, corruptAt } from "../file-errors.ts";
import { META_PATH, type Meta } from "../meta.ts";
import {
  type DecodedFrame,
  decodeFrame,
  type Frame,
  type FrameContent,
  type FrameSegment,
  type FramePointer,
  NO_FRAME,
  tornBytes,
} from "./frame.ts";
import { decodeSegmentHeader, LOG_DIRECTORY, MAX_SEGMENT_NUMBER, parseSegmentName, type Segment } from "./segment.ts";

export interface LocatedFrame {
  readonly segment: Segment;
  readonly frame: Frame;
}

export interface RecoveredLog {
  /** The frames of the log, in order, without the frame to copy. */
  readonly frames: readonly LocatedFrame[];
  /** The last frame, if nothing proves that it was ever synced: to be written again before anything is acknowledged. */
  readonly frameToCopy: FrameContent | null;
  /** What the first frame of the next segment names as its predecessor. */
  readonly previous: FramePointer;
  readonly nextNumber: number;
  readonly nextSegment: number;
  /** Files that hold nothing of the log once the next segment, and a meta that names it, are durable. */
  readonly unused: readonly string[];
  /** Those of them that were made ahead and have no first frame: they may be deleted before that. */
  readonly preallocated: readonly string[];
  readonly tornBytes: number;
}

/** A file of the log directory: its name, its header and its first frame, as far as they are good. */
interface FoundSegment {
  readonly path: string;
  readonly number: number;
  readonly salt: number;
  readonly bytes: Uint8Array;
  readonly header: Segment | null;
  readonly first: Frame | null;
}

/** A segment that is part of the log: header and first frame are good, and the file has its full size. */
interface ChainedSegment {
  readonly segment: Segment;
  readonly bytes: Uint8Array;
  readonly first: Frame;
}

interface ReadFrames {
  /** Of all segments of the log, in order. */
  readonly frames: readonly LocatedFrame[];
  /** Of a torn tail behind the last one. */
  readonly tornTailBytes: number;
}

const NO_FRAMES: ReadFrames = { frames: [], tornTailBytes: 0 };

/** Reads the whole log directory. Throws CORRUPT and NEWER_FORMAT. `meta` null: nothing was ever acknowledged from this directory. */
export function recoverLog(disk: Disk, meta: Meta | null, blockBytes: number): RecoveredLog {
  const { found, obsolete } = findSegments(disk, meta?.oldestSegment ?? 0);
  const newest = found.findLast((segment) => segment.first !== null);
  const later = found.filter(({ number }) => newest === undefined || number > newest.number);
  for (const segment of later) refuseFramesWithoutStart(segment, blockBytes);
  if (meta === null) refuseDataWithoutMeta(found, blockBytes);
  const { frames, tornTailBytes } = meta === null ? NO_FRAMES : readChain(found, newest, meta);
  const split = splitLast(frames);
  const highest = Math.max(meta?.segmentAtOpen ?? 0, meta?.oldestSegment ?? 0, ...found.map(({ number }) => number));
  if (highest === MAX_SEGMENT_NUMBER)
    throw corrupt(`${LOG_DIRECTORY} or ${META_PATH} has the last number there is for a segment, which no log reaches`);
  const keptPaths = new Set(split.frames.map(({ segment }) => segment.path));
  return {
    ...split,
    // At most one frame was under way behind the last one, so skipping one number never repeats any.
    nextNumber: (frames.at(-1)?.frame.number ?? 0) + 2,
    nextSegment: highest + 1,
    unused: [...obsolete, ...found.map(({ path }) => path).filter((path) => !keptPaths.has(path))],
    preallocated: later.map(({ path }) => path),
    tornBytes: tornTailBytes,
  };
}

/** Follows the chain, reads all its frames, and checks where they end. */
function readChain(found: readonly FoundSegment[], newest: FoundSegment | undefined, meta: Meta): ReadFrames {
  const chain = followChain(found, requireActiveSegment(newest, found, meta), meta.oldestSegment);
  const frames = chain.flatMap((chained, at) => readFrames(chained, chain[at + 1]?.first.previous ?? null));
  const active = must(chain.at(-1), "the active segment");
  const tornTailBytes = checkTail(active, frames);
  requireDurableFrame(active, frames, meta.durableFrame);
  return { frames, tornTailBytes };
}

/** In the order of their numbers. `obsolete`: older than the oldest one of the log, and not read. */
function findSegments(
  disk: Disk,
  oldestSegment: number,
): { readonly found: readonly FoundSegment[]; readonly obsolete: readonly string[] } {
  const found: FoundSegment[] = [];
  const obsolete: string[] = [];
  for (const name of disk.list(LOG_DIRECTORY)) {
    const named = parseSegmentName(name);
    if (named === null) continue;
    const path = `${LOG_DIRECTORY}/${name}`;
    if (named.number < oldestSegment) {
      obsolete.push(path);
      continue;
    }
    const bytes = disk.read(path) ?? new Uint8Array(0);
    const header = decodeSegmentHeader(path, named, bytes);
    const first = header === null ? null : frameAt(path, bytes, header, header.blockBytes);
    found.push({
      path,
      number: named.number,
      salt: named.salt,
      bytes,
      header,
      first: first?.ok === true ? first.frame : null,
    });
  }
  return { found: found.sort((a, b) => a.number - b.number), obsolete };
}

/** A whole frame of a newer raftq is no torn tail, which would be cut. Throws NEWER_FORMAT. */
function frameAt(path: string, bytes: Uint8Array, segment: FrameSegment, offset: number): DecodedFrame {
  const decoded = decodeFrame(bytes, segment, offset);
  if (!decoded.ok && decoded.newer) throw new RaftqError("NEWER_FORMAT", `${path} at byte ${offset}: ${decoded.why}`);
  return decoded;
}

/**
 * The segment that was being written when the node stopped: the newest one with a readable first frame. Throws CORRUPT when one that
 * must be there is newer.
 */
function requireActiveSegment(
  newest: FoundSegment | undefined,
  found: readonly FoundSegment[],
  meta: Meta,
): FoundSegment {
  const named = Math.max(meta.segmentAtOpen, meta.oldestSegment);
  if (newest !== undefined && newest.number >= named) return newest;
  const unreadable = found.find(({ number }) => number === named);
  if (unreadable === undefined) throw corrupt(`segment ${named} in ${LOG_DIRECTORY} is missing; the node had begun it`);
  throw corruptAt(unreadable.path, 0, "it has no readable header and first frame; the node had begun it");
}

/** From the active segment back to the oldest one, by what each first frame names as its predecessor. Oldest first. */
function followChain(
  found: readonly FoundSegment[],
  active: FoundSegment,
  oldestSegment: number,
): readonly ChainedSegment[] {
  const chain: ChainedSegment[] = [];
  for (let at = active; ;) {
    const chained = requireWholeSegment(at);
    chain.unshift(chained);
    const wanted = chained.first.previous.segment;
    if (wanted < oldestSegment) return chain;
    const before = found.find(({ number }) => number === wanted);
    if (before === undefined) {
      throw corrupt(`segment ${wanted} in ${LOG_DIRECTORY} is missing; ${chained.segment.path} continues it`);
    }
    at = before;
  }
}

function requireWholeSegment(found: FoundSegment): ChainedSegment {
  const { path, header, first, bytes } = found;
  if (header === null) throw corruptAt(path, 0, "the segment's header is unreadable");
  if (first === null) throw corruptAt(path, header.blockBytes, "the segment's first frame is unreadable");
  if (bytes.length < header.bytes) {
    throw corruptAt(path, bytes.length, `the file was shortened from ${header.bytes} to ${bytes.length} bytes`);
  }
  return { segment: header, bytes, first };
}

/** All frames of a segment; `until` names the last one, when a later segment does. Without it, reads as far as it can. */
function readFrames(chained: ChainedSegment, until: FramePointer | null): readonly LocatedFrame[] {
  const { segment, bytes } = chained;
  const frames: LocatedFrame[] = [];
  let before: FramePointer = chained.first.previous;
  for (let offset = segment.blockBytes; ;) {
    const decoded = frameAt(segment.path, bytes, segment, offset);
    if (!decoded.ok) {
      if (until !== null)
        throw corruptAt(segment.path, offset, `${decoded.why}, but a later segment continues behind it`);
      return frames;
    }
    const { frame } = decoded;
    if (!samePointer(frame.previous, before)) {
      throw corruptAt(segment.path, offset, `frame ${frame.number} does not follow the frame before it`);
    }
    frames.push({ segment, frame });
    if (until !== null && frame.end >= until.end) {
      if (frame.end === until.end && frame.number === until.number) return frames;
      throw corruptAt(
        segment.path,
        offset,
        `frame ${frame.number} is not the frame ${until.number} that a later segment continues`,
      );
    }
    before = pointerTo({ segment, frame });
    offset = frame.end;
  }
}

function samePointer(a: FramePointer, b: FramePointer): boolean {
  return a.segment === b.segment && a.number === b.number && a.end === b.end;
}

function pointerTo({ segment, frame }: LocatedFrame): FramePointer {
  return { segment: segment.number, number: frame.number, end: frame.end };
}

/** The bytes of a torn tail behind the last frame of the active segment. Throws when the damage cannot be a torn tail. */
function checkTail(chained: ChainedSegment, frames: readonly LocatedFrame[]): number {
  const { segment, bytes } = chained;
  const last = must(frames.at(-1), "the first frame of the active segment was read").frame;
  if (last.content.kind === "continues") {
    throw corrupt(
      `segment ${last.content.nextSegment} in ${LOG_DIRECTORY} is missing or has no readable first frame; ${segment.path} names it`,
    );
  }
  const wholeFrame = firstFrameFrom(segment.path, bytes, segment, last.end + segment.blockBytes);
  if (wholeFrame !== null) {
    throw corruptAt(segment.path, last.end, `no frame can be read here, but a whole one follows at byte ${wholeFrame}`);
  }
  return tornBytes(bytes, segment, last.end);
}

/** Frame numbers rise and are never used again, so a log that reaches the frame in meta ends with it or a later one. */
function requireDurableFrame({ segment }: ChainedSegment, frames: readonly LocatedFrame[], durableFrame: number): void {
  const last = must(frames.at(-1), "the first frame of the active segment was read").frame;
  if (last.number >= durableFrame) return;
  const why = `no frame can be read here, and ${META_PATH} shows that frame ${durableFrame} was durable; the last one is ${last.number}`;
  throw corruptAt(segment.path, last.end, why);
}

/** The offset of the first whole frame at or behind `from`. */
function firstFrameFrom(path: string, bytes: Uint8Array, segment: FrameSegment, from: number): number | null {
  for (let offset = from; offset < bytes.length; offset += segment.blockBytes) {
    if (frameAt(path, bytes, segment, offset).ok) return offset;
  }
  return null;
}

/** A segment without header and first frame was prepared and never used: unless it holds a frame all the same. */
function refuseFramesWithoutStart({ path, bytes, number, salt, header }: FoundSegment, blockBytes: number): void {
  const segment = { number, salt, blockBytes: header?.blockBytes ?? blockBytes };
  const frame = firstFrameFrom(path, bytes, segment, segment.blockBytes);
  if (frame === null) return;
  throw corruptAt(path, 0, `its header or first frame is unreadable, but a whole frame follows at byte ${frame}`);
}

/**
 * Before the first meta is durable, a segment holds at most its header and an opening frame, which fills one block and follows
 * nothing. Every segment is looked at: the newest one is as empty after a start that wrote nothing, and names the frame before it.
 */
function refuseDataWithoutMeta(found: readonly FoundSegment[], blockBytes: number): void {
  for (const { path, bytes, first } of found) {
    const opensOnly = first === null || (first.content.kind === "opening" && samePointer(first.previous, NO_FRAME));
    if (opensOnly && bytes.subarray(2 * blockBytes).every((byte) => byte === 0)) continue;
    throw corrupt(`${META_PATH} is missing, but ${path} holds a log: the term and vote of this node are lost`);
  }
}

const isEmpty = ({ frame }: LocatedFrame): boolean =>
  frame.content.kind === "opening" || frame.content.kind === "closing";

/** An empty frame at the end proves that everything before it was synced; without one, the last frame has to be copied. */
function splitLast(all: readonly LocatedFrame[]): Pick<RecoveredLog, "frames" | "frameToCopy" | "previous"> {
  const lastWithContent = all.findLastIndex((located) => !isEmpty(located));
  const last = all[lastWithContent];
  if (last === undefined) return { frames: [], frameToCopy: null, previous: all[0]?.frame.previous ?? NO_FRAME };
  if (lastWithContent < all.length - 1) {
    return { frames: all.slice(0, lastWithContent + 1), frameToCopy: null, previous: pointerTo(last) };
  }
  return { frames: all.slice(0, lastWithContent), frameToCopy: last.frame.content, previous: last.frame.previous };
}
