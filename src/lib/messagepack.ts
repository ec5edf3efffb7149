// Reads MessagePack bytes strictly: before msgpackr unpacks them, one pass over the bytes refuses what could not be seen in the
// values afterwards: other types, floats, negative numbers, invalid UTF-8, too many values, trailing bytes.
//
// What is unpacked from up to COPIED_BYTES has memory of its own; binaries in anything longer are views of the input.
import { Unpackr } from "msgpackr/pack";

/** The bytes are not what they should be. */
export class Malformed extends Error {
  override name = "Malformed";
}

/** The outermost array of what is packed: how many values it has, and the first two, as far as they are unsigned integers. */
export interface ArrayStart {
  readonly values: number;
  readonly first: number | null;
  readonly second: number | null;
}

/** Throws Malformed when the bytes do not begin with an array. Nothing behind its second value is looked at. */
export function arrayStart(bytes: Uint8Array): ArrayStart {
  const { values, next } = arrayHead(bytes);
  const first = integerAt(bytes, next);
  const second = first === null ? null : integerAt(bytes, next + integerBytes(bytes[next] ?? 0));
  return { values, first, second };
}

/** The first `count` integers, whatever arrays they stand in; fewer when something else comes before them. */
export function leadingIntegers(bytes: Uint8Array, count: number): readonly number[] {
  const found: number[] = [];
  for (let at = 0; found.length < count;) {
    const tag = bytes[at] ?? 0xc0;
    const integer = integerAt(bytes, at);
    if (integer !== null) found.push(integer);
    const length = integer === null ? headBytes(tag) : integerBytes(tag);
    if (length === 0) break;
    at += length;
  }
  return found;
}

/** Bytes of the head of an array with this type byte; 0: it is none. */
function headBytes(tag: number): 0 | 1 | 3 | 5 {
  if (tag >= 0x90 && tag < 0xa0) return 1;
  return tag === 0xdc ? 3 : tag === 0xdd ? 5 : 0;
}

function arrayHead(bytes: Uint8Array): { readonly values: number; readonly next: number } {
  const tag = bytes[0];
  if (tag === undefined) throw short(1);
  if (tag >= 0x90 && tag < 0xa0) return { values: tag & 0x0f, next: 1 };
  if (tag !== 0xdc && tag !== 0xdd) throw wrong("expected an array", tag, 0);
  const width = tag === 0xdc ? 2 : 4;
  if (bytes.length <= width) throw short(width + 1 - bytes.length);
  return { values: numberAt(bytes, 1, width), next: 1 + width };
}

/** Bytes of the integer with this type byte; 0: it is none. */
function integerBytes(tag: number): 0 | 1 | 2 | 3 | 5 | 9 {
  if (tag < 0x80) return 1;
  switch (tag) {
    case 0xcc:
      return 2;
    case 0xcd:
      return 3;
    case 0xce:
      return 5;
    case 0xcf:
    case 0xd3:
      return 9;
    default:
      return 0;
  }
}

/** Null: none begins there, or it is not complete. */
function integerAt(bytes: Uint8Array, at: number): number | null {
  const tag = bytes[at];
  if (tag === undefined) return null;
  if (tag < 0x80) return tag;
  const length = integerBytes(tag);
  return length === 0 || at + length > bytes.length ? null : numberAt(bytes, at + 1, length - 1);
}

/** `width` bytes, big-endian. */
export function numberAt(bytes: Uint8Array, at: number, width: number): number {
  let value = 0;
  for (let end = at + width; at < end; at++) value = value * 0x100 + (bytes[at] ?? 0);
  return value;
}

const short = (missing: number): Malformed => new Malformed(`the message ends ${missing} bytes too early`);

function wrong(expected: string, tag: number, at: number): Malformed {
  return new Malformed(`${expected}, found type byte 0x${tag.toString(16).padStart(2, "0")} at byte ${at}`);
}

const copying = new Unpackr({ useRecords: false, int64AsType: "number", copyBuffers: true });
const viewing = new Unpackr({ useRecords: false, int64AsType: "number" });
/** A copy of up to so many bytes costs less than the DataView that msgpackr makes for every other array, and the views of it that follow. */
export const COPIED_BYTES = 64 * 1_024;
const copy = new Uint8Array(COPIED_BYTES);
const range = { start: 0, end: 0 };

/**
 * The one value in `bytes`: nil, boolean, integer from 0 to 2^53 - 1, text, binary, or an array of them. Throws Malformed when they
 * are anything else, or more than `maxValues` values. What msgpackr throws behind that is a fault of this program.
 */
export function unpack(bytes: Uint8Array, maxValues: number): unknown {
  scan(bytes, maxValues);
  if (bytes.length > COPIED_BYTES) return viewing.unpack(bytes);
  copy.set(bytes);
  range.end = bytes.length;
  return copying.unpack(copy, range);
}

