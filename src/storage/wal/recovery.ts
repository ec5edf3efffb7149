// What did the log hold when the node stopped? Follows the chain of segments, obeys every frame, and distinguishes a torn tail from
// corruption: a frame that cannot be read is a torn tail only if nothing after it can be read, in this segment and later ones, and if
// meta does not show that it was durable.
import { must } from "../../lib/assert.ts";
import { RaftqError } from "../../lib/errors.ts";
import {
  type DecodedFrame,
  decodeFrame,
  type Frame,
  type FrameContent,
  type FramePlace,
  type FramePointer,
  NO_FRAME,
  tornBytes,
} from "./frame.ts";
import { corrupt, missing } from "../corrupt.ts";
import type { Disk } from "../disk.ts";
import { META_PATH, type Meta } from "../meta.ts";
import { decodeSegmentHeader, LOG_DIRECTORY, MAX_SEGMENT_NUMBER, parseSegmentName, type Segment } from "./segment.ts";

export interface PlacedFrame {
  readonly segment: Segment;
  readonly frame: Frame;
}

export interface RecoveredLog {
  /** What is log, in order, without the frame to copy. */
  readonly frames: readonly PlacedFrame[];
  /** The last frame, if nothing proves that it was ever synced: to be written again before anything is acknowledged. */
  readonly copied: FrameContent | null;
  /** What the first frame of the next segment names as its predecessor. */
  readonly previous: FramePointer;
  readonly nextNumber: number;
  readonly nextSegment: number;
  /** Files that are not log once the next segment and a meta that names it are durable. */
  readonly unused: readonly string[];
  /** Those of them that were made ahead and never begun: no state of the disk counts on them. */
  readonly neverBegun: readonly string[];
  readonly tornBytes: number;
}

/** A file of the log directory, judged by its name, its header and its first frame. */
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

/** Reads the whole log directory. Throws CORRUPT and NEWER_FORMAT. `meta` null: nothing was ever acknowledged from this directory. */
export function recoverLog(disk: Disk, meta: Meta | null, blockBytes: number): RecoveredLog {
  const { found, stale } = findSegments(disk, meta?.floorSegment ?? 0);
  const head = found.findLast((candidate) => candidate.first !== null);
  for (const later of found) {
    if (head === undefined || later.number > head.number) refuseFramesWithoutStart(later, blockBytes);
  }
  const chain = meta === null ? [] : followChain(found, headOf(head, found, meta), meta.floorSegment);
  const frames = chain.flatMap((chained, at) => readFrames(chained, chain[at + 1]?.first.previous ?? null));
  if (meta === null) refuseDataWithoutMeta(found, blockBytes);

  const last = chain.at(-1);
  const torn = last === undefined ? 0 : judgeTail(last, frames);
  if (last !== undefined) requireProven(last, frames, meta?.provenFrame ?? 0);
  const split = splitLast(frames);
  const newest = Math.max(meta?.startSegment ?? 0, meta?.floorSegment ?? 0, ...found.map(({ number }) => number));
  if (newest === MAX_SEGMENT_NUMBER)
    throw missing(`${LOG_DIRECTORY} or ${META_PATH} has the last number there is for a segment, which no log reaches`);
  const inChain = new Set(split.frames.map(({ segment }) => segment.path));
  return {
    ...split,
    // At most one frame was under way behind the last one, so skipping one number never repeats any.
    nextNumber: (frames.at(-1)?.frame.number ?? 0) + 2,
    nextSegment: newest + 1,
    unused: [...stale, ...found.map(({ path }) => path).filter((path) => !inChain.has(path))],
    neverBegun: found.filter(({ number }) => head === undefined || number > head.number).map(({ path }) => path),
    tornBytes: torn,
  };
}

