import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseJunit } from "./junit.ts";
import { PINNED_BUN, wrongBun } from "./project.ts";

const report = async (text: string): Promise<unknown> => {
  const directory = mkdtempSync(join(tmpdir(), "raftq-junit-"));
  const path = join(directory, "report.xml");
  writeFileSync(path, text);
  const totals = await parseJunit(path);
  rmSync(directory, { recursive: true });
  return totals;
};

test("another Bun than the pinned one is refused, with the command that runs the right one", () => {
  expect(wrongBun("1.2.0", "1.4.5")).toContain("npx --yes bun@1.4.5 run");
  expect(wrongBun("1.4.5", "1.4.5")).toBeNull();
});

test("these tests run on the pinned Bun", () => {
  expect(Bun.version).toBe(PINNED_BUN);
});

test("a skipped test counts as failed: it has shown nothing", async () => {
  const totals = await report(
    `<testsuites name="bun test" tests="7" assertions="9" failures="1" skipped="2" time="0.1">`,
  );
  expect(totals).toEqual({ passed: 4, failed: 3 });
});

test("a report that is missing or empty passes nothing", async () => {
  expect(await parseJunit("/nonexistent/report.xml")).toEqual({ passed: 0, failed: 0 });
  expect(await report("")).toEqual({ passed: 0, failed: 0 });
});
