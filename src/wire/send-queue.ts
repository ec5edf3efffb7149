// Queues what is sent: heartbeats, votes and acknowledgements first, then bulk; each in its order, one chunk per flush. Between members
// bulk is sent in fragments, and no more of it at once than the link carries in the time that a heartbeat may be delayed.
import { WIRE } from "../config.ts";
import { must } from "../lib/assert.ts";
import type { Clock } from "../lib/clock.ts";
import type { Parts } from "../lib/packing.ts";
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
import type { ByteStream } from "./network.ts";
import { createPacer, type Pacer } from "./pacing.ts";

type QueuedMessage =
  /** Complete frames, without a sequence number; their memory is this queue's. */
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
  readonly stream: ByteStream;
  readonly clock: Clock;
  /** Unsent bytes in the stream, behind which bulk waits here. */
  readonly sendAheadBytes: number;
  readonly urgent: FrameQueue;
  readonly bulk: FrameQueue;
  /** The newest of each type replaces the one that waits, so a slow link carries fewer of them instead of a queue of them. */
  readonly newest: Map<PeerMessage["type"], QueuedMessage>;
  /** Null: not a connection between members, or its hellos are not exchanged. */
  pacer: Pacer | null;
  /** The front of the bulk, while it is sent in fragments. */
  fragmented: Fragmented | null;
  /** `from`: as the pacer counts bytes. Null: no bulk message was sent yet. */
  newestBulk: (Omit<BulkInFlight, "acknowledged"> & { readonly from: number }) | null;
  /** Of the last frame between members that was sent. */
  sequence: number;
  /** The end of the bulk, while it grows; null: there is none. */
  batch: FrameWriter | null;
  /** The expected length of the next batch. */
  nextBatchBytes: number;
  /** Frames of the chunk that is being written; their memory is released after that. */
  readonly written: Uint8Array[];
}

/** What is written to the stream at once. */
interface Chunk {
  readonly parts: Uint8Array[];
  /** Bytes of all of them. */
  length: number;
}

const { batchBytes, firstBatchBytes, minFragmentBytes, chunkCostBytes } = WIRE;

export function createSendQueue(stream: ByteStream, clock: Clock, sendAheadBytes: number): SendQueue {
  return {
    stream,
    clock,
    sendAheadBytes,
    urgent: createFrameQueue(),
    bulk: createFrameQueue(),
    newest: new Map(),
    pacer: null,
    fragmented: null,
    newestBulk: null,
    sequence: 0,
    batch: null,
    nextBatchBytes: firstBatchBytes,
    written: [],
  };
}

/** From now on bulk is sent in fragments, with pings behind it: the other side is a member, and its hello was received. */
export function startPacing(queue: SendQueue): void {
  queue.pacer ??= createPacer(queue.clock.now);
}

export function addMessage(queue: SendQueue, message: Message): void {
  if (isPeerMessage(message)) return addPeerMessage(queue, message);
  if (FRAMES[message.type].priority === "urgent") return queue.urgent.push(unnumbered(encodeMessage(message)));
  queue.batch ??= createFrameWriter(queue.nextBatchBytes);
  queue.batch.add(message);
  if (queue.batch.length() >= batchBytes) closeBatch(queue);
}

function addPeerMessage(queue: SendQueue, message: PeerMessage): void {
  const waiting = { bytes: encodePeerMessage(message), type: message.type };
  const { priority } = PEER_MESSAGES[message.type];
  if (priority === "bulk") addBulk(queue, waiting);
  else if (queue.pacer !== null && priority === "newest") queue.newest.set(message.type, waiting);
  else queue.urgent.push(waiting);
}

/** A complete frame; bulk. */
export function addFrame(queue: SendQueue, frame: Uint8Array): void {
  addBulk(queue, unnumbered(frame));
}

function addBulk(queue: SendQueue, waiting: QueuedMessage): void {
  closeBatch(queue);
  queue.bulk.push(waiting);
}

function closeBatch(queue: SendQueue): void {
  if (queue.batch === null) return;
  const bytes = queue.batch.finish();
  queue.batch = null;
  // As much again will do for the next one, unless it was an exception.
  queue.nextBatchBytes = Math.max(firstBatchBytes, Math.min(batchBytes, bytes.length + (bytes.length >> 2)));
  queue.bulk.push(unnumbered(bytes));
}

/** What is queued here or in the stream, in bytes of memory. */
export function unsentBytes(queue: SendQueue): number {
  let bytes = queue.stream.unsentBytes() + queue.urgent.bytes() + bulkBytes(queue);
  for (const waiting of queue.newest.values()) bytes += waiting.bytes.length;
  return bytes;
}

const bulkBytes = (queue: SendQueue): number =>
  queue.bulk.bytes() + unsentFragmentBytes(queue.fragmented) + (queue.batch?.length() ?? 0);

const unsentFragmentBytes = (fragmented: Fragmented | null): number =>
  fragmented === null ? 0 : fragmented.message.length - fragmented.sentBytes;

/** Null: everything is acknowledged, or it is not measured. */
export function bulkInFlight({ pacer, newestBulk, fragmented }: SendQueue): BulkInFlight | null {
  if (pacer === null || newestBulk === null) return null;
  const { from, type, bytes, sinceMs } = newestBulk;
  const acknowledged = Math.max(0, Math.min(bytes, pacer.acknowledgedBytes() - from));
  return acknowledged === bytes && fragmented === null ? null : { type, bytes, sinceMs, acknowledged };
}

/** What waits is not sent. */
export function discardQueue(queue: SendQueue): void {
  queue.urgent.discard();
  queue.bulk.discard();
  queue.newest.clear();
  queue.fragmented = null;
  queue.batch = null;
}

