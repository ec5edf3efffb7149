// A range of bytes, as a view or, where that costs less, as a copy.

/** Above it a copy costs more than a view; below it a view costs more, because its array needs an ArrayBuffer first. */
const LARGEST_COPY_BYTES = 1_024;

/** `bytes` from `start` to `end`: good for as long as `bytes` are. */
export function byteRange(bytes: Uint8Array, start: number, end = bytes.length): Uint8Array {
  return end - start > LARGEST_COPY_BYTES ? bytes.subarray(start, end) : bytes.slice(start, end);
}
