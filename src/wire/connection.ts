// A connection over a byte stream: the hello first, then frames; with limits, time-outs, an order, and a reason for every end.
//
// Its owner gets complete, valid messages only. The first message is the other side's `hello` (accepted streams) or `helloAnswer`
// (dialed ones); an accepting owner answers with `send(helloAnswer)` or `close(failure)`. Bytes inside a message are its
// own. What is sent waits until `flush`, which the owner calls once per turn.
import type { Clock } from "../lib/clock.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import { release } from "../lib/release.ts";
import { decodeHandshake, decodeMessage, decodePeerMessage, encodeMessage } from "./codec.ts";
import { HTTP_ANSWER, SPEAKS_HTTP } from "./foreign-protocols.ts";
import { createDeframer, type Deframer } from "./frame.ts";
import {
  acceptorHandshake,
  checkVersion,
  dialerHandshake,
  type Handshake,
  HandshakeRefused,
  type Introduction,
  isHandshakeMessage,
} from "./handshake.ts";
import { FRAMES } from "./layouts.ts";
import { type PeerMessage } from "./peer-layouts.ts";
import type { ByteStream, Identity } from "./network.ts";
import { createReassembly, type Reassembly } from "./reassembly.ts";
import type { Challenge, Goodbye, Greeting, PeerFragment, PeerFrame, Proof, WireMessage } from "./protocol.ts";
import {
  addFrame,
  addMessage,
  type BulkInFlight,
  bulkInFlight,
  createSendQueue,
  discardQueue,
  flushAll,
  flushQueue,
  unsentBytes,
  type SendQueue,
  startPacing,
} from "./send-queue.ts";
import {
  bytesReceived,
  helloReceived,
  startTimeouts,
  stopTimeouts,
  type TimeoutLimits,
  type Timeouts,
} from "./timeouts.ts";

/** What the owner sends and receives: numbered frames, and how both sides prove their identity, are inside the connection. */
export type Message = Exclude<WireMessage, PeerFrame | PeerFragment | Goodbye | Challenge | Proof> | PeerMessage;

/** `config.ts` WIRE fits. */
export interface ConnectionLimits extends TimeoutLimits {
  readonly protocolVersion: number;
  readonly maxHelloBytes: number;
  readonly maxHelloAnswerBytes: number;
  readonly maxClientFrameBytes: number;
  readonly maxPeerFrameBytes: number;
  readonly maxClientSendBytes: number;
  readonly maxPeerSendBytes: number;
  readonly sendAheadBytes: number;
}

export interface OpenConnection {
  readonly stream: ByteStream;
  readonly clock: Clock;
  readonly limits: ConnectionLimits;
  readonly side: "accepted" | "dialed";
  readonly onMessage: (message: Message) => void;
  /** Accepting side: what it reports of itself before the dialer has proven the shared secret; null: not known yet. */
  readonly introduce?: () => Introduction | null;
  /** Called once, never from inside `send`, `flush` or `close`. Null: this side closed without a failure. */
  readonly onClosed: (why: Failure | null) => void;
  /** The other side, no member, sends no more and may still read: true when this side will close the connection. */
  readonly onEnded?: () => boolean;
  /** The memory of this connection has changed: of an incomplete frame, and of what was sent but not taken. Not called after its end. */
  readonly onBuffered?: (bytes: number) => void;
  /** Bytes were received, and their messages decoded and taken within this time. */
  readonly onRead?: (milliseconds: number) => void;
  /** Between members. */
  readonly onProgress?: (progress: Progress) => void;
}

export type Progress =
  /** The other side answered a ping: it has received `bytes` more of bulk, perhaps none. */
  | { readonly type: "acknowledged"; readonly bytes: number }
  /** Bytes of an incomplete message were received. */
  | { readonly type: "received" };

