// Does our MessagePack write what others read, read what others write, and refuse everything it was not told to expect?
import { describe, expect, test } from "bun:test";
import { pack, unpack } from "msgpackr/pack";
import { BrokenInvariant } from "../../src/lib/assert.ts";
import { createReader, createWriter, Malformed, type Reader, type Writer } from "../../src/lib/msgpack.ts";
import { type Random, seededRandom } from "../../src/lib/random.ts";
import { mutate } from "./mutate.ts";

const MAX = Number.MAX_SAFE_INTEGER;
const hex = (bytes: Uint8Array): string => bytes.toHex();
const written = (write: (writer: Writer) => unknown): Uint8Array => {
  const writer = createWriter();
  write(writer);
  return writer.finish();
};
const read = <T>(bytes: Uint8Array | string, how: (reader: Reader) => T): T => {
  const reader = createReader(typeof bytes === "string" ? Uint8Array.fromHex(bytes) : bytes);
  const value = how(reader);
  reader.end();
  return value;
};
const refuses = (bytes: Uint8Array | string, how: (reader: Reader) => unknown, message = ""): void => {
  expect(() => read(bytes, how)).toThrow(Malformed);
  expect(() => read(bytes, how)).toThrow(message);
};

/** One below, at and above every place where the form changes. */
const around = (...borders: readonly number[]): number[] =>
  borders.flatMap((border) => [border - 1, border, border + 1]);
const LENGTHS = [0, 1, ...around(15, 31, 255, 256, 65_535, 65_536)];

describe("numbers", () => {
  const goldens: readonly [number, string][] = [
    [0, "00"],
    [127, "7f"],
    [128, "cc80"],
    [255, "ccff"],
    [256, "cd0100"],
    [65_535, "cdffff"],
    [65_536, "ce00010000"],
    [4_294_967_295, "ceffffffff"],
    [4_294_967_296, "cf0000000100000000"],
    [MAX, "cf001fffffffffffff"],
  ];
  test.each(goldens)("%d is written in its shortest form and read back", (value, golden) => {
    expect(hex(written((writer) => writer.uint(value)))).toBe(golden);
    expect(read(golden, (reader) => reader.uint())).toBe(value);
  });

  test("every power of two and its neighbours come back, also in longer forms than needed", () => {
    for (let power = 1; power <= 53; power++) {
      for (const value of around(2 ** power).filter((number) => number <= MAX)) {
        expect(
          read(
            written((writer) => writer.uint(value)),
            (reader) => reader.uint(),
          ),
        ).toBe(value);
        const long = new Uint8Array(9).fill(0xcf, 0, 1);
        new DataView(long.buffer).setBigUint64(1, BigInt(value));
        expect(read(long, (reader) => reader.uint())).toBe(value);
      }
    }
  });

  test("above 2^53 - 1 nothing is read", () => {
    refuses("cf0020000000000000", (reader) => reader.uint(), "above 2^53 - 1");
    refuses("cfffffffffffffffff", (reader) => reader.uint(), "above 2^53 - 1");
  });

  test("a number above the stated limit is refused, the limit itself is not", () => {
    expect(read("cd0100", (reader) => reader.uint(256))).toBe(256);
    refuses("cd0101", (reader) => reader.uint(256), "257 is above the 256 allowed");
  });

  test.each([-1, 0.5, NaN, Infinity, MAX + 1])("%d is never written", (value) => {
    expect(() => createWriter().uint(value)).toThrow(BrokenInvariant);
  });

  test.each([
    "ff",
    "d0ff",
    "d000",
    "d10001",
    "d200000001",
    "d30000000000000001",
    "ca3f800000",
    "cb3ff0000000000000",
    "c0",
    "c2",
    "c3",
    "a131",
    "c40131",
    "9101",
  ])("%s is no number: negative, signed, float or another type", (bytes) =>
    refuses(bytes, (reader) => reader.uint(), "expected a number"),
  );
});

