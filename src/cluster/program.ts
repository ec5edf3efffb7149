// How this same program is started again: as one compiled binary, or as bun with the entry file when it runs from source.
import { realpathSync } from "node:fs";
import { relative } from "node:path";

/** The words before the arguments: `["/usr/bin/raftq"]`, or `["/usr/bin/bun", "/…/src/main.ts"]`. */
export function ownProgram(): readonly string[] {
  return Bun.isStandaloneExecutable ? [process.execPath] : [process.execPath, Bun.main];
}

/** How a person in this directory calls this program: `raftq` when that is found, else its path. */
export function shownProgram(): string {
  if (!Bun.isStandaloneExecutable) return `bun ${fromHere(Bun.main)}`;
  const found = Bun.which("raftq");
  return found !== null && realpathSync(found) === realpathSync(process.execPath)
    ? "raftq"
    : fromHere(process.execPath);
}

function fromHere(path: string): string {
  const short = relative(process.cwd(), path);
  if (short.startsWith("..")) return path;
  return short.includes("/") ? short : `./${short}`;
}

/**
 * The environment of a child. Bun's own switches would run foreign code inside the binary or turn it into the Bun
 * command line, and `RAFTQ_PORT` or `RAFTQ_JOIN` of this shell are not meant for each node of a cluster.
 */
export function childEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  more: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const clean: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined || name === "BUN_OPTIONS" || name === "BUN_BE_BUN") continue;
    if (name.startsWith("RAFTQ_") && !name.startsWith("RAFTQ_LOG_")) continue;
    clean[name] = value;
  }
  return { ...clean, ...more };
}

/** In a node's environment: its standard input is a pipe that its supervisor holds, and whose end means "stop". */
export const SUPERVISED = { name: "RAFTQ_SUPERVISED", value: "stdin" } as const;
