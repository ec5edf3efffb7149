// Is the word named that was probably meant, and none where nothing is near?
import { expect, test } from "bun:test";
import { nearest } from "../../src/cli/suggest.ts";

const VERBS = ["enqueue", "dequeue", "retry", "peek", "log", "status"];

test.each([
  ["equeue", "enqueue"],
  ["enqueueu", "enqueue"],
  ["dequoue", "dequeue"],
  ["STATUS", "status"],
  // One swap is one slip, in a short word too.
  ["lgo", "log"],
  ["peke", "peek"],
  ["satuts", "status"],
  // A shared beginning.
  ["de", "dequeue"],
  ["st", "status"],
])("%s is near %s", (typed, meant) => expect(nearest(typed, VERBS)).toBe(meant));

test.each(["", "x", "foo", "golang", "pkee-peek", "queueueueue"])("nothing is near %p", (typed) =>
  expect(nearest(typed, VERBS)).toBeUndefined(),
);

test("the nearer of two is named, and the first of two that are as near", () => {
  expect(nearest("nodes", ["notes!", "node"])).toBe("node");
  expect(nearest("cat", ["bat", "hat"])).toBe("bat");
});

test("a word as long as a line costs no time", () => {
  const began = performance.now();
  expect(nearest("x".repeat(1_000_000), VERBS)).toBeUndefined();
  expect(performance.now() - began).toBeLessThan(1_000);
});
