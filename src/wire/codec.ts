// Encodes messages as frames and decodes them, by their layouts. Strict: anything that is not exactly a known message is Malformed.
import { crc32 } from "../lib/crc32.ts";
import { arrayStart, Malformed } from "../lib/messagepack.ts";
import {
  type Binary,
  copyHead,
  copyPacked,
  type Packed,
  packedBytes,
  packInPlace,
  type Parts,
} from "../lib/packing.ts";
import { release } from "../lib/release.ts";
import { union } from "../lib/union.ts";
import { LENGTH_BYTES } from "./frame.ts";
import { type Frame, FRAMES } from "./layouts.ts";
import { PEER_MESSAGES, type PeerMessage } from "./peer-layouts.ts";
import type { PeerFrame, PeerFragment, WireMessage } from "./protocol.ts";

const frames = union<Frame>("message", FRAMES);
const peerMessages = union<PeerMessage>("peer message", PEER_MESSAGES);

/** Messages that are sent in frames without a sequence number. */
type UnnumberedMessage = Exclude<WireMessage, PeerFrame | PeerFragment>;

/** The frame, length included, in memory of its own. */
export function encodeMessage(message: WireMessage): Uint8Array {
  if (message.type === "peer") return joined(peerFrame(message.sequence, encodePeerMessage(message.message)));
  if (message.type !== "fragment") return copyFrame(packFrame(message));
  const { bytes, left, sequence } = message;
  return joined(fragmentFrame(sequence, left, { parts: [bytes], length: bytes.length }));
}

function packFrame(frame: Frame): Packed {
  const binaries: Binary[] = [];
  return packInPlace(frames.write(frame, binaries), binaries, LENGTH_BYTES);
}

function copyFrame(packed: Packed): Uint8Array {
  const bytes = new Uint8Array(packedBytes(packed));
  copyPacked(packed, bytes, 0);
  writeLength(bytes, 0, bytes.length - LENGTH_BYTES);
  return bytes;
}

/** Frames one behind the other, in memory that grows with them. */
export interface FrameWriter {
  /** Bytes written so far. */
  length(): number;
  add(message: UnnumberedMessage): void;
  /** All of them. The writer is not used any more. */
  finish(): Uint8Array;
}

export function createFrameWriter(expectedBytes: number): FrameWriter {
  let bytes = new Uint8Array(expectedBytes);
  let filled = 0;
  return {
    length: () => filled,
    add: (message) => {
      const packed = packFrame(message);
      const length = packedBytes(packed);
      if (filled + length > bytes.length) {
        const larger = new Uint8Array(Math.max(bytes.length * 2, filled + length));
        larger.set(bytes.subarray(0, filled));
        release(bytes);
        bytes = larger;
      }
      copyPacked(packed, bytes, filled);
      writeLength(bytes, filled, length - LENGTH_BYTES);
      filled += length;
    },
    finish: () => {
      if (filled > bytes.length * MIN_FILL) return bytes.subarray(0, filled);
      const exact = bytes.slice(0, filled);
      release(bytes);
      return exact;
    },
  };
}

/** A writer's memory that is filled so far is given away as it is. */
const MIN_FILL = 7 / 8;

function writeLength(bytes: Uint8Array, at: number, length: number): void {
  for (let byte = 0; byte < LENGTH_BYTES; byte++) bytes[at + byte] = length >>> (24 - 8 * byte);
}

/** What is packed in memory of its own, and the bytes behind it as they are. */
function inParts(packed: Packed): Parts {
  const head = new Uint8Array(packed.headBytes);
  copyHead(packed, head, 0);
  const { last } = packed;
  if (last === null) return { parts: [head], length: head.length };
  const parts = last instanceof Uint8Array ? [head, last] : [head, ...last.parts];
  return { parts, length: head.length + last.length };
}

/** A frame around parts. */
function frameInParts(frame: Frame): Parts {
  const parts = inParts(packFrame(frame));
  const [head] = parts.parts;
  if (head !== undefined) writeLength(head, 0, parts.length - LENGTH_BYTES);
  return parts;
}

/** All parts in one. */
export function joined({ parts, length }: Parts): Uint8Array {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A member's message, without the frame around it: that is made when it leaves. The records of entries, and the bytes of a snapshot, are not copied. */
export function encodePeerMessage(message: PeerMessage): Parts {
  const binaries: Binary[] = [];
  return inParts(packInPlace(peerMessages.write(message, binaries), binaries, 0));
}

/** The most that a frame adds to a message or fragment: length, array, type, sequence, checksum, bytes left, length of the message. */
export const PEER_FRAME_BYTES = 30;

/** The frame around a message of a member. */
export function peerFrame(sequence: number, message: Parts): Parts {
  return frameInParts({ type: "peer", sequence, checksum: crcOf(message), message });
}

/** The frame around a part of one. */
export function fragmentFrame(sequence: number, left: number, bytes: Parts): Parts {
  return frameInParts({ type: "fragment", sequence, checksum: crcOf(bytes), left, bytes });
}

function crcOf({ parts }: Parts): number {
  let checksum = 0;
  for (const part of parts) checksum = crc32(part, checksum);
  return checksum;
}

/** The message of one frame; bytes inside it are its own. Throws Malformed, nothing else. */
export function decodeMessage(body: Uint8Array): WireMessage {
  const frame = frames.decode(body);
  if (frame.type === "peer") {
    const { sequence, checksum, message } = frame;
    return { type: "peer", sequence, message: decodePeerMessage(checked(message, checksum, `peer frame ${sequence}`)) };
  }
  if (frame.type !== "fragment") return frame;
  const { sequence, checksum, left, bytes } = frame;
  return { type: "fragment", sequence, left, bytes: checked(bytes, checksum, `fragment ${sequence}`).slice() };
}

function checked(bytes: Uint8Array | Parts, checksum: number, what: string): Uint8Array {
  if (bytes instanceof Uint8Array && crc32(bytes) === checksum) return bytes;
  throw new Malformed(`the checksum of ${what} does not match its bytes`);
}

/** Bytes in the message are its own. Throws Malformed. */
export function decodePeerMessage(bytes: Uint8Array): PeerMessage {
  return peerMessages.decode(bytes);
}

/** Which message begins so, for people. */
export function peerMessageName(first: Uint8Array): string {
  try {
    const { first: number } = arrayStart(first);
    return peerMessages.kinds.find((one) => one.number === number)?.type ?? "a message";
  } catch (error) {
    if (error instanceof Malformed) return "a message";
    throw error;
  }
}

/** As `decodeMessage`, until the handshake is complete: only messages of the handshake and goodbye are decoded at all. */
export function decodeHandshake(body: Uint8Array): WireMessage {
  const { first } = arrayStart(body);
  if (first === null || first > FRAMES.proof.number)
    throw new Malformed(`the first message is a hello, not one of type ${first ?? "unknown"}`);
  return decodeMessage(body);
}

/** The protocol version of a hello or its answer: in every version the second value. Null: it is neither. */
export function versionOf(body: Uint8Array): number | null {
  try {
    const { first, second } = arrayStart(body);
    return first === FRAMES.hello.number || first === FRAMES.helloAnswer.number ? second : null;
  } catch (error) {
    if (error instanceof Malformed) return null;
    throw error;
  }
}
