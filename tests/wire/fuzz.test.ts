// Can any bytes make the codec do anything but answer or report Malformed? Mutations of valid messages, random bytes, hostile lengths.
import { expect, test } from "bun:test";
import { crc32 } from "../../src/lib/crc32.ts";
import { Malformed } from "../../src/lib/messagepack.ts";
import { createWriter } from "../kit/handmade-messagepack.ts";
import { type Random, seededRandom } from "../../src/lib/random.ts";
import { decodeMessage, encodeMessage } from "../../src/wire/codec.ts";
import { encodePeerFrame, peerMessageBytes } from "../kit/frames.ts";
import { frameBody } from "../../src/wire/frame.ts";
import { FRAMES } from "../../src/wire/layouts.ts";
import { PEER_EXAMPLES, randomMessage } from "../kit/messages.ts";

/** What came out, or null for Malformed. Everything else goes on up and fails the test, with the seed in the message. */
function tryDecode(body: Uint8Array, seed: number): ReturnType<typeof decodeMessage> | null {
  try {
    return decodeMessage(body);
  } catch (error) {
    if (error instanceof Malformed) return null;
    throw new Error(`seed ${seed}: ${Buffer.from(body).toString("hex").slice(0, 400)} gave ${String(error)}`);
  }
}

const HOSTILE_BYTES = [
  0x00, 0x01, 0x7f, 0x80, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc4, 0xc6, 0xc7, 0xca, 0xcb, 0xcf, 0xd3, 0xd4, 0xd9,
  0xdb, 0xdd, 0xdf, 0xe0, 0xff,
];

function mutated(bytes: Uint8Array, random: Random): Uint8Array {
  let body = bytes.slice();
  for (let changes = random.between(1, 4); changes > 0; changes--) {
    const at = random.below(Math.max(1, body.length));
    switch (random.below(6)) {
      case 0:
        body[at] = random.below(256);
        break;
      case 1:
        body[at] = HOSTILE_BYTES[random.below(HOSTILE_BYTES.length)]!;
        break;
      case 2:
        body = body.slice(0, at);
        break;
      case 3:
        body = new Uint8Array([...body.subarray(0, at), random.below(256), ...body.subarray(at)]);
        break;
      case 4:
        body = new Uint8Array([...body.subarray(0, at), ...body.subarray(at + random.between(1, 8))]);
        break;
      case 5:
        body = new Uint8Array([...body.subarray(0, at), 0xc6, 0xff, 0xff, 0xff, 0xff, ...body.subarray(at)]);
        break;
    }
  }
  return body;
}

test("a mutated message is refused as Malformed or is another valid message", () => {
  let refused = 0;
  for (let seed = 1; seed <= 20_000; seed++) {
    const random = seededRandom(seed);
    const body = mutated(frameBody(encodeMessage(randomMessage(random))), random);
    const message = tryDecode(body, seed);
    if (message === null) refused++;
    // What is accepted means one thing only: it can be encoded again and is decoded as the same.
    else expect(decodeMessage(frameBody(encodeMessage(message)))).toEqual(message);
  }
  expect(refused).toBeGreaterThan(5_000);
});

test("a mutated member's message under a right checksum is refused as Malformed or is another valid message", () => {
  let refused = 0;
  for (let seed = 1; seed <= 20_000; seed++) {
    const random = seededRandom(seed);
    const bytes = mutated(peerMessageBytes(PEER_EXAMPLES[random.below(PEER_EXAMPLES.length)]!), random);
    const message = tryDecode(frameBody(encodePeerFrame(seed, bytes)), seed);
    if (message === null) refused++;
    else expect(decodeMessage(frameBody(encodeMessage(message)))).toEqual(message);
  }
  expect(refused).toBeGreaterThan(5_000);
});

test("random bytes are refused as Malformed", () => {
  for (let seed = 1; seed <= 20_000; seed++) {
    const random = seededRandom(seed);
    const body = Uint8Array.from({ length: random.below(64) }, () => random.below(256));
    if (body.length > 1 && random.chance(50)) body[0] = 0x90 | random.below(16);
    tryDecode(body, seed);
  }
});

test("claims of huge lengths cost neither memory nor time", () => {
  const head = (tag: number): Uint8Array => Uint8Array.of(tag, 0xff, 0xff, 0xff, 0xff);
  const bodies = [
    head(0xdd),
    createWriter().array(2).uint(FRAMES.goodbye.number).raw(head(0xdd)).finish(),
    createWriter()
      .array(7)
      .uint(FRAMES.request.number)
      .uint(1)
      .uint(0)
      .uint(1)
      .uint(1)
      .uint(0)
      .raw(head(0xc6))
      .finish(),
    createWriter().array(7).uint(FRAMES.hello.number).uint(1).raw(head(0xdd)).finish(),
    createWriter().array(7).uint(FRAMES.hello.number).uint(1).array(0).raw(head(0xdb)).finish(),
    createWriter()
      .array(4)
      .uint(FRAMES.peer.number)
      .uint(1)
      .uint(crc32(new Uint8Array(0)))
      .raw(head(0xc6))
      .finish(),
  ];
  const before = process.memoryUsage().rss;
  for (let round = 0; round < 2_000; round++)
    for (const body of bodies) expect(() => decodeMessage(body)).toThrow(Malformed);
  expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
});

test("arrays inside arrays, however deep, are refused", () => {
  const deep = new Uint8Array(100_000).fill(0x91);
  expect(() => decodeMessage(deep)).toThrow(Malformed);
  const inside = createWriter().array(2).uint(FRAMES.goodbye.number).raw(deep).finish();
  expect(() => decodeMessage(inside)).toThrow(Malformed);
});
