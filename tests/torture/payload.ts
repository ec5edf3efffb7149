// What is in a job? A value that occurs once, and padding that follows from it: what comes out can be compared byte for byte.

const RANGE = 1_000_000_000;

/** The `n`th value of a producer. */
export const valueOf = (producer: number, n: number): number => producer * RANGE + n;
export const producerOf = (value: number): number => Math.floor(value / RANGE);

/** Mostly small; some large enough to fill segments and snapshots within seconds. */
export function payloadOf(value: number): Uint8Array {
  const hash = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d) >>> 0;
  const size = hash % 100 < 80 ? hash % 200 : hash % 100 < 94 ? hash % 8_192 : hash % 65_536;
  return new TextEncoder().encode(JSON.stringify([value, String.fromCharCode(97 + (hash % 26)).repeat(size)]));
}

/** The value; null when the bytes are not what its producer sent. */
export function valueIn(payload: Uint8Array): number | null {
  try {
    const [value] = JSON.parse(new TextDecoder().decode(payload)) as [number];
    return Buffer.from(payload).equals(payloadOf(value)) ? value : null;
  } catch {
    return null;
  }
}
