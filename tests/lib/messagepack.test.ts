// Does what we pack have these bytes, does what others pack come back, and is everything else refused before msgpackr sees it?
import { describe, expect, test } from "bun:test";
import { BrokenInvariant } from "../../src/lib/assert.ts";
import { COPIED_BYTES, arrayStart, leadingIntegers, Malformed, unpack } from "../../src/lib/messagepack.ts";
import {
  BINARY,
  type Binary,
  pack as packBeside,
  type Packable,
  packableInteger,
  packInPlace,
} from "../../src/lib/packing.ts";
import { type Random, seededRandom } from "../../src/lib/random.ts";
import { bytesOf, valueOf } from "../kit/handmade-messagepack.ts";
import { mutateSome } from "../kit/mutate-bytes.ts";

type Plain = Packable | Binary | readonly Plain[];

/** Binaries where they belong, instead of beside. */
function pack(values: readonly Plain[], headroom = 0): Uint8Array {
  const binaries: Binary[] = [];
  const place = (value: Plain): Packable => {
    if (Array.isArray(value)) return value.map(place);
    if (typeof value !== "object" || value === null) return value as Packable;
    binaries.push(value as Binary);
    return BINARY;
  };
  return packBeside(values.map(place), binaries, headroom);
}

const MAX = Number.MAX_SAFE_INTEGER;
const hex = (bytes: Uint8Array): string => bytes.toHex();
const refused = (bytes: Uint8Array | string, message: string, maxValues = 1_000_000): void => {
  const given = typeof bytes === "string" ? Uint8Array.fromHex(bytes) : bytes;
  expect(() => unpack(given, maxValues)).toThrow(Malformed);
  expect(() => unpack(given, maxValues)).toThrow(message);
};
const unpacked = (bytes: Uint8Array | string): unknown =>
  unpack(typeof bytes === "string" ? Uint8Array.fromHex(bytes) : bytes, 1_000_000);

/** One below, at and above every place where the form changes. */
const around = (...borders: readonly number[]): number[] =>
  borders.flatMap((border) => [border - 1, border, border + 1]);
const LENGTHS = [0, 1, ...around(15, 31, 255, 256, COPIED_BYTES, 65_535, 65_536)];

describe("numbers", () => {
  const goldens: readonly [number, string][] = [
    [0, "00"],
    [127, "7f"],
    [128, "cc80"],
    [255, "ccff"],
    [256, "cd0100"],
    [65_535, "cdffff"],
    [65_536, "ce00010000"],
    [2 ** 31 - 1, "ce7fffffff"],
    [2 ** 31, "ce80000000"],
    [2 ** 32 - 1, "ceffffffff"],
    [2 ** 32, "d30000000100000000"],
    [2 ** 32 + 1, "d30000000100000001"],
    [2 ** 48 - 1, "d30000ffffffffffff"],
    [MAX, "d3001fffffffffffff"],
  ];
  test.each(goldens)("%d is written so and read back", (value, golden) => {
    expect(hex(pack([packableInteger(value)]))).toBe(`91${golden}`);
    expect(unpacked(`91${golden}`)).toEqual([value]);
  });

  test("every power of two and its neighbours come back, also signed, unsigned and in longer forms than needed", () => {
    for (let power = 1; power <= 53; power++) {
      for (const value of around(2 ** power).filter((number) => number <= MAX)) {
        expect(unpacked(pack([packableInteger(value)]))).toEqual([value]);
        for (const tag of [0xcf, 0xd3]) {
          const long = new Uint8Array(9).fill(tag, 0, 1);
          new DataView(long.buffer).setBigUint64(1, BigInt(value));
          expect(unpacked(long)).toBe(value);
        }
      }
    }
  });

  test("above 2^53 - 1, or below zero, nothing is read", () => {
    for (const bytes of ["cf0020000000000000", "cfffffffffffffffff", "d30020000000000000", "d3ffffffffffffffff"])
      refused(bytes, "above 2^53 - 1, or negative");
    expect(unpacked("d3001fffffffffffff")).toBe(MAX);
  });

  test.each([-1, 0.5, NaN, Infinity, MAX + 1])("%d is never written", (value) => {
    expect(() => packableInteger(value)).toThrow(BrokenInvariant);
  });
});

