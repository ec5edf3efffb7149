// Do the tests test? Real Raft bugs, planted one at a time into the product's source while it is loaded; the simulator must catch each.
import { join } from "node:path";
import { MEMBERSHIP_MUTANTS } from "./mutants/membership.ts";
import { OBSERVED_MUTANTS } from "./mutants/observed.ts";
import { QUEUE_MUTANTS } from "./mutants/queue.ts";
import { REPLICATION_MUTANTS } from "./mutants/replication.ts";
import { STORAGE_MUTANTS } from "./mutants/storage.ts";

export interface Mutant {
  readonly name: string;
  /** What is broken, and who once shipped it. */
  readonly what: string;
  /** Seeds, from 1 on, within which the simulator must catch it. */
  readonly within: number;
  readonly edits: readonly Edit[];
}

export interface Edit {
  readonly file: string;
  /** Must occur exactly once in the file: when the code changes, this list must follow, loudly. */
  readonly find: string;
  readonly replace: string;
}

const ROOT = join(import.meta.dir, "..", "..");

/** The first four that issue 2 names must always be caught; the others come from bugs that real implementations shipped. */
export const MUTANTS: readonly Mutant[] = [
  ...REPLICATION_MUTANTS,
  ...MEMBERSHIP_MUTANTS,
  ...STORAGE_MUTANTS,
  ...QUEUE_MUTANTS,
  ...OBSERVED_MUTANTS,
];

export function findMutant(name: string): Mutant {
  const mutant = MUTANTS.find((known) => known.name === name);
  if (mutant === undefined)
    throw new Error(`no mutant is called ${name}; there are: ${MUTANTS.map((known) => known.name).join(", ")}`);
  return mutant;
}

/** The files that it changes, by their path in the project. */
export async function mutated({ name, edits }: Mutant): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  for (const { file, find, replace } of edits) {
    const source = files.get(file) ?? (await Bun.file(join(ROOT, file)).text());
    const pieces = source.split(find);
    if (pieces.length !== 2)
      throw new Error(`mutant ${name}: its snippet occurs ${pieces.length - 1} times in ${file}, not once`);
    files.set(file, pieces.join(replace));
  }
  return files;
}

/** From now on these files are loaded with the bug in them; they must not have been loaded before. */
export async function plant(mutant: Mutant): Promise<void> {
  const files = new Map([...(await mutated(mutant))].map(([file, text]) => [join(ROOT, file), text]));
  Bun.plugin({
    name: `mutant ${mutant.name}`,
    setup: (build): void => {
      build.onLoad({ filter: /\/src\/.*\.ts$/ }, async (loaded) => ({
        contents: files.get(loaded.path) ?? (await Bun.file(loaded.path).text()),
        loader: "ts",
      }));
    },
  });
}
