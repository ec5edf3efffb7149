// How do tests run a command to its end? The binary as a child process, with its streams as text.
import { closeSync, openSync } from "node:fs";
import { BINARY } from "../scripts/project.ts";

export interface Ran {
  readonly exit: number;
  readonly out: string[];
  readonly error: string;
}

export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly environment?: Record<string, string>;
  readonly directory?: string;
  /** Where stdout goes instead of into `out`: a file. */
  readonly output?: string;
}

/** stdin is a pipe with `input` in it, or closed at once. */
export async function raftq(words: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const file = options.output === undefined ? null : openSync(options.output, "w");
  const child = Bun.spawn([BINARY, ...words], {
    stdin: new Blob([options.input ?? ""]),
    stdout: file ?? "pipe",
    stderr: "pipe",
    cwd: options.directory ?? import.meta.dir,
    env: { PATH: process.env["PATH"] ?? "", ...options.environment },
  });
  const [out, error, exit] = await Promise.all([
    typeof child.stdout === "number" ? "" : new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (file !== null) closeSync(file);
  return { exit, out: out === "" ? [] : out.replace(/\n$/, "").split("\n"), error };
}