describe("texts, binaries and arrays", () => {
  test.each(LENGTHS)(
    "of %d bytes or values come back, are refused when they are cut off, and are as others write them",
    (length) => {
      const values: readonly Plain[] = ["x".repeat(length), new Uint8Array(length).fill(7), Array(length).fill(1)];
      for (const value of values) {
        const bytes = pack([value, 5]);
        expect(hex(bytes)).toBe(hex(bytesOf([value, 5])));
        expect(unpacked(bytes)).toEqual([value, 5]);
        refused(bytes.subarray(0, -1), "too early");
        if (length > 0) refused(bytes.subarray(0, -2), "too early");
      }
    },
  );

  test("the binary at the end of the outermost array is not packed with the rest, and has the same bytes", () => {
    for (const length of LENGTHS) {
      const last = new Uint8Array(length).fill(9);
      const packed = packInPlace([1, "a", BINARY], [last], 4);
      expect(packed.last).toBe(last);
      expect(hex(pack([1, "a", last], 4))).toBe(`00000000${hex(bytesOf([1, "a", last]))}`);
      const parts = [last.subarray(0, length >> 1), last.subarray(length >> 1)];
      expect(hex(pack([1, { parts, length }]))).toBe(hex(bytesOf([1, last])));
    }
  });

  test("what is packed has memory of its own, also when the next is packed, and after one that was large", () => {
    const first = pack([1, new Uint8Array(5), "abc"]);
    const large = pack(["x".repeat(2_000_000), new Uint8Array(1_000_000).fill(3), 1]);
    const golden = hex(bytesOf([1, new Uint8Array(5), "abc"]));
    expect(hex(pack([1, new Uint8Array(5), "abc"]))).toBe(golden);
    expect(hex(first)).toBe(golden);
    expect(unpacked(large)).toEqual(["x".repeat(2_000_000), new Uint8Array(1_000_000).fill(3), 1]);
  });

  test("what is unpacked from little has memory of its own, and binaries of more are views", () => {
    for (const length of [2, COPIED_BYTES * 2]) {
      const input = bytesOf([new Uint8Array(length).fill(7), 1]);
      const [value] = unpacked(input) as [Uint8Array];
      input.fill(0);
      expect(value).toEqual(new Uint8Array(length).fill(length > COPIED_BYTES ? 0 : 7));
    }
  });

  const INVALID = [
    "ff",
    "c328",
    "eda080",
    "f4908080",
    "c3",
    "c080",
    "e08080",
    "f08080",
    "80",
    "e28228",
    "f0288cbc",
    "fe",
  ];
  test.each(INVALID)("%s is no valid UTF-8 and is refused, in texts of every length", (bytes) => {
    for (const length of [0, 40, 300, 70_000]) {
      const text = new Uint8Array([...new Uint8Array(length).fill(0x61), ...Uint8Array.fromHex(bytes)]);
      const head = new Uint8Array(5).fill(0xdb, 0, 1);
      new DataView(head.buffer).setUint32(1, text.length);
      refused(new Uint8Array([...head, ...text]), "not valid UTF-8");
    }
  });

  test("the check of UTF-8 is that of the standard's decoder, for random bytes and for texts that were damaged", () => {
    const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    const random = seededRandom(5);
    let valid = 0;
    for (let round = 0; round < 40_000; round++) {
      const text = new TextEncoder().encode(
        ["ünï", "日本語", "😀", "\u0000\u07ff\uffff", "\u{10ffff}"][random.below(5)]!,
      );
      const bytes = random.chance(80) ? mutateSome(text, random) : text;
      if (bytes.length > 31) continue;
      let expected: string | null = null;
      try {
        expected = strict.decode(bytes);
      } catch {}
      const input = new Uint8Array([0xa0 | bytes.length, ...bytes]);
      if (expected === null) refused(input, "UTF-8");
      else if (expected.startsWith("\ufeff")) refused(input, "byte order mark");
      else expect(unpacked(input)).toBe(expected);
      if (expected !== null) valid++;
    }
    expect(valid).toBeGreaterThan(2_000);
  });

  test("a byte order mark in front of a text is refused, since msgpackr would drop it; inside it stays", () => {
    for (const length of [0, 10, 100]) refused(bytesOf(`\ufeff${"a".repeat(length)}`), "byte order mark");
    for (const value of ["a\ufeff", "ünï", "日本語", "😀", "\u0000", "x".repeat(70) + "ü"]) {
      expect(unpacked(bytesOf(value))).toBe(value);
    }
  });
});

