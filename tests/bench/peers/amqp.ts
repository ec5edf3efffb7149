// How are AMQP 0-9-1 frames and methods written? The part of it that a quorum queue with confirms needs.

export const FRAME = { method: 1, header: 2, body: 3 } as const;
export const FRAME_HEAD = 7;
/** The head, and the mark at its end. */
export const FRAME_OVERHEAD = 8;
const FRAME_END = 0xce;
const PERSISTENT = 2;
/** Which properties follow in a content header: the delivery mode. */
const HAS_DELIVERY_MODE = 0x1000;

export const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
export const u32 = (value: number): Buffer =>
  Buffer.from([value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]);
export const u64 = (value: number): Buffer => Buffer.concat([u32(Math.floor(value / 2 ** 32)), u32(value >>> 0)]);
export const shortText = (value: string): Buffer =>
  Buffer.concat([Buffer.from([value.length]), Buffer.from(value, "latin1")]);
/** Text, bytes or a table, after its length. */
export const long = (value: Buffer | string): Buffer => {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  return Buffer.concat([u32(bytes.length), bytes]);
};
export const flags = (value: number): Buffer => Buffer.from([value]);

function frame(type: number, channel: number, body: Buffer): Buffer {
  return Buffer.concat([flags(type), u16(channel), u32(body.length), body, flags(FRAME_END)]);
}

export const method = (channel: number, of: number, id: number, ...fields: readonly Buffer[]): Buffer =>
  frame(FRAME.method, channel, Buffer.concat([u16(of), u16(id), ...fields]));

/** The header and the body of one persistent message, after its basic.publish. */
export const content = (channel: number, body: Buffer): Buffer =>
  Buffer.concat([
    frame(
      FRAME.header,
      channel,
      Buffer.concat([u16(60), u16(0), u64(body.length), u16(HAS_DELIVERY_MODE), flags(PERSISTENT)]),
    ),
    frame(FRAME.body, channel, body),
  ]);

/** Each whole frame in `bytes`; the number of bytes they take. */
export function takeFrames(bytes: Buffer, onFrame: (type: number, payload: Buffer) => void): number {
  let at = 0;
  while (bytes.length - at >= FRAME_OVERHEAD) {
    const length = bytes.readUInt32BE(at + 3);
    if (bytes.length - at < FRAME_OVERHEAD + length) break;
    onFrame(bytes[at] ?? 0, bytes.subarray(at + FRAME_HEAD, at + FRAME_HEAD + length));
    at += FRAME_OVERHEAD + length;
  }
  return at;
}
