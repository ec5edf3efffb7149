// Do columns stand below each other, whatever is in them, and can no cell act on a terminal?
import { expect, test } from "bun:test";
import { table } from "../../src/cli/table.ts";

test("columns are as wide as their widest cell, what is unknown is a dash, and no line ends in spaces", () => {
  expect(
    table([
      ["NODE", "PID", "X", ""],
      ["n10", null, 1, "disk low"],
      ["n1", 123456, 22, ""],
    ]),
  ).toBe("NODE  PID     X\nn10   -       1   disk low\nn1    123456  22");
  expect(table([])).toBe("");
  expect(table([["a"], ["b", "c"]])).toBe("a\nb  c");
});

test("a column counts what a terminal shows: wide, joined and combining characters", () => {
  const rows = ["日本", "e\u0301", "🫨", "👍🏽", "🇩🇪"].map((text) => [text, "|"]);
  for (const line of table([["1234", "|"], ...rows]).split("\n")) expect(Bun.stringWidth(line)).toBe(7);
});

test("a cell is one line that moves nothing", () => {
  expect(table([["a\nb", "c\u001b[2Jd", "\u202e"]])).toBe("a\\u000ab  c\\u001b[2Jd  \\u202e");
});
