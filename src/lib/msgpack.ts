// How do values become MessagePack bytes and back? A writer and a strict reader for the six types we use: nil, boolean,
// unsigned integer, text, binary, array. The reader is told what to expect and refuses everything else: extensions, maps,
// floats, negative numbers, other types, lengths beyond the data, numbers above 2^53 - 1, invalid UTF-8, trailing bytes.
import { assert } from "./assert.ts";
import { release } from "./release.ts";

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
  /** Bytes written so far, headroom included. */
  length(): number;
  /** Four bytes, not MessagePack: `value`, big-endian, at `at` of what was written; where that ends, behind it. */
  u32(value: number, at: number): Writer;
  /** The bytes written so far, in memory of their own. The writer is not used any more. */
  finish(): Uint8Array;
}

/**
 * `headroom` zero bytes come first: room for a length prefix. One writer at a time writes small messages into memory that all
 * share; so whoever keeps one open while others write (`isLong`) has memory of its own.
 */
export function createWriter(headroom = 0, expectedBytes = 64, isLong = false): Writer {
  return new GrowingWriter(headroom, expectedBytes, isLong);
}

const NOTHING = new Uint8Array(0);
const shared = { bytes: new Uint8Array(4 * 1024), isFree: true };
/** Above it a copy costs more than a view; below it a view costs more, because its array needs an ArrayBuffer first. */
const LARGEST_COPY_BYTES = 1_024;

/** `bytes` from `start` to `end`: a view of them, or, where that costs less, a copy. For who only reads it. */
export function part(bytes: Uint8Array, start: number, end = bytes.length): Uint8Array {
  return end - start > LARGEST_COPY_BYTES ? bytes.subarray(start, end) : bytes.slice(start, end);
}

// Classes with plain byte access, because one is made for every message: a set of closures and a DataView for each would be
// most of the garbage that a busy node makes.
class GrowingWriter implements Writer {
  #bytes: Uint8Array;
  #at: number;

  constructor(headroom: number, expectedBytes: number, isLong: boolean) {
    const isSmall = headroom + expectedBytes <= shared.bytes.length;
    if (isSmall && shared.isFree && !isLong) {
      shared.isFree = false;
      this.#bytes = shared.bytes;
      for (let at = 0; at < headroom; at++) this.#bytes[at] = 0;
    } else this.#bytes = new Uint8Array(headroom + expectedBytes);
    this.#at = headroom;
  }

  #room(more: number): void {
    if (this.#at + more <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + more));
    larger.set(this.#bytes.subarray(0, this.#at));
    if (!this.#leaveShared()) release(this.#bytes);
    this.#bytes = larger;
  }

  #leaveShared(): boolean {
    if (this.#bytes !== shared.bytes) return false;
    shared.isFree = true;
    return true;
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
    // Not as an argument: its text would be made for every number that is written.
    if (!Number.isSafeInteger(value) || value < 0)
      assert(false, `a number on the wire is from 0 to 2^53-1, not ${value}`);
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
    const { length } = value;
    if (length < 32 && isAscii(value)) {
      this.#room(1 + length);
      this.#bytes[this.#at++] = 0xa0 | length;
      for (let at = 0; at < length; at++) this.#bytes[this.#at++] = value.charCodeAt(at);
      return this;
    }
    return this.#encodedText(utf8.encode(value));
  }

  #encodedText(encoded: Uint8Array): Writer {
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

  length(): number {
    return this.#at;
  }

  u32(value: number, at: number): Writer {
    assert(at <= this.#at, "a number is written into what is there, or behind it");
    if (at + 4 > this.#at) {
      this.#room(4);
      this.#at = at + 4;
    }
    for (let byte = 0; byte < 4; byte++) this.#bytes[at + byte] = value >>> (24 - 8 * byte);
    return this;
  }

  finish(): Uint8Array {
    const isShared = this.#leaveShared();
    const [bytes, end] = [this.#bytes, this.#at];
    this.#bytes = NOTHING;
    // Little would be wasted: no need to copy much.
    const isTight = !isShared && end > LARGEST_COPY_BYTES && bytes.length - end < end / 8;
    if (isTight) return bytes.subarray(0, end);
    const copy = bytes.slice(0, end);
    if (!isShared) release(bytes);
    return copy;
  }
}

function isAscii(text: string): boolean {
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) >= 0x80) return false;
  return true;
}

export interface Reader {
  /** True and past it, if the next value is nil; otherwise nothing is read. */
  nil(): boolean;
  boolean(): boolean;
  /** At most `max` (default 2^53 - 1). */
  uint(max?: number): number;
  /** At most `maxBytes` of UTF-8. */
  text(maxBytes: number): string;
  /** At most `maxBytes`; good for as long as the input is: a view of it, or a copy where that costs less. */
  binary(maxBytes: number): Uint8Array;
  /** As `binary`, but always memory of its own. */
  ownBinary(maxBytes: number): Uint8Array;
  /** The length of an array, from `min` to `max`. */
  array(min: number, max: number): number;
  /** Refuses bytes that were not read. */
  end(): void;
}

export function createReader(bytes: Uint8Array): Reader {
  return new StrictReader(bytes);
}

function holdsAt(bytes: Uint8Array, start: number, expected: Uint8Array): boolean {
  for (let at = 0; at < expected.length; at++) if (bytes[start + at] !== expected[at]) return false;
  return true;
}

const LONGEST_NAME_BYTES = 64;
let lastName = { bytes: NOTHING, text: "" };

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

  /** Where it starts. */
  #span(length: number, maxBytes: number, what: string): number {
    if (length > maxBytes) throw new Malformed(`${what} of ${length} bytes is longer than the ${maxBytes} allowed`);
    return this.#take(length);
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
    const start = this.#span(this.#textLength(), maxBytes, "a text");
    const end = this.#at;
    const bytes = this.#bytes;
    // Most texts are the name of one queue, again and again.
    if (end - start === lastName.bytes.length && holdsAt(bytes, start, lastName.bytes)) return lastName.text;
    const raw = bytes.slice(start, end);
    try {
      const text = strictUtf8.decode(raw);
      if (raw.length <= LONGEST_NAME_BYTES) lastName = { bytes: raw, text };
      return text;
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
    const start = this.#span(this.#binaryLength(), maxBytes, "a binary");
    return part(this.#bytes, start, this.#at);
  }

  ownBinary(maxBytes: number): Uint8Array {
    const start = this.#span(this.#binaryLength(), maxBytes, "a binary");
    return this.#bytes.slice(start, this.#at);
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
