// Where the frames of a log lie in the files of a data directory that is whole: what a test damages is found by this.
import { STORAGE } from "../../src/config.ts";
import { readMeta } from "../../src/storage/meta.ts";
import { decodeFrame, type Frame } from "../../src/storage/wal/frame.ts";
import { LOG_DIRECTORY, parseSegmentName } from "../../src/storage/wal/segment.ts";

/** The files of a data directory by their path, as a copy. */
export type DiskImage = ReadonlyMap<string, Uint8Array>;

interface Files {
  files(): readonly string[];
  cached(path: string): Uint8Array | null;
}

export function imageOf(disk: Files): DiskImage {
  return new Map(disk.files().flatMap((path) => [[path, disk.cached(path)?.slice() ?? new Uint8Array(0)]]));
}

export interface LogSegment {
  readonly path: string;
  readonly frames: readonly Frame[];
}

/** The segments that are log, and hold frames, oldest first; older ones may still lie there, to be used again. */
export function logSegments(image: DiskImage): readonly LogSegment[] {
  const read = (path: string): Uint8Array | null => image.get(path) ?? null;
  const oldest = readMeta({ read }, STORAGE.formatVersion)?.meta.oldestSegment ?? 0;
  const segments: LogSegment[] = [];
  for (const path of [...image.keys()].filter((file) => file.startsWith(`${LOG_DIRECTORY}/`)).toSorted()) {
    const named = parseSegmentName(path.slice(LOG_DIRECTORY.length + 1));
    if (named === null || named.number < oldest) continue;
    const frames = framesIn(image.get(path) ?? new Uint8Array(0), { ...named, blockBytes: STORAGE.blockBytes });
    if (frames.length > 0) segments.push({ path, frames });
  }
  return segments;
}

function framesIn(bytes: Uint8Array, place: Parameters<typeof decodeFrame>[1]): readonly Frame[] {
  const frames: Frame[] = [];
  for (let at = place.blockBytes; at < bytes.length;) {
    const decoded = decodeFrame(bytes, place, at);
    if (!decoded.ok) break;
    frames.push(decoded.frame);
    at = decoded.frame.end;
  }
  return frames;
}
