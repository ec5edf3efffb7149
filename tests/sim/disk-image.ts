// What does one simulated file hold, in the page cache and on the platter? Writes are durable only after a sync; before it a power
// cut keeps, loses or tears each of them by itself.
import type { Random } from "../../src/lib/random.ts";

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

/** Bytes that are copied before the first change when others hold them too: most files are read much more often than written. */
interface Bytes {
  readonly all: Uint8Array;
  readonly isShared: boolean;
}

function overlay({ all, isShared }: Bytes, offset: number, bytes: Uint8Array): Bytes {
  const end = offset + bytes.length;
  let target: Uint8Array = all;
  if (isShared || end > all.length) {
    target = new Uint8Array(Math.max(end, all.length));
    target.set(all);
  }
  target.set(bytes, offset);
  return { all: target, isShared: false };
}

/** What is left of an earlier write when a later one is durable: a power cut never brings back what lay under it. */
function notUnder(earlier: Write, { offset, bytes }: Write): readonly Write[] {
  const from = Math.max(0, offset - earlier.offset);
  const to = Math.max(0, offset + bytes.length - earlier.offset);
  if (from >= earlier.bytes.length || to === 0) return [earlier];
  const front = { ...earlier, bytes: earlier.bytes.subarray(0, from) };
  const behind = { ...earlier, offset: earlier.offset + to, bytes: earlier.bytes.subarray(to) };
  return [front, behind].filter((piece) => piece.bytes.length > 0);
}

/** A new file of zeros has their number instead of its bytes. */
export function createFileImage(content: number | Uint8Array): FileImage {
  const first: Bytes = { all: typeof content === "number" ? new Uint8Array(content) : content, isShared: true };
  let platter = first;
  let cache = first;
  let unsynced: Write[] = [];
  const underWay = new Set<Write>();

  /** One unsynced write meets a power cut. */
  const settle = (write: Write, random: Random): void => {
    const fate = random.below(5);
    const { offset, bytes } = write;
    const old = platter.all.slice(offset, offset + bytes.length);
    const size = platter.all.length;
    const grows = offset + bytes.length > size;
    if (fate === 0) {
      // Lost; its file size may have reached the platter before it.
      if (grows && random.chance(50)) platter = overlay(platter, size, new Uint8Array(offset + bytes.length - size));
    } else if (fate === 1) {
      platter = overlay(platter, offset, bytes);
    } else if (fate <= 3) {
      // Half of the cuts fall into the first bytes, where headers are.
      const limit = fate === 2 ? Math.min(bytes.length, HEADER_BYTES) : bytes.length;
      platter = overlay(platter, offset, bytes.subarray(0, random.below(limit + 1)));
    } else {
      const torn = new Uint8Array(bytes.length);
      torn.set(old);
      for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
        if (random.chance(50)) torn.set(bytes.subarray(at, at + SECTOR_BYTES), at);
      }
      platter = overlay(platter, offset, torn);
    }
  };

  return {
    cached: () => cache.all,
    durable: () => platter.all,
    unsettled: () =>
      [...unsynced, ...underWay]
        .filter(({ offset, bytes }) => bytes.some((byte, at) => platter.all[offset + at] !== byte))
        .map(({ offset, bytes }) => ({ offset, length: bytes.length })),
    lend: () => {
      cache = { ...cache, isShared: true };
      return cache.all;
    },
    begin: (offset, bytes) => {
      const write: Write = { offset, bytes: bytes.slice(), stuck: false };
      underWay.add(write);
      return {
        apply: () => {
          underWay.delete(write);
          cache = overlay(cache, offset, write.bytes);
          unsynced.push(write);
        },
        beginSync: () => ({
          succeed: () => {
            const at = unsynced.indexOf(write);
            // A sync of the whole file was quicker.
            if (at === -1) return;
            const earlier = unsynced.slice(0, at).flatMap((other) => notUnder(other, write));
            platter = overlay(platter, offset, write.bytes);
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
          for (const write of covered) {
            if (!write.stuck) platter = overlay(platter, write.offset, write.bytes);
          }
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
        const write: Write = { offset, bytes: bytes.subarray(0, reached), stuck: false };
        cache = overlay(cache, offset, write.bytes);
        unsynced.push(write);
      }
      underWay.clear();
    },
    powerCut: (random) => {
      for (const write of [...unsynced, ...underWay]) settle(write, random);
      unsynced = [];
      underWay.clear();
      platter = { ...platter, isShared: true };
      cache = platter;
    },
    damage: (change) => {
      platter = { all: change(platter.all.slice()), isShared: false };
      cache = { all: change(cache.all.slice()), isShared: false };
    },
  };
}
