// How do tests run `raftq client`? As a child process of the real entry point, with its streams as text.
import { join } from "node:path";

export const MAIN = join(import.meta.dir, "../../src/main.ts");

export interface Ran {
  readonly exit: number;
  readonly out: string[];
  readonly error: string;
}

export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly environment?: Record<string, string>;
  readonly directory?: string;
}

/** stdin is a pipe with `input` in it, or closed at once. */
export async function raftq(words: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const child = Bun.spawn([process.execPath, MAIN, ...words], {
    stdin: new Blob([options.input ?? ""]),
    stdout: "pipe",
    stderr: "pipe",
    cwd: options.directory ?? import.meta.dir,
    env: { PATH: process.env["PATH"] ?? "", ...options.environment },
  });
  const [out, error, exit] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { exit, out: out === "" ? [] : out.replace(/\n$/, "").split("\n"), error };
}
