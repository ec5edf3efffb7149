// Does a planted bug find the function that it breaks, wherever that is, and is it reported when it does not?
import { expect, test } from "bun:test";
import { applyEdits, createAnchors } from "./anchors.ts";
import { MUTANTS, mutated } from "./mutants.ts";

const LOG = `
/** append(entry) is explained here. */
export const LIMIT = 10, NAMES = { first: "a" };
interface Log { append(entry: string): void; }
export function append(log: string[], entry: string): void {
  const LIMIT_HERE = LIMIT;
  if (log.length < LIMIT_HERE) log.push(entry);
  const again = (times: number): void => { if (times > 0) log.push(entry); };
  again(log.length);
}
`;
const SERVER = `
export function create() {
  return {
    close: (why: string) => console.log(why),
    "last-word": function () { return "bye"; },
    send(message: string) { return /}/.test(message); },
    get size() { return 1; },
  };
}
class Session {
  #count = 0;
  touch = (): void => { this.#count++; };
  end(): number { return this.#count; }
}
`;

const anchors = createAnchors(
  new Map([
    ["src/raft/log.ts", LOG],
    ["src/server/server.ts", SERVER],
    ["src/queue/log.ts", "export const append = (text: string): string => `${text}}`;"],
  ]),
);

const found = (anchor: string, text: string): string => {
  const { file, start, end } = anchors.spanOf(anchor, text);
  return `${file}: ${anchors.sources.get(file)?.slice(start, end)}`;
};

test("a function is found in whatever form it is declared", () => {
  expect(found("create", "return {")).toBe("src/server/server.ts: return {");
  expect(found("again", "log.push")).toBe("src/raft/log.ts: log.push");
  expect(found("close", "console.log")).toBe("src/server/server.ts: console.log");
  expect(found("last-word", "bye")).toBe("src/server/server.ts: bye");
  expect(found("send", "test(message)")).toBe("src/server/server.ts: test(message)");
  expect(found("size", "return 1")).toBe("src/server/server.ts: return 1");
  expect(found("touch", "this.#count++")).toBe("src/server/server.ts: this.#count++");
  expect(found("end", "this.#count")).toBe("src/server/server.ts: this.#count");
});

test("a constant is found when it is outside of any function", () => {
  expect(found("LIMIT", "10")).toBe("src/raft/log.ts: 10");
  expect(found("NAMES", '"a"')).toBe('src/raft/log.ts: "a"');
  expect(() => found("LIMIT_HERE", "LIMIT")).toThrow("no function and no constant is declared as LIMIT_HERE");
});

test("of several functions of one name, folder or file selects one", () => {
  expect(() => found("append", "log.length")).toThrow(
    "append is declared 2 times: src/raft/log.ts:5, src/queue/log.ts:1",
  );
  expect(() => found("log/append", "log.length")).toThrow("log/append is declared 2 times");
  expect(found("raft/append", "log.length <")).toBe("src/raft/log.ts: log.length <");
  expect(found("queue/log/append", "text: string")).toBe("src/queue/log.ts: text: string");
  expect(() => found("server/append", "log")).toThrow("no function and no constant is declared as server/append");
  expect(() => found("og/append", "log")).toThrow("no function and no constant is declared as og/append");
});

test("a text that is not in the function, or twice in it, is refused, whatever is around it", () => {
  expect(() => found("again", "LIMIT")).toThrow("again in src/raft/log.ts has 0 times, not once: LIMIT");
  expect(() => found("raft/append", "log.push")).toThrow(
    "raft/append in src/raft/log.ts has 2 times, not once: log.push",
  );
});

test("edits of one file are all made, in whatever order, and never into each other", () => {
  const push = { in: "again", find: "log.push(entry)", replace: "log.length = 0" };
  const less = { in: "raft/append", find: "log.length <", replace: "log.length + 100 <=" };
  const limit = { in: "LIMIT", find: "10", replace: "2" };
  const wanted = LOG.replace("log.length <", "log.length + 100 <=")
    .replace("times > 0) log.push(entry)", "times > 0) log.length = 0")
    .replace("10", "2");
  for (const edits of [
    [push, less, limit],
    [limit, less, push],
  ])
    expect([...applyEdits(anchors, edits)]).toEqual([["src/raft/log.ts", wanted]]);
  const around = { in: "again", find: "if (times > 0) log.push(entry)", replace: "" };
  expect(() => applyEdits(anchors, [push, around])).toThrow("two edits overlap in src/raft/log.ts");
});

test("a file that cannot be parsed is named", () => {
  const broken = createAnchors(new Map([["src/a.ts", "function close( {"]]));
  expect(() => broken.spanOf("close", "{")).toThrow("src/a.ts cannot be parsed");
});

test("every mutant still finds the code that it breaks", async () => {
  for (const mutant of MUTANTS) {
    const files = [...(await mutated(mutant)).values()].join("\n");
    for (const { replace } of mutant.edits) expect(files).toContain(replace);
  }
});

test("no two mutants have the same name", () => {
  const names = MUTANTS.map(({ name }) => name);
  expect(names.length).toBe(new Set(names).size);
});
