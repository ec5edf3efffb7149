// What do the long runs add up to? EVIDENCE.md holds a row for each run and, computed from them, the totals; with `--evidence`
// the tools append a row. `bun tests/evidence.ts` computes the page anew, for example after a merge.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT, writeStderr } from "./scripts/project.ts";

const PAGE = "tests/EVIDENCE.md";
/** A fuzz run adds inputs to it, which changes nothing of what it has tried. */
const CORPUS = "tests/fuzz/corpus/";

/** Its cells, as Markdown. What follows the figures of a cell is free text. */
export interface Row {
  readonly date: string;
  readonly commit: string;
  readonly run: string;
  readonly what: string;
  readonly found: string;
}

/** By name, one number for each column of its table. */
type Counts = ReadonlyMap<string, readonly number[]>;

export interface Page {
  readonly intro: string;
  /** No row holds these: each run adds its own. */
  readonly byNemesis: Counts;
  readonly byTarget: Counts;
  readonly rows: readonly Row[];
}

/** What a tool reports of its run; failures as the lines that repeat them. */
export type Run =
  | {
      readonly kind: "simulator";
      readonly firstSeed: number;
      readonly seeds: number;
      readonly events: number;
      readonly virtualMs: number;
      readonly failures: readonly string[];
      /** Null for a run that is too short to have seen every coverage point. */
      readonly neverSeen: readonly string[] | null;
    }
  | {
      readonly kind: "mutants";
      readonly firstSeed: number;
      readonly hunted: number;
      readonly minutes: number;
      readonly survivors: readonly string[];
    }
  | {
      readonly kind: "torture";
      readonly extent: { readonly minutes: number } | { readonly rounds: number };
      readonly seed: number;
      readonly only: readonly string[];
      readonly hasOlderBuild: boolean;
      /** Strikes by nemesis. */
      readonly struck: ReadonlyMap<string, number>;
      readonly operations: number;
      readonly silenceMs: number;
      readonly failure: { readonly count: number; readonly repeat: string } | null;
      readonly lost: number;
      readonly duplicated: number;
      readonly misordered: number;
    }
  | {
      readonly kind: "fuzz";
      readonly minutes: number;
      readonly seed: number;
      readonly only: string | null;
      readonly targets: readonly FuzzedTarget[];
      readonly highestMebibytes: number;
    };

export interface FuzzedTarget {
  readonly name: string;
  readonly inputs: number;
  /** The line that repeats it. */
  readonly finding: string | null;
}

const SECTIONS = ["In all", "Torture by nemesis", "Fuzz by target", "Runs"] as const;
const COLUMNS = {
  "In all": ["kind", "runs", "in all", "found"],
  "Torture by nemesis": ["nemesis", "strikes"],
  "Fuzz by target": ["target", "inputs", "findings"],
  Runs: ["date", "commit", "run", "what it was", "found"],
} as const satisfies Record<(typeof SECTIONS)[number], readonly string[]>;

const KINDS = ["simulator", "mutants", "torture", "fuzz"] as const;
type Kind = (typeof KINDS)[number];

/** Where the figures stand in the cells of a row: run, what it was, found. */
const FORMS: Readonly<Record<Kind, RegExp>> = {
  simulator:
    /^simulator, (?<seeds>[\d,]+) seeds? from [\d,]+ \| (?<events>[\d,]+) events?, (?<hours>[\d,.]+) simulated hours\b.* \| (?<failures>[\d,]+) failures?\b/,
  mutants:
    /^mutants, (?<hunted>[\d,]+) hunted from seed [\d,]+ \| (?<minutes>[\d,.]+) min\b.* \| (?<caught>[\d,]+) caught, (?<survived>[\d,]+) survived\b/,
  torture:
    /^torture, (?:(?<minutes>[\d,.]+) min|[\d,.]+ rounds?), seed \d+\b.* \| (?<strikes>[\d,]+) strikes? of [\d,]+ nemes[ei]s, (?:(?<cuts>[\d,]+) power cuts? of all nodes, )?(?<operations>[\d,]+) operations?\b.* \| (?<failures>[\d,]+) failures?\b/,
  fuzz: /^fuzz, [\d,.]+ min, seed \d+\b.* \| (?<inputs>[\d,]+) inputs?\b.* \| (?<findings>[\d,]+) findings?\b/,
};