describe("texts, binaries and arrays", () => {
  test.each(LENGTHS)("a text of %d bytes comes back, is cut off at its last byte, and stops at its limit", (length) => {
    const value = "x".repeat(length);
    const bytes = written((writer) => writer.text(value));
    expect(read(bytes, (reader) => reader.text(length))).toBe(value);
    expect(unpack(bytes)).toBe(value);
    if (length === 0) return;
    refuses(bytes, (reader) => reader.text(length - 1), "allowed");
    refuses(bytes.subarray(0, -1), (reader) => reader.text(length), "too early");
  });

  test.each(LENGTHS)(
    "a binary of %d bytes comes back, is cut off at its last byte, and stops at its limit",
    (length) => {
      const value = new Uint8Array(length).fill(7);
      const bytes = written((writer) => writer.binary(value));
      expect(read(bytes, (reader) => reader.binary(length))).toEqual(value);
      expect(new Uint8Array(unpack(bytes))).toEqual(value);
      if (length === 0) return;
      refuses(bytes, (reader) => reader.binary(length - 1), "allowed");
      refuses(bytes.subarray(0, -1), (reader) => reader.binary(length), "too early");
    },
  );

  test.each(LENGTHS)("an array of %d values comes back and keeps to its limits", (length) => {
    const bytes = written((writer) => {
      writer.array(length);
      for (let at = 0; at < length; at++) writer.uint(1);
    });
    const readAll = (min: number, max: number) => (reader: Reader) => {
      const count = reader.array(min, max);
      for (let at = 0; at < count; at++) reader.uint();
      return count;
    };
    expect(read(bytes, readAll(length, length))).toBe(length);
    expect(unpack(bytes)).toHaveLength(length);
    refuses(bytes, readAll(length + 1, length + 9), "are expected");
    if (length > 0) refuses(bytes, readAll(0, length - 1), "are expected");
  });

  test("the heads at every change of form have these bytes", () => {
    const heads = (write: (writer: Writer, length: number) => unknown, bytes: number): string[] =>
      [15, 16, 31, 32, 255, 256, 65_535, 65_536].map((length) =>
        hex(written((writer) => write(writer, length)).subarray(0, bytes)),
      );
    expect(heads((writer, length) => writer.text("x".repeat(length)), 2)).toEqual([
      "af78",
      "b078",
      "bf78",
      "d920",
      "d9ff",
      "da01",
      "daff",
      "db00",
    ]);
    expect(heads((writer, length) => writer.binary(new Uint8Array(length)), 2)).toEqual([
      "c40f",
      "c410",
      "c41f",
      "c420",
      "c4ff",
      "c501",
      "c5ff",
      "c600",
    ]);
    expect(heads((writer, length) => writer.array(length), 5)).toEqual([
      "9f",
      "dc0010",
      "dc001f",
      "dc0020",
      "dc00ff",
      "dc0100",
      "dcffff",
      "dd00010000",
    ]);
  });

  test.each(["a1ff", "a2c328", "a3eda080", "a4f4908080", "a1c3", "a2c080"])(
    "%s is no valid UTF-8 and is refused",
    (bytes) => {
      refuses(bytes, (reader) => reader.text(100), "not valid UTF-8");
    },
  );

  test("a text keeps its byte order mark and every other character", () => {
    for (const value of ["\ufeffa", "ünï", "日本語", "😀", "\u0000"]) {
      expect(
        read(
          written((writer) => writer.text(value)),
          (reader) => reader.text(100),
        ),
      ).toBe(value);
    }
  });

  test("a length of 4 GiB in a message of a few bytes is refused before anything is made", () => {
    refuses("dbffffffff", (reader) => reader.text(MAX), "too early");
    refuses("c6ffffffff", (reader) => reader.binary(MAX), "too early");
    refuses("ddffffffff", (reader) => reader.array(0, 1_000), "4294967295 values");
  });

  test("a binary is the bytes of its own place in the input, copied only where that costs less", () => {
    const padded = new Uint8Array([9, 9, 0xc4, 2, 5, 6, 9]).subarray(2, 6);
    expect([...read(padded, (reader) => reader.binary(2))]).toEqual([5, 6]);
    const long = written((writer) => writer.binary(new Uint8Array(5_000).fill(7)));
    expect(read(long, (reader) => reader.binary(5_000)).buffer).toBe(long.buffer);
  });

  test("an own binary stays what it was when the input changes", () => {
    for (const length of [2, 5_000]) {
      const input = written((writer) => writer.binary(new Uint8Array(length).fill(7)));
      const value = read(input, (reader) => reader.ownBinary(length));
      input.fill(0);
      expect(value).toEqual(new Uint8Array(length).fill(7));
    }
  });

  test("a text is the one that stands there, also when one of the same length was read before", () => {
    for (const text of ["default", "another", "default", "naïve"]) {
      expect(
        read(
          written((writer) => writer.text(text)),
          (reader) => reader.text(64),
        ),
      ).toBe(text);
    }
  });
});

