// How do two processes exchange frames over a byte stream? Hello first, then frames; limits, deadlines, order and a reason for every end.
//
// Owners see whole, valid messages only. The first message is the other side's `hello` (accepted streams) or `helloAnswer`
// (dialed ones); an accepting owner answers with `send(helloAnswer)` or `close(failure)`. Bytes inside a message are its
// own. What is sent waits until `flush`, which the owner calls once per turn.
import type { Clock } from "../lib/clock.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import { release } from "../lib/release.ts";
import { decodeGreeting, decodeMessage, decodePeerMessage, encodeMessage, versionOf } from "./codec.ts";
import { createDeframer, SPEAKS_HTTP } from "./frame.ts";
import { acceptorHandshake, dialerHandshake, type Introduction, HandshakeRefused } from "./handshake.ts";
import { FRAMES } from "./layouts.ts";
import { type PeerMessage } from "./peer-layouts.ts";
import type { ByteStream, Identity } from "./network.ts";
import { createReassembly } from "./reassembly.ts";
import type {
  Challenge,
  Goodbye,
  Hello,
  HelloAnswer,
  PeerFragment,
  PeerFrame,
  Proof,
  WireMessage,
} from "./protocol.ts";
import { type BulkInFlight, createSendQueue } from "./send-queue.ts";
import { createWatch } from "./watch.ts";

/** A peer frame and its number, and how both sides prove who they are, are the connection's business. */
export type Message = Exclude<WireMessage, PeerFrame | PeerFragment | Goodbye | Challenge | Proof> | PeerMessage;

/** `config.ts` WIRE fits. */
export interface ConnectionLimits {
  readonly protocolVersion: number;
  readonly maxHelloBytes: number;
  readonly maxHelloAnswerBytes: number;
  readonly maxClientFrameBytes: number;
  readonly maxPeerFrameBytes: number;
  readonly maxClientSendBytes: number;
  readonly maxPeerSendBytes: number;
  readonly sendAheadBytes: number;
  readonly helloTimeoutMs: number;
  readonly frameTimeoutMs: number;
  readonly frameProgressBytes: number;
  readonly pingIntervalMs: number;
  readonly idleTimeoutMs: number;
}

export interface OpenConnection {
  readonly stream: ByteStream;
  readonly clock: Clock;
  readonly limits: ConnectionLimits;
  readonly side: "accepted" | "dialed";
  readonly onMessage: (message: Message) => void;
  /** Accepting side: what a dialer learns before it has proven that it knows the shared secret; null: not known yet. */
  readonly introduce?: () => Introduction | null;
  /** Called once, never from inside `send`, `flush` or `close`. Null: this side closed without a failure. */
  readonly onClosed: (why: Failure | null) => void;
  /** The other side, no member, sends no more and may still read: true when this side will close the connection. */
  readonly onEnded?: () => boolean;
  /** The connection now takes so many bytes of memory: for a frame that is not whole yet, and sent but not taken. Not after it has ended. */
  readonly onBuffered?: (bytes: number) => void;
  /** Bytes came in; it took so long until their messages were decoded and taken. */
  readonly onRead?: (milliseconds: number) => void;
  /** Between members. */
  readonly onProgress?: (progress: Progress) => void;
}

export type Progress =
  /** The other side answered a ping: it has received so many more bytes of bulk, perhaps none. */
  | { readonly type: "acknowledged"; readonly bytes: number }
  /** Bytes of an incomplete message were received. */
  | { readonly type: "received" };

export interface Connection {
  readonly remote: string;
  /** The first message of the other side; null before. */
  readonly greeting: Hello | HelloAnswer | null;
  /** Who the other side has proven to be; null before its greeting. */
  readonly who: Identity | null;
  /** Encodes now; leaves at `flush`. Nothing happens on a connection that is closing. */
  send(message: Message): void;
  /** Everything sent since the last flush, as one chunk; heartbeats, votes and acknowledgements first. */
  flush(): void;
  /** Sends a ping at once: the other side's connection answers it, even while its owner waits for something. */
  ping(): void;
  /** What was sent but not taken by the system yet, in bytes of memory. */
  pending(): number;
  /** What the link is known to carry; null: it is not measured. */
  bytesPerSecond(): number | null;
  /** The newest bulk, until it is acknowledged; null: none, or it is not measured. */
  bulkInFlight(): BulkInFlight | null;
  /** Sends goodbye with that reason (null: in silence), then closes. What was sent before still leaves. */
  close(why: Failure | null): void;
  /** As `close`, but what was sent before is dropped: its memory is needed. */
  abandon(why: Failure): void;
}

