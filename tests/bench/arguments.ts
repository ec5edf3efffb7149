// What is to be measured? The flags of `bun run bench`.
import { CEILING, SYSTEMS } from "./peers/systems.ts";

export interface Options {
  readonly help: boolean;
  /** Compare with other systems instead of measuring raftq alone. */
  readonly peers: boolean;
  /** Only these systems; null: all. */
  readonly only: readonly string[] | null;
  readonly quick: boolean;
  /** For so many minutes, at a share of what the nodes can do (null: all of it). null: not this. */
  readonly steady: { readonly minutes: number; readonly load: number | null } | null;
  /** null: tables only. `file` null: JSON instead of tables. */
  readonly json: { readonly file: string | null } | null;
}

const NAMES = [CEILING, ...SYSTEMS.map(({ name }) => name)];

export const HELP = `bun run bench [--json [FILE]]
    How fast are raftq's parts, and raftq on one, three and five nodes?
bun run bench --peers [--only NAME,NAME] [--quick] [--json [FILE]]
    The same work on raftq and on other systems: ${NAMES.join(", ")}.
bun run bench --steady MINUTES [--load PERCENT] [--json [FILE]]
    Does raftq stay as it is, at full load or at PERCENT of it?

  --json [FILE]  writes the figures to FILE as JSON, beside the tables; without FILE prints JSON instead of tables`;

const MOST_MINUTES = 24 * 60;

function numberFrom(flag: string, text: string | null, most: number): number {
  const value = Number(text ?? "");
  if (Number.isInteger(value) && value > 0 && value <= most) return value;
  throw new Error(`${flag} takes a whole number from 1 to ${most}, not "${text ?? ""}"`);
}

/** Throws what is wrong, as one line. */
export function parseOptions(argv: readonly string[]): Options {
  const options = { help: false, peers: false, only: null as string[] | null, quick: false };
  let json: Options["json"] = null;
  let minutes: number | null = null;
  let load: number | null = null;
  const rest = [...argv];
  const valueOf = (): string | null =>
    rest[0] === undefined || rest[0].startsWith("--") ? null : (rest.shift() ?? null);
  for (let flag = rest.shift(); flag !== undefined; flag = rest.shift()) {
    if (flag === "--help") options.help = true;
    else if (flag === "--peers") options.peers = true;
    else if (flag === "--quick") options.quick = true;
    else if (flag === "--json") json = { file: valueOf() };
    else if (flag === "--steady") minutes = numberFrom(flag, valueOf(), MOST_MINUTES);
    else if (flag === "--load") load = numberFrom(flag, valueOf(), 100) / 100;
    else if (flag === "--only") options.only = (valueOf() ?? "").split(",");
    else throw new Error(`there is no ${flag}; see bun run bench --help`);
  }
  const unknown = (options.only ?? []).filter((name) => !NAMES.includes(name));
  if (unknown.length > 0) throw new Error(`--only takes some of ${NAMES.join(", ")}, not "${unknown.join(", ")}"`);
  if (!options.peers && (options.only !== null || options.quick)) throw new Error("--only and --quick need --peers");
  if (minutes === null && load !== null) throw new Error("--load needs --steady");
  if (minutes !== null && options.peers) throw new Error("--steady measures raftq alone: without --peers");
  return { ...options, steady: minutes === null ? null : { minutes, load }, json };
}
