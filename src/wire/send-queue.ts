// What is sent first? Heartbeats, votes and acknowledgements, then bulk; each in its order, one chunk per flush. Between members
// bulk is sent in fragments, and no more of it at once than the link carries in the time that a heartbeat may be delayed.
import { must } from "../lib/assert.ts";
import type { Clock } from "../lib/clock.ts";
import type { Parts } from "../lib/messagepack.ts";
import { release } from "../lib/release.ts";
import {
  createFrameWriter,
  encodeMessage,
  encodePeerMessage,
  fragmentFrame,
  type FrameWriter,
  joined,
  PEER_FRAME_BYTES,
  peerFrame,
} from "./codec.ts";
import type { Message } from "./connection.ts";
import { FRAMES } from "./layouts.ts";
import { PEER_MESSAGES, type PeerMessage } from "./peer-layouts.ts";
import { type ByteStream, CHUNK_COST_BYTES } from "./network.ts";
import { createPacer, type Pacer } from "./pacing.ts";

type QueuedMessage =
  /** Whole frames; their memory is this queue's. */
  | { readonly type: null; readonly bytes: Parts }
  /**
   * A member's message: it becomes a numbered frame only when it leaves, because the two queues change the order. Its records are the log's
   * own: they are copied once, into what is written to the stream.
   */
  | { readonly type: PeerMessage["type"]; readonly bytes: Parts };

/** A message of which some fragments were sent. */
interface Fragmented {
  readonly message: Parts;
  sentBytes: number;
  /** The part where the next fragment begins, and the byte in it. */
  part: number;
  at: number;
}

/** The newest bulk message that was sent, or is being sent. */
export interface BulkInFlight {
  readonly type: PeerMessage["type"];
  /** Of its `bytes`. */
  readonly acknowledged: number;
  readonly bytes: number;
  readonly sinceMs: number;
}

export interface SendQueue {
  addMessage(message: Message): void;
  /** A whole frame; bulk. */
  add(frame: Uint8Array): void;
  /** Everything urgent, and bulk as far as the stream keeps up; the rest follows by the stream's `onDrain`. */
  flush(): void;
  /** Everything, even if the stream is full: before the end. */
  flushAll(): void;
  discard(): void;
  /** Here and in the stream, in bytes of memory. */
  pending(): number;
  /** From now on bulk is sent in fragments, with pings behind it: the other side is a member, and its hello has come. */
  startPacing(): void;
  /** Null: not a connection between members, or its hellos are not exchanged. */
  pacer(): Pacer | null;
  /** Null: everything is acknowledged. */
  bulkInFlight(): BulkInFlight | null;
}

/** Answers to clients are many and small: they are encoded one behind the other into chunks of about this size. */
const CHUNK_BYTES = 64 * 1_024;
const FIRST_CHUNK_BYTES = 256;
/** A smaller fragment is not worth its header, unless it is the rest of a message. */
const MIN_FRAGMENT_BYTES = 128;

