// Does bulk between members leave in fragments that heartbeats can pass, and does the other side put them together again?
import { expect, test } from "bun:test";
import { WIRE } from "../../src/config.ts";
import { encodeMessage } from "../../src/wire/codec.ts";
import type { PeerMessage } from "../../src/wire/peer-layouts.ts";
import { type Hello, type PeerFragment, type WireMessage } from "../../src/wire/protocol.ts";
import type { Progress } from "../../src/wire/connection.ts";
import { type Opened, open } from "./test-connection.ts";
import { peerMessageBytes } from "../kit/frames.ts";
import { asPeerFrame, entry, HELLO_ANSWER, member } from "../kit/messages.ts";

const HELLO: Hello = {
  type: "hello",
  version: WIRE.protocolVersion,
  features: [],
  role: "peer",
  clusterId: null,
  node: member(2),
};
const heartbeat = (time: number): PeerMessage => ({
  type: "Heartbeat",
  term: 3,
  leaderCommit: 1,
  time,
  readContext: 1,
});
const append = (bytes: number): PeerMessage => ({
  type: "AppendEntries",
  term: 3,
  prevLogIndex: 4,
  prevLogTerm: 3,
  leaderCommit: 1,
  entries: [
    entry(
      5,
      3,
      new Uint8Array(bytes).map((_, at) => at),
    ),
  ],
});
const send = ({ stream }: Opened, ...messages: readonly WireMessage[]): void => {
  for (const message of messages) stream.onData(encodeMessage(message).slice());
};

/** An accepted connection between members. */
function linked() {
  const progress: Progress[] = [];
  const opened = open({ onProgress: (made) => progress.push(made) });
  send(opened, HELLO);
  opened.connection.send(HELLO_ANSWER);
  opened.connection.flush();
  return { ...opened, progress };
}

/** What was written since the last time it was asked. */
function reader({ stream }: Opened): () => readonly WireMessage[] {
  let seen = stream.written().length;
  return () => {
    const all = stream.written();
    const fresh = all.slice(seen);
    seen = all.length;
    return fresh;
  };
}

test("a message that is longer than the link takes at once is sent in fragments, as its pings are answered, and is the same on the other side", () => {
  const near = linked();
  const far = linked();
  const written = reader(near);
  send(near, { type: "pong", frameId: 1 });
  near.connection.send(append(50_000));
  near.connection.flush();
  let fragments = 0;
  for (let round = 0; round < 2_000 && far.messages.length < 2; round++) {
    const left = written();
    const bytes = left.reduce((sum, message) => sum + encodeMessage(message).length, 0);
    expect(bytes).toBeLessThan(64 * 1_024 + 1_000);
    if (round === 0) expect(bytes).toBeLessThan(700);
    fragments += left.filter(({ type }) => type === "fragment").length;
    send(far, ...left);
    near.clock.pass(1);
    for (const message of left) if (message.type === "ping") send(near, { type: "pong", frameId: message.frameId });
  }
  expect(far.messages.slice(1)).toEqual([append(50_000)]);
  expect(fragments).toBeGreaterThan(10);
  expect(near.connection.bulkInFlight()).toBe(null);
});

test("a heartbeat passes between the fragments of a large message", () => {
  const near = linked();
  const written = reader(near);
  send(near, { type: "pong", frameId: 1 });
  near.connection.send(append(50_000));
  near.connection.flush();
  near.connection.send(heartbeat(1));
  near.connection.flush();
  const types = written().map(({ type }) => type);
  expect(types.slice(0, 2)).toEqual(["fragment", "ping"]);
  expect(types.at(-1)).toBe("peer");
  expect(near.connection.bulkInFlight()).toMatchObject({ type: "AppendEntries", acknowledged: 0, sinceMs: 0 });
});

