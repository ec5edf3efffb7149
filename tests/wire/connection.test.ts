// Does a connection keep its promises? Hello first, order, priority, deadlines, limits, and a reason for every end.
import { expect, test } from "bun:test";
import { WIRE } from "../../src/config.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createWriter } from "../kit/handmade-messagepack.ts";
import { encodeMessage } from "../../src/wire/codec.ts";
import { sealFrame } from "../kit/frames.ts";
import { FRAMES } from "../../src/wire/layouts.ts";
import type { PeerMessage } from "../../src/wire/peer-layouts.ts";
import type { Hello, WireMessage } from "../../src/wire/protocol.ts";
import type { NodeId } from "../../src/raft/types.ts";
import { MAX_ADDRESS_BYTES } from "../../src/wire/address.ts";
import { MAX_LIST } from "../../src/wire/fields.ts";
import { type Opened, open, type OpenedWith } from "./test-connection.ts";
import { asPeerFrame, CLUSTER, entry, EXAMPLES, HELLO, HELLO_ANSWER, member, PEER_EXAMPLES } from "../kit/messages.ts";

const clientHello = HELLO;
const peerHello: Hello = { ...clientHello, role: "peer", node: member(2) };
const REQUEST = { type: "request", frameId: 1, group: 0, session: 1, number: 1, acknowledgedThrough: 0 } as const;
const heartbeat: PeerMessage = { type: "Heartbeat", term: 3, leaderCommit: 1, time: 5, readContext: 1 };

const send = ({ stream }: Opened, ...messages: readonly WireMessage[]): void => {
  for (const message of messages) stream.onData(encodeMessage(message).slice());
};
const lastWord = ({ stream }: Opened): WireMessage | undefined => stream.written().at(-1);

function greeted(hello: Hello, given: OpenedWith = {}): Opened {
  const opened = open(given);
  send(opened, hello);
  opened.connection.send(HELLO_ANSWER);
  opened.connection.flush();
  return opened;
}

/** The connection sent goodbye with that code, closed, and then reports why. */
function expectEnd(opened: Opened, code: string, why: RegExp): void {
  expect(lastWord(opened)).toMatchObject({ type: "goodbye", failure: { code, message: expect.stringMatching(why) } });
  expect(opened.stream.closed).toBe(true);
  opened.stream.onClose("closed by this side");
  expect(opened.ended()).toMatchObject({ code, message: expect.stringMatching(why) });
}

test("an owner sees the hello first, answers it, and then sees requests", () => {
  const opened = greeted(clientHello);
  send(opened, { type: "ping", frameId: 7 });
  expect(opened.messages).toEqual([clientHello, { type: "ping", frameId: 7 }]);
  expect(opened.connection.greeting).toEqual(clientHello);
  expect(opened.stream.written()).toEqual([HELLO_ANSWER]);
});

test("a dialer sees the HELLO_ANSWER first, and then answers", () => {
  const opened = open({ side: "dialed" });
  opened.connection.send({ ...REQUEST, command: new Uint8Array(1) });
  opened.connection.send(clientHello);
  opened.connection.flush();
  expect(opened.stream.written().map((message) => message.type)).toEqual(["hello", "request"]);
  send(opened, HELLO_ANSWER, { type: "pong", frameId: 3 });
  expect(opened.messages).toEqual([HELLO_ANSWER, { type: "pong", frameId: 3 }]);
});

test("everything sent in a turn leaves as one chunk at flush, nothing before", () => {
  const opened = greeted(clientHello);
  for (let frameId = 1; frameId <= 100; frameId++)
    opened.connection.send({ type: "reply", frameId, duplicate: false, reply: new Uint8Array(3) });
  expect(opened.stream.chunks.length).toBe(1);
  opened.connection.flush();
  expect(opened.stream.chunks.length).toBe(2);
  expect(
    opened.stream
      .written()
      .slice(1)
      .map((message) => ("frameId" in message ? message.frameId : 0)),
  ).toEqual(Array.from({ length: 100 }, (_, at) => at + 1));
  opened.connection.flush();
  expect(opened.stream.chunks.length).toBe(2);
});