export function createSendQueue(
  stream: ByteStream,
  clock: Clock,
  limits: { readonly sendAheadBytes: number },
): SendQueue {
  const urgent = createFrameQueue();
  const bulk = createFrameQueue();
  /** The newest of each type replaces the one that waits, so a slow link carries fewer of them instead of a queue of them. */
  const newest = new Map<PeerMessage["type"], QueuedMessage>();
  let pacer: Pacer | null = null;
  let fragmented: Fragmented | null = null;
  /** `from`: as the pacer counts bytes. */
  let newestBulk: (Omit<BulkInFlight, "acknowledged"> & { readonly from: number }) | null = null;
  let sequence = 0;
  /** The end of the bulk, while it grows. */
  let chunk: FrameWriter | null = null;
  let chunkBytes = FIRST_CHUNK_BYTES;

  function closeChunk(): void {
    if (chunk === null) return;
    const bytes = chunk.finish();
    chunk = null;
    // As much again will do for the next one, unless it was an exception.
    chunkBytes = Math.max(FIRST_CHUNK_BYTES, Math.min(CHUNK_BYTES, bytes.length + (bytes.length >> 2)));
    bulk.push(wholeFrames(bytes));
  }

  function addBulk(waiting: QueuedMessage): void {
    closeChunk();
    bulk.push(waiting);
  }

  const unsentBytes = (): number => (fragmented === null ? 0 : fragmented.message.length - fragmented.sentBytes);
  const bulkBytes = (): number => bulk.bytes() + unsentBytes() + (chunk?.length() ?? 0);
  /** Whole frames that are being written: nobody uses their memory after that. */
  const taken: Uint8Array[] = [];

  function frameOf({ bytes, type }: QueuedMessage): Parts {
    if (type !== null) return peerFrame(++sequence, bytes);
    taken.push(...bytes.parts);
    return bytes;
  }

  /** The next frame of bulk that has at most `available` bytes: a whole message, or a fragment of one. */
  function nextBulk(available: number): Parts | null {
    if (fragmented === null) {
      const waiting = bulk.first();
      if (waiting === undefined || available <= 0) return null;
      const bytes = waiting.bytes.length;
      const isWhole = pacer === null || waiting.type === null || bytes + PEER_FRAME_BYTES <= available;
      if (!isWhole && available < MIN_FRAGMENT_BYTES) return null;
      bulk.shift();
      if (waiting.type !== null)
        newestBulk = {
          type: waiting.type,
          bytes,
          sinceMs: clock.now(),
          from: (pacer?.sentBytes() ?? 0) + bulkInChunk,
        };
      if (isWhole) return frameOf(waiting);
      fragmented = { message: waiting.bytes, sentBytes: 0, part: 0, at: 0 };
    }
    const rest = unsentBytes();
    if (available < MIN_FRAGMENT_BYTES && rest + PEER_FRAME_BYTES > available) return null;
    const bytes = nextBytes(fragmented, Math.min(rest, Math.floor(available) - PEER_FRAME_BYTES));
    if (bytes.length === rest) fragmented = null;
    return fragmentFrame(++sequence, rest - bytes.length, bytes);
  }

  /** Bytes of bulk in the chunk that is being put together. */
  let bulkInChunk = 0;

  /** False when there was nothing to write, or nothing that may be written now. `most`: null: everything, whatever the link carries. */
  function writeChunk(most: number | null): boolean {
    const parts: Uint8Array[] = [];
    let size = 0;
    const add = (frame: Parts): void => {
      for (const part of frame.parts) parts.push(part);
      size += frame.length;
    };
    for (let waiting = urgent.shift(); waiting !== undefined; waiting = urgent.shift()) add(frameOf(waiting));
    if (newest.size > 0 && (most === null || mayHeartbeat())) {
      for (const waiting of newest.values()) add(frameOf(waiting));
      newest.clear();
      pacer?.heartbeatSent();
    }
    const available = availableBulk(most, size);
    bulkInChunk = 0;
    while (bulkInChunk < available) {
      const frame = nextBulk(available - bulkInChunk);
      if (frame === null) break;
      add(frame);
      bulkInChunk += frame.length;
    }
    if (size === 0) return false;
    const ping = pacer?.sent(bulkInChunk, bulkBytes() > 0) ?? null;
    if (ping !== null && most !== null) add(wholeFrames(encodeMessage({ type: "ping", frameId: ping })).bytes);
    bulkInChunk = 0;
    const [only] = parts;
    if (parts.length === 1 && only !== undefined) stream.write(only);
    else {
      stream.write(joined({ parts, length: size }));
      for (const part of taken) release(part);
    }
    taken.length = 0;
    return true;
  }

  function mayHeartbeat(): boolean {
    if (pacer === null) return true;
    const bulkWaits = bulkBytes() > 0;
    // In a packet with bulk a heartbeat costs next to nothing.
    return (bulkWaits && pacer.available() >= MIN_FRAGMENT_BYTES) || pacer.mayHeartbeat(bulkWaits);
  }

  /** How much bulk may be written behind so many urgent bytes. */
  function availableBulk(most: number | null, urgentBytes: number): number {
    if (most === null) return Number.MAX_SAFE_INTEGER;
    const unsent = most - stream.pending() - urgentBytes;
    return pacer === null ? unsent : Math.min(unsent, pacer.available(), pacer.maxBurst());
  }

  function flushUpTo(most: number | null): void {
    closeChunk();
    while (urgent.bytes() + newest.size + bulkBytes() > 0) if (!writeChunk(most)) return;
  }

  function addPeerMessage(message: PeerMessage): void {
    const waiting = { bytes: encodePeerMessage(message), type: message.type };
    const { priority } = PEER_MESSAGES[message.type];
    if (priority === "bulk") addBulk(waiting);
    else if (pacer !== null && priority === "newest") newest.set(message.type, waiting);
    else urgent.push(waiting);
  }

  return {
    addMessage: (message) => {
      if (isPeerMessage(message)) return addPeerMessage(message);
      if (FRAMES[message.type].priority === "urgent") return urgent.push(wholeFrames(encodeMessage(message)));
      chunk ??= createFrameWriter(chunkBytes);
      chunk.add(message);
      if (chunk.length() >= CHUNK_BYTES) closeChunk();
    },
    add: (frame) => addBulk(wholeFrames(frame)),
    flush: () => flushUpTo(limits.sendAheadBytes),
    flushAll: () => flushUpTo(null),
    discard: () => {
      urgent.discard();
      bulk.discard();
      newest.clear();
      fragmented = null;
      chunk = null;
    },
    pending: () => {
      let bytes = stream.pending() + urgent.bytes() + bulkBytes();
      for (const waiting of newest.values()) bytes += waiting.bytes.length;
      return bytes;
    },
    startPacing: () => {
      pacer ??= createPacer(clock.now);
    },
    pacer: () => pacer,
    bulkInFlight: () => {
      if (pacer === null || newestBulk === null) return null;
      const { from, type, bytes, sinceMs } = newestBulk;
      const acknowledged = Math.max(0, Math.min(bytes, pacer.acknowledgedBytes() - from));
      return acknowledged === bytes && fragmented === null ? null : { type, bytes, sinceMs, acknowledged };
    },
  };
}