export interface Connection {
  readonly remote: string;
  /** The first message of the other side; null before. */
  readonly greeting: Greeting | null;
  /** The proven identity of the other side; null before its greeting. */
  readonly who: Identity | null;
  /** Encodes now; leaves at `flush`. Nothing happens on a connection that is closing. */
  send(message: Message): void;
  /** Everything sent since the last flush, as one chunk; heartbeats, votes and acknowledgements first. */
  flush(): void;
  /** Sends a ping at once: the other side's connection answers it, even while its owner waits for something. */
  ping(): void;
  /** What was sent but not taken by the system yet, in bytes of memory. */
  unsentBytes(): number;
  /** What the link is known to carry; null: it is not measured. */
  bytesPerSecond(): number | null;
  /** The newest bulk, until it is acknowledged; null: none, or it is not measured. */
  bulkInFlight(): BulkInFlight | null;
  /** Sends goodbye with that reason (null: in silence), then closes. What was sent before still leaves. */
  close(why: Failure | null): void;
  /** As `close`, but what was sent before is dropped: its memory is needed. */
  abandon(why: Failure): void;
}

interface ConnectionState {
  readonly open: OpenConnection;
  readonly otherSide: "dialer" | "acceptor";
  readonly deframer: Deframer;
  readonly reassembly: Reassembly;
  readonly queue: SendQueue;
  readonly handshake: Handshake;
  readonly timeouts: Timeouts;
  /** The first message of the other side; null before. */
  greeting: Greeting | null;
  /** The proven identity of the other side; null before its greeting. */
  who: Identity | null;
  ownGreetingSent: boolean;
  /** Both sides are members: their messages are in numbered frames. */
  isPeer: boolean;
  /** Numbered frames received so far. */
  received: number;
  /** The newest ping of the other member; null: it is answered. */
  unansweredPing: number | null;
  /** Undefined while open; afterwards what `onClosed` will report. */
  ending: Failure | null | undefined;
  /** Bytes that `onBuffered` was called with last. */
  reportedBytes: number;
}

export function openConnection(open: OpenConnection): Connection {
  const { stream, clock, limits, side } = open;
  const { trust } = stream;
  const deframer = createDeframer(
    side === "accepted" ? limits.maxHelloBytes : limits.maxHelloAnswerBytes,
    "before the hello",
  );
  const reassembly = createReassembly(limits.maxPeerFrameBytes);
  const tlsMs = trust.type === "certificate" ? trust.handshakeMs : 0;
  const state: ConnectionState = {
    open,
    otherSide: side === "accepted" ? "dialer" : "acceptor",
    deframer,
    reassembly,
    queue: createSendQueue(stream, clock, limits.sendAheadBytes),
    handshake: side === "dialed" ? dialerHandshake(trust) : acceptorHandshake(trust, open.introduce ?? (() => null)),
    timeouts: startTimeouts(
      clock,
      { ...limits, helloTimeoutMs: Math.max(1, limits.helloTimeoutMs - tlsMs) },
      { deframer, reassembly, ping: () => ping(state), expired: (why) => close(state, why) },
    ),
    greeting: null,
    who: null,
    ownGreetingSent: false,
    isPeer: false,
    received: 0,
    unansweredPing: null,
    ending: undefined,
    reportedBytes: 0,
  };
  const onFrame = (body: Uint8Array): boolean => receiveFrame(state, body);
  stream.onData = (data) => receiveBytes(state, data, onFrame);
  stream.onDrain = () => flush(state);
  stream.onEnd = () => staysOpen(state);
  stream.onClose = (why) => streamClosed(state, why);
  // Nothing of an unauthenticated side is read.
  if (trust.type === "unauthenticated") close(state, failure("UNAUTHORISED", trust.why));
  return {
    remote: stream.remote,
    get greeting() {
      return state.greeting;
    },
    get who() {
      return state.who;
    },
    send: (message) => send(state, message),
    flush: () => flush(state),
    ping: () => ping(state),
    unsentBytes: () => unsentBytes(state.queue),
    bytesPerSecond: () => state.queue.pacer?.bytesPerSecond() ?? null,
    bulkInFlight: () => bulkInFlight(state.queue),
    close: (why) => close(state, why),
    abandon: (why) => abandon(state, why),
  };
}

function send(state: ConnectionState, message: Message): void {
  if (!isOpen(state)) return;
  if (message.type === "hello" || message.type === "helloAnswer") return sendGreeting(state, message);
  addMessage(state.queue, message);
  checkPending(state);
}