/** Everything urgent, and bulk as far as the stream keeps up; the rest follows by the stream's `onDrain`. */
export function flushQueue(queue: SendQueue): void {
  writeChunks(queue, queue.sendAheadBytes);
}

/** Everything, even if the stream is full: before the end. */
export function flushAll(queue: SendQueue): void {
  writeChunks(queue, null);
}

/** `sendAhead`: the most unsent bytes in the stream up to which bulk is written; null: all of it is, however slow the link is. */
function writeChunks(queue: SendQueue, sendAhead: number | null): void {
  closeBatch(queue);
  while (queue.urgent.bytes() + queue.newest.size + bulkBytes(queue) > 0) if (!writeChunk(queue, sendAhead)) return;
}

/** False when there was nothing that may be written now. */
function writeChunk(queue: SendQueue, sendAhead: number | null): boolean {
  const { urgent, newest, pacer } = queue;
  const chunk: Chunk = { parts: [], length: 0 };
  for (let waiting = urgent.shift(); waiting !== undefined; waiting = urgent.shift())
    addParts(chunk, frameOf(queue, waiting));
  if (newest.size > 0 && (sendAhead === null || mayHeartbeat(queue))) {
    for (const waiting of newest.values()) addParts(chunk, frameOf(queue, waiting));
    newest.clear();
    pacer?.heartbeatSent();
  }
  const bulk = addBulkFrames(queue, chunk, availableBulk(queue, sendAhead, chunk.length));
  if (chunk.length === 0) return false;
  const ping = pacer?.sent(bulk, bulkBytes(queue) > 0) ?? null;
  if (ping !== null && sendAhead !== null)
    addParts(chunk, unnumbered(encodeMessage({ type: "ping", frameId: ping })).bytes);
  writeParts(queue, chunk);
  return true;
}

function addParts(chunk: Chunk, frame: Parts): void {
  for (const part of frame.parts) chunk.parts.push(part);
  chunk.length += frame.length;
}

function frameOf(queue: SendQueue, { bytes, type }: QueuedMessage): Parts {
  if (type !== null) return peerFrame(++queue.sequence, bytes);
  queue.written.push(...bytes.parts);
  return bytes;
}

function mayHeartbeat(queue: SendQueue): boolean {
  const { pacer } = queue;
  if (pacer === null) return true;
  const bulkWaits = bulkBytes(queue) > 0;
  // In a packet with bulk a heartbeat costs next to nothing.
  return (bulkWaits && pacer.available() >= minFragmentBytes) || pacer.mayHeartbeat(bulkWaits);
}

/** How many bytes of bulk may be written behind so many urgent ones. */
function availableBulk({ stream, pacer }: SendQueue, sendAhead: number | null, urgentBytes: number): number {
  if (sendAhead === null) return Number.MAX_SAFE_INTEGER;
  const unsent = sendAhead - stream.unsentBytes() - urgentBytes;
  return pacer === null ? unsent : Math.min(unsent, pacer.available(), pacer.maxBurst());
}

/** Adds bulk of up to `available` bytes to the chunk. Returns how many bytes that were. */
function addBulkFrames(queue: SendQueue, chunk: Chunk, available: number): number {
  let added = 0;
  while (added < available) {
    const frame = nextBulk(queue, available - added, added);
    if (frame === null) break;
    addParts(chunk, frame);
    added += frame.length;
  }
  return added;
}

/** The next frame of bulk that has at most `available` bytes: a message, or a fragment of one. `inChunk`: bytes of bulk before it. */
function nextBulk(queue: SendQueue, available: number, inChunk: number): Parts | null {
  if (queue.fragmented === null) {
    const { bulk, pacer } = queue;
    const waiting = bulk.first();
    if (waiting === undefined || available <= 0) return null;
    const bytes = waiting.bytes.length;
    const fits = pacer === null || waiting.type === null || bytes + PEER_FRAME_BYTES <= available;
    if (!fits && available < minFragmentBytes) return null;
    bulk.shift();
    if (waiting.type !== null) {
      const from = (pacer?.sentBytes() ?? 0) + inChunk;
      queue.newestBulk = { type: waiting.type, bytes, sinceMs: queue.clock.now(), from };
    }
    if (fits) return frameOf(queue, waiting);
    queue.fragmented = { message: waiting.bytes, sentBytes: 0, part: 0, at: 0 };
  }
  return nextFragment(queue, queue.fragmented, available);
}

function nextFragment(queue: SendQueue, fragmented: Fragmented, available: number): Parts | null {
  const rest = unsentFragmentBytes(fragmented);
  if (available < minFragmentBytes && rest + PEER_FRAME_BYTES > available) return null;
  const bytes = nextBytes(fragmented, Math.min(rest, Math.floor(available) - PEER_FRAME_BYTES));
  if (bytes.length === rest) queue.fragmented = null;
  return fragmentFrame(++queue.sequence, rest - bytes.length, bytes);
}

function writeParts({ stream, written }: SendQueue, chunk: Chunk): void {
  const [only] = chunk.parts;
  if (chunk.parts.length === 1 && only !== undefined) stream.write(only);
  else {
    stream.write(joined(chunk));
    for (const part of written) release(part);
  }
  written.length = 0;
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
      bytes += waiting.bytes.length + chunkCostBytes;
    },
    first: () => frames[front],
    shift: () => {
      const waiting = frames[front];
      if (waiting === undefined) return undefined;
      front++;
      bytes -= waiting.bytes.length + chunkCostBytes;
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

const unnumbered = (bytes: Uint8Array): QueuedMessage => ({
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
