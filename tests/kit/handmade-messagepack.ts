/**
 * Writes MessagePack by hand, also such as no layout would write, and reads any without msgpackr: what our encoder and decoder are
 * compared with.
 */

const TWO_32 = 2 ** 32;

export interface HandWriter {
  nil(): HandWriter;
  boolean(value: boolean): HandWriter;
  /** In its shortest form; from 2^32 on as raftq writes it: a signed one of 64 bits. */
  uint(value: number): HandWriter;
  text(value: string): HandWriter;
  binary(value: Uint8Array): HandWriter;
  /** The head of an array: `length` values must follow. */
  array(length: number): HandWriter;
  /** Any bytes. */
  raw(value: Uint8Array): HandWriter;
  finish(): Uint8Array;
}

/** `headroom` zero bytes come first. */
export function createWriter(headroom = 0): HandWriter {
  const parts: Uint8Array[] = [new Uint8Array(headroom)];
  const add = (...bytes: readonly number[]): HandWriter => raw(Uint8Array.from(bytes));
  const raw = (bytes: Uint8Array): HandWriter => {
    parts.push(bytes.slice());
    return writer;
  };
  const wide = (width: number, value: number): readonly number[] =>
    Array.from({ length: width }, (_, at) => Math.floor(value / 2 ** (8 * (width - 1 - at))) % 256);
  /** By the widths that the length may have. */
  const head = (length: number, tags: readonly (readonly [width: number, tag: number])[]): HandWriter => {
    const [width, tag] = tags.find(([bytes]) => length < 2 ** (8 * bytes))!;
    return add(tag, ...wide(width, length));
  };
  const writer: HandWriter = {
    nil: () => add(0xc0),
    boolean: (value) => add(value ? 0xc3 : 0xc2),
    uint: (value) => {
      if (value < 0x80) return add(value);
      if (value >= TWO_32) return add(0xd3, ...wide(8, value));
      return head(value, [
        [1, 0xcc],
        [2, 0xcd],
        [4, 0xce],
      ]);
    },
    text: (value) => {
      const bytes = new TextEncoder().encode(value);
      if (bytes.length < 32) return add(0xa0 | bytes.length, ...bytes);
      head(bytes.length, [
        [1, 0xd9],
        [2, 0xda],
        [4, 0xdb],
      ]);
      return raw(bytes);
    },
    binary: (value) => {
      head(value.length, [
        [1, 0xc4],
        [2, 0xc5],
        [4, 0xc6],
      ]);
      return raw(value);
    },
    array: (length) => {
      if (length < 16) return add(0x90 | length);
      return head(length, [
        [2, 0xdc],
        [4, 0xdd],
      ]);
    },
    raw,
    finish: () => {
      const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const part of parts) {
        whole.set(part, at);
        at += part.length;
      }
      return whole;
    },
  };
  return writer;
}

/** Values as a writer takes them: nil, booleans, numbers, texts, binaries and arrays of them. */
export function writeValue(writer: HandWriter, value: unknown): void {
  if (value === null) writer.nil();
  else if (typeof value === "boolean") writer.boolean(value);
  else if (typeof value === "number") writer.uint(value);
  else if (typeof value === "string") writer.text(value);
  else if (value instanceof Uint8Array) writer.binary(value);
  else if (Array.isArray(value)) {
    writer.array(value.length);
    for (const item of value) writeValue(writer, item);
  } else throw new Error(`a ${typeof value} is none of our types`);
}

export function bytesOf(value: unknown): Uint8Array {
  const writer = createWriter();
  writeValue(writer, value);
  return writer.finish();
}

/** The one value in `bytes`, of the formats that PROTOCOL.md lists. Throws when there is anything else. */
export function valueOf(bytes: Uint8Array): unknown {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  const number = (width: number): number => {
    let value = 0;
    for (const end = at + width; at < end; at++) value = value * 256 + view.getUint8(at);
    return value;
  };
  const take = (length: number): Uint8Array => {
    if (at + length > bytes.length) throw new Error("the bytes end too early");
    at += length;
    return bytes.slice(at - length, at);
  };
  const text = (length: number): string =>
    new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(take(length));
  const array = (length: number): unknown[] => Array.from({ length }, () => value());
  const value = (): unknown => {
    const tag = number(1);
    if (tag < 0x80) return tag;
    if (tag >= 0x90 && tag < 0xa0) return array(tag & 15);
    if (tag >= 0xa0 && tag < 0xc0) return text(tag & 31);
    const wide = [0xc4, 0xd9, 0xdc, 0xcc].find((first) => tag >= first && tag <= first + (first === 0xdc ? 1 : 2));
    if (wide === 0xc4) return take(number(1 << (tag - wide)));
    if (wide === 0xd9) return text(number(1 << (tag - wide)));
    if (wide === 0xdc) return array(number(2 << (tag - wide)));
    if (wide === 0xcc) return number(1 << (tag - wide));
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
      case 0xc3:
        return tag === 0xc3;
      case 0xcf:
      case 0xd3:
        if (view.getUint8(at) > 0) throw new Error("a number above 2^53 - 1, or negative");
        return number(8);
      default:
        throw new Error(`the type byte 0x${tag.toString(16)} is none of ours`);
    }
  };
  const found = value();
  if (at < bytes.length) throw new Error("bytes are left over");
  return found;
}
