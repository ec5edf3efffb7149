// Is the checksum the CRC-32 that other programs compute, with and without bytes to skip?
import { expect, test } from "bun:test";
import { crc32, crc32Behind } from "../../src/lib/crc32.ts";
import { seededRandom } from "../../src/lib/random.ts";

test("the checksum is CRC-32 as other programs compute it", () => {
  expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcbf43926);
});

test("a checksum behind skipped bytes is that of a copy without them", () => {
  const random = seededRandom(1);
  for (let round = 0; round < 500; round++) {
    const bytes = Uint8Array.from({ length: random.below(120) }, () => random.below(256));
    const skipped = random.below(bytes.length + 1);
    expect(crc32Behind(bytes, skipped)).toBe(crc32(bytes.slice(skipped)));
  }
});
