// Is what a layout describes what it writes and reads, and does it refuse everything else by name?
import { describe, expect, test } from "bun:test";
import {
  binary,
  binaryView,
  boolean,
  choice,
  decode,
  encode,
  list,
  nullable,
  optional,
  placeIn,
  text,
  textOf,
  tuple,
  uint,
  zero,
} from "../../src/lib/layout.ts";
import { COPIED_BYTES, Malformed } from "../../src/lib/messagepack.ts";
import { kind, union } from "../../src/lib/union.ts";
import { bytesOf, valueOf } from "../kit/handmade-messagepack.ts";

interface Sample {
  readonly number: number;
  readonly flag: boolean;
  readonly word: string;
  readonly colour: "red" | "blue";
  readonly place: "one" | "two";
  readonly data: Uint8Array;
  readonly maybe: number | null;
  readonly left?: string;
  readonly items: readonly { readonly id: number }[];
}

const sample = tuple<Sample>(
  "a sample",
  {
    number: uint(1_000, 5),
    flag: boolean,
    word: textOf("short word", 8, (value): value is string => value !== "no"),
    colour: choice("colour", ["red", "blue"]),
    place: placeIn(["one", "two"]),
    data: binary(4, 2),
    maybe: nullable(uint()),
    left: optional(text(8)),
    items: list(tuple<{ readonly id: number }>("an item", { id: uint() }), 3, 1),
  },
  { reserved: { later: null, laterNumber: 0 }, check: ({ number }) => (number === 13 ? "13 is unlucky" : null) },
);
const value: Sample = {
  number: 7,
  flag: true,
  word: "wörd",
  colour: "blue",
  place: "two",
  data: Uint8Array.of(1, 2),
  maybe: null,
  items: [{ id: 1 }, { id: 2 }],
};
const VALUES = [7, true, "wörd", "blue", 1, Uint8Array.of(1, 2), null, null, [[1], [2]], null, 0];

describe("a tuple", () => {
  test("is written as its fields in their order, the reserved ones behind them, and comes back", () => {
    expect(valueOf(encode(sample, value))).toEqual(VALUES);
    expect(decode(sample, bytesOf(VALUES))).toStrictEqual(value);
    const more: Sample = { ...value, maybe: 2 ** 40, left: "x" };
    expect(decode(sample, encode(sample, more))).toStrictEqual(more);
  });

  const WRONG: readonly (readonly [number, unknown, string])[] = [
    [0, 4, "a sample, number: the number 4 is below the 5 allowed"],
    [0, 1_001, "a sample, number: the number 1001 is above the 1000 allowed"],
    [0, "7", "a sample, number: expected a number"],
    [1, 1, "a sample, flag: expected true or false"],
    [2, "no", 'a sample, word: "no" is no short word'],
    [2, "wörrrrrd", "a sample, word: a text of 9 bytes is longer than the 8 allowed"],
    [2, Uint8Array.of(1), "a sample, word: expected a text"],
    [3, "green", 'a sample, colour: "green" is no colour'],
    [4, 2, "a sample, place: the number 2 is above the 1 allowed"],
    [5, new Uint8Array(5), "a sample, data: a binary of 5 bytes is longer than the 4 allowed"],
    [5, new Uint8Array(1), "a sample, data: a binary of 1 bytes is shorter than the 2 due"],
    [5, "ab", "a sample, data: expected a binary"],
    [7, 1, "a sample, left: expected a text"],
    [8, [], "a sample, items: an array has 0 values where 1 to 3 are expected"],
    [8, [[1], [1], [1], [1]], "a sample, items: an array has 4 values where 1 to 3 are expected"],
    [8, [[1, 2]], "a sample, items: an item has 1 value, not 2"],
    [8, [["x"]], "a sample, items: an item, id: expected a number"],
    [9, 0, "a sample, later: not supported in this version: send nil"],
    [10, 1, "a sample, laterNumber: not supported in this version: send 0"],
    [0, 13, "13 is unlucky"],
  ];
  test.each(WRONG)("whose value %d is %p is refused by name", (at, wrong, message) => {
    const bytes = bytesOf(VALUES.with(at, wrong as never));
    expect(() => decode(sample, bytes)).toThrow(Malformed);
    expect(() => decode(sample, bytes)).toThrow(message);
  });

  test("with a value too few or too many is refused", () => {
    expect(() => decode(sample, bytesOf(VALUES.slice(0, -1)))).toThrow("a sample has 11 values, not 10");
    expect(() => decode(sample, bytesOf([...VALUES, 1]))).toThrow("a sample has 11 values, not 12");
    expect(() => decode(sample, bytesOf([...VALUES, ...Array(40).fill(1)]))).toThrow("more than the");
  });
});

type Message =
  | { readonly type: "first"; readonly id: number; readonly data: Uint8Array }
  | { readonly type: "other"; readonly later: number };
const messages = union<Message>("message", {
  first: kind("first", 1, { id: uint(), data: binaryView(200_000) }),
  other: kind("other", 2, { later: zero }),
});

describe("a union", () => {
  test("is distinguished by the number in front", () => {
    for (const message of [
      { type: "first", id: 5, data: Uint8Array.of(9) },
      { type: "other", later: 0 },
    ] as const) {
      expect(messages.decode(messages.encode(message))).toEqual(message);
    }
    expect(messages.encode({ type: "first", id: 5, data: Uint8Array.of(9) }).toHex()).toBe("930105c40109");
  });

  test("refuses what is none of its members, by name", () => {
    const refusals: readonly (readonly [unknown, string])[] = [
      [[3, 1], "the message type 3 is unknown"],
      [["one", 1], "expected a number: which message it is"],
      [[1, 5], "a first has 3 values, not 2"],
      [[2], "an other has 2 values, not 1"],
      [[2, 1], "an other, later: not supported in this version: send 0"],
      [7, "expected an array"],
    ];
    for (const [values, message] of refusals) expect(() => messages.decode(bytesOf(values))).toThrow(message);
  });

  test("binaries that may be views are; the others never are", () => {
    const long = new Uint8Array(COPIED_BYTES * 2).fill(4);
    const input = messages.encode({ type: "first", id: 1, data: long });
    const read = messages.decode(input);
    input.fill(0);
    expect(read).toMatchObject({ data: new Uint8Array(COPIED_BYTES * 2) });
    const own = tuple<{ readonly data: Uint8Array }>("a holder", { data: binary(200_000) });
    const held = encode(own, { data: long });
    const kept = decode(own, held);
    held.fill(0);
    expect(kept.data).toEqual(long);
  });
});
