/**
 * What one file of the simulated disk holds, in the page cache and on the platter. Writes are durable only after a sync; before it a
 * power cut keeps, loses or tears each of them by itself.
 */
import type { Random } from "../../src/lib/random.ts";
import { equalBytes } from "../sim/history.ts";

interface Write {
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Its sync failed: the page counts as clean now, so no later sync makes it durable, though reads still show it. */
  stuck: boolean;
}

export interface Range {
  readonly offset: number;
  readonly length: number;
}

export interface FileImage {
  /** What reads give, to be looked at before anything is written. */
  cached(): Uint8Array;
  /** How long that is. */
  size(): number;
  /** Likewise. */
  durable(): Uint8Array;
  /** Written, or being written, and not synced, unless the platter holds the same there. */
  unsettled(): readonly Range[];
  /** What reads give, to be kept: whatever is written later goes into a copy. */
  lend(): Uint8Array;
  /** The write has begun; `apply` makes it readable, `beginSync` then begins a sync that covers nothing else. */
  begin(offset: number, bytes: Uint8Array): { apply(): void; beginSync(): SyncUnderWay };
  /** What a sync of the whole file that begins now covers. */
  beginSync(): SyncUnderWay;
  /** The process died: writes under way reach the page cache whole, in part, or not at all. */
  kill(random: Random): void;
  powerCut(random: Random): void;
  /** Damage, in cache and on the platter. */
  damage(change: (bytes: Uint8Array) => Uint8Array): void;
}

export interface SyncUnderWay {
  succeed(): void;
  fail(): void;
}

const SECTOR_BYTES = 512;
const HEADER_BYTES = 128;

/** Some bytes of a file, at their place. */
interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

function overlay(target: Uint8Array, { offset, bytes }: Piece): Uint8Array {
  const end = offset + bytes.length;
  let grown = target;
  if (end > target.length) {
    grown = new Uint8Array(end);
    grown.set(target);
  }
  grown.set(bytes, offset);
  return grown;
}

/** What is left of an earlier piece when a later one takes its place. */
function notUnder<P extends Piece>(earlier: P, { offset, bytes }: Piece): readonly P[] {
  const from = Math.max(0, offset - earlier.offset);
  const to = Math.max(0, offset + bytes.length - earlier.offset);
  if (from >= earlier.bytes.length || to === 0) return [earlier];
  const front = { ...earlier, bytes: earlier.bytes.subarray(0, from) };
  const behind = { ...earlier, offset: earlier.offset + to, bytes: earlier.bytes.subarray(to) };
  return [front, behind].filter((piece) => piece.bytes.length > 0);
}

