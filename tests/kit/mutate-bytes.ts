// Changes bytes at random, from a seed, so that a failing case can be run again.
import type { Random } from "../../src/lib/random.ts";
import { pick } from "./pick.ts";

const HOSTILE_BYTES = [
  0x00, 0x01, 0x7f, 0x80, 0x81, 0x90, 0x91, 0x9f, 0xa0, 0xa1, 0xbf, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7,
  0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd3, 0xd4, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff,
];

/** One to three changes. */
export function mutateSome(bytes: Uint8Array, random: Random): Uint8Array {
  let changed = bytes;
  for (let left = random.between(1, 3); left > 0; left--) changed = mutateBytes(changed, random);
  return changed;
}

/** One change: of a byte, or a stretch that is lost, added, doubled or cut off, or a head that promises more than follows. */
export function mutateBytes(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1);
  const end = Math.min(bytes.length, at + random.between(1, random.chance(80) ? 8 : 200));
  const [before, piece, after] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)];
  switch (random.below(8)) {
    case 0:
      return changed(bytes, at, (bytes[at] ?? 0) ^ (1 << random.below(8)));
    case 1:
      return changed(bytes, at, random.below(256));
    case 2:
      return changed(bytes, at, pick(random, HOSTILE_BYTES));
    case 3:
      return before.slice();
    case 4:
      return joined(before, Uint8Array.of(pick(random, HOSTILE_BYTES)), piece, after);
    case 5:
      return joined(before, after);
    case 6:
      return joined(before, piece, piece, after);
    default:
      return joined(before, hostileHead(random), after);
  }
}

/** A claim of a length that is not there. */
function hostileHead(random: Random): Uint8Array {
  const tag = pick(random, [0xc6, 0xdb, 0xdd, 0xdf, 0xc9, 0xc5, 0xda, 0xdc]);
  const length = pick(random, [0xff, 0x7f, 0x00, 0x80]);
  return Uint8Array.of(tag, length, 0xff, 0xff, 0xff);
}

function changed(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const copy = bytes.slice();
  if (at < copy.length) copy[at] = value;
  return copy;
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}