function sendGreeting(state: ConnectionState, message: Greeting): void {
  if (message.type === "hello") state.isPeer = message.role === "peer";
  try {
    addMessage(state.queue, state.handshake.outgoing(message));
    state.ownGreetingSent = true;
    paceBetweenMembers(state);
  } catch (error) {
    close(state, reasonOf(error));
  }
}

/** Once both greetings are exchanged. */
function paceBetweenMembers({ isPeer, ownGreetingSent, greeting, queue }: ConnectionState): void {
  if (isPeer && ownGreetingSent && greeting !== null) startPacing(queue);
}

/** A socket that does not read must not fill our memory. */
function checkPending(state: ConnectionState): void {
  const { maxPeerSendBytes, maxClientSendBytes } = state.open.limits;
  const cap = state.isPeer ? maxPeerSendBytes : maxClientSendBytes;
  const waiting = unsentBytes(state.queue);
  if (waiting <= cap) return;
  abandon(state, failure("OVERLOADED", `${waiting} bytes wait for a reader that does not read; at most ${cap} may`));
}

function ping(state: ConnectionState): void {
  send(state, { type: "ping", frameId: KEEP_ALIVE });
  flushQueue(state.queue);
}

function flush(state: ConnectionState): void {
  if (!isOpen(state)) return;
  const { queue, unansweredPing } = state;
  // An answer acknowledges everything before it, so a slow reader gets only the newest one.
  if (unansweredPing !== null && state.open.stream.unsentBytes() === 0) {
    addMessage(queue, { type: "pong", frameId: unansweredPing });
    state.unansweredPing = null;
  }
  flushQueue(queue);
  reportBuffered(state);
}

function reportBuffered(state: ConnectionState): void {
  const { open, deframer, reassembly, queue } = state;
  if (open.onBuffered === undefined || !isOpen(state)) return;
  const bytes = deframer.allocated() + reassembly.allocated() + unsentBytes(queue);
  if (bytes === state.reportedBytes) return;
  state.reportedBytes = bytes;
  open.onBuffered(bytes);
}

function close(state: ConnectionState, why: Failure | null): void {
  if (!isOpen(state)) return;
  if (why !== null) addFrame(state.queue, encodeMessage({ type: "goodbye", failure: why }));
  flushAll(state.queue);
  end(state, why);
}

function abandon(state: ConnectionState, why: Failure): void {
  if (!isOpen(state)) return;
  discardQueue(state.queue);
  close(state, why);
}

/** An HTTP client cannot read a goodbye. */
function answerHttp(state: ConnectionState, why: Failure): void {
  if (!isOpen(state)) return;
  state.open.stream.write(new TextEncoder().encode(HTTP_ANSWER));
  end(state, why);
}

function end(state: ConnectionState, why: Failure | null): void {
  state.ending = why;
  stopReceiving(state);
  state.open.stream.close();
}

function stopReceiving({ timeouts, deframer, reassembly }: ConnectionState): void {
  stopTimeouts(timeouts);
  deframer.discard();
  reassembly.discard();
}

function streamClosed(state: ConnectionState, why: string): void {
  stopReceiving(state);
  state.open.onClosed(state.ending === undefined ? failure("CONNECTION_LOST", why) : state.ending);
  state.ending ??= null;
}

/** The other side sends no more: does this side go on? */
function staysOpen({ ending, greeting, isPeer, open }: ConnectionState): boolean {
  return ending === undefined && greeting !== null && !isPeer && open.onEnded?.() === true;
}

function receiveBytes(state: ConnectionState, data: Uint8Array, onFrame: (body: Uint8Array) => boolean): void {
  if (!isOpen(state)) return;
  const { open, deframer, reassembly } = state;
  const began = open.onRead === undefined ? 0 : open.clock.now();
  const failed = deframer.push(data, onFrame);
  if (failed?.message === SPEAKS_HTTP && open.side === "accepted") answerHttp(state, failed);
  else if (failed !== null) close(state, failed);
  else if (isOpen(state)) {
    bytesReceived(state.timeouts);
    if (state.isPeer && deframer.buffered() + reassembly.allocated() > 0) open.onProgress?.({ type: "received" });
    reportBuffered(state);
  }
  open.onRead?.(open.clock.now() - began);
}