describe("strictness", () => {
  const readers: readonly [string, (reader: Reader) => unknown, RegExp][] = [
    ["a boolean", (reader) => reader.boolean(), /^c[23]$/],
    ["a number", (reader) => reader.uint(), /^([0-7].|c[cdef])$/],
    ["a text", (reader) => reader.text(MAX), /^([ab].|d[9ab])$/],
    ["a binary", (reader) => reader.binary(MAX), /^c[456]$/],
    ["an array", (reader) => reader.array(0, MAX), /^(9.|d[cd])$/],
  ];
  test.each(readers)("of all 256 type bytes, %s accepts its own only", (_, how, own) => {
    for (let tag = 0; tag < 256; tag++) {
      const bytes = new Uint8Array(300).fill(0x61);
      bytes.fill(0, 1, 9)[0] = tag;
      const reader = createReader(bytes);
      if (own.test(tag.toString(16).padStart(2, "0"))) how(reader);
      else expect(() => how(reader)).toThrow(/^expected .* found type byte/);
    }
  });

  test("nil is read only where it stands", () => {
    expect(read("c0", (reader) => reader.nil())).toBe(true);
    expect(read("c2", (reader) => [reader.nil(), reader.boolean()])).toEqual([false, false]);
    expect(createReader(new Uint8Array(0)).nil()).toBe(false);
  });

  test("bytes behind the message are refused", () => {
    refuses("c0c0", (reader) => reader.nil(), "1 bytes are left over");
  });

  test("a message that ends early is refused at every length", () => {
    const bytes = written((writer) => writer.array(4).uint(MAX).text("abc").binary(new Uint8Array(300)).boolean(true));
    const all = (reader: Reader) => [
      reader.array(4, 4),
      reader.uint(),
      reader.text(9),
      reader.binary(300),
      reader.boolean(),
    ];
    read(bytes, all);
    for (let length = 0; length < bytes.length; length++) refuses(bytes.subarray(0, length), all, "too early");
  });
});

describe("a writer", () => {
  test("leaves its headroom as zeroes and counts it in", () => {
    const bytes = createWriter(4, 1).uint(1).text("abcdefgh").finish();
    expect(hex(bytes)).toBe("0000000001a86162636465666768");
  });

  test("gives bytes of its own: what others write, meanwhile or later, does not change them", () => {
    const long = createWriter(0, 8, true).uint(1);
    const first = createWriter(1).uint(2);
    const inner = createWriter(1).uint(3);
    expect(hex(inner.finish())).toBe("0003");
    const bytes = first.uint(4).finish();
    expect(hex(createWriter(3).uint(5).finish())).toBe("00000005");
    expect(hex(bytes)).toBe("000204");
    expect(hex(long.finish())).toBe("01");
  });

  test("grows beyond the memory that all share, which others have then", () => {
    const large = new Uint8Array(10_000).fill(6);
    const writer = createWriter().binary(large);
    expect(hex(createWriter().uint(1).finish())).toBe("01");
    expect(read(writer.finish(), (reader) => reader.binary(10_000))).toEqual(large);
  });

  test("fills in a length that is known later", () => {
    const writer = createWriter().uint(1);
    writer.u32(0, 1).text("abc").u32(0x01020304, 1);
    expect(hex(writer.finish())).toBe("0101020304a3616263");
    expect(() => createWriter().u32(1, 2)).toThrow(BrokenInvariant);
  });

  test("passes raw bytes on", () => {
    expect(hex(written((writer) => writer.array(2).raw(new Uint8Array([1, 2]))))).toBe("920102");
  });
});

type Value = null | boolean | number | string | Uint8Array | readonly Value[];

