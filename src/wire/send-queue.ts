// What leaves first? Heartbeats, votes and acknowledgements, then bulk; each lane in its order, one chunk per flush.
import { createWriter, type Writer } from "../lib/msgpack.ts";
import { release } from "../lib/release.ts";
import { encodeMessage, PEER_HEADROOM, peerFrame, writeFrame } from "./codec.ts";
import { type ByteStream, CHUNK_COST_BYTES } from "./network.ts";
import { encodePeerMessage, type PeerMessage } from "./peer-codec.ts";
import type { Message } from "./connection.ts";

interface Waiting {
  readonly bytes: Uint8Array;
  /** A member's message: it becomes a numbered frame only when it leaves, because lanes change the order. */
  readonly numbered: boolean;
}

export interface SendQueue {
  addMessage(message: Message): void;
  /** A whole frame; bulk. */
  add(frame: Uint8Array): void;
  /** Everything urgent, and bulk as far as the stream keeps up; the rest follows by the stream's `onDrain`. */
  flush(): void;
  /** Everything, whatever the stream holds already: before the end. */
  flushAll(): void;
  discard(): void;
  /** Here and in the stream, in bytes of memory. */
  pending(): number;
}

/** Answers to clients are many and small: they are encoded one behind the other into chunks of about this size. */
const CHUNK_BYTES = 64 * 1_024;
const FIRST_CHUNK_BYTES = 256;

export function createSendQueue(stream: ByteStream, limits: { readonly sendAheadBytes: number }): SendQueue {
  const urgent = createLane();
  const bulk = createLane();
  let sequence = 0;
  /** The end of the bulk, while it grows. */
  let chunk: Writer | null = null;
  let chunkBytes = FIRST_CHUNK_BYTES;

  function closeChunk(): void {
    if (chunk === null) return;
    const bytes = chunk.finish();
    chunk = null;
    // As much again will do for the next one, unless it was an exception.
    chunkBytes = Math.max(FIRST_CHUNK_BYTES, Math.min(CHUNK_BYTES, bytes.length + (bytes.length >> 2)));
    bulk.push({ bytes, numbered: false });
  }

  function addBulk(waiting: Waiting): void {
    closeChunk();
    bulk.push(waiting);
  }

  const bulkBytes = (): number => bulk.bytes() + (chunk?.length() ?? 0);
  const frameOf = ({ bytes, numbered }: Waiting): Uint8Array => (numbered ? peerFrame(++sequence, bytes) : bytes);

  /** False when there was nothing to write, or nothing that may be written now. */
  function writeChunk(most: number): boolean {
    const frames: Uint8Array[] = [];
    let size = 0;
    const take = (lane: Lane, room: number): void => {
      while (size < room) {
        const waiting = lane.shift();
        if (waiting === undefined) return;
        const frame = frameOf(waiting);
        frames.push(frame);
        size += frame.length;
      }
    };
    take(urgent, Number.MAX_SAFE_INTEGER);
    take(bulk, most - stream.pending());
    if (size === 0) return false;
    stream.write(joined(frames, size));
    return true;
  }

  function flushUpTo(most: number): void {
    closeChunk();
    while (urgent.bytes() + bulk.bytes() > 0) if (!writeChunk(most)) return;
  }

  return {
    addMessage: (message) => {
      if (isPeerMessage(message)) {
        const waiting = { bytes: encodePeerMessage(message, PEER_HEADROOM), numbered: true };
        return PEER_LANE[message.type] === "urgent" ? urgent.push(waiting) : addBulk(waiting);
      }
      if (AHEAD_OF_BULK.has(message.type)) return urgent.push({ bytes: encodeMessage(message), numbered: false });
      chunk ??= createWriter(0, chunkBytes, true);
      writeFrame(chunk, message);
      if (chunk.length() >= CHUNK_BYTES) closeChunk();
    },
    add: (frame) => addBulk({ bytes: frame, numbered: false }),
    flush: () => flushUpTo(limits.sendAheadBytes),
    flushAll: () => flushUpTo(Number.MAX_SAFE_INTEGER),
    discard: () => {
      urgent.discard();
      bulk.discard();
      chunk = null;
    },
    pending: () => stream.pending() + urgent.bytes() + bulkBytes(),
  };
}

interface Lane {
  push(waiting: Waiting): void;
  shift(): Waiting | undefined;
  /** What waits is not sent. */
  discard(): void;
  bytes(): number;
}

/** A queue whose front moves, so that taking a frame costs the same however many wait. */
function createLane(): Lane {
  let frames: Waiting[] = [];
  let front = 0;
  let bytes = 0;
  const clear = (): void => {
    frames = [];
    front = 0;
    bytes = 0;
  };
  return {
    push: (waiting) => {
      frames.push(waiting);
      bytes += waiting.bytes.length + CHUNK_COST_BYTES;
    },
    shift: () => {
      const waiting = frames[front];
      if (waiting === undefined) return undefined;
      front++;
      bytes -= waiting.bytes.length + CHUNK_COST_BYTES;
      if (front === frames.length) clear();
      else if (front > frames.length / 2 && front > COMPACT_AT) {
        frames = frames.slice(front);
        front = 0;
      }
      return waiting;
    },
    discard: () => {
      for (const waiting of frames.slice(front)) release(waiting.bytes);
      clear();
    },
    bytes: () => bytes,
  };
}

const COMPACT_AT = 1_024;

function joined(frames: readonly Uint8Array[], size: number): Uint8Array {
  const [only] = frames;
  if (frames.length === 1 && only !== undefined) return only;
  const chunk = new Uint8Array(size);
  let at = 0;
  for (const frame of frames) {
    chunk.set(frame, at);
    at += frame.length;
    release(frame);
  }
  return chunk;
}

/** TimeoutNow stays behind the entries that its receiver must have before it campaigns. */
const PEER_LANE: Readonly<Record<PeerMessage["type"], "urgent" | "bulk">> = {
  RequestVote: "urgent",
  RequestVoteReply: "urgent",
  AppendEntries: "bulk",
  AppendEntriesReply: "urgent",
  Heartbeat: "urgent",
  HeartbeatReply: "urgent",
  TimeoutNow: "bulk",
  InstallSnapshot: "bulk",
  InstallSnapshotReply: "urgent",
  StaleDisk: "urgent",
  Probe: "urgent",
  ProbeReply: "urgent",
  found: "urgent",
  foundAnswer: "urgent",
};

/** The hello is the first frame, also when a request was sent before the first flush. */
const AHEAD_OF_BULK: ReadonlySet<Message["type"]> = new Set(["hello", "helloAnswer", "ping", "pong"]);

function isPeerMessage(message: Message): message is PeerMessage {
  return Object.hasOwn(PEER_LANE, message.type);
}
