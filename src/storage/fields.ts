// Lays out what several of our files share: big-endian numbers (indexes, terms and frame numbers have 48 bits), magics, ids.
import { assert } from "../lib/assert.ts";
import { textOf, uint } from "../lib/layout.ts";
import { MAX_U48 } from "../lib/u48.ts";
import { isClusterId, isIncarnation, isNodeId } from "../raft/types.ts";

const TWO_32 = 0x1_0000_0000;
export const MAX_ID_BYTES = 64;

export const u48 = uint(MAX_U48);
export const nodeId = textOf("node id", MAX_ID_BYTES, isNodeId);
export const incarnation = textOf("incarnation", MAX_ID_BYTES, isIncarnation);
export const clusterId = textOf("cluster id", MAX_ID_BYTES, isClusterId);

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

export function writeU48(view: DataView, at: number, value: number): void {
  assert(
    Number.isInteger(value) && value >= 0 && value <= MAX_U48,
    `a number in a file is from 0 to 2^48-1, not ${value}`,
  );
  view.setUint16(at, Math.floor(value / TWO_32));
  view.setUint32(at + 2, value >>> 0);
}

export function readU48(view: DataView, at: number): number {
  return view.getUint16(at) * TWO_32 + view.getUint32(at + 2);
}

/** The next multiple of `block` at or above `length`. */
export function aligned(length: number, block: number): number {
  return Math.ceil(length / block) * block;
}

export function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return bytes.length >= prefix.length && prefix.every((byte, at) => bytes[at] === byte);
}
