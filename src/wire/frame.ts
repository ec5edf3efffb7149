// Where does a frame begin and end in a stream of bytes? u32 big-endian length, then so many bytes.
import { type Failure, failure } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import { release } from "../lib/release.ts";
import { createGrowingBuffer } from "./growing-buffer.ts";

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
  /** How long that frame will be; 0: not known yet. */
  due(): number;
  /** The memory that they take: their own, never a part of `data`. */
  allocated(): number;
  /** The stream has ended: what was received of an incomplete frame is dropped. */
  discard(): void;
}

/** `where`: of the first limit, for the one that exceeds it. */
export function createDeframer(firstLimit: number, firstWhere = "here"): Deframer {
  let limit = firstLimit;
  let where = firstWhere;
  let frames = 0;
  /** Of the length, while it is not complete. */
  let headerBytes = 0;
  let header = 0;
  /** Of the present frame; null between frames. */
  let length: number | null = null;
  const body = createGrowingBuffer();
  /** What came instead of a frame, while it may still turn out to be HTTP. */
  let stray = "";

  function readHeader(data: Uint8Array, from: number): { readonly at: number; readonly failed: Failure | null } {
    let at = from;
    while (headerBytes < LENGTH_BYTES && at < data.length) {
      const byte = data[at++] ?? 0;
      if (stray !== "" || (headerBytes === 0 && byte !== 0)) {
        stray += String.fromCharCode(byte);
        // A stream begins with all of a word, or with what no word begins with.
        if (frames === 0 && mayBecomeHttp(stray)) continue;
        const failed = notAFrame(stray);
        stray = "";
        return { at, failed };
      }
      header = header * 256 + byte;
      headerBytes++;
    }
    if (headerBytes < LENGTH_BYTES) return { at, failed: null };
    if (header > limit)
      return {
        at,
        failed: failure("TOO_LARGE", `a frame of ${header} bytes is longer than the ${limit} allowed ${where}`),
      };
    if (header === 0) return { at, failed: failure("BAD_REQUEST", "a frame is empty") };
    length = header;
    return { at, failed: null };
  }

  function beginFrame(): void {
    headerBytes = 0;
    header = 0;
    length = null;
  }

  function endFrame(): void {
    beginFrame();
    frames++;
  }

  return {
    push: (data, onFrame) => {
      let at = 0;
      while (at < data.length) {
        if (length === null) {
          const read = readHeader(data, at);
          at = read.at;
          if (read.failed !== null) return read.failed;
          if (length === null) return null;
        }
        const part = data.subarray(at, Math.min(data.length, at + length - body.length()));
        at += part.length;
        if (part.length === length) {
          endFrame();
          if (!onFrame(part)) return null;
          continue;
        }
        body.append(part, length);
        if (body.length() < length) return null;
        const whole = body.take();
        endFrame();
        const goesOn = onFrame(whole);
        release(whole);
        if (!goesOn) return null;
      }
      return null;
    },
    setLimit: (maxFrameBytes) => {
      limit = maxFrameBytes;
      where = "here";
    },
    get frames() {
      return frames;
    },
    buffered: () => stray.length + headerBytes + body.length(),
    due: () => (length === null ? 0 : length + LENGTH_BYTES),
    allocated: body.allocated,
    discard: () => {
      stray = "";
      body.discard();
      beginFrame();
    },
  };
}

/** How TLS records begin: what a TLS port answers to other bytes, and how a TLS dialer begins. */
const TLS_ALERT = 0x15;
const TLS_HANDSHAKE = 0x16;

/** How HTTP begins: a server's answer, and the requests that it is asked. */
export const HTTP_STARTS = [
  "HTTP/",
  "GET ",
  "HEAD ",
  "POST ",
  "PUT ",
  "DELETE ",
  "CONNECT ",
  "OPTIONS ",
  "TRACE ",
  "PATCH ",
  "PRI ",
];

export const SPEAKS_HTTP = "the other side speaks HTTP, not raftq";

const mayBecomeHttp = (beginning: string): boolean =>
  HTTP_STARTS.some((word) => word.length > beginning.length && word.startsWith(beginning));

/** Every frame is shorter than 16 MiB, so the first byte distinguishes other protocols at once. */
function notAFrame(beginning: string): Failure {
  if (HTTP_STARTS.includes(beginning)) return failure("BAD_REQUEST", SPEAKS_HTTP);
  const byte = beginning.charCodeAt(0);
  if (byte === TLS_ALERT)
    return failure("UNAUTHORISED", "the other side speaks TLS: give --tls-cert, --tls-key and --tls-ca");
  if (byte === TLS_HANDSHAKE)
    return failure("UNAUTHORISED", "the other side speaks TLS, and this one was started without --tls-cert");
  const shown = byte.toString(16).padStart(2, "0");
  const why = "the other side does not speak the raftq protocol";
  return failure("BAD_REQUEST", `${why}: a frame starts with byte 0x00, not 0x${shown}`);
}

/** The body of exactly one frame, for tests and tools. */
export function frameBody(frame: Uint8Array): Uint8Array {
  if (frame.length < LENGTH_BYTES) throw new Malformed("a frame has at least four bytes");
  const length = new DataView(frame.buffer, frame.byteOffset, LENGTH_BYTES).getUint32(0);
  if (length !== frame.length - LENGTH_BYTES)
    throw new Malformed(`a frame of ${length} bytes has ${frame.length - LENGTH_BYTES}`);
  return frame.subarray(LENGTH_BYTES);
}
