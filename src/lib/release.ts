// Frees the memory of an array at once, by detaching it: otherwise it stays until the next garbage collection, and how late that is
// depends on everything else that the process holds.

/** Smaller ones may be a part of something shared, and do not matter. */
const LEAST_BYTES = 16 * 1024;
/** A writer leaves a little unused memory behind what it wrote, or in front of it. */
const LEAST_SHARE = 7 / 8;

/** `bytes` are not used any more: all views of the same memory are empty from now on. A small part of a buffer is left alone. */
export function release(bytes: Uint8Array): void {
  const { length } = bytes;
  if (length < LEAST_BYTES) return;
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && length >= buffer.byteLength * LEAST_SHARE) buffer.transfer(0);
}