test("heartbeats, votes and acknowledgements leave before bulk, numbered in the order in which they leave", () => {
  const opened = greeted(peerHello);
  const append = (index: number): PeerMessage => ({
    type: "AppendEntries",
    term: 3,
    prevLogIndex: index - 1,
    prevLogTerm: 3,
    leaderCommit: 1,
    entries: [entry(index, 3)],
  });
  for (const message of [append(5), append(6), { type: "TimeoutNow", term: 3 } as const, heartbeat, PEER_EXAMPLES[0]!])
    opened.connection.send(message);
  opened.connection.flush();
  const frames = opened.stream.written().flatMap((message) => (message.type === "peer" ? [message] : []));
  expect(frames.map((frame) => frame.sequence)).toEqual([1, 2, 3, 4, 5]);
  expect(frames.map((frame) => frame.message)).toEqual([
    PEER_EXAMPLES[0]!,
    heartbeat,
    append(5),
    append(6),
    { type: "TimeoutNow", term: 3 },
  ]);
});

test("a missing, repeated or swapped peer frame closes the connection", () => {
  for (const sequences of [[2], [1, 3], [1, 1], [0]]) {
    const opened = greeted(peerHello);
    for (const sequence of sequences) send(opened, asPeerFrame(heartbeat, sequence));
    expectEnd(opened, "BAD_REQUEST", /frames are missing/);
  }
  const whole = greeted(peerHello);
  send(whole, asPeerFrame(heartbeat, 1), asPeerFrame(heartbeat, 2));
  expect(whole.messages).toEqual([peerHello, heartbeat, heartbeat]);
});

test("a damaged peer frame closes the connection, whichever byte was damaged", () => {
  const frame = encodeMessage(asPeerFrame(heartbeat, 1));
  for (let at = 4; at < frame.length; at++) {
    const opened = greeted(peerHello);
    const damaged = frame.slice();
    damaged[at]! ^= 0x10;
    opened.stream.onData(damaged);
    expect(opened.messages).toEqual([peerHello]);
    expectEnd(opened, "BAD_REQUEST", /./);
  }
});

test("a side that sends no hello in time gets a goodbye with the reason and is closed", () => {
  const opened = open();
  opened.clock.pass(WIRE.helloTimeoutMs - 1);
  expect(opened.stream.closed).toBe(false);
  opened.clock.pass(1);
  expectEnd(opened, "TIMEOUT", /no hello came within 5s/);
});

test("half a hello, byte by byte, does not extend the deadline", () => {
  const opened = open();
  const frame = encodeMessage(clientHello);
  for (let at = 0; at < 4; at++) {
    opened.stream.onData(frame.slice(at, at + 1));
    opened.clock.pass(WIRE.helloTimeoutMs / 4);
  }
  expectEnd(opened, "TIMEOUT", /no hello/);
});

test("a frame that drips in is closed when too little of it has come in its time, whatever arrives meanwhile", () => {
  const opened = greeted(clientHello);
  const frame = encodeMessage({ type: "reply", frameId: 1, duplicate: false, reply: new Uint8Array(100) });
  for (let at = 0; at < 20; at++) {
    opened.stream.onData(frame.slice(at, at + 1));
    opened.clock.pass(WIRE.frameTimeoutMs / 20);
  }
  expectEnd(
    opened,
    "TIMEOUT",
    /a frame is not complete, 20 of 110 bytes after 10s: only 20 bytes of it came within 10s/,
  );
});

test("a frame that gets on is waited for, however long it takes, and closed when it stops getting on", () => {
  const opened = greeted(clientHello);
  const frame = encodeMessage({
    type: "request",
    frameId: 1,
    group: 0,
    session: 1,
    number: 1,
    acknowledgedThrough: 0,
    command: new Uint8Array(1_000_000),
  });
  const step = WIRE.frameProgressBytes / 10;
  let at = 0;
  for (; at < frame.length / 2; at += step) {
    opened.stream.onData(frame.slice(at, at + step));
    opened.clock.pass(WIRE.frameTimeoutMs / 11);
  }
  expect(opened.stream.closed).toBe(false);
  opened.clock.pass(2 * WIRE.frameTimeoutMs);
  expectEnd(opened, "TIMEOUT", /of 1000\d\d\d bytes after .*: only \d+ bytes of it came within 10s/);
});

