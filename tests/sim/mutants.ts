// Do the tests test? Real bugs, planted one at a time into the product's source while it is loaded; the simulator must catch each.
import { join } from "node:path";
import { applyEdits, type Edit, productAnchors } from "./anchors.ts";
import { CLIENT_MUTANTS } from "./mutants/client.ts";
import { MEMBERSHIP_MUTANTS } from "./mutants/membership.ts";
import { QUEUE_MUTANTS } from "./mutants/queue.ts";
import { REPLICATION_MUTANTS } from "./mutants/replication.ts";
import { SERVER_MUTANTS } from "./mutants/server.ts";
import { STORAGE_MUTANTS } from "./mutants/storage.ts";
import type { PlanOverrides } from "./plan.ts";
import type { ProfileName } from "./profile-names.ts";

export interface Mutant {
  readonly name: string;
  /** What is broken, and who once shipped it, if anybody did. */
  readonly what: string;
  /** Seeds, from 1 on, within which the simulator must catch it. */
  readonly within: number;
  /** Worlds in which it is caught sooner than in the mix of all. */
  readonly profile?: ProfileName;
  /** What is otherwise in them, where no profile is about it. */
  readonly plan?: PlanOverrides;
  readonly edits: readonly Edit[];
}

const ROOT = join(import.meta.dir, "..", "..");

/** Bugs that real implementations shipped, and those that a reader of raftq would plant where a test might not look. */
export const MUTANTS: readonly Mutant[] = [
  ...REPLICATION_MUTANTS,
  ...MEMBERSHIP_MUTANTS,
  ...STORAGE_MUTANTS,
  ...QUEUE_MUTANTS,
  ...CLIENT_MUTANTS,
  ...SERVER_MUTANTS,
];

export function findMutant(name: string): Mutant {
  const mutant = MUTANTS.find((known) => known.name === name);
  if (mutant === undefined)
    throw new Error(`no mutant is called ${name}; there are: ${MUTANTS.map((known) => known.name).join(", ")}`);
  return mutant;
}

/** The files that it changes, by their path in the project. Throws where the code has moved on: then this list must follow. */
export async function mutated({ name, edits }: Mutant): Promise<ReadonlyMap<string, string>> {
  const anchors = await productAnchors();
  try {
    return applyEdits(anchors, edits);
  } catch (error) {
    throw new Error(`mutant ${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
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
