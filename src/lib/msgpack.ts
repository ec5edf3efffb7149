// How do values become MessagePack bytes and back? A writer and a strict reader for the six types we use: nil, boolean,
// unsigned integer, text, binary, array. The reader is told what to expect and refuses everything else: extensions, maps,
// floats, negative numbers, other types, lengths beyond the data, numbers above 2^53 - 1, invalid UTF-8, trailing bytes.
import { assert } from "./assert.ts";

const TWO_32 = 0x1_0000_0000;
const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The bytes are not what the reader was told to expect. */
export class Malformed extends Error {
  override name = "Malformed";
}

export interface Writer {
  nil(): Writer;
  boolean(value: boolean): Writer;
  /** A safe integer, not negative, in its shortest form. */
  uint(value: number): Writer;
  text(value: string): Writer;
  binary(value: Uint8Array): Writer;
  /** The head of a binary: `length` bytes must follow by `raw`. */
  binaryHead(length: number): Writer;
  /** The head of an array: `length` values must follow. */
  array(length: number): Writer;
  /** Bytes that are MessagePack already, or those a `binaryHead` announced. */
  raw(value: Uint8Array): Writer;
  /** The bytes written so far, in memory of their own. */
  finish(): Uint8Array;
}

/** `headroom` zero bytes come first: room for a length prefix. */
export function createWriter(headroom = 0, expectedBytes = 64): Writer {
  return new GrowingWriter(headroom, expectedBytes);
}

// Classes with plain byte access, because one is made for every message: a set of closures and a DataView for each would be
// most of the garbage that a busy node makes.
class GrowingWriter implements Writer {
  #bytes: Uint8Array;
  #at: number;

  constructor(headroom: number, expectedBytes: number) {
    this.#bytes = new Uint8Array(headroom + expectedBytes);
    this.#at = headroom;
  }

  #room(more: number): void {
    if (this.#at + more <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + more));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
  }

  #byte(value: number): void {
    this.#room(1);
    this.#bytes[this.#at++] = value;
  }

  /** A type byte and `width` bytes of `value`, big-endian. */
  #head(tag: number, value: number, width: 1 | 2 | 4): void {
    this.#room(1 + width);
    this.#bytes[this.#at++] = tag;
    for (let shift = 8 * (width - 1); shift >= 0; shift -= 8) this.#bytes[this.#at++] = value >>> shift;
  }

  #append(value: Uint8Array): void {
    this.#room(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
  }

  nil(): Writer {
    this.#byte(0xc0);
    return this;
  }

  boolean(value: boolean): Writer {
    this.#byte(value ? 0xc3 : 0xc2);
    return this;
  }

  uint(value: number): Writer {
    assert(Number.isSafeInteger(value) && value >= 0, `a number on the wire is from 0 to 2^53-1, not ${value}`);
    if (value < 0x80) this.#byte(value);
    else if (value < 0x100) this.#head(0xcc, value, 1);
    else if (value < 0x1_0000) this.#head(0xcd, value, 2);
    else if (value < TWO_32) this.#head(0xce, value, 4);
    else {
      this.#head(0xcf, Math.floor(value / TWO_32), 4);
      this.#room(4);
      for (let shift = 24; shift >= 0; shift -= 8) this.#bytes[this.#at++] = value >>> shift;
    }
    return this;
  }

  text(value: string): Writer {
    const encoded = utf8.encode(value);
    const { length } = encoded;
    if (length < 32) this.#byte(0xa0 | length);
    else if (length < 0x100) this.#head(0xd9, length, 1);
    else if (length < 0x1_0000) this.#head(0xda, length, 2);
    else this.#head(0xdb, length, 4);
    this.#append(encoded);
    return this;
  }

  binary(value: Uint8Array): Writer {
    this.binaryHead(value.length);
    this.#append(value);
    return this;
  }

  binaryHead(length: number): Writer {
    if (length < 0x100) this.#head(0xc4, length, 1);
    else if (length < 0x1_0000) this.#head(0xc5, length, 2);
    else this.#head(0xc6, length, 4);
    return this;
  }

  array(length: number): Writer {
    if (length < 16) this.#byte(0x90 | length);
    else if (length < 0x1_0000) this.#head(0xdc, length, 2);
    else this.#head(0xdd, length, 4);
    return this;
  }

  raw(value: Uint8Array): Writer {
    this.#append(value);
    return this;
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }
}

