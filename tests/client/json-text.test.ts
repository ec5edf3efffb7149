// Is a value that JSON would change refused, with the place of what is wrong, and everything else taken as JSON.stringify does?
import { expect, test } from "bun:test";
import { jsonTextOf } from "../../src/client/json-text.ts";
import { RaftqError } from "../../src/lib/errors.ts";

function refusal(value: unknown, name = "value"): string {
  try {
    return `taken: ${jsonTextOf(value, name)}`;
  } catch (error) {
    if (error instanceof RaftqError && error.code === "USAGE") return error.message;
    throw error;
  }
}
const cannot = (what: string): string => `${what}, which JSON cannot hold: it would be changed or left out`;

test.each([
  ["value is NaN", NaN],
  ["value is Infinity", Infinity],
  ["value is -Infinity", -Infinity],
  ["value is NaN", Object(NaN)],
  ["value is a BigInt", 1n],
  ["value is a BigInt", Object(1n)],
  ["value is undefined", undefined],
  ["value is a function", () => 1],
  ["value is a symbol", Symbol("x")],
  ["value is a Map", new Map([[1, 2]])],
  ["value is a Set", new Set([1])],
  ["value is a WeakMap", new WeakMap()],
  ["value is a WeakSet", new WeakSet()],
  ["value is a Promise", Promise.resolve(1)],
  ["value is a RegExp", /x/],
  ["value is an Error", new Error("x")],
  ["value is an Error", new TypeError("x")],
  ["value is a Uint8Array", new Uint8Array(2)],
  ["value is a Float64Array", new Float64Array(2)],
  ["value is a DataView", new DataView(new ArrayBuffer(2))],
  ["value is an ArrayBuffer", new ArrayBuffer(2)],
  ["value is a SharedArrayBuffer", new SharedArrayBuffer(2)],
  ["value is an invalid Date", new Date(NaN)],
  ["value has a key that is a symbol", { [Symbol("x")]: 1 }],
  ["value.items[3] is NaN", { items: [1, 2, 3, NaN] }],
  ["value[0][0] is a Map", [[new Map()]]],
  ['value.a["b c"] is undefined', { a: { "b c": undefined } }],
  ['value[""]["\\u001b"] is Infinity', { "": { "\u001b": Infinity } }],
  ['value["\\u009b"] is a BigInt', { "\u009b": 1n }],
  ["value[0] is undefined", Array.from({ length: 2 })],
  ["value[1] is undefined", Object.assign([1], { 3: 4 })],
  ["value.at is an invalid Date", { at: new Date(NaN) }],
  ["value.made.deep[0] is a Set", { made: { toJSON: () => ({ deep: [new Set()] }) } }],
  ["value.bad.a is NaN", { twice: [{ a: 1 }], bad: { a: NaN } }],
] as const)("%s: refused", (what, value) => {
  expect(refusal(value)).toBe(cannot(what));
});

test("the place of one of several values begins with which one it is", () => {
  expect(refusal({ a: [0n] }, "values[7]")).toBe(cannot("values[7].a[0] is a BigInt"));
});

test("the same object at two places is named by the one that is wrong; one that holds itself is refused", () => {
  const shared = { n: 1 };
  expect(jsonTextOf({ a: shared, b: [shared] }, "value")).toBe('{"a":{"n":1},"b":[{"n":1}]}');
  const loop: Record<string, unknown> = { a: {} };
  loop["a"] = { back: loop };
  expect(refusal(loop)).toBe("value.a.back is an object that holds itself: JSON has no end for it");
  const list: unknown[] = [];
  list.push([list]);
  expect(refusal(list)).toBe("value[0][0] is an object that holds itself: JSON has no end for it");
});

test("whatever JSON holds is what JSON.stringify makes of it", () => {
  class Point {
    x = 1;
    readonly hidden = (): number => this.x;
    toJSON(): unknown {
      return { x: this.x };
    }
  }
  class Plain {
    y = 2;
  }
  let calls = 0;
  const once = { toJSON: () => ++calls };
  const values = [
    null,
    true,
    -0.5,
    "text \ud800 \u2028",
    [],
    {},
    Object.create(null),
    new Date(0),
    { when: new Date(1), url: new URL("http://a/b"), bytes: Buffer.from("x") },
    new Point(),
    new Plain(),
    Object(7),
    Object("s"),
    [[{ a: [null, { b: "c" }] }]],
  ];
  for (const value of values) expect(jsonTextOf(value, "value")).toBe(JSON.stringify(value));
  expect(jsonTextOf({ once }, "value")).toBe('{"once":1}');
  expect(calls).toBe(1);
});
