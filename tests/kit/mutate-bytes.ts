// Changes bytes at random, from a seed, so that a failing case can be run again.
import type { Random } from "../../src/lib/random.ts";

/** One to three damages: a changed, lost, added or doubled stretch, a cut end. */
export function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  let damaged: Uint8Array = bytes.slice();
  for (let left = random.between(1, 3); left > 0; left--) damaged = mutateOnce(damaged, random);
  return damaged;
}

function mutateOnce(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1);
  switch (random.below(6)) {
    case 0:
      return bytes.map((byte, position) => (position === at ? byte ^ (1 << random.below(8)) : byte));
    case 1:
      return bytes.map((byte, position) => (position === at ? random.below(256) : byte));
    case 2:
      return bytes.subarray(0, at);
    case 3:
      return joined(bytes.subarray(0, at), new Uint8Array([random.below(256)]), bytes.subarray(at));
    case 4:
      return joined(bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + random.between(1, 4))));
    default:
      return joined(
        bytes.subarray(0, at),
        bytes.subarray(Math.max(0, at - random.between(1, 8)), at),
        bytes.subarray(at),
      );
  }
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}
