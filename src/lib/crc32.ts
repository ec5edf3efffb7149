// The checksum of our bytes: CRC-32 (IEEE), computed natively by Bun, with a seed.
import { must } from "./assert.ts";

/** CRC-32 of `bytes` continued from `seed` (0 starts afresh): an unsigned 32-bit number. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return Bun.hash.crc32(bytes, seed);
}

/**
 * CRC-32 of what stands behind the first `skipped` bytes. A view of them would cost ten times as much as the checksum: a small
 * array gets an ArrayBuffer of its own only when a view is made. So the seed is chosen such that the skipped bytes lead
 * from it to where a checksum starts afresh.
 */
export function crc32Behind(bytes: Uint8Array, skipped: number): number {
  let register = 0xffff_ffff;
  for (let at = skipped - 1; at >= 0; at--) {
    const step = STEP_BY_TOP[register >>> 24] ?? 0;
    register = ((register ^ (STEPS[step] ?? 0)) << 8) | (step ^ (bytes[at] ?? 0));
  }
  return crc32(bytes, ~register >>> 0);
}

const POLYNOMIAL = 0xedb8_8320;

/** What one byte does to the register: register' = (register >>> 8) ^ STEPS[(register ^ byte) & 0xff]. */
const STEPS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  return value;
});

/** Which step was it? Its highest byte shows that: no two steps have the same. */
const STEP_BY_TOP = new Uint8Array(256);
for (let step = 0; step < 256; step++) STEP_BY_TOP[must(STEPS[step], "a step") >>> 24] = step;
