/**
 * Where a node's disk can be damaged: every class of position in log, meta and snapshot, as FORMAT.md describes them, found on the image
 * of a real node. For tests that damage each of them; the simulator draws its own (`sim/damage.ts`).
 */
import { type Frame } from "../../src/storage/wal/frame.ts";
import type { SimDisk } from "./simulated-disk.ts";
import { imageOf, logSegments } from "./log-frames.ts";

/** One way to damage a disk. */
export interface DiskDamage {
  /** "log frame/crc, last", "meta/sequence". */
  readonly name: string;
  readonly apply: (disk: SimDisk) => void;
}

/** What finds its place on a disk only when it is applied: each disk looks a little different. */
type Placed = (disk: SimDisk) => { readonly path: string; readonly at: number };

/** As if all that was written from there on had never been. */
export function zeroToEnd(disk: SimDisk, path: string, from: number): void {
  disk.overwrite(path, from, new Uint8Array((disk.cached(path)?.length ?? 0) - from));
}

const flip = (name: string, place: Placed): DiskDamage => ({
  name,
  apply: (disk) => {
    const { path, at } = place(disk);
    disk.flipBit(path, at, at % 8);
  },
});

interface PlacedFrame {
  readonly path: string;
  readonly frame: Frame;
}

/**
 * All frames whose loss would lose something, oldest first. Not those that only repeat what another one proves: a segment's "continues"
 * once the next one begins with the same content, and the closing frame at the very end.
 */
function framesOn(disk: SimDisk): readonly PlacedFrame[] {
  const frames: PlacedFrame[] = logSegments(imageOf(disk)).flatMap((segment) =>
    segment.frames
      .filter(({ content }) => content.kind !== "continues")
      .map((frame) => ({ path: segment.path, frame })),
  );
  while (frames.at(-1)?.frame.content.kind === "closing") frames.pop();
  return frames;
}

/** One bit in the middle of the log. */
export const anyDamage = flip("anywhere", (disk) => {
  const { path, frame } = pick(framesOn(disk), "middle");
  return { path, at: frame.offset + FRAME_FIELDS.number };
});

const pick = <T>(all: readonly T[], where: Where): T => {
  const at = where === "first" ? 0 : where === "last" ? all.length - 1 : all.length >> 1;
  const found = all[at];
  if (found === undefined) throw new Error("nothing is there to be damaged");
  return found;
};

type Where = "first" | "middle" | "last";
const WHERES = ["first", "middle", "last"] as const;

const SEGMENT_FIELDS = { magic: 0, version: 8, number: 12, salt: 16, block: 20, size: 24, crc: 28 } as const;
const FRAME_FIELDS = {
  magic: 0,
  crc: 4,
  length: 8,
  kind: 12,
  flags: 13,
  zero: 14,
  segment: 16,
  offset: 20,
  number: 24,
  "previous segment": 30,
  "previous number": 34,
  "previous end": 40,
  "first index": 44,
  "last index": 50,
  reserved: 56,
} as const;
const FRAME_HEADER_BYTES = 64;
const RECORD_FIELDS = {
  length: 0,
  crc: 4,
  index: 8,
  term: 14,
  kind: 20,
  flags: 21,
  time: 22,
  wall: 28,
  session: 34,
  "request number": 40,
  acknowledgedThrough: 46,
} as const;
const BODY_AT = 52;
const META_FIELDS = {
  magic: 0,
  version: 8,
  crc: 12,
  sequence: 16,
  length: 22,
  "node id": 26,
  term: 80,
  end: 4095,
} as const;
const MANIFEST_FIELDS = { magic: 0, version: 8, crc: 12, index: 17, configuration: 40 } as const;
const META_SLOT_BYTES = 4096;

const named = (fields: Readonly<Record<string, number>>): [string, number][] => Object.entries(fields);

function recordsOn(disk: SimDisk): readonly { readonly path: string; readonly at: number; readonly bytes: number }[] {
  return framesOn(disk).flatMap(({ path, frame }) => {
    if (frame.content.kind !== "batch") return [];
    let at = frame.offset + FRAME_HEADER_BYTES;
    return frame.content.entries.map(({ record }) => {
      const place = { path, at, bytes: record.length };
      at += record.length;
      return place;
    });
  });
}

