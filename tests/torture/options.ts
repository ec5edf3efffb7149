// What was asked of `bun run torture`? Its flags as values, and the line that repeats the run.
import { parseArgs } from "node:util";

export interface Options {
  readonly seed: number;
  readonly minutes: number;
  /** Only these nemeses; empty: all that this machine allows. */
  readonly only: readonly string[];
  /** Strikes instead of minutes: each is an episode of its own. */
  readonly rounds: number | null;
  /** A bug planted into a copy of the source (tests/sim/mutants.ts): the run succeeds when it catches it. */
  readonly mutant: string | null;
  /** An older raftq that nodes are now and then restarted with. */
  readonly previous: string | null;
  /** The run becomes a row of tests/EVIDENCE.md. */
  readonly evidence: boolean;
  readonly list: boolean;
  readonly help: boolean;
}

export const HELP = `bun run torture                    five real nodes, a minute of every fault this machine allows
  --minutes N      how long (fractions allowed)
  --seed N         the same plan of faults and work again
  --only A,B       only these nemeses (--list names them)
  --rounds N       N strikes of --only instead of minutes
  --mutant NAME    against a build with this bug planted; succeeds when the run catches it
  --previous FILE  restarts nodes with this older binary, too
  --evidence       appends the run to tests/EVIDENCE.md; refused (exit code 2) where the tree is no commit's
  --list           the nemeses, and what each needs`;

export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: "string" },
      minutes: { type: "string" },
      only: { type: "string" },
      rounds: { type: "string" },
      mutant: { type: "string" },
      previous: { type: "string" },
      evidence: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  return {
    seed: number("seed", values.seed) ?? Date.now() % 1_000_000,
    minutes: number("minutes", values.minutes) ?? 1,
    only: values.only?.split(",") ?? [],
    rounds: number("rounds", values.rounds) ?? null,
    mutant: values.mutant ?? null,
    previous: values.previous ?? null,
    evidence: values.evidence,
    list: values.list,
    help: values.help,
  };
}

function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value > 0) || value > Number.MAX_SAFE_INTEGER) throw new Error(`--${name} wants a number above 0, not ${text}`);
  return value;
}

export function repeatLine(options: Options): string {
  const words = ["bun run torture", `--seed ${options.seed}`];
  words.push(options.rounds === null ? `--minutes ${options.minutes}` : `--rounds ${options.rounds}`);
  if (options.only.length > 0) words.push(`--only ${options.only.join(",")}`);
  if (options.mutant !== null) words.push(`--mutant ${options.mutant}`);
  if (options.previous !== null) words.push(`--previous ${options.previous}`);
  return words.join(" ");
}
