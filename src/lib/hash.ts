// A fast 32-bit hash of numbers and bytes (Murmur3's steps), the same on every machine; not against attackers.
import { crc32 } from "./crc32.ts";

/** Beyond this the native checksum is faster than a loop. */
const LOOP_BYTES = 32;
const WORD = 0x1_0000_0000;

/** Takes the 32 bits of `word` into `hash`. */
function mixWord(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  const h = hash ^ k;
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

/** Takes a safe integer into `hash`. */
export function mix(hash: number, value: number): number {
  const low = mixWord(hash, value | 0);
  return value < WORD ? low : mixWord(low, Math.floor(value / WORD));
}

/** Takes `bytes` from `start` to `end`, and how many they are, into `hash`. */
export function mixBytes(hash: number, bytes: Uint8Array, start = 0, end = bytes.length): number {
  const length = end - start;
  let h = mixWord(hash, length);
  if (length > LOOP_BYTES) return mixWord(h, crc32(length === bytes.length ? bytes : bytes.subarray(start, end)));
  let at = start;
  for (; at + 4 <= end; at += 4) h = mixWord(h, wordAt(bytes, at));
  let rest = 0;
  for (; at < end; at++) rest = (rest << 8) | byteAt(bytes, at);
  return mixWord(h, rest);
}

const byteAt = (bytes: Uint8Array, at: number): number => bytes[at] ?? 0;

function wordAt(bytes: Uint8Array, at: number): number {
  return (
    byteAt(bytes, at) | (byteAt(bytes, at + 1) << 8) | (byteAt(bytes, at + 2) << 16) | (byteAt(bytes, at + 3) << 24)
  );
}

export function mixText(hash: number, text: string): number {
  let h = mixWord(hash, text.length);
  for (let at = 0; at < text.length; at++) h = mixWord(h, text.charCodeAt(at));
  return h;
}

/** Spreads every bit over all 32, so that hashes can be added up. */
export function finish(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}