export function logDamage(): readonly DiskDamage[] {
  const damages: DiskDamage[] = [];
  for (const where of WHERES) {
    for (const [field, at] of named(SEGMENT_FIELDS))
      damages.push(
        flip(`segment header/${field}, ${where}`, (disk) => ({ path: pick(segmentsInUse(disk), where), at })),
      );
    for (const [field, at] of named(FRAME_FIELDS)) {
      damages.push(
        flip(`frame/${field}, ${where}`, (disk) => {
          const { path, frame } = pick(framesOn(disk), where);
          return { path, at: frame.offset + at };
        }),
      );
    }
    for (const [field, at] of named(RECORD_FIELDS)) {
      damages.push(
        flip(`record/${field}, ${where}`, (disk) => {
          const record = pick(recordsOn(disk), where);
          return { path: record.path, at: record.at + at };
        }),
      );
    }
    damages.push(
      flip(`record/payload, ${where}`, (disk) => {
        const record = pick(
          recordsOn(disk).filter(({ bytes }) => bytes > BODY_AT),
          where,
        );
        return { path: record.path, at: record.at + BODY_AT + ((record.bytes - BODY_AT) >> 1) };
      }),
    );
  }
  return damages;
}

/** Without the one that is made ahead of its need. */
function segmentsInUse(disk: SimDisk): readonly string[] {
  return [...new Set(framesOn(disk).map(({ path }) => path))];
}

export function metaDamage(): readonly DiskDamage[] {
  return named(META_FIELDS).map(([field, at]) => ({
    name: `both slots of meta/${field}`,
    apply: (disk) => {
      for (const slot of [0, 1]) disk.flipBit("meta", slot * META_SLOT_BYTES + at, 1);
    },
  }));
}

/** Of the snapshot that counts: the one that the last snapshot frame names. */
function snapshotFiles(disk: SimDisk, name: string): readonly string[] {
  const counted = framesOn(disk).findLast(({ frame }) => frame.content.kind === "snapshot")?.frame.content;
  if (counted?.kind !== "snapshot") throw new Error("no snapshot counts on this disk");
  return disk.files().filter((path) => path.startsWith(`g0/snapshot/${counted.index}-${counted.term}/${name}`));
}

export function snapshotDamage(): readonly DiskDamage[] {
  const damages = named(MANIFEST_FIELDS).map(([field, at]) =>
    flip(`manifest/${field}`, (disk) => ({ path: pick(snapshotFiles(disk, "manifest"), "last"), at })),
  );
  for (const where of WHERES) {
    damages.push(
      flip(`snapshot part, ${where} byte`, (disk) => {
        const path = pick(snapshotFiles(disk, "part-"), "last");
        const bytes = disk.cached(path)!.length;
        return { path, at: where === "first" ? 0 : where === "last" ? bytes - 1 : bytes >> 1 };
      }),
    );
  }
  return damages;
}

/** All that was written last is gone, as if it had never been: the frames from one of them on, and the closing frame behind them. */
export function tailDamage(): readonly DiskDamage[] {
  return [1, 2, 3].map((count) => ({
    name: `the last ${count} frames, zeroed with all behind them`,
    apply: (disk) => {
      const path = pick(segmentsInUse(disk), "last");
      const last = framesOn(disk)
        .filter((placed) => placed.path === path)
        .slice(-count);
      zeroToEnd(disk, path, pick(last, "first").frame.offset);
    },
  }));
}

/** Files that are gone, empty or shorter. */
export function fileDamage(): readonly DiskDamage[] {
  const paths: Readonly<Record<string, (disk: SimDisk) => string>> = {
    meta: () => "meta",
    "the first segment": (disk) => pick(segmentsInUse(disk), "first"),
    "the last segment": (disk) => pick(segmentsInUse(disk), "last"),
    "the manifest": (disk) => pick(snapshotFiles(disk, "manifest"), "last"),
    "a snapshot part": (disk) => pick(snapshotFiles(disk, "part-"), "first"),
  };
  return Object.entries(paths).flatMap(([name, path]): DiskDamage[] => [
    { name: `${name} deleted`, apply: (disk) => disk.delete(path(disk)) },
    { name: `${name} emptied`, apply: (disk) => disk.truncate(path(disk), 0) },
    // Not into two halves: the first one of meta is a whole slot.
    {
      name: `${name} cut in three`,
      apply: (disk) => disk.truncate(path(disk), Math.floor((disk.cached(path(disk))?.length ?? 0) / 3)),
    },
  ]);
}
