// What do the scripts behind package.json share? Where the project is, which Bun it needs, and how a step is run.
// Node built-ins only: a fresh clone runs this before anything is installed.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { join, resolve } from "node:path";

export const ROOT = resolve(import.meta.dir, "../..");
export const BINARY = join(ROOT, "dist/raftq");

export const PINNED_BUN: string = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")).devDependencies.bun;

/** The advice where the running Bun is not the pinned one; null when it is. */
export function wrongBun(running: string, pinned: string): string | null {
  if (running === pinned) return null;
  return [
    `raftq is built and tested with Bun ${pinned}; this is Bun ${running}.`,
    `npm fetches the right one by itself: npx --yes bun@${pinned} run start (or: run test)`,
    `To install it: curl -fsSL https://bun.com/install | bash -s bun-v${pinned}`,
  ].join("\n");
}

/** What a person should know meanwhile. (Bun prints console.error in red on a terminal, as if something were wrong.) */
export function writeStderr(text: string): void {
  process.stderr.write(`${text}\n`);
}

export function requirePinnedBun(): void {
  const advice = wrongBun(Bun.version, PINNED_BUN);
  if (advice === null) return;
  writeStderr(advice);
  process.exit(1);
}

/** Brings node_modules to what bun.lock lists; silent and quick when it already is. */
export function install(): void {
  const fresh = !existsSync(join(ROOT, "node_modules"));
  if (fresh) writeStderr("installing the dependencies (once) ...");
  const done = spawnSync(process.execPath, ["install", "--frozen-lockfile"], { cwd: ROOT, encoding: "utf8" });
  if (done.status === 0) return;
  writeStderr(done.stdout + done.stderr);
  writeStderr("The dependencies could not be installed: read the lines above; a network connection is needed once.");
  process.exit(1);
}

const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** The process groups of the steps that run now, by their leaders. */
const running = new Set<number>();

function endAll(signal: NodeJS.Signals): void {
  for (const leader of running) signalGroup(leader, "SIGKILL");
  process.exit(128 + constants.signals[signal]);
}

function began(leader: number): void {
  if (running.size === 0) for (const signal of STOP_SIGNALS) process.on(signal, endAll);
  running.add(leader);
}

function ended(leader: number): void {
  running.delete(leader);
  if (running.size === 0) for (const signal of STOP_SIGNALS) process.off(signal, endAll);
}

export interface StepResult {
  readonly ok: boolean;
  /** Why it failed: "exit code 1", "SIGSEGV", "not done after 120 s". */
  readonly why: string;
}

/**
 * Runs a program to its end with our standard streams, in a process group of its own, so that one that hangs or is
 * interrupted takes everything with it that it started there.
 */
export function runStep(
  args: readonly string[],
  timeoutMs: number,
  env: Record<string, string> = {},
): Promise<StepResult> {
  return new Promise((done) => {
    const [program = "", ...rest] = args;
    const child = spawn(program, rest, {
      cwd: ROOT,
      stdio: ["ignore", "inherit", "inherit"],
      detached: true,
      env: { ...process.env, ...env },
    });
    let timedOut = false;
    const { pid } = child;
    if (pid !== undefined) began(pid);
    const timer = setTimeout(() => {
      timedOut = true;
      if (pid !== undefined) signalGroup(pid, "SIGKILL");
    }, timeoutMs);
    const end = (result: StepResult): void => {
      clearTimeout(timer);
      if (pid !== undefined) ended(pid);
      done(result);
    };
    child.once("error", (error) => end({ ok: false, why: error.message }));
    child.once("exit", (code, signal) => {
      if (timedOut) end({ ok: false, why: `not done after ${timeoutMs / 1_000} s` });
      else end({ ok: code === 0, why: signal ?? `exit code ${code}` });
    });
  });
}

function signalGroup(leader: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-leader, signal);
  } catch (error) {
    // Nobody of the group is left.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