interface Figures {
  readonly kind: Kind;
  readonly row: Row;
  readonly numbers: ReadonlyMap<string, number>;
}

function figuresOf(row: Row): Figures {
  const text = `${row.run} | ${row.what} | ${row.found}`;
  for (const kind of KINDS) {
    const groups: Readonly<Record<string, string | undefined>> | undefined = FORMS[kind].exec(text)?.groups;
    if (groups === undefined) continue;
    const numbers = Object.entries(groups).map(([name, text = "0"]) => [name, parseFigure(text)] as const);
    return { kind, row, numbers: new Map(numbers) };
  }
  throw new Error(`this row's figures are not in the form of any tool: | ${text} |`);
}

function parseFigure(text: string): number {
  const value = Number(text.replaceAll(",", ""));
  if (text === "" || !Number.isFinite(value)) throw new Error(`${text} is not a number`);
  return value;
}

function sum(all: readonly Figures[], kind: Kind, name: string): number {
  return all.filter((figures) => figures.kind === kind).reduce((total, figures) => total + numberOf(figures, name), 0);
}

function numberOf({ kind, numbers }: Figures, name: string): number {
  const value = numbers.get(name);
  if (value === undefined) throw new Error(`a row about ${kind} has no figure "${name}"`);
  return value;
}

/** Whole numbers, or tenths. */
function figure(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: 1 });
}

function hours(value: number): string {
  return `${value.toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 })} simulated hours`;
}

function count(value: number, noun: string, plural = `${noun}s`): string {
  return `${figure(value)} ${value === 1 ? noun : plural}`;
}

/** Refuses what it would not write again. */
export function parsePage(text: string): Page {
  const [intro = "", ...parts] = text.split(/^## /m);
  const headings = parts.map((part) => part.split("\n", 1)[0]);
  if (headings.join() !== SECTIONS.join())
    throw new Error(`${PAGE} has the sections ${headings.join(", ")}, not ${SECTIONS.join(", ")}`);
  const [, nemeses = [], targets = [], runs = []] = parts.map((part, i) => parseTable(part, SECTIONS[i] ?? "Runs"));
  const page = { intro, byNemesis: parseCounts(nemeses), byTarget: parseCounts(targets), rows: runs.map(parseRow) };
  requireAgreement(page);
  return page;
}

function parseTable(part: string, section: (typeof SECTIONS)[number]): readonly (readonly string[])[] {
  const lines = part.split("\n").slice(1);
  const rows = lines
    .filter((line) => line !== "")
    .map((line) => {
      if (!/^\|.*\|$/.test(line)) throw new Error(`${PAGE}, ${section}: this is not a row of the table: ${line}`);
      // A bar within a cell has a backslash before it.
      return line
        .slice(1, -1)
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim());
    });
  const [header = [], rule = [], ...body] = rows;
  const columns = COLUMNS[section];
  if (header.join() !== columns.join() || !rule.every((cell) => /^-+$/.test(cell)))
    throw new Error(`${PAGE}, ${section}: the columns are ${header.join(", ")}, not ${columns.join(", ")}`);
  const uneven = body.find((cells) => cells.length !== columns.length);
  if (uneven !== undefined)
    throw new Error(`${PAGE}, ${section}: not ${columns.length} cells in | ${uneven.join(" | ")} |`);
  return body;
}

function parseCounts(body: readonly (readonly string[])[]): Counts {
  return new Map(body.map(([name = "", ...figures]) => [name, figures.map(parseFigure)]));
}