interface FrameQueue {
  push(waiting: QueuedMessage): void;
  first(): QueuedMessage | undefined;
  shift(): QueuedMessage | undefined;
  /** What waits is not sent. */
  discard(): void;
  bytes(): number;
}

/** A queue whose front moves, so that taking a frame costs the same however many wait. */
function createFrameQueue(): FrameQueue {
  let frames: QueuedMessage[] = [];
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
    first: () => frames[front],
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
      for (const { type, bytes } of frames.slice(front))
        if (type === null) for (const part of bytes.parts) release(part);
      clear();
    },
    bytes: () => bytes,
  };
}

const COMPACT_AT = 1_024;

const wholeFrames = (bytes: Uint8Array): QueuedMessage => ({
  type: null,
  bytes: { parts: [bytes], length: bytes.length },
});

/** The next `count` bytes of it, as views. */
function nextBytes(fragmented: Fragmented, count: number): Parts {
  const parts: Uint8Array[] = [];
  for (let left = count; left > 0;) {
    const part = must(fragmented.message.parts[fragmented.part], "the part that holds the next byte");
    const bytes = part.subarray(fragmented.at, fragmented.at + left);
    parts.push(bytes);
    left -= bytes.length;
    fragmented.at += bytes.length;
    if (fragmented.at < part.length) continue;
    fragmented.part++;
    fragmented.at = 0;
  }
  fragmented.sentBytes += count;
  return { parts, length: count };
}

function isPeerMessage(message: Message): message is PeerMessage {
  return Object.hasOwn(PEER_MESSAGES, message.type);
}
