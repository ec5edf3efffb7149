// Can text from elsewhere act on a terminal?
import { expect, test } from "bun:test";
import { escapeText } from "../../src/cli/escape.ts";
import { formatFailure, formatOutcome } from "../../src/cli/output.ts";
import { failure } from "../../src/lib/errors.ts";
import { ENCODING } from "../../src/queue/types.ts";

const DANGEROUS: readonly (readonly [string, number, number])[] = [
  ["C0 controls, with ESC, CR, LF and TAB", 0x00, 0x1f],
  ["DEL and C1 controls, with CSI and OSC", 0x7f, 0x9f],
  ["marks of direction", 0x200e, 0x200f],
  ["overrides and embeddings", 0x202a, 0x202e],
  ["isolates", 0x2066, 0x2069],
  ["line and paragraph separators", 0x2028, 0x2029],
  ["halves of surrogate pairs", 0xd800, 0xdfff],
];

test.each(DANGEROUS)("%s are written as escapes", (_, from, to) => {
  for (let code = from; code <= to; code++) {
    expect(escapeText(`a${String.fromCharCode(code)}b`)).toBe(`a\\u${code.toString(16).padStart(4, "0")}b`);
  }
});

test("tags that hide text are written as escapes", () => {
  expect(escapeText("\u{e0041}")).toBe("\\udb40\\udc41");
});

test.each(["plain", "ä ß 漢字 😀 👩‍👩", "\\u001b stays as typed", '{"a":"b"}'])(
  "%p reads as before, apart from joiners",
  (text) => {
    expect(escapeText(text).replaceAll("\\u200d", "\u200d")).toBe(text);
  },
);

test("JSON text keeps its value", () => {
  const value = { a: "\u009b31m\u202e\u2028\u007f", "\u009d": ["\u{e0041}"] };
  expect(JSON.parse(escapeText(JSON.stringify(value)))).toEqual(value);
});

test("a value cannot move the cursor of a terminal, and is untouched elsewhere", () => {
  const payload = new TextEncoder().encode('"\u009b2J\u202e"');
  const reply = { type: "dequeued", index: 3, jobs: [{ id: 1, encoding: ENCODING.json, payload }] } as const;
  const outcome = { ok: true, number: 1, reply, duplicate: false } as const;
  expect(formatOutcome({ type: "dequeue", max: null }, outcome, { json: false, terminal: true })).toBe(
    '"\\u009b2J\\u202e"',
  );
  expect(formatOutcome({ type: "dequeue", max: null }, outcome, { json: false, terminal: false })).toBe(
    '"\u009b2J\u202e"',
  );
});

test("an error's message cannot fake a second answer", () => {
  const why = failure("BAD_REQUEST", "x\nok id=1 index=4");
  expect(formatFailure("enqueue", why, { json: false, terminal: false })).toBe(
    "error BAD_REQUEST: x\\u000aok id=1 index=4",
  );
});