function parseRow([date = "", commit = "", run = "", what = "", found = ""]: readonly string[]): Row {
  if (!/^\d{4}-\d\d-\d\d$/.test(date) || !/^[0-9a-f]{7,40}$/.test(commit))
    throw new Error(`${PAGE}: a row begins with a date and a commit, not with | ${date} | ${commit} |`);
  return { date, commit, run, what, found };
}

/** The tables that each run adds to must hold what the rows hold: nothing else would notice a slip in them. */
function requireAgreement({ rows, byNemesis, byTarget }: Page): void {
  const all = rows.map(figuresOf);
  const column = (counts: Counts, i: number): number =>
    [...counts.values()].reduce((total, figures) => total + (figures[i] ?? 0), 0);
  const pairs = [
    ["strikes", column(byNemesis, 0), sum(all, "torture", "strikes")],
    ["power cuts of all nodes", byNemesis.get(POWER_CUT)?.[0] ?? 0, sum(all, "torture", "cuts")],
    ["inputs", column(byTarget, 0), sum(all, "fuzz", "inputs")],
    ["findings", column(byTarget, 1), sum(all, "fuzz", "findings")],
  ] as const;
  for (const [what, inTable, inRows] of pairs) {
    if (inTable === inRows) continue;
    throw new Error(`${PAGE}: the runs have ${figure(inRows)} ${what}, the table above them ${figure(inTable)}`);
  }
}

/** The nemesis whose strike is a power cut of all nodes. */
const POWER_CUT = "power-all";

/** As `bun fmt` leaves it. */
export function renderPage({ intro, byNemesis, byTarget, rows }: Page): string {
  const bodies: Record<(typeof SECTIONS)[number], readonly (readonly string[])[]> = {
    "In all": totals(rows.map(figuresOf)),
    "Torture by nemesis": countsInOrder(byNemesis),
    "Fuzz by target": countsInOrder(byTarget),
    Runs: rows.map(({ date, commit, run, what, found }) => [date, commit, run, what, found]),
  };
  const sections = SECTIONS.map((section) => `## ${section}\n\n${renderTable([COLUMNS[section], ...bodies[section]])}`);
  return `${intro.trimEnd()}\n\n${sections.join("\n")}`;
}

function countsInOrder(counts: Counts): readonly (readonly string[])[] {
  const names = [...counts.keys()].toSorted((a, b) => (a < b ? -1 : 1));
  return names.map((name) => [name, ...(counts.get(name) ?? []).map(figure)]);
}

/** A row for each kind of run that there is. */
function totals(all: readonly Figures[]): readonly (readonly string[])[] {
  return KINDS.flatMap((kind) => {
    const runs = all.filter((figures) => figures.kind === kind);
    const last = runs.at(-1);
    return last === undefined ? [] : [[kind, figure(runs.length), ...total(kind, all, last)]];
  });
}

function total(kind: Kind, all: readonly Figures[], last: Figures): readonly [inAll: string, found: string] {
  const of = (name: string): number => sum(all, kind, name);
  switch (kind) {
    case "simulator": {
      const inAll = [count(of("seeds"), "seed"), count(of("events"), "event"), hours(of("hours"))];
      return [inAll.join(", "), count(of("failures"), "failure")];
    }
    case "mutants": {
      // Each run hunts all of them, so only the last one shows the present state.
      const latest = (name: string): string => figure(numberOf(last, name));
      const inAll = `the last run, on ${last.row.commit}: ${latest("hunted")} hunted in ${latest("minutes")} min`;
      return [inAll, `${latest("caught")} caught, ${latest("survived")} survived`];
    }
    case "torture": {
      const cuts = count(of("cuts"), "power cut");
      const inAll = [`${figure(of("minutes"))} min`, count(of("strikes"), "strike"), `${cuts} of all nodes`];
      return [[...inAll, count(of("operations"), "operation")].join(", "), count(of("failures"), "failure")];
    }
    case "fuzz":
      return [count(of("inputs"), "input"), count(of("findings"), "finding")];
  }
}