test("binaries anywhere in an array are put where they belong, whatever stands around them", () => {
  for (let seed = 1; seed <= 500; seed++) {
    const random = seededRandom(seed);
    const values = Array.from({ length: random.between(1, 6) }, () => nested(random, 3));
    expect(hex(pack(values))).toBe(hex(bytesOf(values.map(withNumbers))));
  }
});

/** Longer than a length of two bytes can state. */
const LONG = "y".repeat(70_000);

function nested(random: Random, depth: number): Plain {
  switch (random.below(depth > 0 ? 6 : 4)) {
    case 0:
      return packableInteger(Math.min(MAX, 2 ** random.below(54) - random.below(2)));
    case 1:
      return ["", "abc", "naïve", "x".repeat(random.below(300)), LONG][random.below(random.chance(99) ? 4 : 5)]!;
    case 2:
      return random.chance(50) ? null : random.chance(50);
    case 3: {
      const bytes = new Uint8Array(random.below(random.chance(95) ? 70 : 70_000)).fill(0xd4);
      return random.chance(80)
        ? bytes
        : { parts: [bytes, bytes.subarray(0, 1)], length: bytes.length + bytes.subarray(0, 1).length };
    }
    default:
      return Array.from({ length: random.below(random.chance(95) ? 5 : 400) }, () => nested(random, depth - 1));
  }
}

/** As a writer by hand takes them. */
function withNumbers(value: Plain): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return (value as readonly Plain[]).map(withNumbers);
  if (typeof value === "object" && value !== null && "parts" in value)
    return new Uint8Array(Buffer.concat([...value.parts]));
  return value;
}

