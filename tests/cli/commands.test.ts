// What does one typed line mean, and does a value stay as it was typed?
import { describe, expect, test } from "bun:test";
import { parseLine } from "../../src/cli/commands.ts";
import { valueText } from "../../src/cli/output.ts";
import { requestOf, tooLarge } from "../../src/cli/requests.ts";
import { isJson, splitAtCommas } from "../../src/cli/values.ts";
import { QUEUE, WIRE } from "../../src/config.ts";
import { type Random, seededRandom } from "../../src/lib/random.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { ENCODING } from "../../src/queue/types.ts";

const HOW_MANY = "dequeue takes how many jobs, 1 to 1000, or nothing for one: dequeue(10)";
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
    expect(parseLine(line)).toEqual({ type: "enqueue", values: [json] });
  });

  test.each([
    ['enqueue(1, 2, {"a": 3})', ["1", "2", '{"a": 3}']],
    ["enqueue 1,2", ["1", "2"]],
    ["enqueue(12345678901234567890 , -0,1e400)", ["12345678901234567890", "-0", "1e400"]],
    ['enqueue("a,b", "\\",", [1, [2]], {"c": ","})', ['"a,b"', '"\\","', "[1, [2]]", '{"c": ","}']],
    ["enqueue([1,2], [])", ["[1,2]", "[]"]],
  ])("%p enqueues several values, each as it was typed", (line, values) => {
    expect(parseLine(line)).toEqual({ type: "enqueue", values });
  });

  test.each(["enqueue [1,2]", "enqueue([1,2])", "enqueue [1, 2] "])("%p enqueues one array", (line) => {
    expect(parseLine(line)).toMatchObject({ type: "enqueue", values: [expect.stringMatching(/^\[1, ?2\]$/)] });
  });

  test("enqueues up to 1,000 values, and no more", () => {
    const line = (count: number): string => `enqueue(${Array.from({ length: count }, (_, at) => at).join(",")})`;
    expect(parseLine(line(1_000))).toMatchObject({ type: "enqueue", values: { length: 1_000 } });
    const message = "one command enqueues at most 1000 values; these are 1001";
    expect(parseLine(line(1_001))).toEqual({ type: "bad", verb: "enqueue", message });
  });

  test.each(["dequeue", "DEQUEUE", " dequeue ( ) ", "dequeue()"])("%p dequeues one", (line) => {
    expect(parseLine(line)).toEqual({ type: "dequeue", max: null });
  });

  test.each([
    ["dequeue 10", 10],
    ["dequeue(10)", 10],
    [" Dequeue ( 1 ) ", 1],
    ["dequeue 1000", 1_000],
  ])("%p dequeues up to %p", (line, max) => {
    expect(parseLine(line)).toEqual({ type: "dequeue", max });
  });

  test.each(["", "   ", "\t", "# enqueue(1)", "  #"])("%p is no command", (line) => {
    expect(parseLine(line)).toEqual({ type: "nothing" });
  });

  test.each([
    ["-1", { type: "leave" }],
    [" -1\r", { type: "leave" }],
    ["exit", { type: "leave" }],
    ["Quit()", { type: "leave" }],
    ["exit;", { type: "leave" }],
    ["?", { type: "help" }],
    ["log", { type: "log", range: NO_RANGE }],
    ["LOG()", { type: "log", range: NO_RANGE }],
    ["log --from 3 --to=9", { type: "log", range: { from: 3, to: 9, node: null } }],
    ["log --node n2", { type: "log", range: { from: null, to: null, node: "n2" } }],
    ["status", { type: "status" }],
    ["Peek ( )", { type: "peek" }],
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
    ['enqueue("a" "b")', "enqueue", 'not an integer or JSON; did you mean enqueue("\\"a\\" \\"b\\"")?'],
    ["enqueue(hello, world)", "enqueue", 'not an integer or JSON; did you mean enqueue("hello, world")?'],
    ["enqueue(1, abc, 3)", "enqueue", 'value 2 is not an integer or JSON; did you mean "abc"?'],
    ["enqueue(1,, 3)", "enqueue", "value 2 is missing: write one comma between two values"],
    ["enqueue(1, 2,)", "enqueue", "value 3 is missing: write one comma between two values"],
    ["dequeue 0", "dequeue", HOW_MANY],
    ["dequeue(1001)", "dequeue", HOW_MANY],
    ["dequeue -1", "dequeue", HOW_MANY],
    ["dequeue 1.5", "dequeue", HOW_MANY],
    ["dequeue 2, 3", "dequeue", HOW_MANY],
    ["peek 2", null, "peek takes no value: write peek alone"],
    ["peak", null, 'unknown command "peak"; did you mean peek?'],
    ["status 3", null, "status takes no value: write status alone"],
    ["explain", null, "explain is on or off: explain on"],
    ["exit 3", null, "exit takes no value: write exit alone"],
    ["exti", null, 'unknown command "exti"; did you mean exit?'],
  ])("%p is refused with what was probably meant", (line, verb, message) => {
    expect(parseLine(line)).toMatchObject({ type: "bad", verb: verb as never, message });
  });

  test.each([
    "enqueue",
    "enqueue()",
    "enqueue( )",
    "enqueue(1,\u00a02)",
    "enqueue(1],[2)",
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
    expect(command).toEqual({ type: "enqueue", values: [json] });
    const request = requestOf({ type: "enqueue", values: [json] });
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

describe("values between commas", () => {
  const SOUND = ["1", "-0", '"a,b"', String.raw`"\\"`, String.raw`"\",["`, '{"k,":[1,2]}', "[[],{}]", '"é"'];
  const BROKEN = ['"', "\\", "[", "]", "{", "}", ":", "", '"k":1'];
  const SPACES = ["", "", " ", "\t", "\n"];

  /** Values between commas, in some texts with pieces that make them something else, or nothing. */
  function nearlyJson(random: Random): string {
    const pick = (from: readonly string[]): string => from[random.below(from.length)]!;
    const brokenPercent = pick(["0", "10", "60"]);
    const pieces = Array.from({ length: random.between(1, 8) }, () => {
      const isBroken = random.chance(Number(brokenPercent));
      const space = isBroken && random.chance(20) ? "\u00a0" : pick(SPACES);
      return pick(SPACES) + pick(isBroken ? BROKEN : SOUND) + space;
    });
    return pieces.reduce((text, piece) => text + (random.chance(Number(brokenPercent) / 4) ? "" : ",") + piece);
  }

  const parsed = (text: string): unknown[] | undefined => {
    try {
      return JSON.parse(text) as unknown[];
    } catch {
      return undefined;
    }
  };

  test("are what JSON.parse finds between the brackets of an array, and no other text is taken", () => {
    const random = seededRandom(7);
    let taken = 0;
    for (let round = 0; round < 30_000; round++) {
      const text = nearlyJson(random);
      if (text.trim() === "") continue;
      const pieces = splitAtCommas(text);
      expect(pieces.join(",").replaceAll(/[ \t\n]/g, "")).toBe(text.replaceAll(/[ \t\n]/g, ""));
      if (pieces.every(isJson)) expect(pieces.filter((piece) => piece !== piece.trim())).toEqual([]);
      const values = pieces.every(isJson) ? pieces.map(parsed) : undefined;
      expect<unknown>([text, values]).toEqual([text, parsed(`[${text}]`)]);
      if (values !== undefined && values.length > 1) taken++;
    }
    expect(taken).toBeGreaterThan(8_000);
    expect(taken).toBeLessThan(22_000);
  });

  test("fit one frame when they are as many and as large as may be", () => {
    const large = (bytes: number): string => `"${"x".repeat(bytes - 2)}"`;
    const values = Array.from({ length: 1_000 }, () => large(Math.floor(WIRE.maxPayloadBytes / 1_000)));
    values[0] = large(values[0]!.length + WIRE.maxPayloadBytes - values.join("").length);
    expect(tooLarge({ type: "enqueue", values })).toBeNull();
    const frame = encodeCommand(requestOf({ type: "enqueue", values })).length + 64;
    expect(values).toHaveLength(QUEUE.maxJobsPerCommand);
    expect(frame).toBeLessThan(WIRE.maxClientFrameBytes);
    expect(tooLarge({ type: "enqueue", values: [...values.slice(1), `${values[0]!} `] })?.code).toBe("TOO_LARGE");
  });
});

describe("a stored value", () => {
  test("that is not JSON, or not UTF-8 although it is marked as JSON, is shown as base64", () => {
    expect(valueText({ encoding: ENCODING.bytes, payload: new Uint8Array([1, 2]) })).toBe("base64:AQI=");
    expect(valueText({ encoding: ENCODING.json, payload: new Uint8Array([0xff]) })).toBe("base64:/w==");
    expect(valueText({ encoding: ENCODING.json, payload: new TextEncoder().encode("nope") })).toBe("base64:bm9wZQ==");
    expect(valueText({ encoding: 77, payload: new TextEncoder().encode("1") })).toBe("base64:MQ==");
  });

  test("stays one line although its producer wrote several", () => {
    expect(valueText({ encoding: ENCODING.json, payload: new TextEncoder().encode('{\n  "a": 1\r\n}') })).toBe(
      '{   "a": 1 }',
    );
  });
});
