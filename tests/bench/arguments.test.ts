import { expect, test } from "bun:test";
import { parseOptions } from "./arguments.ts";

test("without flags raftq alone is measured, as tables", () => {
  expect(parseOptions([])).toEqual({ help: false, peers: false, only: null, quick: false, steady: null, json: null });
});

test("--json is followed by a file or stands alone", () => {
  expect(parseOptions(["--json"]).json).toEqual({ file: null });
  expect(parseOptions(["--json", "out.json", "--peers"])).toMatchObject({ json: { file: "out.json" }, peers: true });
  expect(parseOptions(["--json", "--peers"])).toMatchObject({ json: { file: null }, peers: true });
});

test("--only takes names of systems", () => {
  expect(parseOptions(["--peers", "--only", "raftq,ceiling"]).only).toEqual(["raftq", "ceiling"]);
  expect(() => parseOptions(["--peers", "--only", "raftq,kafka"])).toThrow('not "kafka"');
  expect(() => parseOptions(["--peers", "--only"])).toThrow("--only takes");
});

test("a flag that would have no effect is refused", () => {
  expect(() => parseOptions(["--quick"])).toThrow("need --peers");
  expect(() => parseOptions(["--only", "raftq"])).toThrow("need --peers");
  expect(() => parseOptions(["--peer"])).toThrow("there is no --peer");
});

test("--steady takes minutes, and --load a share of what the nodes can do", () => {
  expect(parseOptions(["--steady", "10"]).steady).toEqual({ minutes: 10, load: null });
  expect(parseOptions(["--steady", "10", "--load", "70"]).steady).toEqual({ minutes: 10, load: 0.7 });
  expect(() => parseOptions(["--steady"])).toThrow("--steady takes a whole number from 1 to");
  expect(() => parseOptions(["--steady", "1", "--load", "170"])).toThrow("from 1 to 100");
  expect(() => parseOptions(["--load", "70"])).toThrow("needs --steady");
  expect(() => parseOptions(["--steady", "1", "--peers"])).toThrow("without --peers");
});