/** More than any value that we write has. */
const MAX_DEPTH = 8;

/** Values that are still due of the array at each depth: one scan at a time. */
const due = new Float64Array(MAX_DEPTH + 1);

/** Refuses everything that is not exactly one value of our types. */
function scan(bytes: Uint8Array, maxValues: number): void {
  const end = bytes.length;
  let at = 0;
  let values = 0;
  let depth = 0;
  due[0] = 1;
  for (;;) {
    while (due[depth] === 0) if (--depth < 0) return expectEnd(end - at);
    due[depth] = (due[depth] ?? 0) - 1;
    if (++values > maxValues) throw new Malformed(`there are more than the ${maxValues} values allowed`);
    if (at >= end) throw short(1);
    const tag = bytes[at++] ?? 0;
    if (tag < 0x80) continue;
    /** Of an array. */
    let length = 0;
    if (tag < 0x90) throw wrong(EXPECTED, tag, at - 1);
    if (tag < 0xa0) length = tag & 0x0f;
    else if (tag < 0xc0) at = checkText(bytes, at, tag & 0x1f);
    else
      switch (tag) {
        case 0xc0:
        case 0xc2:
        case 0xc3:
          break;
        case 0xc4:
        case 0xc5:
        case 0xc6: {
          const width = 1 << (tag - 0xc4);
          at += width + numberAt(bytes, at, width);
          break;
        }
        case 0xcc:
        case 0xcd:
        case 0xce:
          at += 1 << (tag - 0xcc);
          break;
        case 0xcf:
        case 0xd3:
          // A negative one is above it as well: its first bit is set.
          if (numberAt(bytes, at, 4) >= 0x20_0000) throw new Malformed("a number is above 2^53 - 1, or negative");
          at += 8;
          break;
        case 0xd9:
        case 0xda:
        case 0xdb: {
          const width = 1 << (tag - 0xd9);
          at = checkText(bytes, at + width, numberAt(bytes, at, width));
          break;
        }
        case 0xdc:
        case 0xdd: {
          const width = 2 << (tag - 0xdc);
          length = numberAt(bytes, at, width);
          at += width;
          break;
        }
        default:
          throw wrong(EXPECTED, tag, at - 1);
      }
    // Each value of an array has at least one byte: a claim of more costs nothing.
    if (at + length > end) throw short(at + length - end);
    if (length === 0) continue;
    if (++depth > MAX_DEPTH) throw new Malformed(`arrays are nested more than ${MAX_DEPTH} deep`);
    due[depth] = length;
  }
}

const EXPECTED = "expected nil, true or false, a number that is not negative, a text, a binary or an array";

function expectEnd(left: number): void {
  if (left > 0) throw new Malformed(`${left} bytes are left over behind the message`);
}

/** Where it ends. */
function checkText(bytes: Uint8Array, start: number, length: number): number {
  const end = start + length;
  if (end > bytes.length) throw short(end - bytes.length);
  for (let at = start; at < end; at++)
    if ((bytes[at] ?? 0) >= 0x80) {
      checkUtf8(bytes, start, end);
      return end;
    }
  return end;
}

/** By table 3-7 of the Unicode standard; engines may be more lenient. */
function checkUtf8(bytes: Uint8Array, start: number, end: number): void {
  // msgpackr would drop a byte order mark, so the text would come back as another one.
  if (end - start >= 3 && bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf)
    throw new Malformed("a text begins with a byte order mark");
  for (let at = start; at < end;) {
    const second = at + 1 < end ? (bytes[at + 1] ?? 0) : 0;
    const length = utf8Length(bytes[at] ?? 0, second);
    if (length === 0 || at + length > end) throw new Malformed("a text is not valid UTF-8");
    for (let tail = at + 2; tail < at + length; tail++)
      if (!isBetween(bytes[tail] ?? 0, 0x80, 0xbf)) throw new Malformed("a text is not valid UTF-8");
    at += length;
  }
}

const isBetween = (value: number, least: number, most: number): boolean => value >= least && value <= most;

/** Bytes of the character that begins so; 0: none does. */
function utf8Length(lead: number, second: number): number {
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  if (lead < 0xe0) return isBetween(second, 0x80, 0xbf) ? 2 : 0;
  if (lead < 0xf0) {
    // Neither longer than necessary, nor half of a surrogate pair.
    return isBetween(second, lead === 0xe0 ? 0xa0 : 0x80, lead === 0xed ? 0x9f : 0xbf) ? 3 : 0;
  }
  return isBetween(second, lead === 0xf0 ? 0x90 : 0x80, lead === 0xf4 ? 0x8f : 0xbf) ? 4 : 0;
}
