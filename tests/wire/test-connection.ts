// A connection whose byte stream the test feeds and reads by hand, on a test clock.
import { WIRE } from "../../src/config.ts";
import type { Failure } from "../../src/lib/errors.ts";
import { decodeMessage } from "../../src/wire/codec.ts";
import {
  type Connection,
  type ConnectionLimits,
  type Message,
  openConnection,
  type Progress,
} from "../../src/wire/connection.ts";
import { createDeframer } from "../../src/wire/frame.ts";
import type { Introduction } from "../../src/wire/handshake.ts";
import { type ByteStream, EVERYBODY, type Trust } from "../../src/wire/network.ts";
import type { WireMessage } from "../../src/wire/protocol.ts";
import { createTestClock, type TestClock } from "../kit/simulated-clock.ts";

export interface TestStream extends ByteStream {
  readonly chunks: Uint8Array[];
  /** Every message written so far, in order. */
  written(): WireMessage[];
  readonly closed: boolean;
  /** The system takes everything that was written. */
  drain(): void;
}

/** `reading`: the system takes bytes at once; otherwise they stay pending until `drain`. */
export function createTestStream(reading = true, trust: Trust = EVERYBODY): TestStream {
  const chunks: Uint8Array[] = [];
  let pending = 0;
  let closed = false;
  return {
    remote: "127.0.0.1:50000",
    trust,
    chunks,
    write: (bytes) => {
      if (closed) throw new Error("written after close");
      chunks.push(bytes);
      if (!reading) pending += bytes.length + WIRE.chunkCostBytes;
    },
    unsentBytes: () => pending,
    close: () => {
      closed = true;
    },
    onData: () => {},
    onClose: () => {},
    onDrain: () => {},
    written: () => {
      const messages: WireMessage[] = [];
      const deframer = createDeframer(WIRE.maxPeerFrameBytes);
      for (const chunk of chunks) {
        deframer.push(chunk, (body) => {
          messages.push(decodeMessage(body.slice()));
          return true;
        });
      }
      return messages;
    },
    get closed() {
      return closed;
    },
    drain() {
      pending = 0;
      this.onDrain();
    },
  };
}

export interface Opened {
  readonly connection: Connection;
  readonly stream: TestStream;
  readonly clock: TestClock;
  readonly messages: Message[];
  /** The memory that it reported last. */
  readonly held: () => number;
  /** Undefined: still open. */
  readonly ended: () => Failure | null | undefined;
}

export interface OpenedWith {
  readonly side?: "accepted" | "dialed";
  readonly limits?: Partial<ConnectionLimits>;
  readonly reading?: boolean;
  readonly trust?: Trust;
  readonly introduce?: () => Introduction | null;
  readonly onMessage?: (message: Message, connection: Connection) => void;
  readonly onProgress?: (progress: Progress) => void;
}

export function open(given: OpenedWith = {}): Opened {
  const clock = createTestClock();
  const stream = createTestStream(given.reading, given.trust);
  const messages: Message[] = [];
  let held = 0;
  let end: Failure | null | undefined;
  const connection: Connection = openConnection({
    stream,
    clock,
    limits: { ...WIRE, ...given.limits },
    side: given.side ?? "accepted",
    ...(given.introduce === undefined ? {} : { introduce: given.introduce }),
    onMessage: (message) => {
      messages.push(message);
      given.onMessage?.(message, connection);
    },
    ...(given.onProgress === undefined ? {} : { onProgress: given.onProgress }),
    onClosed: (why) => {
      if (end !== undefined) throw new Error("onClosed was called twice");
      end = why;
    },
    onBuffered: (bytes) => {
      held = bytes;
    },
  });
  return { connection, stream, clock, messages, held: () => held, ended: () => end };
}