/** In the order of their numbers. `stale`: below the floor; what is in them is not part of the log any more, and is not read. */
function findSegments(
  disk: Disk,
  floorSegment: number,
): { readonly found: readonly FoundSegment[]; readonly stale: readonly string[] } {
  const found: FoundSegment[] = [];
  const stale: string[] = [];
  for (const name of disk.list(LOG_DIRECTORY)) {
    const named = parseSegmentName(name);
    if (named === null) continue;
    const path = `${LOG_DIRECTORY}/${name}`;
    if (named.segment < floorSegment) {
      stale.push(path);
      continue;
    }
    const bytes = disk.read(path) ?? new Uint8Array(0);
    const header = decodeSegmentHeader(path, named, bytes);
    const first = header === null ? null : frameAt(path, bytes, header, header.blockBytes);
    found.push({
      path,
      number: named.segment,
      salt: named.salt,
      bytes,
      header,
      first: first?.ok === true ? first.frame : null,
    });
  }
  return { found: found.sort((a, b) => a.number - b.number), stale };
}

/** A whole frame of a newer raftq is no torn tail, which would be cut. Throws NEWER_FORMAT. */
function frameAt(path: string, bytes: Uint8Array, place: FramePlace, offset: number): DecodedFrame {
  const decoded = decodeFrame(bytes, place, offset);
  if (!decoded.ok && decoded.newer) throw new RaftqError("NEWER_FORMAT", `${path} at byte ${offset}: ${decoded.why}`);
  return decoded;
}

/** The newest segment with a readable first frame, unless one that must be there is newer. */
function headOf(head: FoundSegment | undefined, found: readonly FoundSegment[], meta: Meta): FoundSegment {
  const named = Math.max(meta.startSegment, meta.floorSegment);
  if (head !== undefined && head.number >= named) return head;
  const unreadable = found.find(({ number }) => number === named);
  if (unreadable === undefined) throw missing(`segment ${named} in ${LOG_DIRECTORY} is missing; the node had begun it`);
  throw corrupt(unreadable.path, 0, "it has no readable header and first frame; the node had begun it");
}

/** From the head back to the oldest segment, by what each first frame names as its predecessor. Oldest first. */
function followChain(
  found: readonly FoundSegment[],
  head: FoundSegment,
  floorSegment: number,
): readonly ChainedSegment[] {
  const chain: ChainedSegment[] = [];
  for (let at = head; ;) {
    const chained = asChained(at);
    chain.unshift(chained);
    const wanted = chained.first.previous.segment;
    if (wanted < floorSegment) return chain;
    const before = found.find(({ number }) => number === wanted);
    if (before === undefined) {
      throw missing(`segment ${wanted} in ${LOG_DIRECTORY} is missing; ${chained.segment.path} continues it`);
    }
    at = before;
  }
}

function asChained(found: FoundSegment): ChainedSegment {
  const { path, header, first, bytes } = found;
  if (header === null) throw corrupt(path, 0, "the segment's header is unreadable");
  if (first === null) throw corrupt(path, header.blockBytes, "the segment's first frame is unreadable");
  if (bytes.length < header.bytes) {
    throw corrupt(path, bytes.length, `the file was shortened from ${header.bytes} to ${bytes.length} bytes`);
  }
  return { segment: header, bytes, first };
}