test("many frames, each cut in the middle, pass however long they take together", () => {
  const opened = greeted(clientHello);
  const frame = encodeMessage({ type: "ping", frameId: 9 });
  opened.stream.onData(frame.slice(0, 3));
  for (let round = 0; round < 10; round++) {
    opened.clock.pass(WIRE.frameTimeoutMs * 0.6);
    opened.stream.onData(new Uint8Array([...frame.subarray(3), ...frame.subarray(0, 3)]));
  }
  expect(opened.stream.closed).toBe(false);
  expect(opened.messages.length).toBe(11);
});

test("a silent side is pinged, and closed when it stays silent", () => {
  const opened = greeted(clientHello);
  opened.clock.pass(WIRE.pingIntervalMs);
  expect(lastWord(opened)).toEqual({ type: "ping", frameId: 0 });
  send(opened, { type: "pong", frameId: 0 });
  opened.clock.pass(WIRE.idleTimeoutMs - 1);
  expect(opened.stream.closed).toBe(false);
  opened.clock.pass(WIRE.pingIntervalMs);
  expectEnd(opened, "CONNECTION_LOST", /nothing was received for/);
  expect(opened.messages).toEqual([clientHello]);
});

test("a keep-alive ping is answered at once and unseen by the owner, on every kind of connection", () => {
  for (const hello of [clientHello, peerHello]) {
    const opened = greeted(hello);
    send(opened, { type: "ping", frameId: 0 });
    expect(lastWord(opened)).toEqual({ type: "pong", frameId: 0 });
    expect(opened.messages).toEqual([hello]);
  }
});

test("after a stall of this process the other side gets its whole time again", () => {
  const opened = open();
  opened.clock.stall(60_000);
  opened.clock.pass(WIRE.helloTimeoutMs);
  expect(opened.stream.closed).toBe(false);
  opened.clock.pass(WIRE.helloTimeoutMs);
  expectEnd(opened, "TIMEOUT", /no hello/);
});

test("another protocol version is refused with both versions, whatever its hello looks like", () => {
  const own = WIRE.protocolVersion;
  const opened = open();
  const writer = createWriter(4)
    .array(3)
    .uint(FRAMES.hello.number)
    .uint(own + 1)
    .text("something new");
  opened.stream.onData(sealFrame(writer.finish()));
  expectEnd(opened, "VERSION", new RegExp(`version ${own + 1}, this side ${own}`));
  const dialed = open({ side: "dialed" });
  send(dialed, { ...HELLO_ANSWER, version: 1 });
  expectEnd(dialed, "VERSION", new RegExp(`version 1, this side ${own}`));
});

test("strangers are closed at their first bytes, and HTTP and TLS are named", () => {
  const text = (line: string): Uint8Array => new TextEncoder().encode(line);
  const unknown = /does not speak the raftq protocol: a frame starts with byte 0x00, not 0x[0-9a-f]{2}$/;
  for (const stranger of ["SSH-2.0-x\r\n", "GETAWAY now", "g"]) {
    const opened = open();
    opened.stream.onData(text(stranger));
    expectEnd(opened, "BAD_REQUEST", unknown);
  }
  for (const [bytes, code, why] of [
    [text("HTTP/1.1 400 Bad Request\r\n\r\n"), "BAD_REQUEST", /^the other side speaks HTTP, not raftq$/],
    [new Uint8Array([0x15, 3, 1]), "UNAUTHORISED", /speaks TLS: give --tls-cert/],
  ] as const) {
    const dialed = open({ side: "dialed" });
    dialed.stream.onData(bytes);
    expectEnd(dialed, code, why);
  }
  const tls = open();
  tls.stream.onData(new Uint8Array([0x16]));
  expectEnd(tls, "UNAUTHORISED", /started without --tls-cert/);
});

