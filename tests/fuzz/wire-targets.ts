// Can bytes from the network make the deframer or the codec do anything but answer, refuse, or report Malformed?
import { Malformed } from "../../src/lib/messagepack.ts";
import type { Random } from "../../src/lib/random.ts";
import { decodeMessage, encodeMessage } from "../../src/wire/codec.ts";
import { valueOf } from "../kit/handmade-messagepack.ts";
import { encodePeerFrame, peerMessageBytes } from "../kit/frames.ts";
import { HTTP_STARTS } from "../../src/wire/foreign-protocols.ts";
import { createDeframer, frameBody } from "../../src/wire/frame.ts";
import { FRAMES } from "../../src/wire/layouts.ts";
import type { WireMessage } from "../../src/wire/protocol.ts";
import { PEER_EXAMPLES, randomMessage } from "../kit/messages.ts";
import { expectSameValues, type Nested } from "./compare.ts";
import { mutate } from "./mutate.ts";
import { about, choicesOf, expectThat, type FuzzTarget, gist, randomBytes, sameBytes } from "./target.ts";
import { joined, mutateBytes } from "../kit/mutate-bytes.ts";
import { pick } from "../kit/pick.ts";

const LENGTHS = [0, 1, 2, 63, 64, 65, 255, 256, 65_535, 65_536, 2 ** 24 - 1, 2 ** 24, 2 ** 31, 2 ** 32 - 1];

/** An input: how the stream is cut, then the stream. */
const CUTS = 16;

export const frames: FuzzTarget = {
  name: "frames",
  maxMs: 50,
  generate: (random) => {
    const parts = [randomBytes(random, CUTS)];
    if (random.chance(10))
      parts.push(
        new TextEncoder().encode(pick(random, HTTP_STARTS)).subarray(0, random.between(1, MOST_HTTP_BYTES + 1)),
      );
    for (let left = random.below(12); left > 0; left--) {
      const length = random.chance(80) ? random.below(80) : pick(random, LENGTHS);
      const head = new Uint8Array(4);
      new DataView(head.buffer).setUint32(0, length);
      parts.push(head, randomBytes(random, Math.min(length, random.chance(80) ? length : random.below(80), 300)));
    }
    return joined(...parts);
  },
  mutate: mutateBytes,
  run: (input) => {
    const cuts = choicesOf(input.subarray(0, CUTS));
    const limit = pick(cuts, [64, 64, 1, 200, 70_000]);
    const stream = input.subarray(CUTS);
    const expected = framesOf(stream, limit);
    const deframer = createDeframer(limit);
    const found: Uint8Array[] = [];
    let refusal = "";
    for (let at = 0; at < stream.length && refusal === "";) {
      const size = Math.max(1, cuts.left() > 0 ? cuts.below(40) : stream.length);
      const chunk = stream.slice(at, at + size);
      const failed = deframer.push(chunk, (body) => {
        found.push(body.slice());
        return true;
      });
      // The bytes are a view of the system's buffer: nothing may be kept of them.
      chunk.fill(0xdb);
      at += size;
      if (failed !== null) refusal = failed.code;
      expectThat(
        deframer.buffered() <= Math.max(limit + 4, MOST_HTTP_BYTES),
        "more is held than a frame and its length",
      );
    }
    expectThat(found.length === expected.frames.length, "another number of frames than the stream holds");
    expectThat(
      found.every((body, at) => sameBytes(body, expected.frames[at]!)),
      "a frame has other bytes",
    );
    expectThat(refusal === expected.refusal, `refused with "${refusal}" where "${expected.refusal}" is right`);
    return `${about(found.length)} ${refusal} ${about(deframer.buffered())}`;
  },
};

/** First bytes of TLS: where TLS is off, the refusal names it. */
const TLS_RECORDS: ReadonlySet<number> = new Set([0x15, 0x16]);

/** All of a word of HTTP but its last byte. */
const MOST_HTTP_BYTES = Math.max(...HTTP_STARTS.map((word) => word.length)) - 1;
const textOf = (bytes: Uint8Array): string => new TextDecoder("latin1").decode(bytes);

