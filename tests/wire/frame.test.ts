// Are frames found in a stream however it is cut, and is nothing buffered that a limit forbids?
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/lib/random.ts";
import { createDeframer } from "../../src/wire/frame.ts";
import { sealFrame } from "../kit/frames.ts";

const LIMIT = 1_000_000;

function frame(size: number, fill: number): Uint8Array {
  return sealFrame(new Uint8Array(4 + size).fill(fill));
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** The bodies of all frames in `stream` cut at `cuts`. Each piece is overwritten after its push, as the port allows. */
function read(stream: Uint8Array, cuts: readonly number[], limit = LIMIT): Uint8Array[] {
  const deframer = createDeframer(limit);
  const bodies: Uint8Array[] = [];
  const edges = [0, ...cuts, stream.length];
  for (let at = 1; at < edges.length; at++) {
    const piece = stream.slice(edges[at - 1], edges[at]);
    const failed = deframer.push(piece, (body) => {
      bodies.push(body.slice());
      return true;
    });
    expect(failed).toBe(null);
    piece.fill(0xee);
  }
  expect(deframer.buffered()).toBe(0);
  expect(deframer.frames).toBe(bodies.length);
  return bodies;
}

const sizes = [1, 5, 2, 300, 1, 17];
const stream = join(sizes.map((size, at) => frame(size, at + 1)));
const expected = sizes.map((size, at) => new Uint8Array(size).fill(at + 1));

test("frames are whole at every split of the stream into two", () => {
  for (let cut = 0; cut <= stream.length; cut++) expect(read(stream, [cut])).toEqual(expected);
});

test("frames are whole at every split of a short stream into three", () => {
  const short = join([frame(1, 1), frame(6, 2), frame(3, 3)]);
  const bodies = [new Uint8Array(1).fill(1), new Uint8Array(6).fill(2), new Uint8Array(3).fill(3)];
  for (let first = 0; first <= short.length; first++) {
    for (let second = first; second <= short.length; second++) expect(read(short, [first, second])).toEqual(bodies);
  }
});

test("frames are whole when the stream comes byte by byte", () => {
  expect(
    read(
      stream,
      Array.from({ length: stream.length - 1 }, (_, at) => at + 1),
    ),
  ).toEqual(expected);
});

test("frames are whole under random splits, big frames among them", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = seededRandom(seed);
    const lengths = Array.from({ length: 10 }, () => random.between(1, random.chance(30) ? 200_000 : 100));
    const bytes = join(lengths.map((size, at) => frame(size, at + 1)));
    const cuts = Array.from({ length: random.below(50) }, () => random.below(bytes.length + 1)).toSorted(
      (a, b) => a - b,
    );
    expect(read(bytes, cuts)).toEqual(lengths.map((size, at) => new Uint8Array(size).fill(at + 1)));
  }
});

test("a thousand frames in one piece are read in one call", () => {
  const many = join(Array.from({ length: 1_000 }, (_, at) => frame(1 + (at % 7), at % 256)));
  expect(read(many, []).length).toBe(1_000);
});

test("a frame at the limit passes; one byte more is refused from its head alone", () => {
  expect(read(frame(100, 1), [], 100).length).toBe(1);
  const head = frame(101, 1).subarray(0, 4);
  expect(createDeframer(100).push(head, () => true)).toMatchObject({ code: "TOO_LARGE" });
});

test.each([0x00ff_ffff, 0x0000_ffff + 1_000_000])(
  "a claimed length of %p bytes is refused before a byte of it is kept",
  (length) => {
    const head = new Uint8Array(4);
    new DataView(head.buffer).setUint32(0, length);
    const deframer = createDeframer(LIMIT);
    expect(deframer.push(head, () => true)).toMatchObject({ code: "TOO_LARGE", applied: "no" });
    expect(deframer.buffered()).toBe(4);
  },
);

test.each([0xffff_ffff, 0x8000_0000, 0x5353_482d])("a first byte other than 0 (%p) is refused at once", (word) => {
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, word);
  const failed = createDeframer(LIMIT).push(head.subarray(0, 1), () => true);
  expect(failed).toMatchObject({ code: "BAD_REQUEST" });
  expect(failed?.message).toContain("raftq protocol");
});