export function openConnection(open: OpenConnection): Connection {
  const { stream, limits, side } = open;
  const otherSide = side === "accepted" ? "dialer" : "acceptor";
  const firstLimit = side === "accepted" ? limits.maxHelloBytes : limits.maxHelloAnswerBytes;
  const deframer = createDeframer(firstLimit, "before the hello");
  const queue = createSendQueue(stream, open.clock, limits);
  const reassembly = createReassembly(limits.maxPeerFrameBytes);
  const { trust } = stream;
  const handshake =
    side === "dialed" ? dialerHandshake(trust) : acceptorHandshake(trust, open.introduce ?? (() => null));
  let greeting: Hello | HelloAnswer | null = null;
  let who: Identity | null = null;
  /** Both sides of a connection between nodes speak in peer frames. */
  let peer = false;
  let ownGreetingSent = false;
  let received = 0;
  /** The newest ping of the other member; null: it is answered. */
  let unansweredPing: number | null = null;
  /** Undefined while open; afterwards what `onClosed` will report. */
  let ending: Failure | null | undefined;

  const spentMs = trust.type === "certificate" ? trust.handshakeMs : 0;
  const watchLimits = { ...limits, helloTimeoutMs: Math.max(1, limits.helloTimeoutMs - spentMs) };
  const watch = createWatch(open.clock, watchLimits, {
    framesRead: () => deframer.frames,
    bytesBuffered: () => deframer.buffered(),
    describeFrame: () => {
      const message = reassembly.describe();
      const frame = `a frame is not complete, ${deframer.buffered()} of ${deframer.due()} bytes`;
      return message === null ? frame : `${frame}, a fragment of a message (${message})`;
    },
    ping,
    expired: (why) => close(why),
  });

  function ping(): void {
    send({ type: "ping", frameId: KEEP_ALIVE });
    queue.flush();
  }

  function end(why: Failure | null): void {
    ending = why;
    watch.stop();
    deframer.discard();
    reassembly.discard();
    stream.close();
  }

  function close(why: Failure | null): void {
    if (ending !== undefined) return;
    if (why !== null) queue.add(encodeMessage({ type: "goodbye", failure: why }));
    queue.flushAll();
    end(why);
  }

  /** An HTTP client cannot read a goodbye. */
  function answerHttp(why: Failure): void {
    if (ending !== undefined) return;
    stream.write(new TextEncoder().encode(HTTP_ANSWER));
    end(why);
  }

  function send(message: Message): void {
    if (ending !== undefined) return;
    if (message.type === "hello" || message.type === "helloAnswer") return sendGreeting(message);
    queue.addMessage(message);
    checkPending();
  }

  function sendGreeting(message: Hello | HelloAnswer): void {
    if (message.type === "hello") peer = message.role === "peer";
    try {
      queue.addMessage(handshake.outgoing(message));
      ownGreetingSent = true;
      startPacing();
    } catch (error) {
      close(reasonOf(error));
    }
  }

  /** Between members, once both hellos are exchanged. */
  function startPacing(): void {
    if (peer && ownGreetingSent && greeting !== null) queue.startPacing();
  }

  /** A socket that does not read must not fill our memory. */
  function checkPending(): void {
    const cap = peer ? limits.maxPeerSendBytes : limits.maxClientSendBytes;
    const waiting = queue.pending();
    if (waiting <= cap) return;
    abandon(failure("OVERLOADED", `${waiting} bytes wait for a reader that does not read; at most ${cap} may`));
  }

  function abandon(why: Failure): void {
    if (ending !== undefined) return;
    queue.discard();
    close(why);
  }

  let held = 0;
  function noteHeld(): void {
    if (open.onBuffered === undefined || ending !== undefined) return;
    const bytes = deframer.allocated() + reassembly.allocated() + queue.pending();
    if (bytes === held) return;
    held = bytes;
    open.onBuffered(bytes);
  }

  function flush(): void {
    if (ending !== undefined) return;
    // An answer acknowledges everything before it, so a slow reader gets only the newest one.
    if (unansweredPing !== null && stream.pending() === 0) {
      queue.addMessage({ type: "pong", frameId: unansweredPing });
      unansweredPing = null;
    }
    queue.flush();
    noteHeld();
  }

  function receive(body: Uint8Array): void {
    if (greeting === null) return receiveGreeting(body);
    const message = decodeMessage(body);
    if (message.type === "goodbye") return end(message.failure);
    if (message.type === "ping" && message.frameId === KEEP_ALIVE) {
      // Bytes that the other side has yet to read show as well that this side lives: pongs never pile up behind them.
      if (queue.pending() > 0) return;
      send({ type: "pong", frameId: KEEP_ALIVE });
      return queue.flush();
    }
    if (message.type === "pong" && message.frameId === KEEP_ALIVE) return;
    if (message.type === "peer" || message.type === "fragment") return receivePeer(message);
    if (peer && message.type === "ping") {
      unansweredPing = message.frameId;
      return flush();
    }
    if (peer && message.type === "pong") return receiveAcknowledgement(message.frameId);
    // A second hello may never arrive.
    if (peer || isGreeting(message) || FRAMES[message.type].from !== otherSide)
      throw new Malformed(`a ${message.type} is not allowed on this connection`);
    open.onMessage(message);
  }

  function checkVersion(body: Uint8Array): void {
    const version = versionOf(body);
    if (version === null || version === limits.protocolVersion) return;
    const both = `it speaks protocol version ${version}, this side ${limits.protocolVersion}`;
    throw new HandshakeRefused(failure("VERSION", `the other side is another raftq: ${both}`));
  }

  function receiveGreeting(body: Uint8Array): void {
    checkVersion(body);
    const message = decodeGreeting(body);
    if (message.type === "goodbye") return end(message.failure);
    const step = handshake.receive(message);
    if (step.type === "greeted") return greet(step.greeting, step.who);
    queue.add(encodeMessage(step.message));
    queue.flush();
  }

  function greet(message: Hello | HelloAnswer, identity: Identity): void {
    greeting = message;
    who = identity;
    if (message.type === "hello") peer = message.role === "peer";
    deframer.setLimit(peer ? limits.maxPeerFrameBytes : limits.maxClientFrameBytes);
    startPacing();
    watch.greeted();
    open.onMessage(message);
  }

  function receivePeer(frame: PeerFrame | PeerFragment): void {
    if (!peer) throw new Malformed("a peer frame is not allowed on a client's connection");
    received++;
    if (frame.sequence !== received)
      throw new Malformed(`peer frame ${frame.sequence} came where ${received} was due: frames are missing`);
    if (frame.type === "peer") return open.onMessage(frame.message);
    const whole = reassembly.add(frame);
    if (whole === null) return;
    const message = decodePeerMessage(whole);
    release(whole);
    open.onMessage(message);
  }

  /** The answer to a ping: the other side has received what was sent before it, so more may be sent. */
  function receiveAcknowledgement(ping: number): void {
    const bytes = queue.pacer()?.acknowledged(ping) ?? null;
    if (bytes === null) throw new Malformed(`pong ${ping} answers no ping`);
    open.onProgress?.({ type: "acknowledged", bytes });
    flush();
  }

  stream.onData = (data) => {
    if (ending !== undefined) return;
    const began = open.onRead === undefined ? 0 : open.clock.now();
    const failed = deframer.push(data, (body) => {
      try {
        receive(body);
      } catch (error) {
        close(reasonOf(error));
      }
      return ending === undefined;
    });
    if (failed?.message === SPEAKS_HTTP && side === "accepted") answerHttp(failed);
    else if (failed !== null) close(failed);
    else if (ending === undefined) {
      watch.bytesReceived();
      if (peer && deframer.buffered() + reassembly.allocated() > 0) open.onProgress?.({ type: "received" });
      noteHeld();
    }
    open.onRead?.(open.clock.now() - began);
  };
  stream.onDrain = flush;
  stream.onEnd = () => ending === undefined && greeting !== null && !peer && open.onEnded?.() === true;
  stream.onClose = (why) => {
    watch.stop();
    deframer.discard();
    reassembly.discard();
    open.onClosed(ending === undefined ? failure("CONNECTION_LOST", why) : ending);
    ending ??= null;
  };

  // Nothing of an unauthenticated side is read.
  if (trust.type === "unauthenticated") close(failure("UNAUTHORISED", trust.why));

  return {
    remote: stream.remote,
    get greeting() {
      return greeting;
    },
    get who() {
      return who;
    },
    send,
    flush,
    ping,
    pending: () => queue.pending(),
    bytesPerSecond: () => queue.pacer()?.bytesPerSecond() ?? null,
    bulkInFlight: () => queue.bulkInFlight(),
    close,
    abandon,
  };
}

/** The frameId of keep-alive pings, which the connections answer among themselves. */
const KEEP_ALIVE = 0;

const HTTP_TEXT = "This port speaks the raftq protocol, not HTTP.\n";
const HTTP_ANSWER = [
  "HTTP/1.1 400 Bad Request",
  "Content-Type: text/plain",
  `Content-Length: ${HTTP_TEXT.length}`,
  "Connection: close",
  "",
  HTTP_TEXT,
].join("\r\n");

/** Everything else is a fault of this program and goes on up. */
function reasonOf(error: unknown): Failure {
  if (error instanceof HandshakeRefused) return error.failure;
  if (error instanceof Malformed) return failure("BAD_REQUEST", error.message);
  throw error;
}

type Greeting = Hello | HelloAnswer | Challenge | Proof;

const GREETINGS: ReadonlySet<string> = new Set<Greeting["type"]>(["hello", "helloAnswer", "challenge", "proof"]);

function isGreeting(message: WireMessage): message is Greeting {
  return GREETINGS.has(message.type);
}
