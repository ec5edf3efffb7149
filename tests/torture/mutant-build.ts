// Can the torture fail? A copy of the source with a real bug in it, built like the product.
import { cpSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { compile } from "../scripts/build.ts";
import { ROOT } from "../scripts/project.ts";
import { type Mutant, mutated } from "../sim/mutants.ts";

/** The path of the binary. */
export async function buildMutant(mutant: Mutant, directory: string): Promise<string> {
  const copy = join(directory, "mutant");
  mkdirSync(copy);
  for (const name of ["src", "package.json", "tsconfig.json"])
    cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  for (const [file, text] of await mutated(mutant)) await Bun.write(join(copy, file), text);
  const binary = join(copy, "raftq");
  const problem = compile(copy, copy, binary);
  if (problem !== null) throw new Error(`the mutant ${mutant.name} does not build: ${problem}`);
  return binary;
}