/** All frames of a link; `until` names the last one, when a later segment does. Without it, reads as far as it can. */
function readFrames(chained: ChainedSegment, until: FramePointer | null): readonly PlacedFrame[] {
  const { segment, bytes } = chained;
  const frames: PlacedFrame[] = [];
  let before: FramePointer = chained.first.previous;
  for (let offset = segment.blockBytes; ;) {
    const decoded = frameAt(segment.path, bytes, segment, offset);
    if (!decoded.ok) {
      if (until !== null)
        throw corrupt(segment.path, offset, `${decoded.why}, but a later segment continues behind it`);
      return frames;
    }
    const { frame } = decoded;
    if (!samePointer(frame.previous, before)) {
      throw corrupt(segment.path, offset, `frame ${frame.number} does not follow the frame before it`);
    }
    frames.push({ segment, frame });
    if (until !== null && frame.end >= until.end) {
      if (frame.end === until.end && frame.number === until.number) return frames;
      throw corrupt(
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

function pointerTo({ segment, frame }: PlacedFrame): FramePointer {
  return { segment: segment.segment, number: frame.number, end: frame.end };
}

/** Bytes of a torn tail behind the last frame of the newest segment. Throws when the damage cannot be a torn tail. */
function judgeTail(chained: ChainedSegment, frames: readonly PlacedFrame[]): number {
  const { segment, bytes } = chained;
  const last = must(frames.at(-1), "the first frame of the newest segment was read").frame;
  if (last.content.kind === "continues") {
    throw missing(
      `segment ${last.content.nextSegment} in ${LOG_DIRECTORY} is missing or has no readable first frame; ${segment.path} names it`,
    );
  }
  const follower = firstFrameFrom(segment.path, bytes, segment, last.end + segment.blockBytes);
  if (follower !== null) {
    throw corrupt(segment.path, last.end, `no frame can be read here, but a whole one follows at byte ${follower}`);
  }
  return tornBytes(bytes, segment, last.end);
}

/** Frame numbers rise and are never used again, so a log that reaches the proven frame ends with it or a later one. */
function requireProven({ segment }: ChainedSegment, frames: readonly PlacedFrame[], provenFrame: number): void {
  const last = must(frames.at(-1), "the first frame of the newest segment was read").frame;
  if (last.number >= provenFrame) return;
  const why = `no frame can be read here, and ${META_PATH} shows that frame ${provenFrame} was durable; the last one is ${last.number}`;
  throw corrupt(segment.path, last.end, why);
}

/** The offset of the first whole frame at or behind `from`. */
function firstFrameFrom(path: string, bytes: Uint8Array, place: FramePlace, from: number): number | null {
  for (let offset = from; offset < bytes.length; offset += place.blockBytes) {
    if (frameAt(path, bytes, place, offset).ok) return offset;
  }
  return null;
}

/** A segment without header and first frame was prepared and never used: unless it holds a frame all the same. */
function refuseFramesWithoutStart(found: FoundSegment, blockBytes: number): void {
  const place = { segment: found.number, salt: found.salt, blockBytes: found.header?.blockBytes ?? blockBytes };
  const frame = firstFrameFrom(found.path, found.bytes, place, place.blockBytes);
  if (frame === null) return;
  throw corrupt(found.path, 0, `its header or first frame is unreadable, but a whole frame follows at byte ${frame}`);
}

/**
 * Before the first meta is durable, a segment holds at most its header and an opening frame, which fills one block and follows
 * nothing. Every segment is looked at: the newest one is as empty after a start that wrote nothing, and names the frame before it.
 */
function refuseDataWithoutMeta(found: readonly FoundSegment[], blockBytes: number): void {
  for (const { path, bytes, first } of found) {
    const opensOnly = first === null || (first.content.kind === "opening" && samePointer(first.previous, NO_FRAME));
    if (opensOnly && bytes.subarray(2 * blockBytes).every((byte) => byte === 0)) continue;
    throw missing(`${META_PATH} is missing, but ${path} holds a log: the term and vote of this node are lost`);
  }
}

const isEmpty = ({ frame }: PlacedFrame): boolean =>
  frame.content.kind === "opening" || frame.content.kind === "closing";

/** An empty frame at the end proves that everything before it was synced; without one, the last frame has to be copied. */
function splitLast(all: readonly PlacedFrame[]): Pick<RecoveredLog, "frames" | "copied" | "previous"> {
  const lastWithContent = all.findLastIndex((placed) => !isEmpty(placed));
  const last = all[lastWithContent];
  const root = all[0]?.frame.previous ?? NO_FRAME;
  if (last === undefined) return { frames: [], copied: null, previous: root };
  if (lastWithContent < all.length - 1) {
    return { frames: all.slice(0, lastWithContent + 1), copied: null, previous: pointerTo(last) };
  }
  return { frames: all.slice(0, lastWithContent), copied: last.frame.content, previous: last.frame.previous };
}