export interface Reader {
  /** True and past it, if the next value is nil; otherwise nothing is read. */
  nil(): boolean;
  boolean(): boolean;
  /** At most `max` (default 2^53 - 1). */
  uint(max?: number): number;
  /** At most `maxBytes` of UTF-8. */
  text(maxBytes: number): string;
  /** A view of the input, at most `maxBytes`. */
  binary(maxBytes: number): Uint8Array;
  /** The length of an array, from `min` to `max`. */
  array(min: number, max: number): number;
  /** Refuses bytes that were not read. */
  end(): void;
}

export function createReader(bytes: Uint8Array): Reader {
  return new StrictReader(bytes);
}

class StrictReader implements Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  #take(count: number): number {
    const missing = count - (this.#bytes.length - this.#at);
    if (missing > 0) throw new Malformed(`the message ends ${missing} bytes too early`);
    const start = this.#at;
    this.#at += count;
    return start;
  }

  #wrong(expected: string, tag: number): never {
    const type = `0x${tag.toString(16).padStart(2, "0")}`;
    throw new Malformed(`expected ${expected}, found type byte ${type} at byte ${this.#at - 1}`);
  }

  #span(length: number, maxBytes: number, what: string): Uint8Array {
    if (length > maxBytes) throw new Malformed(`${what} of ${length} bytes is longer than the ${maxBytes} allowed`);
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** `width` bytes, big-endian. */
  #number(width: 1 | 2 | 4): number {
    const start = this.#take(width);
    let value = 0;
    for (let at = start; at < start + width; at++) value = value * 0x100 + (this.#bytes[at] ?? 0);
    return value;
  }

  #anyUint(): number {
    const tag = this.#number(1);
    if (tag < 0x80) return tag;
    if (tag === 0xcc) return this.#number(1);
    if (tag === 0xcd) return this.#number(2);
    if (tag === 0xce) return this.#number(4);
    if (tag === 0xcf) {
      const value = this.#number(4) * TWO_32 + this.#number(4);
      if (!Number.isSafeInteger(value)) throw new Malformed("a number is above 2^53 - 1");
      return value;
    }
    return this.#wrong("a number that is not negative", tag);
  }

  nil(): boolean {
    if (this.#bytes[this.#at] !== 0xc0) return false;
    this.#at++;
    return true;
  }

  boolean(): boolean {
    const tag = this.#number(1);
    if (tag !== 0xc2 && tag !== 0xc3) return this.#wrong("true or false", tag);
    return tag === 0xc3;
  }

  uint(max = Number.MAX_SAFE_INTEGER): number {
    const value = this.#anyUint();
    if (value > max) throw new Malformed(`the number ${value} is above the ${max} allowed`);
    return value;
  }

  text(maxBytes: number): string {
    const raw = this.#span(this.#textLength(), maxBytes, "a text");
    try {
      return strictUtf8.decode(raw);
    } catch {
      throw new Malformed("a text is not valid UTF-8");
    }
  }

  #textLength(): number {
    const tag = this.#number(1);
    if (tag >= 0xa0 && tag < 0xc0) return tag & 0x1f;
    if (tag === 0xd9) return this.#number(1);
    if (tag === 0xda) return this.#number(2);
    if (tag === 0xdb) return this.#number(4);
    return this.#wrong("a text", tag);
  }

  binary(maxBytes: number): Uint8Array {
    return this.#span(this.#binaryLength(), maxBytes, "a binary");
  }

  #binaryLength(): number {
    const tag = this.#number(1);
    if (tag === 0xc4) return this.#number(1);
    if (tag === 0xc5) return this.#number(2);
    if (tag === 0xc6) return this.#number(4);
    return this.#wrong("a binary", tag);
  }

  array(min: number, max: number): number {
    const length = this.#arrayLength();
    if (length < min || length > max) {
      throw new Malformed(`an array has ${length} values where ${min === max ? min : `${min} to ${max}`} are expected`);
    }
    return length;
  }

  #arrayLength(): number {
    const tag = this.#number(1);
    if (tag >= 0x90 && tag < 0xa0) return tag & 0x0f;
    if (tag === 0xdc) return this.#number(2);
    if (tag === 0xdd) return this.#number(4);
    return this.#wrong("an array", tag);
  }

  end(): void {
    const left = this.#bytes.length - this.#at;
    if (left > 0) throw new Malformed(`${left} bytes are left over behind the message`);
  }
}
