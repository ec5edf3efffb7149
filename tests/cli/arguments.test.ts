// Is every mistake in a command line reported, with what was probably meant?
import { describe, expect, test } from "bun:test";
import { parseArgs } from "citty";
import { type Arguments, checked, valuesOf } from "../../src/cli/arguments.ts";
import { choice, duration, integer, list } from "../../src/cli/conversions.ts";
import { RaftqError } from "../../src/lib/errors.ts";

const DEFINITION = {
  node: { type: "positional", required: false, description: "a node" },
  count: { type: "positional", convert: integer(1, 9), default: "3", description: "how many" },
  port: {
    type: "string",
    convert: integer(0, 65_535),
    default: "3000",
    environment: "RAFTQ_PORT",
    description: "the port",
  },
  data: { type: "string", valueHint: "directory", description: "where" },
  join: { type: "string", convert: list, description: "whom to join" },
  heartbeat: { type: "string", convert: duration, default: "50ms", description: "how often" },
  "log-format": { type: "string", convert: choice("text", "json"), default: "text", description: "how lines look" },
  detach: { type: "boolean", alias: "d", environment: "RAFTQ_DETACH", description: "return" },
  follow: { type: "boolean", default: true, description: "go on", negativeDescription: "stay" },
} as const satisfies Arguments;

/** As the program does: the check, then citty, then the conversions. */
function parse(words: string[], environment: Record<string, string> = {}) {
  const rawArgs = [...checked(DEFINITION, words)];
  return valuesOf(DEFINITION, { args: parseArgs(rawArgs, DEFINITION), rawArgs }, environment);
}
function refusal(words: string[], environment: Record<string, string> = {}): string {
  try {
    parse(words, environment);
  } catch (error) {
    if (error instanceof RaftqError && error.code === "USAGE") return error.message;
    throw error;
  }
  throw new Error(`${words.join(" ")} was accepted`);
}

describe("arguments", () => {
  test("that are not given have their defaults, or are undefined", () => {
    expect(parse([])).toEqual({
      node: undefined,
      count: 3,
      port: 3000,
      data: undefined,
      join: undefined,
      heartbeat: 50,
      "log-format": "text",
      detach: false,
      follow: true,
    });
  });

  test("are read in every form", () => {
    expect(
      parse([
        "n1",
        "--port",
        "0",
        "--join=a:1, b:2",
        "--heartbeat",
        "1.5s",
        "-d",
        "5",
        "--log-format",
        "json",
        "--no-follow",
        "--data=a=b",
      ]),
    ).toEqual({
      node: "n1",
      count: 5,
      port: 0,
      data: "a=b",
      join: ["a:1", "b:2"],
      heartbeat: 1_500,
      "log-format": "json",
      detach: true,
      follow: false,
    });
  });

  test("come from the environment unless they are given", () => {
    expect(parse([], { RAFTQ_PORT: "4000", RAFTQ_DETACH: "1" })).toMatchObject({ port: 4000, detach: true });
    expect(parse(["--port", "5000"], { RAFTQ_PORT: "4000" }).port).toBe(5000);
    expect(parse([], { RAFTQ_PORT: "" }).port).toBe(3000);
    expect(refusal([], { RAFTQ_PORT: "x" })).toBe('RAFTQ_PORT is a whole number from 0 to 65535, not "x".');
    expect(parse(["--detach"], { RAFTQ_DETACH: "0" }).detach).toBe(true);
    expect(parse(["--port", "3000"], { RAFTQ_PORT: "4000" }).port).toBe(3000);
    expect(refusal([], { RAFTQ_DETACH: "yes" })).toBe('RAFTQ_DETACH is one of 1, true, 0, false, not "yes".');
  });

  test("may be negative numbers, or anything behind two dashes", () => {
    expect(parse(["-5"]).node).toBe("-5");
    expect(parse(["--data", "-5", "--port", "1", "-0.5e3"])).toMatchObject({ data: "-5", port: 1, node: "-0.5e3" });
    expect(parse(["--", "--port"], { RAFTQ_PORT: "4000" })).toMatchObject({ node: "--port", port: 4000 });
    expect(parse(["--data=--port"]).data).toBe("--port");
    for (const word of ["--port", "--help", "--no-follow", "--"]) {
      expect(parse(["--", word])).toMatchObject({ node: word, port: 3000, follow: true });
    }
  });
});

describe("a mistake", () => {
  test.each([
    [["--prot", "1"], "unknown flag --prot. Did you mean --port?"],
    [["--quite-another"], "unknown flag --quite-another."],
    [["-x"], "unknown flag -x."],
    [["--constructor"], "unknown flag --constructor."],
    [["--folow"], "unknown flag --folow. Did you mean --follow?"],
    [["--no-folow"], "unknown flag --no-folow. Did you mean --no-follow?"],
    [["--no-detach"], "unknown flag --no-detach. Did you mean --detach?"],
    [["--no-quite-another"], "unknown flag --no-quite-another."],
    [["--logFormat", "json"], "unknown flag --logFormat. Did you mean --log-format?"],
    [["--__proto__=1"], "unknown flag --__proto__."],
    [["-dd"], "unknown flag -dd."],
    [["--node", "n1"], "unknown flag --node."],
    [["--data"], "--data needs a value: --data directory"],
    [["--data="], "--data is empty: give it a value."],
    [["--port"], "--port needs a value: --port 3000"],
    [["--port", "--follow"], "--port needs a value: --port 3000"],
    [["--heartbeat"], "--heartbeat needs a value: --heartbeat 50ms"],
    [["--log-format"], "--log-format needs a value: --log-format text"],
    [["--port", "70000"], '--port is a whole number from 0 to 65535, not "70000".'],
    [["--port", "-5"], '--port is a whole number from 0 to 65535, not "-5".'],
    [["--port="], '--port is a whole number from 0 to 65535, not "".'],
    [["--port", "1", "--port", "2"], "--port was given twice: give it once."],
    [["--heartbeat", "5"], '--heartbeat is a duration such as 50ms, 5s or 0, not "5".'],
    [["--join", "a,,b"], '--join is a list between commas (host:port,host:port), not "a,,b".'],
    [["--log-format", "jsno"], '--log-format is one of text, json, not "jsno". Did you mean json?'],
    [["--no-follow=yes"], "--no-follow takes no value: write --no-follow alone."],
    [["--follow", "--no-follow"], "--no-follow was given twice: give it once."],
    [["n1", "0"], '<count> is a whole number from 1 to 9, not "0".'],
    [["n1", "2", "more"], '"more" is one word too many here.'],
  ])("%p is refused: %p", (words, message) => {
    expect(refusal(words)).toBe(message);
  });

  test("in a flag of another command is reported with what that flag is for", () => {
    const others = { from: { type: "string", description: "log: the first entry" } } as const satisfies Arguments;
    expect(() => checked(DEFINITION, ["--from", "3"], others)).toThrow(
      "--from does not go with this command (log: the first entry).",
    );
  });

  test("of a word that is missing is reported with what belongs there", () => {
    const needs = { node: { type: "positional", required: true, description: "A node" } } as const satisfies Arguments;
    expect(() => checked(needs, [])).toThrow("<node> is missing: A node.");
  });
});
