// Do messages survive the wire unchanged, does every byte of them stay the same for ever, and is everything else refused?
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { WIRE } from "../../src/config.ts";
import { crc32 } from "../../src/lib/crc32.ts";
import { Malformed } from "../../src/lib/messagepack.ts";
import { bytesOf, createWriter, valueOf } from "../kit/handmade-messagepack.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { decodeMessage, encodeMessage, versionOf } from "../../src/wire/codec.ts";
import { encodePeerFrame, peerMessageBytes } from "../kit/frames.ts";
import { frameBody } from "../../src/wire/frame.ts";
import { FRAMES } from "../../src/wire/layouts.ts";
import { PEER_MESSAGES } from "../../src/wire/peer-layouts.ts";
import type { PeerMessage } from "../../src/wire/peer-layouts.ts";
import type { WireMessage } from "../../src/wire/protocol.ts";
import {
  asPeerFrame,
  atLimits,
  entry,
  EXAMPLES,
  HANDMADE_FRAMES,
  HANDMADE_PEER_MESSAGES,
  member,
  PEER_EXAMPLES,
  randomMessage,
  SECOND_FORMS,
} from "../kit/messages.ts";

const allExamples: readonly WireMessage[] = [
  ...EXAMPLES,
  ...SECOND_FORMS,
  ...PEER_EXAMPLES.map((message) => asPeerFrame(message)),
];
const nameOf = (message: WireMessage): string => (message.type === "peer" ? message.message.type : message.type);
const decodeFrame = (frame: Uint8Array): WireMessage => decodeMessage(frameBody(frame));

/** The body of a message that no writer of ours would make. */
function handmade(write: (writer: ReturnType<typeof createWriter>) => unknown): Uint8Array {
  const writer = createWriter();
  write(writer);
  return writer.finish();
}

/** A peer frame, its checksum right, around such a message. */
function handmadePeer(write: (writer: ReturnType<typeof createWriter>) => unknown): Uint8Array {
  return frameBody(encodePeerFrame(1, handmade(write)));
}

function expectMalformed(body: Uint8Array, why: RegExp): void {
  expect(() => decodeMessage(body)).toThrow(why);
  expect(() => decodeMessage(body)).toThrow(Malformed);
}

test("there is an example of every message type", () => {
  expect(EXAMPLES.map((message) => message.type).toSorted()).toEqual(
    Object.keys(FRAMES)
      .filter((name) => name !== "peer")
      .toSorted() as never,
  );
  expect(PEER_EXAMPLES.map((message) => message.type).toSorted()).toEqual(
    Object.keys(PEER_MESSAGES).toSorted() as never,
  );
});

test("no type number is used twice, and each takes one byte", () => {
  for (const layouts of [Object.values(FRAMES), Object.values(PEER_MESSAGES)] as { number: number }[][]) {
    const numbers = layouts.map(({ number }) => number);
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(Math.max(...numbers)).toBeLessThan(128);
  }
});

test.each(allExamples.map((message) => [nameOf(message), message] as const))(
  "a %s comes back as it was sent",
  (_, message) => {
    expect(decodeFrame(encodeMessage(message))).toEqual(message);
  },
);

test("the encoder writes what another would write from the layout", () => {
  for (const { message, bytes } of HANDMADE_FRAMES.filter(
    ({ message: { type } }) => type !== "failure" && type !== "goodbye",
  ))
    expect(frameBody(encodeMessage(message)).toHex()).toBe(bytes.toHex());
  for (const { message, bytes } of HANDMADE_PEER_MESSAGES)
    expect(peerMessageBytes(message).toHex()).toBe(bytes.toHex());
});

test("every message comes back as it was sent with every field at its limit", () => {
  for (const message of atLimits()) expect(decodeFrame(encodeMessage(message))).toEqual(message);
});

test("every message keeps its bytes when the buffer that it came in is used again", () => {
  for (const message of [...allExamples, ...atLimits()]) {
    const body = frameBody(encodeMessage(message));
    const decoded = decodeMessage(body);
    body.fill(0xff);
    expect(decoded).toEqual(message);
  }
});

