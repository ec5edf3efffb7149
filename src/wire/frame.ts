// Finds the frames in a stream of bytes: a length, u32 big-endian, then as many bytes.
import { type Failure, failure } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import { release } from "../lib/release.ts";
import { foreignProtocol, mayBecomeHttp } from "./foreign-protocols.ts";
import { createGrowingBuffer, type GrowingBuffer } from "./growing-buffer.ts";

export const LENGTH_BYTES = 4;

export interface Deframer {
  /**
   * Gives every frame that is complete by now to `onFrame`, without its length; stops when that answers false. The bytes are a
   * view that is valid only during the call: a receiver that keeps them copies them, once. A failure ends the stream for good.
   */
  push(data: Uint8Array, onFrame: (body: Uint8Array) => boolean): Failure | null;
  /** The longest frame allowed from now on; applies to the next frame that begins. */
  setLimit(maxFrameBytes: number): void;
  /** Frames completed so far. */
  readonly frames: number;
  /** Bytes received of a frame that is not complete. */
  buffered(): number;
  /** The bytes of that frame, its length included; 0: not known yet. */
  frameBytes(): number;
  /** The memory that an incomplete frame takes: its own, never a part of `data`. */
  allocated(): number;
  /** The stream has ended: what was received of an incomplete frame is dropped. */
  discard(): void;
}

interface DeframerState {
  /** The longest frame allowed, in bytes without its length, and where that holds, for the failure of a longer one. */
  limit: number;
  where: string;
  /** Frames completed so far. */
  frames: number;
  /** Bytes received of the present frame's length, and their value, while it is not complete. */
  lengthBytes: number;
  partialLength: number;
  /** Of the present frame's body; null: not known yet. */
  length: number | null;
  readonly body: GrowingBuffer;
  /** What was received instead of a frame, while it may still turn out to be HTTP. */
  foreign: string;
}

/** `where`: of the first limit, for the failure of a frame that exceeds it. */
export function createDeframer(limit: number, where = "here"): Deframer {
  const state: DeframerState = {
    limit,
    where,
    frames: 0,
    lengthBytes: 0,
    partialLength: 0,
    length: null,
    body: createGrowingBuffer(),
    foreign: "",
  };
  return {
    push: (data, onFrame) => push(state, data, onFrame),
    setLimit: (maxFrameBytes) => {
      state.limit = maxFrameBytes;
      state.where = "here";
    },
    get frames() {
      return state.frames;
    },
    buffered: () => state.foreign.length + state.lengthBytes + state.body.length(),
    frameBytes: () => (state.length === null ? 0 : state.length + LENGTH_BYTES),
    allocated: state.body.allocated,
    discard: () => {
      state.foreign = "";
      state.body.discard();
      beginFrame(state);
    },
  };
}

function push(state: DeframerState, data: Uint8Array, onFrame: (body: Uint8Array) => boolean): Failure | null {
  const { body } = state;
  let at = 0;
  while (at < data.length) {
    if (state.length === null) {
      const read = readLength(state, data, at);
      at = read.at;
      if (read.failed !== null) return read.failed;
    }
    const { length } = state;
    if (length === null) return null;
    const part = data.subarray(at, Math.min(data.length, at + length - body.length()));
    at += part.length;
    if (part.length === length) {
      endFrame(state);
      if (!onFrame(part)) return null;
      continue;
    }
    body.append(part, length);
    if (body.length() < length) return null;
    const joined = body.take();
    endFrame(state);
    const continues = onFrame(joined);
    release(joined);
    if (!continues) return null;
  }
  return null;
}

function readLength(
  state: DeframerState,
  data: Uint8Array,
  from: number,
): { readonly at: number; readonly failed: Failure | null } {
  let at = from;
  while (state.lengthBytes < LENGTH_BYTES && at < data.length) {
    const byte = data[at++] ?? 0;
    if (state.foreign !== "" || (state.lengthBytes === 0 && byte !== 0)) {
      state.foreign += String.fromCharCode(byte);
      // A stream begins with a whole method name, or with what no method name begins with.
      if (state.frames === 0 && mayBecomeHttp(state.foreign)) continue;
      const failed = foreignProtocol(state.foreign);
      state.foreign = "";
      return { at, failed };
    }
    state.partialLength = state.partialLength * 256 + byte;
    state.lengthBytes++;
  }
  if (state.lengthBytes < LENGTH_BYTES) return { at, failed: null };
  const { partialLength: length, limit, where } = state;
  if (length > limit) {
    const why = `a frame of ${length} bytes is longer than the ${limit} allowed ${where}`;
    return { at, failed: failure("TOO_LARGE", why) };
  }
  if (length === 0) return { at, failed: failure("BAD_REQUEST", "a frame is empty") };
  state.length = length;
  return { at, failed: null };
}

function beginFrame(state: DeframerState): void {
  state.lengthBytes = 0;
  state.partialLength = 0;
  state.length = null;
}

function endFrame(state: DeframerState): void {
  beginFrame(state);
  state.frames++;
}

/** The body of exactly one frame, for tests and tools. */
export function frameBody(frame: Uint8Array): Uint8Array {
  if (frame.length < LENGTH_BYTES) throw new Malformed("a frame has at least four bytes");
  const length = new DataView(frame.buffer, frame.byteOffset, LENGTH_BYTES).getUint32(0);
  if (length !== frame.length - LENGTH_BYTES)
    throw new Malformed(`a frame of ${length} bytes has ${frame.length - LENGTH_BYTES}`);
  return frame.subarray(LENGTH_BYTES);
}
