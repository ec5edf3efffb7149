// Which checksum guards our bytes? CRC-32 (IEEE), computed natively by Bun, with a seed.

/** CRC-32 of `bytes` continued from `seed` (0 starts afresh): an unsigned 32-bit number. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return Bun.hash.crc32(bytes, seed);
}
