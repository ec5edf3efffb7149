// How does the source become dist/raftq? One `bun build --compile`, put in place in one step: a process that starts the
// binary meanwhile sees the old one or the new one, never half of one.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";
import { BINARY, install, requirePinnedBun, ROOT, writeStderr } from "./project.ts";

const INPUTS = ["src", "package.json", "bun.lock", "tsconfig.json", "tests/scripts/build.ts"];

/** True when dist/raftq is at least as new as everything it is made from. */
export function upToDate(): boolean {
  const built = modified(BINARY);
  return built > 0 && INPUTS.every((input) => newest(join(ROOT, input)) < built);
}

export function build(): void {
  const began = Date.now();
  mkdirSync(dirname(BINARY), { recursive: true });
  // Beside the binary, so that the rename stays on one file system. The compiler leaves temporary files in its working
  // directory and a source map beside its output (the binary holds one already); they go with the folder.
  const workshop = mkdtempSync(`${BINARY}-build-`);
  const unfinished = join(workshop, "raftq");
  const problem = compile(ROOT, workshop, unfinished);
  if (problem !== null) {
    rmSync(workshop, { recursive: true });
    writeStderr(problem);
    writeStderr("dist/raftq was not built; the lines above give the reason.");
    process.exit(1);
  }
  // As old as the moment the sources were read: what was edited during the build counts as newer.
  utimesSync(unfinished, began / 1_000, began / 1_000);
  renameSync(unfinished, BINARY);
  rmSync(workshop, { recursive: true });
  writeStderr(`built dist/raftq in ${((Date.now() - began) / 1_000).toFixed(1)} s`);
}

/** The project at `root` as one executable at `outfile`; null, or what the compiler reported. */
export function compile(root: string, workshop: string, outfile: string): string | null {
  const done = spawnSync(
    process.execPath,
    [
      "build",
      "--compile",
      "--minify",
      "--sourcemap",
      // Otherwise each start parses everything, and the first election parses what it needs while everybody waits for it.
      "--bytecode",
      "--format=esm",
      // Otherwise a bunfig.toml or .env in the user's directory would run code inside the binary.
      "--no-compile-autoload-bunfig",
      "--no-compile-autoload-dotenv",
      join(root, "src/main.ts"),
      "--outfile",
      outfile,
    ],
    { cwd: workshop, encoding: "utf8" },
  );
  return done.status === 0 ? null : done.stdout + done.stderr;
}

function newest(path: string): number {
  const status = statSync(path);
  if (!status.isDirectory()) return status.mtimeMs;
  // A folder's own time changes when files are removed.
  return readdirSync(path).reduce((latest, name) => Math.max(latest, newest(join(path, name))), status.mtimeMs);
}

function modified(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

if (import.meta.main) {
  requirePinnedBun();
  install();
  build();
}