function randomValue(random: Random, depth: number): Value {
  const length = (): number =>
    random.chance(90) ? random.below(40) : random.chance(80) ? random.below(300) : random.below(66_000);
  switch (random.below(depth > 0 ? 6 : 5)) {
    case 0:
      return null;
    case 1:
      return random.chance(50);
    case 2:
      return random.chance(50) ? random.below(300) : Math.floor(2 ** random.below(53) * (random.below(1_000) / 500));
    case 3:
      return Array.from({ length: length() }, () =>
        String.fromCodePoint(random.chance(90) ? random.between(32, 126) : random.between(0x4e00, 0x9fff)),
      ).join("");
    case 4:
      return new Uint8Array(length()).fill(random.below(256));
    default:
      return Array.from({ length: random.chance(95) ? random.below(20) : 70 }, () => randomValue(random, depth - 1));
  }
}

function write(writer: Writer, value: Value): void {
  if (value === null) writer.nil();
  else if (typeof value === "boolean") writer.boolean(value);
  else if (typeof value === "number") writer.uint(value);
  else if (typeof value === "string") writer.text(value);
  else if (value instanceof Uint8Array) writer.binary(value);
  else {
    writer.array(value.length);
    for (const item of value) write(writer, item);
  }
}

/** Reads what stands there, told by the shape of `like`. */
function readLike(reader: Reader, like: Value): Value {
  if (like === null) {
    if (!reader.nil()) throw new Malformed("expected nil");
    return null;
  }
  if (typeof like === "boolean") return reader.boolean();
  if (typeof like === "number") return reader.uint();
  if (typeof like === "string") return reader.text(MAX);
  if (like instanceof Uint8Array) return reader.binary(MAX);
  reader.array(like.length, like.length);
  return like.map((item) => readLike(reader, item));
}

/** msgpackr gives binaries as Buffers, and numbers above 2^53 / 2 as bigint: made plain for the comparison. */
const plain = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === "bigint" ? Number(value) : value;
};

describe("beside another implementation", () => {
  test("msgpackr reads every value that we write", () => {
    const random = seededRandom(101);
    for (let round = 0; round < 1_200; round++) {
      const value = randomValue(random, 3);
      expect(plain(unpack(written((writer) => write(writer, value))))).toEqual(value);
    }
  });

  test("we read every value that msgpackr writes in our six types", () => {
    const random = seededRandom(102);
    // msgpackr writes whole numbers from 2^32 on as floats: those are ours to refuse.
    const inRange = (value: Value): boolean =>
      typeof value === "number" ? value < 2 ** 32 : !Array.isArray(value) || value.every(inRange);
    let compared = 0;
    for (let round = 0; round < 1_200; round++) {
      const value = randomValue(random, 3);
      if (!inRange(value)) continue;
      compared++;
      expect(read(new Uint8Array(pack(value)), (reader) => readLike(reader, value))).toEqual(value);
    }
    expect(compared).toBeGreaterThan(600);
  });

  const foreign: readonly [string, unknown][] = [
    ["a negative number", -1],
    ["a fraction", 1.5],
    ["2^32, which it writes as a float", 2 ** 32],
    ["a map", { a: 1 }],
    ["a date", new Date(0)],
    ["a Map", new Map([[1, 2]])],
    ["undefined", undefined],
  ];
  test.each(foreign)("what msgpackr writes for %s is refused", (_, value) => {
    const bytes = new Uint8Array(pack(value));
    for (const how of [
      (r: Reader) => r.uint(),
      (r: Reader) => r.text(99),
      (r: Reader) => r.binary(99),
      (r: Reader) => r.array(0, 99),
      (r: Reader) => r.boolean(),
    ]) {
      refuses(bytes, how, "expected");
    }
  });
});

describe("damaged bytes", () => {
  test("give a value of the expected shape or Malformed, never anything else, and what we accept msgpackr reads alike", () => {
    const random = seededRandom(103);
    let accepted = 0;
    let refused = 0;
    for (let round = 0; round < 10_000; round++) {
      const value: Value = [randomValue(random, 1), random.below(70_000), "text", new Uint8Array(3)];
      const bytes = written((writer) => write(writer, value));
      if (bytes.length > 2_000) continue;
      const damaged = mutate(bytes, random);
      let found: Value;
      try {
        found = read(damaged, (reader) => readLike(reader, value));
      } catch (error) {
        if (!(error instanceof Malformed)) throw error;
        refused++;
        continue;
      }
      accepted++;
      expect(plain(unpack(damaged))).toEqual(found);
    }
    expect(accepted).toBeGreaterThan(300);
    expect(refused).toBeGreaterThan(4_000);
  });
});