test("a side that sends HTTP is answered in HTTP", () => {
  for (const stranger of ["GET / HTTP/1.1\r\n\r\n", "POST /api HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n"]) {
    const opened = open();
    // However its first bytes are cut.
    for (const byte of new TextEncoder().encode(stranger)) opened.stream.onData(Uint8Array.of(byte));
    expect(new TextDecoder().decode(opened.stream.chunks[0])).toStartWith("HTTP/1.1 400 Bad Request\r\n");
    expect(opened.stream.closed).toBe(true);
    opened.stream.onClose("closed by this side");
    expect(opened.ended()).toMatchObject({ code: "BAD_REQUEST", message: "the other side speaks HTTP, not raftq" });
  }
});

const frameHead = (length: number): Uint8Array => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, length);
  return bytes;
};

test("a frame over the limit is closed with TOO_LARGE before its body comes; the limit of peers is larger", () => {
  const client = greeted(clientHello);
  client.stream.onData(frameHead(WIRE.maxClientFrameBytes + 1));
  expectEnd(client, "TOO_LARGE", /longer than the/);
  const peer = greeted(peerHello);
  peer.stream.onData(frameHead(WIRE.maxPeerFrameBytes));
  expect(peer.stream.closed).toBe(false);
  const early = open();
  early.stream.onData(frameHead(WIRE.maxPeerFrameBytes));
  expectEnd(early, "TOO_LARGE", /longer than the/);
});

test.each([
  ["accepted", WIRE.maxHelloBytes],
  ["dialed", WIRE.maxHelloAnswerBytes],
] as const)(
  "before the hello of the other side, on a stream that was %s, a frame has at most %p bytes",
  (side, most) => {
    const early = open({ side });
    early.stream.onData(frameHead(most + 1));
    expectEnd(early, "TOO_LARGE", /longer than the \d+ allowed before the hello/);
    const allowed = open({ side });
    allowed.stream.onData(frameHead(most));
    expect(allowed.stream.closed).toBe(false);
  },
);

test("the largest hello and the largest HELLO_ANSWER to it are taken", () => {
  const name = "f".repeat(64);
  const address = `${`${"a".repeat(62)}.`.repeat(4).slice(0, MAX_ADDRESS_BYTES - 7)}a:65535`;
  expect(address.length).toBe(MAX_ADDRESS_BYTES);
  const id = "n".repeat(32);
  const node = { ...member(2), id: id as NodeId, address };
  const features = Array.from({ length: MAX_LIST }, () => name);
  const hello: Hello = { ...peerHello, features, clusterId: CLUSTER, node, nonce: new Uint8Array(32) };
  const accepted = open();
  send(accepted, hello);
  // It gets as far as the question whether there is a secret.
  expectEnd(accepted, "UNAUTHORISED", /without --secret-file/);
  const members = Array.from({ length: MAX_LIST }, () => address);
  const proof = new Uint8Array(32);
  const largest = {
    ...HELLO_ANSWER,
    features,
    clusterId: CLUSTER,
    node,
    leader: address,
    term: 2 ** 48 - 1,
    members,
    proof,
  };
  const dialed = open({ side: "dialed" });
  dialed.connection.send(clientHello);
  send(dialed, largest);
  expect(dialed.messages.map(({ type }) => type)).toEqual(["helloAnswer"]);
});

test("a connection reports the memory of an unfinished frame as allocated, and none once it is whole", () => {
  const opened = greeted(clientHello);
  const command = new Uint8Array(1_000_000);
  const frame = encodeMessage({ ...REQUEST, command });
  const feed = (from: number, to: number): number => {
    opened.stream.onData(frame.slice(from, to));
    return opened.held();
  };
  expect(feed(0, 4)).toBe(0);
  expect(feed(4, 5)).toBe(16 * 1024);
  expect(feed(5, 20_000)).toBe(32 * 1024);
  expect(feed(20_000, 900_000)).toBe(900_000 - 4);
  expect(feed(900_000, 900_001)).toBe(frame.length - 4);
  expect(feed(900_001, frame.length)).toBe(0);
  expect(opened.messages.at(-1)).toEqual({ ...REQUEST, command });
});

