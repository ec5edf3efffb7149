// Whose process is it that has this pid?
import { expect, test } from "bun:test";
import { identify, processState } from "../../src/cluster/processes.ts";

test("a process is distinguished from a later one that has its pid", () => {
  const own = identify(process.pid);
  expect(own).not.toBeNull();
  expect(processState({ pid: process.pid, startTime: own?.startTime ?? "" })).toBe("running");
  expect(processState({ pid: process.pid, startTime: "801bfb14:1" })).toBe("gone");
});
