// What must a contributor pass? Check, the build, unit tests, a short run of the simulator, and the compiled binary end to end.
// The last line counts all of it: "N passed, N failed"; each check step and the build count as one.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { check } from "./check.ts";
import { parseJunit, type Totals } from "./junit.ts";
import { leftovers } from "./leftovers.ts";
import { install, requirePinnedBun, ROOT, runStep, type StepResult } from "./project.ts";

const UNIT_TIMEOUT_MS = 300_000;
const SIMULATOR_TIMEOUT_MS = 300_000;
/** Of one test that names no time of its own; `bun test` alone gives 5 s. A machine that is busy with other things must not decide what passes. */
const TEST_TIMEOUT_MS = 30_000;
const BUILD_TIMEOUT_MS = 60_000;
const E2E_TIMEOUT_MS = 600_000;
/** Little work, much waiting, and no time that is judged: these go on beside the unit tests and what follows those. */
const WAITING: readonly string[] = [
  "auth.e2e.ts",
  "bad-input.e2e.ts",
  "binary.e2e.ts",
  "cluster.e2e.ts",
  "damaged-disk.e2e.ts",
  "disk-full.e2e.ts",
  "links.e2e.ts",
  "readme.e2e.ts",
  "same-number.e2e.ts",
  "three-lines.e2e.ts",
  "unwritten.e2e.ts",
];
/** Many short ones, behind the unit tests and the simulator. */
const COMMANDS: readonly string[] = [
  "cli-client.e2e.ts",
  "cli-commands.e2e.ts",
  "cli-purge.e2e.ts",
  "cli-shell.e2e.ts",
  "cluster-supervisor.e2e.ts",
  "cluster-up.e2e.ts",
];

const reports = mkdtempSync(join(tmpdir(), "raftq-test-"));
/** Marks every process that the tests start, and what those start. */
const run = `${process.pid}-${Date.now()}`;

/** Runs `bun test` and counts what its own report holds, not what it printed. */
async function suite(name: string, args: readonly string[], timeoutMs: number): Promise<Totals> {
  const report = join(reports, `${name}.xml`);
  const reporter = ["--reporter=junit", `--reporter-outfile=${report}`];
  const command = [process.execPath, "test", ...reporter, `--timeout=${TEST_TIMEOUT_MS}`, ...args];
  const result = await runStep(command, timeoutMs, { TEST_RUN_ID: run });
  const totals = await parseJunit(report);
  // A suite can fail without a failed test: a file that does not load, a crash, no time left.
  const unexplained = !result.ok && totals.failed === 0;
  if (unexplained || totals.passed + totals.failed === 0) {
    console.log(`${name}: FAILED (${result.ok ? "no test ran" : result.why})`);
    return { passed: totals.passed, failed: totals.failed + 1 };
  }
  return totals;
}

function step(name: string, result: StepResult): Totals {
  console.log(result.ok ? `${name}: ok` : `${name}: FAILED (${result.why})`);
  return result.ok ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

requirePinnedBun();
install();

const all: { readonly name: string; readonly totals: Totals; readonly seconds: number }[] = [];
async function count(name: string, work: () => Promise<Totals>): Promise<Totals> {
  console.log(`\n--- ${name} ---`);
  const began = Date.now();
  const totals = await work();
  all.push({ name, totals, seconds: (Date.now() - began) / 1_000 });
  return totals;
}

await count("check", async () => {
  const results = await check();
  const passed = results.filter((result) => result.ok).length;
  return { passed, failed: results.length - passed };
});
const built = await count("build", async () =>
  step("build", await runStep([process.execPath, join(ROOT, "tests/scripts/build.ts")], BUILD_TIMEOUT_MS)),
);
const unit = (): Promise<Totals> => suite("unit", [], UNIT_TIMEOUT_MS);
if (built.failed > 0) await count("unit", unit);
else {
  const files = readdirSync(join(ROOT, "tests/e2e")).filter((name) => name.endsWith(".e2e.ts"));
  const missing = [...WAITING, ...COMMANDS].filter((name) => !files.includes(name));
  if (missing.length > 0) throw new Error(`tests of tests/e2e are missing: ${missing.join(", ")}`);
  const alone = files.filter((name) => !WAITING.includes(name) && !COMMANDS.includes(name)).toSorted();
  const endToEnd = (name: string, of: readonly string[]): Promise<Totals> =>
    count(name, () =>
      suite(
        name.replaceAll(" ", "-"),
        of.map((file) => `./tests/e2e/${file}`),
        E2E_TIMEOUT_MS,
      ),
    );
  const simulator = (): Promise<Totals> => suite("simulator", ["./tests/sim/smoke.sim.ts"], SIMULATOR_TIMEOUT_MS);
  // Both print what they do as it comes: a test's name shows where it belongs.
  await Promise.all([
    count("unit", unit)
      .then(() => count("simulator", simulator))
      .then(() => endToEnd("e2e of commands", COMMANDS)),
    endToEnd("e2e that waits", WAITING),
  ]);
  await endToEnd("e2e alone", alone);
}
await count("leftovers", async () => step("no process is left behind", leftovers(run)));
rmSync(reports, { recursive: true });

console.log("");
for (const { name, totals, seconds } of all) {
  console.log(`${name.padEnd(15)} ${totals.passed} passed, ${totals.failed} failed (${seconds.toFixed(1)} s)`);
}
const passed = all.reduce((sum, { totals }) => sum + totals.passed, 0);
const failed = all.reduce((sum, { totals }) => sum + totals.failed, 0);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