describe("strictness", () => {
  test("of all 256 type bytes, those of our six types are taken and no other", () => {
    const ours = /^([0-7].|[9ab].|c[0234568]|c[cdef]|d3|d[9abcd])$/;
    for (let tag = 0; tag < 256; tag++) {
      const name = tag.toString(16).padStart(2, "0");
      const bytes = new Uint8Array(40);
      bytes[0] = tag;
      const take = (): unknown => unpacked(bytes.subarray(0, 1 + lengthBehind(tag)));
      // Ones whose length or value is zero, and a fixarray or fixstr as long as it states.
      if (ours.test(name) && name !== "c8") expect(take).not.toThrow();
      else expect(take).toThrow(/found type byte/);
    }
  });

  /** Bytes behind a type byte whose own bytes are zero. */
  function lengthBehind(tag: number): number {
    if (tag >= 0x90 && tag < 0xa0) return tag & 15;
    if (tag >= 0xa0 && tag < 0xc0) return tag & 31;
    const widths = new Map([
      [0xc4, 1],
      [0xc5, 2],
      [0xc6, 4],
      [0xcc, 1],
      [0xcd, 2],
      [0xce, 4],
      [0xcf, 8],
      [0xd3, 8],
      [0xd9, 1],
      [0xda, 2],
      [0xdb, 4],
      [0xdc, 2],
      [0xdd, 4],
    ]);
    return widths.get(tag) ?? 0;
  }

  test("claims of up to 4 GiB in a few bytes are refused before anything is made", () => {
    for (const bytes of ["dbffffffff", "c6ffffffff", "ddffffffff", "92c0ddffffffff", "9191dcffff"])
      refused(bytes, "too early");
  });

  test("more values than allowed are refused, wherever they stand; bytes behind the message, too", () => {
    expect(unpack(bytesOf([[1, 2], [3]]), 6)).toEqual([[1, 2], [3]]);
    refused(bytesOf([[1, 2], [3]]), "more than the 5 values", 5);
    refused(
      bytesOf([
        [1, 2],
        [3, 4],
      ]),
      "more than the 6 values",
      6,
    );
    refused("c0c0", "1 bytes are left over");
    refused("", "too early");
  });

  test("arrays are nested eight deep and no deeper", () => {
    const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
    expect(unpacked(bytesOf(nested(8)))).toEqual(nested(8));
    refused(bytesOf(nested(9)), "nested more than 8 deep");
    refused(new Uint8Array(100_000).fill(0x91), "nested more than 8 deep");
  });

  test("a message that ends early is refused at every length", () => {
    const bytes = bytesOf([MAX, "abc", [new Uint8Array(300), true], "ü".repeat(100), []]);
    expect(hex(bytesOf(unpacked(bytes)))).toBe(hex(bytes));
    for (let length = 0; length < bytes.length; length++) refused(bytes.subarray(0, length), "too early");
  });

  test("whatever is done to the bytes, they are refused or hold what a reader by hand finds in them", () => {
    let taken = 0;
    for (let seed = 1; seed <= 20_000; seed++) {
      const random = seededRandom(seed);
      const bytes = mutateSome(bytesOf(randomValue(random, 3)), random);
      let found: unknown;
      try {
        found = unpack(bytes, 200);
      } catch (error) {
        if (!(error instanceof Malformed)) throw error;
        continue;
      }
      taken++;
      expect(found).toEqual(valueOf(bytes));
    }
    expect(taken).toBeGreaterThan(2_000);
  });

  function randomValue(random: Random, depth: number): unknown {
    switch (random.below(depth > 0 ? 7 : 5)) {
      case 0:
        return null;
      case 1:
        return random.chance(50);
      case 2:
        return Math.min(MAX, 2 ** random.below(54) - random.below(2));
      case 3:
        return ["", "abc", "naïve", "x".repeat(random.below(300))][random.below(4)];
      case 4:
        return Uint8Array.from({ length: random.below(random.chance(95) ? 40 : 2_000) }, () => random.below(256));
      default:
        return Array.from({ length: random.below(5) }, () => randomValue(random, depth - 1));
    }
  }
});

describe("the front of a message", () => {
  test("gives its length and first numbers, whatever stands behind them, also in longer forms", () => {
    expect(arrayStart(Uint8Array.fromHex("9301ff80"))).toEqual({ values: 3, first: 1, second: null });
    expect(arrayStart(Uint8Array.fromHex("dc0002cd000107"))).toEqual({ values: 2, first: 1, second: 7 });
    expect(arrayStart(Uint8Array.fromHex("dd0000000200"))).toEqual({ values: 2, first: 0, second: null });
    expect(arrayStart(Uint8Array.fromHex("91a161"))).toEqual({ values: 1, first: null, second: null });
    for (const bytes of ["", "c0", "dc00", "dd000000", "81"]) {
      expect(() => arrayStart(Uint8Array.fromHex(bytes))).toThrow(Malformed);
    }
  });

  test("gives the leading integers through any arrays, and stops where something else stands", () => {
    expect(leadingIntegers(bytesOf([0, [[1, 300, 2, "x"]]]), 4)).toEqual([0, 1, 300, 2]);
    expect(leadingIntegers(bytesOf([0, [["x", 1]]]), 4)).toEqual([0]);
    expect(leadingIntegers(Uint8Array.fromHex("92cd00"), 4)).toEqual([]);
  });
});
