// Does the simulator catch the mutants, and at what cost? Each is hunted in a process of its own, seed by seed, until one fails.
import type { Mutant } from "./mutants.ts";
import type { SeedResult } from "./run.ts";

export interface Hunted {
  readonly mutant: Mutant;
  /** Seeds that were tried. */
  readonly seeds: number;
  readonly cpuSeconds: number;
  /** The first seed that failed; null: the mutant survived. */
  readonly caught: SeedResult | null;
}

/** Runs seeds with the mutant until `report` returns true; returns the CPU seconds that this took. */
export type RunSeeds = (mutant: Mutant, report: (result: SeedResult) => boolean) => Promise<number>;

/** A name in an edit's replacement that is gone: the product fails by that, whatever the oracles see. */
const DOES_NOT_RUN = "ReferenceError";

export async function hunt(mutant: Mutant, run: RunSeeds): Promise<Hunted> {
  let seeds = 0;
  let caught: SeedResult | null = null;
  const cpuSeconds = await run(mutant, (result) => {
    seeds++;
    if (result.failure?.includes(DOES_NOT_RUN) === true)
      throw new Error(`mutant ${mutant.name} is no bug, its edits do not run: ${result.failure}`);
    if (result.failure !== null) caught ??= result;
    return caught !== null;
  });
  return { mutant, seeds, cpuSeconds, caught };
}

export function describe({ mutant, seeds, cpuSeconds, caught }: Hunted): string {
  const cost = `${seeds} ${seeds === 1 ? "seed" : "seeds"} and ${cpuSeconds.toFixed(1)} CPU seconds`;
  if (caught === null) return `SURVIVED ${mutant.name} (${mutant.what}): ${cost} did not notice`;
  return `caught ${mutant.name} by seed ${caught.seed}, after ${cost}: ${caught.failure}`;
}

/** So many at a time; `ended` reports each as it ends. The result is in the order of `mutants`. */
export async function huntAll(
  mutants: readonly Mutant[],
  atATime: number,
  run: RunSeeds,
  ended: (hunted: Hunted) => void,
): Promise<readonly Hunted[]> {
  const hunted: Hunted[] = [];
  const waiting = mutants.entries();
  const next = async (): Promise<void> => {
    for (const [at, mutant] of waiting) {
      const one = await hunt(mutant, run);
      hunted[at] = one;
      ended(one);
    }
  };
  await Promise.all(Array.from({ length: atATime }, next));
  return hunted;
}

/** What each hunt has cost, the dearest last, and the sums. */
export function table(hunted: readonly Hunted[]): readonly string[] {
  const dearestLast = hunted.toSorted((one, other) => one.cpuSeconds - other.cpuSeconds);
  const lines = dearestLast.map(({ mutant, seeds, cpuSeconds, caught }) => {
    const end = caught === null ? " SURVIVED" : "";
    return row(mutant.name, worldsOf(mutant), String(seeds), cpuSeconds.toFixed(1)) + end;
  });
  const survived = hunted.filter(({ caught }) => caught === null).length;
  const sum = hunted.reduce((seconds, { cpuSeconds }) => seconds + cpuSeconds, 0);
  const at = (place: number): number => dearestLast[Math.floor(place)]?.cpuSeconds ?? 0;
  const median = (at((hunted.length - 1) / 2) + at(hunted.length / 2)) / 2;
  return [
    row("mutant", "worlds", "seeds", "CPU s"),
    ...lines,
    `${hunted.length} mutants, ${hunted.length - survived} caught, ${survived} survived; ${Math.round(sum)} CPU seconds, the median ${median.toFixed(1)}`,
  ];
}

function worldsOf({ profile, plan }: Mutant): string {
  return [profile ?? "all", ...(plan === undefined ? [] : ["bent"])].join(", ");
}

function row(name: string, worlds: string, seeds: string, cpuSeconds: string): string {
  return `${name.padEnd(36)} ${worlds.padEnd(23)} ${seeds.padStart(5)} ${cpuSeconds.padStart(7)}`;
}