test("on a link that is late with its answers heartbeats do not queue: the newest leaves with the next answer", () => {
  const near = linked();
  const written = reader(near);
  near.clock.pass(500);
  for (let time = 1; time <= 20; time++) {
    near.connection.send(heartbeat(time));
    near.connection.flush();
    near.clock.pass(50);
  }
  expect(written()).toEqual([]);
  send(near, { type: "pong", frameId: 1 });
  expect(written()).toMatchObject([{ type: "peer", message: { type: "Heartbeat", time: 20 } }, { type: "ping" }]);
});

test("every ping between members is answered at once, and every answer states what has arrived", () => {
  const near = linked();
  const written = reader(near);
  send(near, { type: "ping", frameId: 7 }, { type: "pong", frameId: 1 });
  expect(written()).toEqual([{ type: "pong", frameId: 7 }]);
  near.connection.send(append(1_000));
  near.connection.flush();
  const pings = written().flatMap((message) => (message.type === "ping" ? [message.frameId] : []));
  for (const frameId of pings) send(near, { type: "pong", frameId });
  const arrived = near.progress.reduce((sum, made) => sum + (made.type === "acknowledged" ? made.bytes : 0), 0);
  expect(arrived).toBeGreaterThan(200);
  send(near, { type: "pong", frameId: 1_000 });
  expect(near.stream.closed).toBe(true);
});

test("to a side that does not read, only the newest of its pings is answered", () => {
  const slow = open({ reading: false });
  send(slow, HELLO);
  slow.connection.send(HELLO_ANSWER);
  slow.connection.flush();
  const written = reader(slow);
  for (let frameId = 1; frameId <= 100; frameId++) send(slow, { type: "ping", frameId });
  expect(written()).toEqual([]);
  slow.stream.drain();
  expect(written()).toEqual([{ type: "pong", frameId: 100 }]);
});

test("bytes of a message that is not whole yet are progress, also between its fragments; whole messages are not", () => {
  const far = linked();
  const bytes = peerMessageBytes(append(1_000));
  const fragment = (sequence: number, from: number, to: number): PeerFragment => ({
    type: "fragment",
    sequence,
    left: bytes.length - to,
    bytes: bytes.subarray(from, to),
  });
  send(far, asPeerFrame(heartbeat(1), 1));
  expect(far.progress).toEqual([]);
  send(far, fragment(2, 0, 400));
  far.stream.onData(encodeMessage(fragment(3, 400, 900)).slice(0, 100));
  expect(far.progress).toEqual([{ type: "received" }, { type: "received" }]);
  far.stream.onData(encodeMessage(fragment(3, 400, 900)).slice(100));
  send(far, asPeerFrame(heartbeat(2), 4), fragment(5, 900, bytes.length));
  expect(far.messages.slice(1)).toEqual([heartbeat(1), heartbeat(2), append(1_000)]);
});

test("fragments that do not fit each other, too many of them, or none at all close the connection", () => {
  const fragment = (sequence: number, left: number, count: number): PeerFragment => ({
    type: "fragment",
    sequence,
    left,
    bytes: new Uint8Array(count),
  });
  for (const fragments of [
    [fragment(1, 10, 0)],
    [fragment(1, 100, 50), fragment(2, 60, 50)],
    [fragment(1, 100, 50), fragment(2, 0, 50)],
    [fragment(1, WIRE.maxPeerFrameBytes, 1)],
    [fragment(2, 100, 50)],
    [fragment(1, 0, 50)],
  ]) {
    const far = linked();
    send(far, ...fragments);
    expect(far.stream.written().at(-1)).toMatchObject({ type: "goodbye", failure: { code: "BAD_REQUEST" } });
  }
});

test("what is abandoned in the middle of a message is dropped, and the goodbye is read", () => {
  const near = linked();
  const far = linked();
  const written = reader(near);
  near.connection.send(append(50_000));
  near.connection.flush();
  near.connection.abandon({ code: "TIMEOUT", applied: "no", message: "enough" });
  send(far, ...written());
  far.stream.onClose("closed");
  expect(far.messages.length).toBe(1);
  expect(far.ended()).toMatchObject({ code: "TIMEOUT", message: "enough" });
});