test("small answers that nobody reads count with what keeping each of them costs", () => {
  const opened = greeted(clientHello, { reading: false });
  for (let frameId = 1; !opened.stream.closed; frameId++) {
    opened.connection.send({ type: "reply", frameId, duplicate: false, reply: new Uint8Array(1) });
    opened.connection.flush();
    if (frameId > WIRE.maxClientSendBytes / WIRE.chunkCostBytes) break;
  }
  expect(opened.stream.closed).toBe(true);
  opened.stream.onClose("closed by this side");
  expect(opened.ended()).toMatchObject({ code: "OVERLOADED" });
});

test("keep-alive pings of a side that does not read are not answered one by one", () => {
  const opened = greeted(clientHello, { reading: false });
  const before = opened.stream.chunks.length;
  for (let at = 0; at < 1_000; at++) send(opened, { type: "ping", frameId: 0 });
  expect(opened.stream.chunks.length).toBe(before);
  opened.stream.drain();
  send(opened, { type: "ping", frameId: 0 });
  expect(lastWord(opened)).toEqual({ type: "pong", frameId: 0 });
});

test("every message has its side: what comes from the wrong one closes the connection", () => {
  const all: readonly WireMessage[] = [...EXAMPLES, asPeerFrame(heartbeat)];
  const welcome: Record<string, readonly string[]> = { client: [], peer: [], dialed: [] };
  for (const message of all) {
    if (message.type === "goodbye") continue;
    for (const kind of ["client", "peer", "dialed"] as const) {
      const opened =
        kind === "dialed" ? open({ side: "dialed" }) : greeted(kind === "client" ? clientHello : peerHello);
      if (kind === "dialed") send(opened, HELLO_ANSWER);
      if (message.type === "pong" && kind === "peer") send(opened, { ...message, frameId: 0 });
      else send(opened, message.type === "fragment" ? { ...message, sequence: 1 } : message);
      if (!opened.stream.closed) welcome[kind] = [...welcome[kind]!, message.type];
      else expectEnd(opened, "BAD_REQUEST", /is not allowed/);
    }
  }
  const fromClients = [
    "request",
    "open",
    "close",
    "status",
    "log",
    "trace",
    "join",
    "remove",
    "transfer",
    "ping",
    "peek",
    "readmit",
  ];
  const fromNodes = ["reply", "failure", "statusAnswer", "logAnswer", "traceAnswer", "done", "pong", "peekAnswer"];
  expect(welcome).toEqual({ client: fromClients, peer: ["ping", "pong", "fragment", "peer"], dialed: fromNodes });
});

test("the first message must be a hello", () => {
  const opened = open();
  send(opened, { type: "ping", frameId: 1 });
  expectEnd(opened, "BAD_REQUEST", /first message is a hello/);
});

test("a goodbye ends the connection with the other side's reason, and the owner sees no message of it", () => {
  const opened = greeted(clientHello);
  const failed = { code: "OVERLOADED", applied: "no", message: "too many connections", retryAfterMs: 100 } as const;
  send(opened, { type: "goodbye", failure: failed });
  expect(opened.stream.closed).toBe(true);
  opened.stream.onClose("closed by this side");
  expect(opened.ended()).toEqual(failed);
  expect(opened.messages).toEqual([clientHello]);
});

test("a stream that ends by itself is CONNECTION_LOST; an own silent close is no failure", () => {
  const lost = greeted(clientHello);
  lost.stream.onClose("connection reset by peer");
  expect(lost.ended()).toMatchObject({
    code: "CONNECTION_LOST",
    applied: "unknown",
    message: "connection reset by peer",
  });
  const own = greeted(clientHello);
  own.connection.close(null);
  own.stream.onClose("closed by this side");
  expect(own.ended()).toBe(null);
});

