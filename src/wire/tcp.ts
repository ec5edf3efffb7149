// The real network: `node:net` behind the Network port, with a send queue of our own.
//
// The runtime's own queueing is not relied on: a chunk is written only while the socket takes more (`write` returned true, or
// `drain` came), and is counted as pending until its callback. `end` is called without data, after the last chunk was taken.
import { connect, createServer, type Server, type Socket } from "node:net";
import { WIRE } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { release } from "../lib/release.ts";
import { formatAddress, isAddress, parseAddress } from "./address.ts";
import { type ByteStream, type DialResult, EVERYBODY, type Network, type Trust } from "./network.ts";
import type { SharedSecrets } from "./secret.ts";
import { createTlsServer, dialTls, type TlsLimits, type TlsMaterial } from "./tls.ts";

/** What this process shows to others, and what it asks of them. */
export type Credentials =
  | { readonly type: "secret"; readonly secrets: SharedSecrets }
  | {
      readonly type: "tls";
      readonly material: () => TlsMaterial;
      /** Called when the material is another one. */
      readonly onRenewed: (listener: (material: TlsMaterial) => void) => void;
    };

export interface TcpLimits extends TlsLimits {
  /** How long a closed stream may still deliver what was written before. */
  readonly closeTimeoutMs: number;
  /** What all closed streams together may still have to deliver; beyond it the one that was closed first is cut off. */
  readonly maxClosingBytes: number;
  /** Accepted sockets, those that are closing included. Beyond it a new one is closed without a goodbye: the last resort. */
  readonly maxSockets?: number;
}

/** A dialer was refused before there was a stream. */
type OnRefused = (remote: string, why: string) => void;

/** `credentials` null: every dialer is trusted. */
export function createTcpNetwork(
  limits: TcpLimits,
  credentials: Credentials | null = null,
  onRefused: OnRefused = () => {},
): Network {
  const shared = { ...limits, closingSockets: createClosingSockets(limits.maxClosingBytes) };
  return {
    listen: (host, port, accept, ready) => {
      const server = createSocketServer(shared, credentials, accept, onRefused);
      let bound = false;
      server.on("error", (error) => {
        if (!bound) ready(listenError(error, host, port), null);
      });
      server.listen({ host, port }, () => {
        bound = true;
        const address = server.address();
        const boundPort = typeof address === "object" && address !== null ? address.port : port;
        ready(null, { port: boundPort, close: () => void server.close() });
      });
    },
    dial: (address, timeoutMs, done) => {
      if (!isAddress(address)) return done({ ok: false, refused: false, why: `"${address}" is not an address` });
      dial(address, timeoutMs, shared, credentials, done);
    },
  };
}

/** The sockets that were closed by this side and still have bytes to deliver. */
interface ClosingSockets {
  /** Nothing is written to it any more. */
  add(socket: Socket, bytes: number): void;
  remove(socket: Socket): void;
}

function createClosingSockets(maxBytes: number): ClosingSockets {
  /** In the order in which they were closed. */
  const sockets = new Map<Socket, number>();
  let total = 0;

  function remove(socket: Socket): void {
    total -= sockets.get(socket) ?? 0;
    sockets.delete(socket);
  }

  return {
    add: (socket, bytes) => {
      sockets.set(socket, bytes);
      total += bytes;
      for (const oldest of sockets.keys()) {
        if (total <= maxBytes) return;
        remove(oldest);
        oldest.destroy();
      }
    },
    remove,
  };
}

interface SharedLimits extends TcpLimits {
  readonly closingSockets: ClosingSockets;
}

function createSocketServer(
  limits: SharedLimits,
  credentials: Credentials | null,
  accept: (stream: ByteStream) => void,
  onRefused: OnRefused,
): Server {
  const { maxSockets = Number.POSITIVE_INFINITY } = limits;
  let sockets = 0;
  const admit = (socket: Socket, trust: Trust): void => {
    // At the system's own limit the runtime would try to accept again and again, and the log could not open its next file.
    if (sockets >= maxSockets) return void socket.on("error", () => {}).destroy();
    sockets++;
    socket.once("close", () => sockets--);
    accept(createStream(socket, limits, trust));
  };
  if (credentials?.type !== "tls")
    return createServer({ noDelay: true, allowHalfOpen: true }, (socket) => admit(socket, plainTrust(credentials)));
  const { server, renew } = createTlsServer(credentials.material(), limits, admit, (socket, why) =>
    onRefused(socket.remoteAddress ?? "?", why),
  );
  credentials.onRenewed(renew);
  return server;
}

