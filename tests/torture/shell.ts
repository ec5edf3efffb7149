// How does the harness ask the system for something, and wait? One command, run to its end; what went wrong is thrown in words.
import { spawn, spawnSync } from "node:child_process";
import { availableParallelism, loadavg } from "node:os";

export function sh(args: readonly string[], input = ""): string {
  const [program = "", ...rest] = args;
  const done = spawnSync(program, rest, { input, encoding: "utf8" });
  if (done.status === 0) return done.stdout;
  throw new Error(
    `${args.join(" ")}: ${(done.stderr ?? "").trim() || (done.error?.message ?? `exit code ${done.status}`)}`,
  );
}

export function works(args: readonly string[], input = ""): boolean {
  const [program = "", ...rest] = args;
  return spawnSync(program, rest, { input, timeout: 10_000 }).status === 0;
}

const MOST_PATIENT = 6;

export interface Ran {
  readonly code: number | null;
  readonly text: string;
}

/** Without waiting for it in the event loop: clients go on meanwhile. */
export function run(args: readonly string[], timeoutMs: number): Promise<Ran> {
  const [program = "", ...rest] = args;
  const child = spawn(program, rest, { stdio: ["ignore", "pipe", "pipe"], timeout: timeoutMs, killSignal: "SIGKILL" });
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (more: string) => (text += more));
  return new Promise((done) => {
    child.once("error", (error) => done({ code: null, text: error.message }));
    child.once("close", (code) => done({ code, text: text.trim() }));
  });
}

/** Null when it took longer. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<null>((done) => (timer = setTimeout(() => done(null), ms)));
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

export async function until(ms: number, isTrue: () => boolean | Promise<boolean>, everyMs = 50): Promise<boolean> {
  const deadline = performance.now() + ms;
  for (;;) {
    if (await isTrue()) return true;
    if (performance.now() > deadline) return false;
    await Bun.sleep(everyMs);
  }
}

/** A machine that others keep busy gives everybody a share only: limits stretch with the number of those who wait for a core. */
export function patience(ms: number): number {
  const waiting = (loadavg()[0] ?? 0) / availableParallelism();
  return ms * Math.min(MOST_PATIENT, Math.max(1, waiting));
}
