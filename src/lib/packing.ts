// Writes values as MessagePack bytes, by msgpackr. It packs into one buffer that all share, so packed values are copied out before the
// next ones are packed; binaries are put in their places then.
import { Packr, RESERVE_START_SPACE, RESET_BUFFER_MODE, REUSE_BUFFER_MODE } from "msgpackr/pack";
import { assert, BrokenInvariant } from "./assert.ts";
import { numberAt } from "./messagepack.ts";
import { release } from "./release.ts";

/** A binary in several parts, which are not joined to be packed. */
export interface Parts {
  readonly parts: readonly Uint8Array[];
  /** Bytes of all of them. */
  readonly length: number;
}

/**
 * What msgpackr packs. Numbers are safe integers, not negative; from 2^32 on they are bigints (`packableInteger`), since it would
 * write a float. Binaries are not among them: `BINARY` stands where one belongs, and they are listed beside, in their order.
 */
export type Packable = null | boolean | number | bigint | string | typeof BINARY | readonly Packable[];
export type Binary = Uint8Array | Parts;

/** Packed as three bytes that begin with 0xd4, as nothing else that we write does. A negative number would slow msgpackr down. */
export const BINARY = undefined;
const BINARY_TAG = 0xd4;
const BINARY_BYTES = 3;

export function packableInteger(value: number): number | bigint {
  if (value >>> 0 === value) return value;
  // Not as an argument: its text would be made for every number that is written.
  if (!Number.isSafeInteger(value) || value < 0) assert(false, `a number is from 0 to 2^53-1, not ${value}`);
  return BigInt(value);
}

/** Values that are packed but not copied out. A binary that ends them is not copied with the rest: its bytes follow as they are. */
export interface Packed {
  /** Bytes before the last binary's, the headroom included. */
  headBytes: number;
  /** The last binary; null: the values do not end with one. */
  last: Binary | null;
}

const packr = new Packr({ useRecords: false });
const BUFFER_BYTES = 16 * 1_024;
/** A buffer that has grown beyond this is given up when the next values are packed. */
const MAX_BUFFER_BYTES = 256 * 1_024;
const NOTHING = new Uint8Array(0);

packr.useBuffer(Buffer.allocUnsafeSlow(BUFFER_BYTES));

/** msgpackr begins at the start of its buffer each time, behind the headroom, and returns all of the buffer. */
const OPTIONS = REUSE_BUFFER_MODE + RESET_BUFFER_MODE + RESERVE_START_SPACE;

/** What was packed last: msgpackr's buffer, and where in it binaries belong. */
let buffer: Buffer = Buffer.alloc(0);
let start = 0;
let end = 0;
const NO_BINARIES: readonly Binary[] = [];
let inside = NO_BINARIES;
const places: number[] = [];
const packed: Packed = { headBytes: 0, last: null };

/** Good until the next values are packed. `headroom`: bytes that are left free in front, at most 255. */
export function packInPlace(values: readonly Packable[], binaries: readonly Binary[], headroom: number): Packed {
  if (buffer.length > MAX_BUFFER_BYTES) {
    packr.useBuffer(Buffer.allocUnsafeSlow(BUFFER_BYTES));
    release(buffer);
  }
  buffer = packr.pack(values, OPTIONS + headroom);
  start = headroom;
  end = packr.offset;
  packed.last = null;
  packed.headBytes = end;
  if (inside.length > 0) {
    inside = NO_BINARIES;
    places.length = 0;
  }
  const { length } = binaries;
  if (length > 0) placeBinaries(binaries, length, values[values.length - 1] === BINARY);
  return packed;
}

function placeBinaries(binaries: readonly Binary[], count: number, endsWithOne: boolean): void {
  const last = binaries[count - 1];
  if (endsWithOne && last !== undefined) {
    end -= BINARY_BYTES;
    packed.last = last;
    packed.headBytes = end + binaryHeadBytes(last.length);
    if (count === 1) return;
    inside = binaries.slice(0, -1);
  } else inside = binaries;
  findPlaces();
  for (const { length } of inside) packed.headBytes += binaryHeadBytes(length) + length - BINARY_BYTES;
  assert(places.length === inside.length, "each binary has its place");
}

