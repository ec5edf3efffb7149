// What does one typed line mean, and does a value stay as it was typed?
import { describe, expect, test } from "bun:test";
import { isJson, parseLine } from "../../src/cli/commands.ts";
import { enqueueJson } from "../../src/cli/requests.ts";
import { valueText } from "../../src/cli/output.ts";
import { ENCODING } from "../../src/queue/types.ts";

const NO_RANGE = { from: null, to: null, node: null };

describe("a line", () => {
  test.each([
    ["enqueue(42)", "42"],
    ["enqueue 42", "42"],
    ["  ENQUEUE ( 42 )  ", "42"],
    ["Enqueue\t42", "42"],
    ["enqueue(-5)", "-5"],
    ["enqueue -5", "-5"],
    ['enqueue({"a":[1, 2]})', '{"a":[1, 2]}'],
    ['enqueue "a)"', '"a)"'],
    ['enqueue("(")', '"("'],
    ["enqueue([])", "[]"],
    ["enqueue null", "null"],
  ])("%p enqueues %p", (line, json) => {
    expect(parseLine(line)).toEqual({ type: "enqueue", json });
  });

  test.each(["dequeue", "DEQUEUE", " dequeue ( ) ", "dequeue()"])("%p dequeues", (line) => {
    expect(parseLine(line)).toEqual({ type: "dequeue" });
  });

  test.each(["", "   ", "\t", "# enqueue(1)", "  #"])("%p says nothing", (line) => {
    expect(parseLine(line)).toEqual({ type: "nothing" });
  });

  test.each([
    ["-1", { type: "leave" }],
    [" -1\r", { type: "leave" }],
    ["log", { type: "log", range: NO_RANGE }],
    ["LOG()", { type: "log", range: NO_RANGE }],
    ["log --from 3 --to=9", { type: "log", range: { from: 3, to: 9, node: null } }],
    ["log --node n2", { type: "log", range: { from: null, to: null, node: "n2" } }],
    ["status", { type: "status" }],
    ["retry", { type: "retry" }],
    ["explain on", { type: "explain", on: true }],
    ["EXPLAIN Off", { type: "explain", on: false }],
    ["help", { type: "help" }],
    ["help enqueue", { type: "help" }],
  ] as const)("%p is understood", (line, command) => {
    expect(parseLine(line)).toEqual(command);
  });

  test.each([
    ["enqueue(abc)", "enqueue", 'not an integer or JSON; did you mean enqueue("abc")?'],
    ["enqueue 007", "enqueue", 'not an integer or JSON; did you mean enqueue("007")?'],
    ["enqueue(1) 2", "enqueue", 'one command a line: "2" stands behind the closing bracket'],
    ["enqueue(1", "enqueue", "the closing bracket is missing: write enqueue(1)"],
    ["enqueue 1)", "enqueue", 'not an integer or JSON; did you mean enqueue("1)")?'],
    ["enqu(1)", null, 'unknown command "enqu"; did you mean enqueue?'],
    ["dequue", null, 'unknown command "dequue"; did you mean dequeue?'],
    ["42", null, "a value alone is no command; did you mean enqueue(42)?"],
    ["dequeue 3", "dequeue", "dequeue takes no value: write dequeue alone"],
    ["explain", null, "explain is on or off: explain on"],
  ])("%p is refused with what was probably meant", (line, verb, message) => {
    expect(parseLine(line)).toEqual({ type: "bad", verb: verb as never, message });
  });

  test.each([
    "enqueue",
    "enqueue()",
    "enqueue( )",
    "log --from",
    "log --from 0",
    "log --from x",
    "log 3",
    "constructor",
    "__proto__",
    "toString()",
  ])("%p is refused", (line) => {
    expect(parseLine(line).type).toBe("bad");
  });
});

describe("JSON text", () => {
  test.each([
    "123456789012345678901234567890",
    "-0",
    "1e400",
    "0.1000000000000000000000000001",
    '{"b":1,"a":2,"b":3}',
    '{"__proto__":1}',
    '"\\u00e9 é 😀 \\ud800"',
    "[ 1 ,\t2 ]",
    "true",
  ])("%p is stored and shown as it was typed", (json) => {
    const command = parseLine(`enqueue(${json})`);
    expect(command).toEqual({ type: "enqueue", json });
    const request = enqueueJson(json);
    expect(request.type === "enqueue" && valueText(request.jobs[0]!)).toBe(json);
  });

  test.each([
    "",
    "+1",
    "01",
    "1.",
    ".5",
    "NaN",
    "Infinity",
    "0x10",
    "'a'",
    "{a:1}",
    "[1,]",
    '"a',
    "1 2",
    "\u00a01",
    "undefined",
    "1n",
  ])("%p is none", (text) => {
    expect(isJson(text)).toBe(false);
  });

  test("nested deeper than the engine can follow is refused or taken, never a crash", () => {
    const deep = `${"[".repeat(200_000)}${"]".repeat(200_000)}`;
    expect(typeof isJson(deep)).toBe("boolean");
  });
});

describe("a stored value", () => {
  test("that is not JSON, or not UTF-8 although it says JSON, is shown as base64", () => {
    expect(valueText({ encoding: ENCODING.bytes, payload: new Uint8Array([1, 2]) })).toBe('{"base64":"AQI="}');
    expect(valueText({ encoding: ENCODING.json, payload: new Uint8Array([0xff]) })).toBe('{"base64":"/w=="}');
    expect(valueText({ encoding: ENCODING.json, payload: new TextEncoder().encode("nope") })).toBe(
      '{"base64":"bm9wZQ=="}',
    );
    expect(valueText({ encoding: 77, payload: new TextEncoder().encode("1") })).toBe('{"base64":"MQ=="}');
  });

  test("stays one line although its producer wrote several", () => {
    expect(valueText({ encoding: ENCODING.json, payload: new TextEncoder().encode('{\n  "a": 1\r\n}') })).toBe(
      '{   "a": 1 }',
    );
  });
});
