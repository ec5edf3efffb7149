// What is sent first? Heartbeats, votes and acknowledgements, then bulk; each lane in its order, one chunk per flush. Between members
// bulk is sent in fragments, and no more of it at once than the link carries in the time that a heartbeat may be delayed.
import type { Clock } from "../lib/clock.ts";
import { createWriter, type Writer } from "../lib/msgpack.ts";
import { release } from "../lib/release.ts";
import { encodeMessage, PEER_HEADROOM, peerFrame, writeFrame } from "./codec.ts";
import { type ByteStream, CHUNK_COST_BYTES } from "./network.ts";
import { createPacer, type Pacer } from "./pacing.ts";
import { encodePeerMessage, type PeerMessage } from "./peer-codec.ts";
import type { Message } from "./connection.ts";

interface Waiting {
  readonly bytes: Uint8Array;
  /** A member's message: it becomes a numbered frame only when it leaves, because lanes change the order. Null: a whole frame. */
  readonly type: PeerMessage["type"] | null;
}

/** A message of which some fragments were sent: the bytes before `at`. */
interface Fragmented {
  readonly bytes: Uint8Array;
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
  /** Everything, whatever the stream holds already: before the end. */
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
/** What a frame adds to a message. */
const FRAME_BYTES = PEER_HEADROOM;

export function createSendQueue(
  stream: ByteStream,
  clock: Clock,
  limits: { readonly sendAheadBytes: number },
): SendQueue {
  const urgent = createLane();
  const bulk = createLane();
  /** The newest of each type replaces the one that waits, so a slow link carries fewer of them instead of a queue of them. */
  const newest = new Map<PeerMessage["type"], Waiting>();
  let pacer: Pacer | null = null;
  let fragmented: Fragmented | null = null;
  /** `from`: as the pacer counts bytes. */
  let newestBulk: (Omit<BulkInFlight, "acknowledged"> & { readonly from: number }) | null = null;
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
    bulk.push({ bytes, type: null });
  }

  function addBulk(waiting: Waiting): void {
    closeChunk();
    bulk.push(waiting);
  }

  const unfragmentedBytes = (): number => (fragmented === null ? 0 : fragmented.bytes.length - fragmented.at);
  const bulkBytes = (): number => bulk.bytes() + unfragmentedBytes() + (chunk?.length() ?? 0);
  const frameOf = ({ bytes, type }: Waiting): Uint8Array => (type === null ? bytes : peerFrame(++sequence, bytes));

  /** The next frame of bulk that has at most `available` bytes: a whole message, or a fragment of one. */
  function nextBulk(available: number): Uint8Array | null {
    if (fragmented === null) {
      const waiting = bulk.first();
      if (waiting === undefined || available <= 0) return null;
      const bytes = waiting.bytes.length - PEER_HEADROOM;
      const isWhole = pacer === null || waiting.type === null || bytes + FRAME_BYTES <= available;
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
      fragmented = { bytes: waiting.bytes, at: PEER_HEADROOM };
    }
    const rest = unfragmentedBytes();
    if (available < MIN_FRAGMENT_BYTES && rest + FRAME_BYTES > available) return null;
    const { bytes: message, at } = fragmented;
    const bytes = message.subarray(at, at + Math.min(rest, Math.floor(available) - FRAME_BYTES));
    fragmented.at += bytes.length;
    const left = rest - bytes.length;
    const frame = encodeMessage({ type: "fragment", sequence: ++sequence, left, bytes });
    if (left === 0) {
      release(message);
      fragmented = null;
    }
    return frame;
  }

  /** Bytes of bulk in the chunk that is being put together. */
  let bulkInChunk = 0;

  /** False when there was nothing to write, or nothing that may be written now. `most`: null: everything, whatever the link carries. */
  function writeChunk(most: number | null): boolean {
    const frames: Uint8Array[] = [];
    let size = 0;
    const add = (frame: Uint8Array): void => {
      frames.push(frame);
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
    if (ping !== null && most !== null) add(encodeMessage({ type: "ping", frameId: ping }));
    bulkInChunk = 0;
    stream.write(joined(frames, size));
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
    const waiting = { bytes: encodePeerMessage(message, PEER_HEADROOM), type: message.type };
    if (PEER_LANE[message.type] === "bulk") addBulk(waiting);
    else if (pacer !== null && REPLACED_BY_THE_NEXT.has(message.type)) newest.set(message.type, waiting);
    else urgent.push(waiting);
  }

  return {
    addMessage: (message) => {
      if (isPeerMessage(message)) return addPeerMessage(message);
      if (AHEAD_OF_BULK.has(message.type)) return urgent.push({ bytes: encodeMessage(message), type: null });
      chunk ??= createWriter(0, chunkBytes, true);
      writeFrame(chunk, message);
      if (chunk.length() >= CHUNK_BYTES) closeChunk();
    },
    add: (frame) => addBulk({ bytes: frame, type: null }),
    flush: () => flushUpTo(limits.sendAheadBytes),
    flushAll: () => flushUpTo(null),
    discard: () => {
      urgent.discard();
      bulk.discard();
      for (const { bytes } of newest.values()) release(bytes);
      newest.clear();
      if (fragmented !== null) release(fragmented.bytes);
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

interface Lane {
  push(waiting: Waiting): void;
  first(): Waiting | undefined;
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

/** A later one claims all that an earlier one did. */
const REPLACED_BY_THE_NEXT: ReadonlySet<PeerMessage["type"]> = new Set(["Heartbeat", "HeartbeatReply"]);

/** The hello is the first frame, also when a request was sent before the first flush. */
const AHEAD_OF_BULK: ReadonlySet<Message["type"]> = new Set(["hello", "helloAnswer", "ping", "pong"]);

function isPeerMessage(message: Message): message is PeerMessage {
  return Object.hasOwn(PEER_LANE, message.type);
}
