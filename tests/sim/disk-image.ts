// What does one simulated file hold, in the page cache and on the platter? Writes are durable only after a sync; before it a power
// cut keeps, loses or tears each of them by itself.
import type { Random } from "../../src/lib/random.ts";

interface Write {
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Its sync failed: the page counts as clean now, so no later sync makes it durable, though reads still show it. */
  stuck: boolean;
}

export interface FileImage {
  /** What reads give. */
  cached(): Uint8Array;
  durable(): Uint8Array;
  /** The write has begun; `apply` makes it readable. */
  begin(offset: number, bytes: Uint8Array): { apply(): void };
  /** What a sync that begins now covers. */
  beginSync(): { succeed(): void; fail(): void };
  /** The process died: writes under way reach the page cache whole, in part, or not at all. */
  kill(random: Random): void;
  powerCut(random: Random): void;
  /** Damage, in cache and on the platter. */
  damage(change: (bytes: Uint8Array) => Uint8Array): void;
}

const SECTOR_BYTES = 512;
const HEADER_BYTES = 128;

function overlay(image: Uint8Array, offset: number, bytes: Uint8Array): Uint8Array {
  const end = offset + bytes.length;
  let target: Uint8Array = image;
  if (end > image.length) {
    target = new Uint8Array(end);
    target.set(image);
  }
  target.set(bytes, offset);
  return target;
}

export function createFileImage(size: number): FileImage {
  let platter: Uint8Array = new Uint8Array(size);
  let cache: Uint8Array = new Uint8Array(size);
  let unsynced: Write[] = [];
  const underWay = new Set<Write>();

  /** One unsynced write meets a power cut. */
  const settle = (write: Write, random: Random): void => {
    const fate = random.below(5);
    const { offset, bytes } = write;
    const old = platter.slice(offset, offset + bytes.length);
    const grows = offset + bytes.length > platter.length;
    if (fate === 0) {
      // Lost; its file size may have reached the platter before it.
      if (grows && random.chance(50))
        platter = overlay(platter, platter.length, new Uint8Array(offset + bytes.length - platter.length));
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
    cached: () => cache,
    durable: () => platter,
    begin: (offset, bytes) => {
      const write: Write = { offset, bytes: bytes.slice(), stuck: false };
      underWay.add(write);
      return {
        apply: () => {
          underWay.delete(write);
          cache = overlay(cache, offset, write.bytes);
          unsynced.push(write);
        },
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
      cache = platter.slice();
    },
    damage: (change) => {
      platter = change(platter.slice());
      cache = change(cache.slice());
    },
  };
}