test.each([
  [0x16, "started without --tls-cert"],
  [0x15, "give --tls-cert, --tls-key and --tls-ca"],
])("TLS (first byte %p) is distinguished from other protocols: what to do about it", (byte, advice) => {
  const failed = createDeframer(LIMIT).push(new Uint8Array([byte]), () => true);
  expect(failed).toMatchObject({ code: "UNAUTHORISED" });
  expect(failed?.message).toContain(advice);
});

test("an empty frame is refused", () => {
  expect(createDeframer(LIMIT).push(new Uint8Array(4), () => true)).toMatchObject({ code: "BAD_REQUEST" });
});

test("a frame that was only claimed costs as much memory as has arrived of it", () => {
  const before = process.memoryUsage().arrayBuffers;
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, LIMIT);
  const deframers = Array.from({ length: 2_000 }, () => createDeframer(LIMIT));
  for (const deframer of deframers) {
    deframer.push(head, () => true);
    deframer.push(new Uint8Array(1), () => true);
  }
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2_000 * 20_000);
  expect(deframers.every((deframer) => deframer.buffered() === 5)).toBe(true);
});

test("what is allocated for an unfinished frame is known: at most twice what came or 16 KiB, nothing once it is whole or given up", () => {
  const bytes = frame(LIMIT - 4, 3);
  const [whole, givenUp] = [createDeframer(LIMIT), createDeframer(LIMIT)];
  const came = LIMIT - 100_000;
  for (const deframer of [whole, givenUp]) {
    for (let at = 0; at < came; at += 10_000) {
      deframer.push(bytes.subarray(at, at + 10_000), () => true);
      expect(deframer.allocated()).toBeGreaterThanOrEqual(deframer.buffered() - 4);
      expect(deframer.allocated()).toBeLessThanOrEqual(Math.max(16 * 1024, 2 * deframer.buffered()));
    }
  }
  const bodies: Uint8Array[] = [];
  whole.push(bytes.subarray(came), (body) => {
    expect(body.length).toBe(LIMIT - 4);
    return bodies.push(body) > 0;
  });
  // Its memory is given back, even where a reference to it is left.
  expect(bodies.map((body) => body.length)).toEqual([0]);
  givenUp.discard();
  expect([whole, givenUp].map((deframer) => [deframer.allocated(), deframer.buffered()])).toEqual([
    [0, 0],
    [0, 0],
  ]);
});

test("a frame that came whole is a view of what came, which is left alone", () => {
  const bytes = join([frame(50_000, 3), frame(50_000, 4)]);
  expect(createDeframer(LIMIT).push(bytes, () => true)).toBe(null);
  expect(bytes.length).toBe(2 * 50_004);
});

test("a big frame in many small pieces costs time in proportion to its length", () => {
  const timeOf = (size: number): number => {
    const bytes = frame(size, 7);
    const deframer = createDeframer(16_000_000);
    let read = 0;
    const start = process.cpuUsage();
    for (let at = 0; at < bytes.length; at += 1_460) {
      deframer.push(bytes.subarray(at, at + 1_460), (body) => {
        read = body.length;
        return true;
      });
    }
    expect(read).toBe(size);
    return process.cpuUsage(start).user / 1_000;
  };
  timeOf(4_000_000);
  // Quadratic copying would move 5.5 GB here.
  expect(timeOf(4_000_000)).toBeLessThan(400);
});

test("no frame follows once the reader stops", () => {
  const bodies: number[] = [];
  createDeframer(LIMIT).push(stream, (body) => {
    bodies.push(body.length);
    return bodies.length < 2;
  });
  expect(bodies).toEqual([1, 5]);
});

test("a new limit holds from the next frame on", () => {
  const deframer = createDeframer(10);
  const two = join([frame(10, 1), frame(50, 2)]);
  let count = 0;
  const failed = deframer.push(two, () => {
    deframer.setLimit(50);
    count++;
    return true;
  });
  expect([failed, count]).toEqual([null, 2]);
});
