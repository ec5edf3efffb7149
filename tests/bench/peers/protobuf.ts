// How does a protobuf message look in bytes? The little of it that etcd's calls need.

export type Field = number | Buffer;

function varint(value: number): readonly number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return bytes;
}

export const integerField = (id: number, value: number): Buffer => Buffer.from([...varint(id << 3), ...varint(value)]);

export function bytesField(id: number, value: Buffer | string): Buffer {
  const body = typeof value === "string" ? Buffer.from(value) : value;
  return Buffer.concat([Buffer.from([...varint((id << 3) | 2), ...varint(body.length)]), body]);
}

/** The fields in their order: numbers for integers, buffers for the rest. */
export function* fieldsOf(message: Buffer): Generator<readonly [number, Field]> {
  let at = 0;
  const number = (): number => {
    let value = 0;
    let factor = 1;
    for (;;) {
      const byte = message[at++] ?? 0;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
  };
  while (at < message.length) {
    const tag = number();
    if ((tag & 7) === 0) {
      yield [tag >> 3, number()];
      continue;
    }
    const length = number();
    yield [tag >> 3, message.subarray(at, at + length)];
    at += length;
  }
}

export function fieldOf(message: Buffer, wanted: number): Field | null {
  for (const [id, value] of fieldsOf(message)) if (id === wanted) return value;
  return null;
}

export function bytesOf(message: Buffer, wanted: number): Buffer | null {
  const value = fieldOf(message, wanted);
  return Buffer.isBuffer(value) ? value : null;
}

export function integerOf(message: Buffer, wanted: number): number {
  const value = fieldOf(message, wanted);
  return typeof value === "number" ? value : 0;
}
