// Is every mistake in a command line told, with what was probably meant?
import { describe, expect, test } from "bun:test";
import { type Arguments, parseArguments } from "../../src/cli/arguments.ts";
import { RaftqError } from "../../src/lib/errors.ts";

const DEFINITION = {
  node: { type: "text", positional: true, description: "a node" },
  count: { type: "integer", min: 1, max: 9, positional: true, default: 3, description: "how many" },
  port: { type: "integer", min: 0, max: 65_535, default: 3000, environment: "RAFTQ_PORT", description: "the port" },
  join: { type: "list", valueHint: "a:1,b:2", description: "whom to join" },
  heartbeat: { type: "duration", default: 50, description: "how often" },
  "log-format": { type: "choice", options: ["text", "json"], default: "text", description: "how lines look" },
  "no-follow": { type: "boolean", alias: "n", environment: "RAFTQ_NO_FOLLOW", description: "stay" },
} as const satisfies Arguments;

const parse = (words: string[], environment: Record<string, string> = {}) =>
  parseArguments(DEFINITION, words, environment);
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
      join: undefined,
      heartbeat: 50,
      "log-format": "text",
      "no-follow": false,
    });
  });

  test("are read in every form", () => {
    expect(
      parse(["n1", "--port", "0", "--join=a:1, b:2", "--heartbeat", "1.5s", "-n", "5", "--log-format", "json"]),
    ).toEqual({
      node: "n1",
      count: 5,
      port: 0,
      join: ["a:1", "b:2"],
      heartbeat: 1_500,
      "log-format": "json",
      "no-follow": true,
    });
  });

  test("come from the environment unless they are given", () => {
    expect(parse([], { RAFTQ_PORT: "4000", RAFTQ_NO_FOLLOW: "1" })).toMatchObject({ port: 4000, "no-follow": true });
    expect(parse(["--port", "5000"], { RAFTQ_PORT: "4000" }).port).toBe(5000);
    expect(parse([], { RAFTQ_PORT: "" }).port).toBe(3000);
    expect(refusal([], { RAFTQ_PORT: "x" })).toBe('RAFTQ_PORT is a whole number from 0 to 65535, not "x".');
  });

  test("may be negative numbers, or anything behind two dashes", () => {
    expect(parse(["-5"]).node).toBe("-5");
    expect(parse(["--", "--port"]).node).toBe("--port");
  });
});

describe("a mistake", () => {
  test.each([
    [["--prot", "1"], "unknown flag --prot. Did you mean --port?"],
    [["--quite-another"], "unknown flag --quite-another."],
    [["-x"], "unknown flag -x."],
    [["--constructor"], "unknown flag --constructor."],
    [["--port"], "--port needs a value: --port 3000"],
    [["--port", "--no-follow"], "--port needs a value: --port 3000"],
    [["--heartbeat"], "--heartbeat needs a value: --heartbeat 5s"],
    [["--log-format"], "--log-format needs a value: --log-format text|json"],
    [["--port", "70000"], '--port is a whole number from 0 to 65535, not "70000".'],
    [["--port", "-5"], '--port is a whole number from 0 to 65535, not "-5".'],
    [["--port="], '--port is a whole number from 0 to 65535, not "".'],
    [["--port", "1", "--port", "2"], "--port was given twice: give it once."],
    [["--heartbeat", "5"], '--heartbeat is a duration such as 50ms, 5s or 0, not "5".'],
    [["--join", "a,,b"], '--join is a list between commas (a:1,b:2), not "a,,b".'],
    [["--log-format", "jsno"], '--log-format is one of text, json, not "jsno". Did you mean json?'],
    [["--no-follow=yes"], "--no-follow takes no value: write --no-follow alone."],
    [["n1", "0"], '<count> is a whole number from 1 to 9, not "0".'],
    [["n1", "2", "more"], '"more" is one word too many here.'],
  ])("%p is refused: %p", (words, message) => {
    expect(refusal(words)).toBe(message);
  });
});
