// How is a gRPC method called over bare HTTP/2? One request message, one answer, many calls at once on a connection.
import { type Connection, openConnection, type Waiter } from "./connection.ts";

export interface GrpcClient {
  /** `method`: a position in the list of paths that the client was opened with. */
  call(method: number, message: Buffer): Promise<Buffer>;
  close(): void;
}

const FRAME = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, windowUpdate: 8 } as const;
const END_STREAM = 1;
const END_HEADERS = 4;
const ACKNOWLEDGED = 1;
const FRAME_HEAD = 9;
/** Compression flag and length, before each message. */
const MESSAGE_HEAD = 5;
/** How much the server may send on the connection before it gets credit from us again. */
const CREDIT_BYTES = 1 << 24;
const FIRST_DYNAMIC = 62;

function frame(type: number, flags: number, stream: number, body: Buffer): Buffer {
  const out = Buffer.allocUnsafe(FRAME_HEAD + body.length);
  out.writeUIntBE(body.length, 0, 3);
  out[3] = type;
  out[4] = flags;
  out.writeUInt32BE(stream, 5);
  body.copy(out, FRAME_HEAD);
  return out;
}

const NOTHING = Buffer.alloc(0);
const text = (value: string): Buffer => Buffer.from([value.length, ...Buffer.from(value)]);
/** A header with a value of its own, which both sides add to their tables. */
const added = (name: number | string, value: string): Buffer =>
  typeof name === "number"
    ? Buffer.concat([Buffer.from([0x40 | name]), text(value)])
    : Buffer.concat([Buffer.from([0x40]), text(name), text(value)]);
/** POST, http */
const START = [0x83, 0x86] as const;

/**
 * Headers of the first call of each method, which fill the table, and of each later one: six bytes, as an ordinary gRPC
 * client sends them. The newest entry has number 62.
 */
function headersOf(paths: readonly string[]): { readonly first: readonly Buffer[]; readonly later: readonly Buffer[] } {
  const count = paths.length;
  const indexed = (...entries: readonly number[]): Buffer =>
    Buffer.from(entries.map((entry) => 0x80 | (FIRST_DYNAMIC + entry)));
  const first = paths.map((path, i) =>
    i === 0
      ? Buffer.concat([
          Buffer.from(START),
          added(4, path),
          added(1, "127.0.0.1"),
          added(31, "application/grpc"),
          added("te", "trailers"),
        ])
      : Buffer.concat([Buffer.from(START), added(4, path), indexed(i + 2, i + 1, i)]),
  );
  const later = paths.map((_, i) =>
    Buffer.concat([
      Buffer.from(START),
      indexed(i === 0 ? count - 1 + 3 : count - 1 - i, count - 1 + 2, count - 1 + 1, count - 1),
    ]),
  );
  return { first, later };
}

interface Call {
  readonly waiter: Waiter<Buffer>;
  got: Buffer | null;
}

/** What the server sends: the calls' answers, and what HTTP/2 wants to be answered. */
function createListener(calls: Map<number, Call>, send: (bytes: Buffer) => void) {
  let received = 0;

  function giveCredit(bytes: number): void {
    received += bytes;
    if (received <= CREDIT_BYTES) return;
    const credit = Buffer.alloc(4);
    credit.writeUInt32BE(received, 0);
    send(frame(FRAME.windowUpdate, 0, 0, credit));
    received = 0;
  }

  function onFrame(type: number, flags: number, stream: number, body: Buffer): void {
    const call = calls.get(stream);
    if (type === FRAME.data) {
      if (call !== undefined) call.got = call.got === null ? body : Buffer.concat([call.got, body]);
      giveCredit(body.length);
    } else if (type === FRAME.settings && (flags & ACKNOWLEDGED) === 0) {
      send(frame(FRAME.settings, ACKNOWLEDGED, 0, NOTHING));
    } else if (type === FRAME.ping && (flags & ACKNOWLEDGED) === 0) {
      send(frame(FRAME.ping, ACKNOWLEDGED, 0, Buffer.from(body)));
    } else if (type === FRAME.reset && call !== undefined) {
      calls.delete(stream);
      call.waiter.reject(new Error("stream reset"));
    }
    const isLast = (type === FRAME.data || type === FRAME.headers) && (flags & END_STREAM) !== 0;
    if (!isLast || call === undefined) return;
    calls.delete(stream);
    if (call.got !== null && call.got.length >= MESSAGE_HEAD) call.waiter.resolve(call.got.subarray(MESSAGE_HEAD));
    else call.waiter.reject(new Error(`gRPC error: ${body.toString("latin1").replace(/[^ -~]+/g, " ")}`));
  }

  return (bytes: Buffer): number => {
    let at = 0;
    while (bytes.length - at >= FRAME_HEAD) {
      const length = bytes.readUIntBE(at, 3);
      if (bytes.length - at < FRAME_HEAD + length) break;
      const body = bytes.subarray(at + FRAME_HEAD, at + FRAME_HEAD + length);
      onFrame(bytes[at + 3] ?? 0, bytes[at + 4] ?? 0, bytes.readUInt32BE(at + 5) & 0x7fffffff, body);
      at += FRAME_HEAD + length;
    }
    return at;
  };
}

export async function openGrpc(port: number, paths: readonly string[]): Promise<GrpcClient> {
  const calls = new Map<number, Call>();
  let nextStream = 1;
  const take = createListener(calls, (bytes) => connection.send(bytes));
  const connection: Connection = await openConnection(port, take, (why) => {
    for (const { waiter } of calls.values()) waiter.reject(why);
    calls.clear();
  });
  const post = (headers: Buffer, message: Buffer): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      if (connection.isClosed()) return reject(new Error("closed"));
      const stream = nextStream;
      nextStream += 2;
      calls.set(stream, { waiter: { resolve, reject }, got: null });
      connection.send(frame(FRAME.headers, END_HEADERS, stream, headers));
      const data = Buffer.alloc(MESSAGE_HEAD + message.length);
      data.writeUInt32BE(message.length, 1);
      message.copy(data, MESSAGE_HEAD);
      connection.send(frame(FRAME.data, END_STREAM, stream, data));
    });

  connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  // A window of 2^30 bytes for each stream, and nearly that for the connection.
  connection.send(frame(FRAME.settings, 0, 0, Buffer.from([0, 4, 0x40, 0, 0, 0])));
  connection.send(frame(FRAME.windowUpdate, 0, 0, Buffer.from([0x3f, 0, 0, 0])));
  const { first, later } = headersOf(paths);
  // An empty call of a method may be refused: it only fills the table.
  for (const headers of first) await post(headers, NOTHING).catch(() => undefined);
  if (connection.isClosed()) throw new Error("closed");
  return { call: (method, message) => post(later[method] as Buffer, message), close: connection.close };
}