/** A new file of zeros has their number instead of its bytes. */
export function createFileImage(content: number | Uint8Array): FileImage {
  /** Copied before the first change when others hold it too: most files are read much more often than written. */
  let cache = typeof content === "number" ? new Uint8Array(content) : content;
  let isShared = typeof content !== "number";
  /** The platter: its size, and what it holds where that is not what the cache holds. So a file is in memory once. */
  let platterSize = cache.length;
  let differing: readonly Piece[] = [];
  let unsynced: Write[] = [];
  const underWay = new Set<Write>();

  const platter = (): Uint8Array => {
    if (differing.length === 0 && platterSize === cache.length) return cache;
    const all = new Uint8Array(platterSize);
    all.set(cache.subarray(0, platterSize));
    for (const { offset, bytes } of differing) all.set(bytes, offset);
    return all;
  };

  const platterHolds = (piece: Piece): void => {
    const { offset, bytes } = piece;
    if (offset > platterSize) platterHolds({ offset: platterSize, bytes: new Uint8Array(offset - platterSize) });
    platterSize = Math.max(platterSize, offset + bytes.length);
    if (differing.length > 0) differing = differing.flatMap((other) => notUnder(other, piece));
    if (!equalBytes(cache.subarray(offset, offset + bytes.length), bytes)) differing = [...differing, piece];
  };

  const writeToCache = (write: Write): void => {
    const { offset, bytes } = write;
    const below = cache.slice(offset, Math.min(offset + bytes.length, platterSize));
    if (below.length > 0) {
      const kept = { offset, bytes: below };
      for (const other of differing) {
        for (const { offset: at, bytes: held } of [other].flatMap((piece) => within(piece, kept)))
          below.set(held, at - offset);
      }
      differing = [...differing.flatMap((other) => notUnder(other, kept)), kept];
    }
    if (isShared) cache = cache.slice();
    isShared = false;
    cache = overlay(cache, write);
    unsynced.push(write);
  };

  return {
    cached: () => cache,
    size: () => cache.length,
    durable: platter,
    unsettled: () => {
      const below = platter();
      return [...unsynced, ...underWay]
        .filter(({ offset, bytes }) => bytes.some((byte, at) => below[offset + at] !== byte))
        .map(({ offset, bytes }) => ({ offset, length: bytes.length }));
    },
    lend: () => {
      isShared = true;
      return cache;
    },
    begin: (offset, bytes) => {
      const write: Write = { offset, bytes: bytes.slice(), stuck: false };
      underWay.add(write);
      return {
        apply: () => {
          underWay.delete(write);
          writeToCache(write);
        },
        beginSync: () => ({
          succeed: () => {
            const at = unsynced.indexOf(write);
            // A sync of the whole file was quicker.
            if (at === -1) return;
            const earlier = unsynced.slice(0, at).flatMap((other) => notUnder(other, write));
            platterHolds(write);
            // A power cut never brings back what lay under it.
            unsynced = [...earlier, ...unsynced.slice(at + 1)];
          },
          fail: () => {
            write.stuck = true;
          },
        }),
      };
    },
    beginSync: () => {
      const covered = new Set(unsynced);
      return {
        succeed: () => {
          for (const write of covered) if (!write.stuck) platterHolds(write);
          unsynced = unsynced.filter((write) => write.stuck || !covered.has(write));
        },
        fail: () => {
          for (const write of covered) write.stuck = true;
        },
      };
    },
    kill: (random) => {
      for (const { offset, bytes } of underWay) {
        const reached = random.chance(50) ? bytes.length : random.below(bytes.length + 1);
        writeToCache({ offset, bytes: bytes.subarray(0, reached), stuck: false });
      }
      underWay.clear();
    },
    powerCut: (random) => {
      const lost = [...unsynced, ...underWay];
      const before = platter();
      const isSame = before === cache;
      cache = isSame && isShared && lost.length > 0 ? before.slice() : before;
      isShared &&= isSame && lost.length === 0;
      for (const write of lost) cache = settle(cache, write, random);
      platterSize = cache.length;
      differing = [];
      unsynced = [];
      underWay.clear();
    },
    damage: (change) => {
      const below = change(platter().slice());
      cache = change(cache.slice());
      isShared = false;
      platterSize = below.length;
      differing = equalBytes(below, cache) ? [] : [{ offset: 0, bytes: below }];
    },
  };
}

/** The part of a piece that lies in the place of another one. */
function within(piece: Piece, { offset, bytes }: Piece): readonly Piece[] {
  const from = Math.max(piece.offset, offset);
  const to = Math.min(piece.offset + piece.bytes.length, offset + bytes.length);
  return from >= to ? [] : [{ offset: from, bytes: piece.bytes.subarray(from - piece.offset, to - piece.offset) }];
}

/** One unsynced write meets a power cut: what the platter holds then. */
function settle(platter: Uint8Array, { offset, bytes }: Write, random: Random): Uint8Array {
  const fate = random.below(5);
  const size = platter.length;
  const grows = offset + bytes.length > size;
  switch (fate) {
    case 0:
      // Lost; its file size may have reached the platter before it.
      if (!grows || !random.chance(50)) return platter;
      return overlay(platter, { offset: size, bytes: new Uint8Array(offset + bytes.length - size) });
    case 1:
      return overlay(platter, { offset, bytes });
    case 2:
    case 3: {
      // Half of the cuts fall into the first bytes, where headers are.
      const limit = fate === 2 ? Math.min(bytes.length, HEADER_BYTES) : bytes.length;
      return overlay(platter, { offset, bytes: bytes.subarray(0, random.below(limit + 1)) });
    }
    default: {
      const torn = new Uint8Array(bytes.length);
      torn.set(platter.subarray(offset, offset + bytes.length));
      for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
        if (random.chance(50)) torn.set(bytes.subarray(at, at + SECTOR_BYTES), at);
      }
      return overlay(platter, { offset, bytes: torn });
    }
  }
}