test("what was sent before a close leaves, what comes after it does not", () => {
  const opened = greeted(clientHello);
  opened.connection.send({ type: "pong", frameId: 5 });
  opened.connection.close({ code: "STARTING", applied: "no", message: "still starting" });
  opened.connection.send({ type: "pong", frameId: 6 });
  opened.connection.flush();
  opened.connection.close(null);
  expect(
    opened.stream
      .written()
      .slice(1)
      .map((message) => message.type),
  ).toEqual(["pong", "goodbye"]);
});

test("after a close no message reaches the owner and no timer runs", () => {
  const opened = greeted(clientHello);
  opened.connection.close(null);
  send(opened, { type: "ping", frameId: 1 });
  opened.clock.pass(WIRE.idleTimeoutMs * 2);
  expect(opened.messages).toEqual([clientHello]);
  expect(opened.stream.written()).toEqual([HELLO_ANSWER]);
});

test("an owner that closes inside onMessage sees no further message of the same chunk", () => {
  const opened = open({
    onMessage: (message, connection) => (message.type === "ping" ? connection.close(null) : undefined),
  });
  const chunk = [clientHello, { type: "ping", frameId: 1 }, { type: "ping", frameId: 2 }] as const;
  opened.stream.onData(new Uint8Array(Buffer.concat(chunk.map((message) => encodeMessage(message)))));
  expect(opened.messages.length).toBe(2);
});

test("a reader that does not read is closed with OVERLOADED at the cap, which is larger for peers", () => {
  const flood = (hello: Hello, message: Parameters<Opened["connection"]["send"]>[0], cap: number): void => {
    const opened = greeted(hello, { reading: false });
    let most = 0;
    while (!opened.stream.closed) {
      most = Math.max(most, opened.connection.unsentBytes());
      opened.connection.send(message);
      opened.connection.flush();
    }
    expect(most).toBeGreaterThan(cap * 0.9);
    expect(most).toBeLessThanOrEqual(cap);
    opened.stream.onClose("closed by this side");
    expect(opened.ended()).toMatchObject({ code: "OVERLOADED" });
    // What had not left yet is dropped: only the chunk under way is still held.
    expect(opened.connection.unsentBytes()).toBeLessThan(WIRE.sendAheadBytes + 1_100_000);
  };
  flood(
    clientHello,
    { type: "reply", frameId: 1, duplicate: false, reply: new Uint8Array(100_000) },
    WIRE.maxClientSendBytes,
  );
  flood(
    peerHello,
    { ...PEER_EXAMPLES.find((message) => message.type === "InstallSnapshot")!, bytes: new Uint8Array(1_000_000) },
    WIRE.maxPeerSendBytes,
  );
});

test("a fault of the owner is not taken for a fault of the other side", () => {
  const opened = open({
    onMessage: () => {
      throw new Error("a bug");
    },
  });
  expect(() => send(opened, clientHello)).toThrow("a bug");
});

test("no bytes at all make a connection throw or hold more than a frame", () => {
  for (let seed = 1; seed <= 3_000; seed++) {
    const random = seededRandom(seed);
    const opened = random.chance(30)
      ? open()
      : greeted(random.chance(50) ? clientHello : peerHello, {
          limits: { maxClientFrameBytes: 5_000, maxPeerFrameBytes: 9_000 },
        });
    for (let piece = 0; piece < 20 && !opened.stream.closed; piece++) {
      const valid = encodeMessage(EXAMPLES[random.below(EXAMPLES.length)]!);
      const bytes = random.chance(60)
        ? valid.slice()
        : Uint8Array.from({ length: random.below(60) }, () => random.below(256));
      if (random.chance(30) && bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256);
      opened.stream.onData(bytes);
      opened.clock.pass(random.below(500));
    }
    opened.clock.pass(WIRE.idleTimeoutMs * 2);
    expect(opened.stream.closed).toBe(true);
  }
});