/** Goes over what msgpackr has packed, value by value. */
function findPlaces(): void {
  for (let at = start; at < end;) {
    const tag = buffer[at] ?? 0;
    if (tag === BINARY_TAG) places.push(at);
    at += bytesToNext(tag, at);
  }
}

/** Bytes of the value there; of an array, those of its head. */
function bytesToNext(tag: number, at: number): number {
  if (tag >= 0xa0 && tag < 0xc0) return 1 + (tag & 0x1f);
  if (tag < 0xc4) return 1;
  switch (tag) {
    case 0xcc:
      return 2;
    case 0xcd:
    case BINARY_TAG:
    case 0xdc:
      return 3;
    case 0xce:
    case 0xdd:
      return 5;
    case 0xd3:
      return 9;
    case 0xd9:
      return 2 + numberAt(buffer, at + 1, 1);
    case 0xda:
      return 3 + numberAt(buffer, at + 1, 2);
    case 0xdb:
      return 5 + numberAt(buffer, at + 1, 4);
    default:
      throw new BrokenInvariant(`msgpackr wrote the type byte ${tag}`);
  }
}

/** What stands before the last binary's bytes. The headroom is left as it is. */
export function copyHead({ last }: Packed, target: Uint8Array, targetStart: number): void {
  let from = start;
  let to = targetStart + start;
  for (let binary = 0; binary < places.length; binary++) {
    const place = places[binary] ?? 0;
    copyBytes(buffer, from, place, target, to);
    to += place - from;
    from = place + BINARY_BYTES;
    to = copyBinary(inside[binary] ?? NOTHING, target, to);
  }
  copyBytes(buffer, from, end, target, to);
  if (last !== null) writeBinaryHead(last.length, target, to + end - from);
}

/** Where it ends. */
function copyBinary(binary: Binary, target: Uint8Array, at: number): number {
  const to = writeBinaryHead(binary.length, target, at);
  copyBinaryBytes(binary, target, to);
  return to + binary.length;
}

function copyBinaryBytes(binary: Binary, target: Uint8Array, at: number): void {
  if (binary instanceof Uint8Array) return copyBytes(binary, 0, binary.length, target, at);
  let to = at;
  for (const part of binary.parts) {
    target.set(part, to);
    to += part.length;
  }
}

/** To copy up to so many bytes one by one costs less than a call into the runtime. */
const FEW_BYTES = 48;

function copyBytes(source: Uint8Array, from: number, until: number, target: Uint8Array, to: number): void {
  if (until - from <= FEW_BYTES) for (let at = from; at < until; at++) target[to + at - from] = source[at] ?? 0;
  else target.set(from === 0 && until === source.length ? source : source.subarray(from, until), to);
}

const binaryHeadBytes = (length: number): number => (length < 0x100 ? 2 : length < 0x1_0000 ? 3 : 5);

/** Where it ends. */
function writeBinaryHead(length: number, target: Uint8Array, at: number): number {
  const bytes = binaryHeadBytes(length);
  target[at] = bytes === 2 ? 0xc4 : bytes === 3 ? 0xc5 : 0xc6;
  for (let byte = 1; byte < bytes; byte++) target[at + byte] = length >>> (8 * (bytes - 1 - byte));
  return at + bytes;
}

/** Bytes of all of it. */
export const packedBytes = ({ headBytes, last }: Packed): number => headBytes + (last === null ? 0 : last.length);

/** Head and last binary, one behind the other. */
export function copyPacked(found: Packed, target: Uint8Array, at: number): void {
  copyHead(found, target, at);
  if (found.last !== null) copyBinaryBytes(found.last, target, at + found.headBytes);
}

/** In memory of their own, the headroom zero. */
export function pack(values: readonly Packable[], binaries: readonly Binary[], headroom = 0): Uint8Array {
  const found = packInPlace(values, binaries, headroom);
  const bytes = new Uint8Array(packedBytes(found));
  copyPacked(found, bytes, 0);
  return bytes;
}
