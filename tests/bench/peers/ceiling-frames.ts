// What do the processes of the ceiling send to each other? A length and one MessagePack array.
import { pack } from "msgpackr";

export const TYPE = { request: 1, answer: 2, append: 10, durable: 11 } as const;
/** Before each record of a batch: its length, index, and room for what a log keeps. */
export const RECORD_HEAD = 28;
const LENGTH_BYTES = 4;

export const crc32 = (bytes: Uint8Array): number => Bun.hash.crc32(bytes);

export function frame(value: readonly unknown[]): Buffer {
  const body = pack(value);
  const out = Buffer.allocUnsafe(LENGTH_BYTES + body.length);
  out.writeUInt32BE(body.length);
  out.set(body, LENGTH_BYTES);
  return out;
}

/** Whole frames out of any split of bytes. */
export function framer(onBody: (body: Buffer) => void): (data: Buffer) => void {
  let rest: Buffer | null = null;
  return (data) => {
    const all: Buffer = rest === null ? data : Buffer.concat([rest, data]);
    let at = 0;
    while (all.length - at >= LENGTH_BYTES) {
      const length = all.readUInt32BE(at);
      if (all.length - at - LENGTH_BYTES < length) break;
      onBody(all.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length));
      at += LENGTH_BYTES + length;
    }
    rest = at < all.length ? all.subarray(at) : null;
  };
}