test("the largest messages of clients and peers fit their frames", () => {
  for (const message of atLimits()) {
    const limit =
      message.type === "peer" || message.type === "fragment" ? WIRE.maxPeerFrameBytes : WIRE.maxClientFrameBytes;
    expect(encodeMessage(message).length - 4).toBeLessThanOrEqual(limit);
  }
});

test("the bytes of every message type are those of the golden file", () => {
  const golden = readFileSync(join(import.meta.dir, "golden/messages.txt"), "utf8");
  const lines = allExamples.map(
    (message) => `${nameOf(message)} ${Buffer.from(encodeMessage(message)).toString("hex")}`,
  );
  expect(`${lines.join("\n")}\n`).toBe(golden);
});

test("an independent MessagePack reader finds in our frames exactly the values that we wrote, in our six types", () => {
  const random = seededRandom(7);
  const messages = [...allExamples, ...atLimits(), ...Array.from({ length: 2_000 }, () => randomMessage(random))];
  for (const message of messages) {
    const body = frameBody(encodeMessage(message));
    const values = valueOf(body) as unknown[];
    expect(Buffer.compare(bytesOf(values), body)).toBe(0);
    expect(values[0]).toBe(FRAMES[message.type].number);
    if (message.type !== "peer") continue;
    const inside = values[3] as Uint8Array;
    expect(values[2]).toBe(crc32(inside));
    expect(Buffer.compare(bytesOf(valueOf(inside)), inside)).toBe(0);
  }
});

test("random messages are valid: what is drawn for the fuzzers comes back as itself", () => {
  const random = seededRandom(9);
  for (let count = 0; count < 2_000; count++) {
    const message = randomMessage(random);
    const body = frameBody(encodeMessage(message));
    const again = frameBody(encodeMessage(decodeMessage(body)));
    expect(Buffer.compare(again, body)).toBe(0);
  }
});

test("records travel unchanged: the entries of a decoded AppendEntries have the very bytes of the log", () => {
  const entries = [entry(13, 3), entry(14, 4)];
  const sent: PeerMessage = {
    type: "AppendEntries",
    term: 4,
    prevLogIndex: 12,
    prevLogTerm: 2,
    leaderCommit: 3,
    entries,
  };
  const frame = encodeMessage(asPeerFrame(sent));
  const whole = Buffer.concat(entries.map(({ record }) => record));
  expect(Buffer.from(frame).includes(whole)).toBe(true);
});

const appendOf = (records: Uint8Array, prevLogIndex = 12, prevLogTerm = 2, term = 3): Uint8Array =>
  handmadePeer((writer) =>
    writer
      .array(6)
      .uint(PEER_MESSAGES.AppendEntries.number)
      .uint(term)
      .uint(prevLogIndex)
      .uint(prevLogTerm)
      .uint(0)
      .binary(records),
  );
const recordsOf = (...entries: readonly { readonly record: Uint8Array }[]): Uint8Array =>
  new Uint8Array(Buffer.concat(entries.map(({ record }) => record)));

test("an AppendEntries is refused when its entries do not follow each other, or their terms cannot be", () => {
  expectMalformed(appendOf(recordsOf(entry(14, 3))), /entry 14 follows entry 12/);
  expectMalformed(appendOf(recordsOf(entry(13, 3), entry(13, 3))), /entry 13 follows entry 13/);
  expectMalformed(appendOf(recordsOf(entry(13, 1))), /has term 1, behind 2/);
  expectMalformed(appendOf(recordsOf(entry(13, 3), entry(14, 2))), /has term 2, behind 3/);
  expectMalformed(appendOf(recordsOf(entry(13, 4))), /has term 4, behind 2, in a message of term 3/);
  expectMalformed(appendOf(recordsOf(entry(1, 0)), 0, 0), /has term 0/);
  expectMalformed(appendOf(recordsOf(), 12, 4, 3), /later term 4/);
});

test("an AppendEntries is refused when a record is damaged, cut off, or followed by anything", () => {
  const records = recordsOf(entry(13, 3));
  const damaged = records.slice();
  damaged[20] = 99;
  expectMalformed(appendOf(damaged), /checksum/);
  expectMalformed(appendOf(records.subarray(0, records.length - 1)), /claims/);
  expectMalformed(appendOf(new Uint8Array([...records, 0])), /cut off/);
});