function renderTable(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, column) =>
    Math.max(...lines.map((cells) => Bun.stringWidth(cells[column] ?? ""))),
  );
  const [header = "", ...body] = lines.map((cells) => {
    const padded = cells.map((cell, column) => cell + " ".repeat((widths[column] ?? 0) - Bun.stringWidth(cell)));
    return `| ${padded.join(" | ")} |\n`;
  });
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |\n`;
  return [header, rule, ...body].join("");
}

/** The page with one run more. */
export function addRun(page: Page, date: string, commit: string, run: Run): Page {
  const struck = run.kind === "torture" ? run.struck : new Map<string, number>();
  const fuzzed = run.kind === "fuzz" ? run.targets : [];
  return {
    ...page,
    byNemesis: addCounts(
      page.byNemesis,
      [...struck].map(([name, strikes]) => [name, [strikes]]),
    ),
    byTarget: addCounts(
      page.byTarget,
      fuzzed.map(({ name, inputs, finding }) => [name, [inputs, finding === null ? 0 : 1]]),
    ),
    rows: [...page.rows, { date, commit, ...describe(run) }],
  };
}

function addCounts(counts: Counts, more: readonly (readonly [name: string, figures: readonly number[]])[]): Counts {
  const added = new Map(counts);
  for (const [name, figures] of more)
    added.set(
      name,
      figures.map((value, i) => (counts.get(name)?.[i] ?? 0) + value),
    );
  return added;
}

function describe(run: Run): Pick<Row, "run" | "what" | "found"> {
  switch (run.kind) {
    case "simulator": {
      const { seeds, firstSeed, events, virtualMs, failures, neverSeen } = run;
      const coverage =
        neverSeen === null
          ? ""
          : neverSeen.length === 0
            ? "every coverage point was seen"
            : `never seen: ${neverSeen.join(", ")}`;
      return {
        run: `simulator, ${count(seeds, "seed")} from ${figure(firstSeed)}`,
        what: `${count(events, "event")}, ${hours(virtualMs / 3_600_000)}`,
        found: joined(withLine(count(failures.length, "failure"), failures[0] ?? null), coverage),
      };
    }
    case "mutants": {
      const { hunted, firstSeed, minutes, survivors } = run;
      const lines = survivors.map(code).join(", ");
      const survived = `${figure(hunted - survivors.length)} caught, ${figure(survivors.length)} survived`;
      return {
        run: `mutants, ${figure(hunted)} hunted from seed ${figure(firstSeed)}`,
        what: `${figure(minutes)} min`,
        found: lines === "" ? survived : `${survived}: ${lines}`,
      };
    }
    case "torture": {
      const { extent, seed, only, hasOlderBuild, struck, operations, silenceMs, failure } = run;
      const long = "minutes" in extent ? `${figure(extent.minutes)} min` : count(extent.rounds, "round");
      const among = only.length === 0 ? "" : `, only ${only.join(" ")}`;
      const strikes = [...struck.values()].reduce((all, times) => all + times, 0);
      const what = [
        `${count(strikes, "strike")} of ${count(struck.size, "nemesis", "nemeses")}`,
        `${count(struck.get(POWER_CUT) ?? 0, "power cut")} of all nodes`,
        count(operations, "operation"),
        `longest silence with a healthy majority ${figure(Math.round(silenceMs))} ms`,
      ];
      const failures = withLine(count(failure?.count ?? 0, "failure"), failure?.repeat ?? null);
      const reckoning = `lost ${run.lost}, repeated ${run.duplicated}, misordered ${run.misordered}`;
      return {
        run: `torture, ${long}, seed ${seed}${among}${hasOlderBuild ? ", also with an older build" : ""}`,
        what: what.join(", "),
        found: joined(failures, reckoning),
      };
    }
    case "fuzz": {
      const { minutes, seed, only, targets, highestMebibytes } = run;
      const inputs = targets.reduce((all, target) => all + target.inputs, 0);
      const findings = targets.map(({ finding }) => finding).filter((finding) => finding !== null);
      return {
        run: `fuzz, ${figure(minutes)} min, seed ${seed}${only === null ? "" : `, only ${only}`}`,
        what: `${count(inputs, "input")}, highest memory ${figure(highestMebibytes)} MiB`,
        found: withLine(count(findings.length, "finding"), findings[0] ?? null),
      };
    }
  }
}

function withLine(text: string, line: string | null): string {
  return line === null ? text : `${text}: ${code(line)}`;
}

function joined(...texts: readonly string[]): string {
  return texts.filter((text) => text !== "").join("; ");
}

/** As a cell of a table holds it. */
function code(line: string): string {
  return `\`${line
    .replaceAll("`", "'")
    .replaceAll(/\s+/g, " ")
    .replaceAll("|", String.raw`\|`)}\``;
}