function plainTrust(credentials: Credentials | null): Trust {
  return credentials?.type === "secret" ? credentials : EVERYBODY;
}

function dial(
  address: string,
  timeoutMs: number,
  limits: SharedLimits,
  credentials: Credentials | null,
  done: (result: DialResult) => void,
): void {
  const { host, port } = parseAddress(address);
  const socket = credentials?.type === "tls" ? dialSecured(credentials.material()) : dialPlain();
  let over = false;
  // The listeners stay: after `done` they are idle, and a late error of a socket given up must not end the process.
  const finish = (result: DialResult): void => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    if (!result.ok) socket.destroy();
    done(result);
  };
  const timer = setTimeout(
    () => finish({ ok: false, refused: false, why: `${address} did not answer within ${timeoutMs}ms` }),
    timeoutMs,
  );
  socket.on("error", (error) =>
    finish({ ok: false, refused: isRefused(error), why: `${address}: ${error.message || codeOf(error)}` }),
  );
  socket.on("close", () => finish({ ok: false, refused: false, why: `${address}: the connection closed at once` }));

  function dialPlain(): Socket {
    const plain = connect({ host, port, noDelay: true });
    plain.on("connect", () => finish({ ok: true, stream: createStream(plain, limits, plainTrust(credentials)) }));
    return plain;
  }

  function dialSecured(material: TlsMaterial): Socket {
    const secured: Socket = dialTls(host, port, material, (result) => {
      if (result.ok) return finish({ ok: true, stream: createStream(secured, limits, result.trust) });
      const { unauthorised, why } = result;
      finish({ ok: false, refused: false, unauthorised, why: `${address}: ${why}` });
    });
    return secured;
  }
}

interface StreamState {
  readonly socket: Socket;
  readonly stream: ByteStream;
  readonly limits: SharedLimits;
  /** Chunks that were not written to the socket completely, in their order. */
  readonly waiting: Uint8Array[];
  /** Bytes of the first of them that were. */
  writtenBytes: number;
  /** Of chunks of which the runtime has not taken everything, with what keeping them costs. */
  unsentBytes: number;
  /** Bytes that the runtime may have copied. */
  copiedBytes: number;
  /** The socket takes no more until it drains. */
  blocked: boolean;
  /** Nothing more is written or read. */
  closing: boolean;
  /** `onClose` was called. */
  closeReported: boolean;
}

function createStream(socket: Socket, limits: SharedLimits, trust: Trust): ByteStream {
  const stream: ByteStream = {
    trust,
    remote: formatAddress(socket.remoteAddress ?? "?", socket.remotePort ?? 0),
    write: (bytes) => write(state, bytes),
    unsentBytes: () => state.unsentBytes + state.copiedBytes,
    close: () => close(state),
    onData: () => {},
    onClose: () => {},
    onDrain: () => {},
  };
  const state: StreamState = {
    socket,
    stream,
    limits,
    waiting: [],
    writtenBytes: 0,
    unsentBytes: 0,
    copiedBytes: 0,
    blocked: false,
    closing: false,
    closeReported: false,
  };
  socket.on("data", (data: Uint8Array) => dataReceived(state, data));
  socket.on("drain", () => {
    state.blocked = false;
    writePieces(state);
  });
  socket.on("end", () => endReceived(state));
  socket.on("error", (error) => {
    state.closing = true;
    socket.destroy();
    reportClosed(state, error.message || codeOf(error));
  });
  socket.on("close", () => {
    state.closing = true;
    dropWaiting(state);
    state.unsentBytes = 0;
    state.copiedBytes = 0;
    reportClosed(state, "the connection closed");
  });
  return stream;
}

function write(state: StreamState, bytes: Uint8Array): void {
  if (state.closing || bytes.length === 0) return;
  state.unsentBytes += bytes.length + WIRE.chunkCostBytes;
  state.waiting.push(bytes);
  writePieces(state);
}