test("a peer frame with a wrong checksum is refused, whichever byte was damaged", () => {
  const message = frameBody(
    encodeMessage(asPeerFrame({ type: "Heartbeat", term: 3, leaderCommit: 11, time: 98_765, readContext: 17 })),
  );
  for (let at = 0; at < message.length; at++) {
    for (const bit of [0, 3, 7]) {
      const damaged = message.slice();
      damaged[at]! ^= 1 << bit;
      // The sequence number is checked against the connection's own count instead.
      if (at !== 2) expect(() => decodeMessage(damaged)).toThrow(Malformed);
    }
  }
});

test("whatever is not exactly a known message is refused", () => {
  expectMalformed(new Uint8Array(0), /too early/);
  expectMalformed(Uint8Array.of(0xc0), /expected an array/);
  expectMalformed(
    handmade((writer) => writer.array(2).uint(99).uint(1)),
    /type 99 is unknown/,
  );
  expectMalformed(
    handmade((writer) => writer.array(2).text("ping").uint(1)),
    /expected a number/,
  );
  expectMalformed(
    handmade((writer) => writer.array(3).uint(FRAMES.ping.number).uint(1).uint(2)),
    /a ping has 2 values, not 3/,
  );
  expectMalformed(
    handmade((writer) => writer.array(2).uint(FRAMES.ping.number).uint(1).nil()),
    /left over/,
  );
  expectMalformed(
    handmade((writer) => writer.array(2).uint(FRAMES.ping.number).raw(Uint8Array.of(0xff))),
    /not negative/,
  );
  expectMalformed(
    handmade((writer) =>
      writer
        .array(2)
        .uint(FRAMES.ping.number)
        .raw(Uint8Array.of(0xcb, 0, 0, 0, 0, 0, 0, 0, 0)),
    ),
    /not negative/,
  );
  expectMalformed(
    handmade((writer) => writer.array(3).uint(FRAMES.status.number).uint(1).uint(1)),
    /true or false/,
  );
  expectMalformed(
    handmadePeer((writer) => writer.array(2).uint(77).uint(1)),
    /peer message type 77 is unknown/,
  );
  expectMalformed(
    handmadePeer((writer) => writer.array(3).uint(PEER_MESSAGES.TimeoutNow.number).uint(1).uint(1)),
    /has 2 values, not 3/,
  );
});

test("numbers of 2^53 and 2^48 are refused where the next smaller one is taken", () => {
  const ping = (low: number): Uint8Array =>
    handmade((writer) =>
      writer
        .array(2)
        .uint(FRAMES.ping.number)
        .raw(Uint8Array.of(0xcf, 0, low, 255, 255, 255, 255, 255, 255)),
    );
  expect(decodeMessage(ping(0x1f))).toEqual({ type: "ping", frameId: Number.MAX_SAFE_INTEGER });
  expectMalformed(ping(0x20), /above 2\^53/);
  const trace = (index: number): Uint8Array =>
    handmade((writer) => writer.array(3).uint(FRAMES.trace.number).uint(1).uint(index));
  expect(decodeMessage(trace(2 ** 48 - 1))).toMatchObject({ index: 2 ** 48 - 1 });
  expectMalformed(trace(2 ** 48), /above/);
});

test("a peek that found nothing has nothing of a job", () => {
  const peeked = (encoding: number, payload: number[]): Uint8Array =>
    handmade((writer) =>
      writer
        .array(7)
        .uint(FRAMES.peekAnswer.number)
        .uint(1)
        .nil()
        .uint(encoding)
        .binary(Uint8Array.from(payload))
        .uint(0)
        .uint(9),
    );
  expect(decodeMessage(peeked(0, []))).toMatchObject({ peeked: { job: null, ready: 0, appliedIndex: 9 } });
  expectMalformed(peeked(1, []), /has nothing of a job/);
  expectMalformed(peeked(0, [1]), /has nothing of a job/);
});

