// What does the shell offer while somebody types? What a person meets of it besides is in e2e/cli-shell.e2e.ts.
import { expect, test } from "bun:test";
import { completions, promptText } from "../../src/cli/shell.ts";

test("commands complete from what is typed, and the prompt shows that a node is lost", () => {
  expect(completions("de")).toEqual([["dequeue", "dequeue("], "de"]);
  expect(completions("EXPL")[0]).toEqual(["explain on", "explain off"]);
  expect(completions("xyz")[0]).toEqual([]);
  expect(promptText("c1", null)).toBe("c1@?> ");
});