/** The same by looking at the whole stream at once. */
function framesOf(stream: Uint8Array, limit: number): { readonly frames: Uint8Array[]; readonly refusal: string } {
  const whole: Uint8Array[] = [];
  for (let at = 0; at < stream.length;) {
    const first = stream[at] ?? 0;
    if (
      at === 0 &&
      HTTP_STARTS.some((word) => word.length > stream.length && textOf(stream) === word.slice(0, stream.length))
    )
      break;
    if (first !== 0) return { frames: whole, refusal: TLS_RECORDS.has(first) ? "UNAUTHORISED" : "BAD_REQUEST" };
    if (stream.length - at < 4) break;
    const length = new DataView(stream.buffer, stream.byteOffset + at).getUint32(0);
    if (length > limit) return { frames: whole, refusal: "TOO_LARGE" };
    if (length === 0) return { frames: whole, refusal: "BAD_REQUEST" };
    if (stream.length - at - 4 < length) break;
    whole.push(stream.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return { frames: whole, refusal: "" };
}

export const codec: FuzzTarget = {
  name: "codec",
  maxMs: 50,
  generate: (random) => {
    if (random.chance(60)) return frameBody(encodeMessage(randomMessage(random)));
    if (random.chance(80)) return peerBody(random.below(3), peerMessageBytes(pick(random, PEER_EXAMPLES)));
    return joined(
      Uint8Array.of(0x90 | random.below(16), pick(random, Object.values(FRAMES)).number),
      randomBytes(random, 20),
    );
  },
  mutate: mutateBody,
  run: runCodec,
};

const peerBody = (sequence: number, message: Uint8Array): Uint8Array => frameBody(encodePeerFrame(sequence, message));

/** The message inside a peer frame is changed under a right checksum: a wrong one would hide it from every check behind. */
export function mutateBody(body: Uint8Array, random: Random): Uint8Array {
  const inside = random.chance(90) ? insideOf(body) : null;
  return inside === null ? mutate(body, random) : peerBody(1, mutate(inside, random));
}

/** The message inside a peer frame; null: this is none. */
function insideOf(body: Uint8Array): Uint8Array | null {
  try {
    const frame = valueOf(body);
    const isPeer = Array.isArray(frame) && frame.length === 4 && frame[0] === FRAMES.peer.number;
    return isPeer && frame[3] instanceof Uint8Array ? frame[3] : null;
  } catch {
    return null;
  }
}

function runCodec(body: Uint8Array): string {
  let message: WireMessage;
  try {
    message = decodeMessage(body);
  } catch (error) {
    if (error instanceof Malformed) return `Malformed: ${gist(error.message)}`;
    throw error;
  }
  const encoded = frameBody(encodeMessage(message));
  const again = decodeMessage(encoded);
  if (hasLongText(message)) return `${message.type}, shortened`;
  expectThat(Bun.deepEquals(again, message, true), "it comes back as another message");
  expectThat(sameBytes(frameBody(encodeMessage(again)), encoded), "the same message has other bytes the second time");
  if (message.type !== "peer") expectSameValues(body, encoded);
  else expectSamePeerValues(body, message);
  return message.type === "peer" ? message.message.type : message.type;
}

/** type, term, [index, term, configuration, …], … */
const CONFIGURATION_OF_SNAPSHOT: Nested = [2, 2];

/** Length and checksum of the message inside depend on the form it was written in, so the insides are compared. */
function expectSamePeerValues(body: Uint8Array, { message }: Extract<WireMessage, { type: "peer" }>): void {
  const outside = valueOf(body) as readonly unknown[];
  const inside = outside[3] as Uint8Array;
  const nested = message.type === "InstallSnapshot" ? CONFIGURATION_OF_SNAPSHOT : null;
  expectSameValues(inside, peerMessageBytes(message), nested);
}

/** What is quoted in a failure is shortened when it is written again. */
function hasLongText(message: WireMessage): boolean {
  return (message.type === "failure" || message.type === "goodbye") && message.failure.message.length > 1_024;
}