test("ids, addresses, codes and places that cannot be are refused", () => {
  const { id, incarnation, address } = member(1);
  const join = (...values: readonly unknown[]): Uint8Array => bytesOf([FRAMES.join.number, 1, values, true]);
  expect(decodeMessage(join(id, incarnation, address))).toMatchObject({ type: "join", comesBack: true });
  expectMalformed(join("N1", incarnation, address), /no node id/);
  expectMalformed(join("../x", incarnation, address), /no node id/);
  expectMalformed(join(id, "xyz", address), /no incarnation/);
  expectMalformed(join(id, incarnation, "localhost"), /no address/);
  const request = (group: number): Uint8Array =>
    handmade((writer) =>
      writer.array(7).uint(FRAMES.request.number).uint(1).uint(group).uint(1).uint(1).uint(0).binary(new Uint8Array(0)),
    );
  expectMalformed(request(1), /above the 0 allowed/);
  const open = (nonce: number): Uint8Array =>
    handmade((writer) =>
      writer
        .array(7)
        .uint(FRAMES.open.number)
        .uint(1)
        .uint(0)
        .text("c1")
        .binary(new Uint8Array(nonce))
        .boolean(false)
        .boolean(false),
    );
  expectMalformed(open(15), /15 bytes is shorter than the 16/);
  expectMalformed(open(17), /longer than the 16/);
  const failed = (code: string, errorClass: string, applied: string, reserved: boolean): Uint8Array =>
    handmade((writer) => {
      writer
        .array(3)
        .uint(FRAMES.failure.number)
        .uint(1)
        .array(7)
        .text(code)
        .text(errorClass)
        .text(applied)
        .text("m")
        .nil()
        .nil();
      if (reserved) writer.nil();
      else writer.uint(1);
    });
  expect(decodeMessage(failed("TIMEOUT", "unknown", "unknown", true))).toMatchObject({ type: "failure" });
  expectMalformed(failed("NOPE", "final", "no", true), /no error code/);
  expectMalformed(failed("TIMEOUT", "final", "no", true), /of class unknown/);
  expectMalformed(failed("TIMEOUT", "unknown", "perhaps", true), /no answer/);
  expectMalformed(failed("TIMEOUT", "unknown", "unknown", false), /details: not supported in this version/);
});

test("only a peer names a node in its hello", () => {
  const hello = { type: "hello", version: WIRE.protocolVersion, features: [], clusterId: null } as const;
  for (const wrong of [
    { ...hello, role: "peer", node: null } as const,
    { ...hello, role: "client", node: member(1) } as const,
  ]) {
    expectMalformed(frameBody(encodeMessage(wrong)), /only a peer/);
  }
});

test("a snapshot part beyond the last one, or a configuration from behind the snapshot, is refused", () => {
  const example = PEER_EXAMPLES.find((message) => message.type === "InstallSnapshot")!;
  expectMalformed(frameBody(encodeMessage(asPeerFrame({ ...example, part: 3, parts: 3 }))), /part 3 of 3/);
  const meta = { ...example.meta, configurationIndex: example.meta.index + 1 };
  expectMalformed(frameBody(encodeMessage(asPeerFrame({ ...example, meta }))), /behind the snapshot/);
});

test("the version of a hello is readable whatever follows it in another version", () => {
  expect(
    versionOf(handmade((writer) => writer.array(9).uint(FRAMES.hello.number).uint(42).text("who knows").nil())),
  ).toBe(42);
  expect(versionOf(handmade((writer) => writer.array(3).uint(FRAMES.helloAnswer.number).uint(2).nil()))).toBe(2);
  expect(versionOf(handmade((writer) => writer.array(2).uint(FRAMES.ping.number).uint(1)))).toBe(null);
  expect(versionOf(Uint8Array.of(0x47, 0x45, 0x54))).toBe(null);
});

test("an overlong error message is cut, not refused", () => {
  const message = "é".repeat(5_000);
  const decoded = decodeFrame(
    encodeMessage({ type: "goodbye", failure: { code: "BAD_REQUEST", applied: "no", message } }),
  );
  if (decoded.type !== "goodbye") throw new Error("a goodbye came back as something else");
  expect(decoded.failure.message.length).toBe(1_024);
  expect(message.startsWith(decoded.failure.message.slice(0, -1))).toBe(true);
});