/** False once the connection has ended. */
function receiveFrame(state: ConnectionState, body: Uint8Array): boolean {
  try {
    if (state.greeting === null) receiveHandshake(state, body);
    else receiveMessage(state, decodeMessage(body));
  } catch (error) {
    close(state, reasonOf(error));
  }
  return isOpen(state);
}

const isOpen = ({ ending }: ConnectionState): boolean => ending === undefined;

function receiveHandshake(state: ConnectionState, body: Uint8Array): void {
  checkVersion(body, state.open.limits.protocolVersion);
  const message = decodeHandshake(body);
  if (message.type === "goodbye") return end(state, message.failure);
  const step = state.handshake.receive(message);
  if (step.type === "greeted") return receiveGreeting(state, step.greeting, step.who);
  addFrame(state.queue, encodeMessage(step.message));
  flushQueue(state.queue);
}

function receiveGreeting(state: ConnectionState, greeting: Greeting, who: Identity): void {
  const { maxPeerFrameBytes, maxClientFrameBytes } = state.open.limits;
  state.greeting = greeting;
  state.who = who;
  if (greeting.type === "hello") state.isPeer = greeting.role === "peer";
  state.deframer.setLimit(state.isPeer ? maxPeerFrameBytes : maxClientFrameBytes);
  paceBetweenMembers(state);
  helloReceived(state.timeouts);
  state.open.onMessage(greeting);
}

function receiveMessage(state: ConnectionState, message: WireMessage): void {
  if (message.type === "goodbye") return end(state, message.failure);
  if (message.type === "ping" && message.frameId === KEEP_ALIVE) return answerKeepAlive(state);
  if (message.type === "pong" && message.frameId === KEEP_ALIVE) return;
  if (message.type === "peer" || message.type === "fragment") return receivePeer(state, message);
  if (state.isPeer && message.type === "ping") {
    state.unansweredPing = message.frameId;
    return flush(state);
  }
  if (state.isPeer && message.type === "pong") return receiveAcknowledgement(state, message.frameId);
  // A second hello may never arrive.
  if (state.isPeer || isHandshakeMessage(message) || FRAMES[message.type].from !== state.otherSide)
    throw new Malformed(`a ${message.type} is not allowed on this connection`);
  state.open.onMessage(message);
}

/** Bytes that the other side has yet to read also show that this side is alive: pongs never pile up behind them. */
function answerKeepAlive(state: ConnectionState): void {
  if (unsentBytes(state.queue) > 0) return;
  send(state, { type: "pong", frameId: KEEP_ALIVE });
  flushQueue(state.queue);
}

function receivePeer(state: ConnectionState, frame: PeerFrame | PeerFragment): void {
  if (!state.isPeer) throw new Malformed("a peer frame is not allowed on a client's connection");
  state.received++;
  if (frame.sequence !== state.received)
    throw new Malformed(`peer frame ${frame.sequence} came where ${state.received} was due: frames are missing`);
  if (frame.type === "peer") return state.open.onMessage(frame.message);
  const bytes = state.reassembly.add(frame);
  if (bytes === null) return;
  const message = decodePeerMessage(bytes);
  release(bytes);
  state.open.onMessage(message);
}

/** The answer to a ping: the other side has received what was sent before it, so more may be sent. */
function receiveAcknowledgement(state: ConnectionState, frameId: number): void {
  const bytes = state.queue.pacer?.acknowledged(frameId) ?? null;
  if (bytes === null) throw new Malformed(`pong ${frameId} answers no ping`);
  state.open.onProgress?.({ type: "acknowledged", bytes });
  flush(state);
}

/** The frameId of keep-alive pings, which the connections answer among themselves. */
const KEEP_ALIVE = 0;

/** Everything else is a fault of this program and goes on up. */
function reasonOf(error: unknown): Failure {
  if (error instanceof HandshakeRefused) return error.failure;
  if (error instanceof Malformed) return failure("BAD_REQUEST", error.message);
  throw error;
}
