// What would a node do that has no Raft? One of three processes that make batches durable together: no elections, no terms,
// no recovery, no sessions. Started by ceiling.ts.
import { fdatasync, fsyncSync, openSync, writeSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { unpack } from "msgpackr";
import { crc32, frame, framer, RECORD_HEAD, TYPE } from "./ceiling-frames.ts";
import { HOST } from "./peer.ts";

/** Written in full at the start, then over and over, so that a sync writes data only. */
const LOG_BYTES = 64 * 1024 * 1024;
/** What is kept of all that was applied: a queue is emptied, too. */
const MOST_KEPT = 100_000;

function createState(): { apply(payload: Buffer): void } {
  const jobs: Buffer[] = [];
  return {
    apply: (payload) => {
      if (jobs.length === MOST_KEPT) jobs.length = 0;
      jobs.push(payload);
    },
  };
}

/** Appends, and reports when it is on the disk. One append at a time. */
function openLog(directory: string): (bytes: Buffer, done: () => void) => void {
  const file = openSync(join(directory, "log"), "w");
  writeSync(file, Buffer.alloc(LOG_BYTES), 0, LOG_BYTES, 0);
  fsyncSync(file);
  let at = 0;
  return (bytes, done) => {
    if (at + bytes.length > LOG_BYTES) at = 0;
    writeSync(file, bytes, 0, bytes.length, at);
    at += bytes.length;
    fdatasync(file, (error) => {
      if (error !== null) throw error;
      done();
    });
  };
}

function follow(port: number, directory: string): void {
  const append = openLog(directory);
  const state = createState();
  createServer({ noDelay: true }, (socket) => {
    let waiting: Buffer[] = [];
    let last = 0;
    let isSyncing = false;
    const flush = (): void => {
      if (isSyncing || waiting.length === 0) return;
      const upTo = last;
      isSyncing = true;
      append(Buffer.concat(waiting), () => {
        isSyncing = false;
        socket.write(frame([TYPE.durable, upTo]));
        flush();
      });
      waiting = [];
    };
    const feed = framer((body) => {
      const [, end, , checksum, records] = unpack(body) as [number, number, number, number, Buffer];
      if (crc32(records) !== checksum) throw new Error("bad checksum");
      for (let at = 0; at < records.length;) {
        const length = records.readUInt32BE(at);
        const record = records.subarray(at + RECORD_HEAD, at + RECORD_HEAD + length);
        state.apply((unpack(record) as Request)[5]);
        at += RECORD_HEAD + length;
      }
      waiting.push(records);
      last = end;
    });
    socket.on("data", (data: Buffer) => {
      feed(data);
      flush();
    });
    socket.on("error", () => undefined);
  }).listen(port, HOST);
}

/** Type, number, client, the same number again, one job, its payload: about what a real request carries. */
type Request = [number, number, string, number, number, Buffer];

interface Pending {
  readonly socket: Socket;
  readonly id: number;
  readonly bytes: Buffer;
  readonly payload: Buffer;
}

/** One record for each request, the first with index `first`. */
function recordsOf(requests: readonly Pending[], first: number): Buffer {
  const records = requests.flatMap((request, i) => {
    const head = Buffer.alloc(RECORD_HEAD);
    head.writeUInt32BE(request.bytes.length, 0);
    head.writeDoubleBE(first + i, 8);
    return [head, request.bytes];
  });
  return Buffer.concat(records);
}

/** One write for each client. */
function answer(requests: readonly Pending[], first: number): void {
  const answers = new Map<Socket, Buffer[]>();
  for (const [i, { socket, id }] of requests.entries()) {
    const bytes = frame([TYPE.answer, id, first + i]);
    const list = answers.get(socket);
    if (list === undefined) answers.set(socket, [bytes]);
    else list.push(bytes);
  }
  for (const [socket, list] of answers) socket.write(Buffer.concat(list));
}

function lead(port: number, followers: readonly number[], directory: string): void {
  const append = openLog(directory);
  const state = createState();
  /** By index: those that are not committed yet. */
  const open = new Map<number, Pending>();
  let pending: Pending[] = [];
  let last = 0;
  let durable = 0;
  let committed = 0;
  let isSyncing = false;
  let isPlanned = false;
  const links = followers.map((follower) => {
    const link = { socket: connect({ port: follower, host: HOST, noDelay: true }), durable: 0 };
    const feed = framer((body) => {
      [, link.durable] = unpack(body) as [number, number];
      commit();
    });
    link.socket.on("data", feed);
    return link;
  });

  function commit(): void {
    const byNode = [durable, ...links.map((link) => link.durable)].toSorted((a, b) => b - a);
    const majority = byNode[Math.floor(byNode.length / 2)] ?? 0;
    if (majority <= committed) return;
    const done: Pending[] = [];
    for (let index = committed + 1; index <= majority; index++) {
      const request = open.get(index) as Pending;
      open.delete(index);
      state.apply(request.payload);
      done.push(request);
    }
    answer(done, committed + 1);
    committed = majority;
  }

  function turn(): void {
    isPlanned = false;
    if (isSyncing || pending.length === 0) return;
    const bytes = recordsOf(pending, last + 1);
    for (const request of pending) open.set(++last, request);
    pending = [];
    const upTo = last;
    const message = frame([TYPE.append, upTo, committed, crc32(bytes), bytes]);
    for (const { socket } of links) socket.write(message);
    isSyncing = true;
    append(bytes, () => {
      isSyncing = false;
      durable = upTo;
      commit();
      turn();
    });
  }

  listen(port, (body, socket) => {
    const [, id, , , , payload] = unpack(body) as Request;
    pending.push({ socket, id, bytes: Buffer.from(body), payload });
    if (isPlanned) return;
    isPlanned = true;
    setImmediate(turn);
  });
}

function listen(port: number, onBody: (body: Buffer, socket: Socket) => void): void {
  createServer({ noDelay: true }, (socket) => {
    socket.on(
      "data",
      framer((body) => onBody(body, socket)),
    );
    socket.on("error", () => undefined);
  }).listen(port, HOST);
}

const [directory = "", port = "", ...followers] = process.argv.slice(2);
if (followers.length > 0) lead(Number(port), followers.map(Number), directory);
else follow(Number(port), directory);