/** The project's files and history, as far as evidence needs them. */
export interface Checkout {
  /** The short name of the commit that is checked out. */
  head(): string;
  /** Files that differ from it, also those that no commit has. */
  changedSince(commit: string): readonly string[];
  readPage(): string;
  writePage(text: string): void;
}

/**
 * Appends the run, and returns the message about it. Throws at once where the run could not count: with these flags (those that have
 * a value), on a tree that is no commit's, or with a page that is not understood.
 */
export function beginEvidence(
  checkout: Checkout,
  unfit: Readonly<Record<string, unknown>>,
): (run: Run, now: Date) => string {
  const flags = Object.entries(unfit).filter(([, value]) => value !== undefined && value !== null && value !== false);
  if (flags.length > 0)
    throw new Error(`a run that counts is without ${flags.map(([flag]) => `--${flag}`).join(", ")}`);
  const commit = checkout.head();
  const changed = (): readonly string[] => checkout.changedSince(commit).filter((path) => path !== PAGE);
  const before = changed();
  if (before.length > 0) throw new Error(`a run that counts is of a commit; changed: ${before.join(", ")}`);
  parsePage(checkout.readPage());
  return (run, now) => {
    const page = addRun(parsePage(checkout.readPage()), now.toISOString().slice(0, 10), commit, run);
    // A run loads its files bit by bit: what it saw last was not what is in the commit.
    const meanwhile = changed().filter((path) => !path.startsWith(CORPUS));
    if (meanwhile.length > 0) return `no row in ${PAGE}: changed during the run: ${meanwhile.join(", ")}`;
    checkout.writePage(renderPage(page));
    return `${PAGE} has a row more, for ${commit}`;
  };
}

/** For the tools: ends the process where the run could not count. */
export function openEvidence(unfit: Readonly<Record<string, unknown>>): (run: Run) => void {
  try {
    const append = beginEvidence(gitCheckout(), unfit);
    return (run) => writeStderr(append(run, new Date()));
  } catch (error) {
    writeStderr(`--evidence: ${error instanceof Error ? error.message : String(error)}`);
    return process.exit(2);
  }
}

function gitCheckout(): Checkout {
  const path = join(ROOT, PAGE);
  const git = (...args: readonly string[]): readonly string[] => {
    const done = spawnSync("git", args, { cwd: ROOT, encoding: "utf8" });
    if (done.status !== 0) throw new Error(`git ${args[0]}: ${done.error?.message ?? done.stderr.trim()}`);
    return done.stdout.split("\n").filter((line) => line !== "");
  };
  return {
    head: () => git("rev-parse", "--short", "HEAD").join(""),
    changedSince: (commit) => [
      ...git("diff", "--name-only", commit),
      ...git("ls-files", "--others", "--exclude-standard"),
    ],
    readPage: () => readFileSync(path, "utf8"),
    writePage: (text) => writeFileSync(path, text),
  };
}

if (import.meta.main) {
  const { readPage, writePage } = gitCheckout();
  writePage(renderPage(parsePage(readPage())));
}
