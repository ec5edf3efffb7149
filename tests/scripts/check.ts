// Is the source well typed, formatted and free of lint? Prints each step; fails if any does.
import { join } from "node:path";
import { install, requirePinnedBun, ROOT, runStep, type StepResult } from "./project.ts";

const STEP_TIMEOUT_MS = 120_000;

/** Run by this very Bun, so that neither Node nor a PATH is needed. */
const STEPS: readonly { readonly name: string; readonly args: readonly string[] }[] = [
  { name: "types", args: ["check", "--no-script"] },
  { name: "format", args: ["fmt", "--check"] },
  { name: "lint", args: [join(ROOT, "node_modules/oxlint/bin/oxlint"), "--type-aware", "--deny-warnings"] },
];

export interface CheckResult extends StepResult {
  readonly name: string;
}

export async function check(): Promise<readonly CheckResult[]> {
  const results: CheckResult[] = [];
  for (const { name, args } of STEPS) {
    const result = await runStep([process.execPath, ...args], STEP_TIMEOUT_MS);
    console.log(result.ok ? `check ${name}: ok` : `check ${name}: FAILED (${result.why})`);
    results.push({ name, ...result });
  }
  return results;
}

if (import.meta.main) {
  requirePinnedBun();
  install();
  const results = await check();
  process.exit(results.every((result) => result.ok) ? 0 : 1);
}