function writePieces(state: StreamState): void {
  const { socket, waiting } = state;
  while (!state.blocked && !socket.destroyed) {
    const [chunk] = waiting;
    if (chunk === undefined) return;
    const piece = chunk.subarray(state.writtenBytes, state.writtenBytes + WIRE.socketWriteBytes);
    state.writtenBytes += piece.length;
    const isLast = state.writtenBytes === chunk.length;
    if (isLast) {
      waiting.shift();
      state.writtenBytes = 0;
    }
    state.copiedBytes += piece.length;
    state.blocked = !socket.write(piece, () => taken(state, piece.length, isLast ? chunk : null));
  }
}

/** The system took `bytes` more; `chunk`: they were the last ones of it. */
function taken(state: StreamState, bytes: number, chunk: Uint8Array | null): void {
  if (state.socket.destroyed) return;
  state.copiedBytes -= bytes;
  if (chunk === null) return;
  state.unsentBytes -= chunk.length + WIRE.chunkCostBytes;
  release(chunk);
  if (state.unsentBytes > 0) return;
  if (state.closing) endWhenSent(state);
  else state.stream.onDrain();
}

function dataReceived({ closing, stream }: StreamState, data: Uint8Array): void {
  // A plain view: a Buffer's `slice` does not copy, which no code behind the port expects.
  const view = new Uint8Array(data.buffer, data.byteOffset, data.length);
  if (!closing) stream.onData(view);
  // Left to the collector, what a flood of bytes leaves behind would be as much again as all that the process holds.
  release(view);
}

function endReceived(state: StreamState): void {
  const { socket, stream } = state;
  if (state.closing || (isHalfOpen(state) && stream.onEnd?.() === true)) return;
  state.closing = true;
  dropWaiting(state);
  // A side that ended without reading what it asked for may have left the other direction open.
  linger(state, state.copiedBytes);
  socket.end();
  reportClosed(state, "the other side closed the connection");
}

/** With TLS the end of one direction is the end of both. */
const isHalfOpen = ({ socket, stream }: StreamState): boolean => socket.writable && stream.trust.type !== "certificate";

function close(state: StreamState): void {
  if (state.closing) return;
  state.closing = true;
  linger(state, state.stream.unsentBytes());
  endWhenSent(state);
  setImmediate(() => reportClosed(state, "closed by this side"));
}

/**
 * The socket may deliver `bytes` more for a while, within what all closing sockets may. To stop reading with bytes in the kernel's
 * buffer would send a reset, which can destroy a goodbye under way: read on.
 */
function linger({ socket, limits: { closeTimeoutMs, closingSockets } }: StreamState, bytes: number): void {
  const timer = setTimeout(() => socket.destroy(), closeTimeoutMs);
  timer.unref();
  socket.on("close", () => {
    clearTimeout(timer);
    closingSockets.remove(socket);
  });
  if (bytes > 0) closingSockets.add(socket, bytes);
}

function endWhenSent({ socket, unsentBytes }: StreamState): void {
  if (unsentBytes === 0 && !socket.destroyed) socket.end();
}

function dropWaiting({ waiting }: StreamState): void {
  for (const chunk of waiting) release(chunk);
  waiting.length = 0;
}

function reportClosed(state: StreamState, why: string): void {
  if (state.closeReported) return;
  state.closeReported = true;
  state.stream.onClose(why);
}

function codeOf(error: unknown): string {
  return typeof error === "object" && error !== null && "code" in error ? String(error.code) : "unknown error";
}

/** A name may stand for several addresses, each with its own refusal. */
function isRefused(error: Error): boolean {
  if (error instanceof AggregateError)
    return error.errors.length > 0 && error.errors.every((one) => codeOf(one) === "ECONNREFUSED");
  return codeOf(error) === "ECONNREFUSED";
}

function listenError(error: Error, host: string, port: number): RaftqError {
  const address = formatAddress(host, port);
  switch (codeOf(error)) {
    case "EADDRINUSE":
      return new RaftqError("PORT_IN_USE", `${address} is in use by another program`, error);
    case "EACCES":
      return new RaftqError(
        "USAGE",
        `${address} needs a privilege that this user lacks: choose a --port of 1024 or more`,
        error,
      );
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return new RaftqError("USAGE", `this machine has no address ${host}: choose another --host`, error);
    default:
      return new RaftqError("USAGE", `cannot listen on ${address}: ${error.message || codeOf(error)}`, error);
  }
}
