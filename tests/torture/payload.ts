// What is in a job? A value that occurs once, and padding that follows from it: what comes out can be compared byte for byte.

const RANGE = 1_000_000_000;

/** The `n`th value of a producer. */
export const valueOf = (producer: number, n: number): number => producer * RANGE + n;
export const producerOf = (value: number): number => Math.floor(value / RANGE);

const hashOf = (value: number): number => Math.imul(value ^ (value >>> 15), 0x2c1b3c6d) >>> 0;

/** Bytes of padding. Mostly few; some enough to fill segments and snapshots within seconds. */
export function sizeOf(value: number): number {
  const hash = hashOf(value);
  return hash % 100 < 80 ? hash % 200 : hash % 100 < 94 ? hash % 8_192 : hash % 65_536;
}

export function payloadOf(value: number): Uint8Array {
  const padding = String.fromCharCode(97 + (hashOf(value) % 26)).repeat(sizeOf(value));
  return new TextEncoder().encode(JSON.stringify([value, padding]));
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
