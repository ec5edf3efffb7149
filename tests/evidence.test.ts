// Do the totals of EVIDENCE.md follow from its rows, is nothing of it lost when a tool appends one, and does a run without a commit
// leave no row?
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { addRun, beginEvidence, type Checkout, type Page, parsePage, renderPage, type Run } from "./evidence.ts";
import { ROOT } from "./scripts/project.ts";

const COMMITTED = readFileSync(join(ROOT, "tests/EVIDENCE.md"), "utf8");
const EMPTY: Page = { intro: "# Evidence\n\nRuns.\n", byNemesis: new Map(), byTarget: new Map(), rows: [] };
const DATE = "2026-12-01";

const simulator = {
  kind: "simulator",
  firstSeed: 9_000_000,
  seeds: 1_000,
  events: 28_908_832,
  virtualMs: 2.9 * 3_600_000,
  failures: [],
  neverSeen: [],
} as const satisfies Run;
const mutants = {
  kind: "mutants",
  firstSeed: 1,
  hunted: 60,
  minutes: 24.26,
  survivors: [],
} as const satisfies Run;
const torture = {
  kind: "torture",
  extent: { minutes: 10 },
  seed: 7,
  only: [],
  hasOlderBuild: false,
  struck: new Map([
    ["stop", 5],
    ["kill", 1_200],
    ["power-all", 1],
  ]),
  operations: 110_300,
  silenceMs: 1_158.4,
  failure: null,
  lost: 0,
  duplicated: 0,
  misordered: 0,
} as const satisfies Run;
const powerCuts = {
  ...torture,
  extent: { rounds: 10 },
  only: ["power-all"],
  hasOlderBuild: true,
  struck: new Map([["power-all", 10]]),
} as const satisfies Run;
const fuzz = {
  kind: "fuzz",
  minutes: 0.5,
  seed: 11,
  only: null,
  targets: [
    { name: "frames", inputs: 1_000_000, finding: null },
    { name: "codec", inputs: 234_567, finding: null },
  ],
  highestMebibytes: 258,
} as const satisfies Run;

function pageOf(...runs: readonly Run[]): Page {
  return runs.reduce((page, run) => addRun(page, DATE, "abc1234", run), EMPTY);
}

/** The rows of one table, without the padding. */
function table(text: string, section: string): readonly string[] {
  const part = text.split(`## ${section}\n`)[1]?.split("\n## ")[0] ?? "";
  return part
    .trim()
    .split("\n")
    .slice(2)
    .map((line) => line.replaceAll(/ +/g, " "));
}

test("the committed page is what its rows add up to", () => {
  expect(renderPage(parsePage(COMMITTED))).toBe(COMMITTED);
});

test("every kind of run has a row with its figures, and they are added up", () => {
  const page = renderPage(pageOf(simulator, mutants, torture, powerCuts, fuzz, simulator, torture, fuzz));
  expect(table(page, "In all")).toEqual([
    "| simulator | 2 | 2,000 seeds, 57,817,664 events, 5.8 simulated hours | 0 failures |",
    "| mutants | 1 | the last run, on abc1234: 60 hunted in 24.3 min | 60 caught, 0 survived |",
    "| torture | 3 | 20 min, 2,422 strikes, 12 power cuts of all nodes, 330,900 operations | 0 failures |",
    "| fuzz | 2 | 2,469,134 inputs | 0 findings |",
  ]);
  expect(table(page, "Torture by nemesis")).toEqual(["| kill | 2,400 |", "| power-all | 12 |", "| stop | 10 |"]);
  expect(table(page, "Fuzz by target")).toEqual(["| codec | 469,134 | 0 |", "| frames | 2,000,000 | 0 |"]);
  const torturing = "110,300 operations, longest silence with a healthy majority 1,158 ms";
  expect(table(page, "Runs").slice(0, 5)).toEqual(
    [
      "simulator, 1,000 seeds from 9,000,000 | 28,908,832 events, 2.9 simulated hours | 0 failures; every coverage point was seen",
      "mutants, 60 hunted from seed 1 | 24.3 min | 60 caught, 0 survived",
      `torture, 10 min, seed 7 | 1,206 strikes of 3 nemeses, 1 power cut of all nodes, ${torturing} | 0 failures; lost 0, repeated 0, misordered 0`,
      `torture, 10 rounds, seed 7, only power-all, also with an older build | 10 strikes of 1 nemesis, 10 power cuts of all nodes, ${torturing} | 0 failures; lost 0, repeated 0, misordered 0`,
      "fuzz, 0.5 min, seed 11 | 1,234,567 inputs, highest memory 258 MiB | 0 findings",
    ].map((cells) => `| ${DATE} | abc1234 | ${cells} |`),
  );
});

test("a run that failed has a row as well, with the line that repeats it", () => {
  const page = pageOf(
    { ...simulator, seeds: 20, failures: ["bun run sim --seed 5", "bun run sim --seed 6"], neverSeen: null },
    { ...simulator, neverSeen: ["a session expired", "a configuration was rolled back"] },
    { ...mutants, survivors: ["bun run sim --mutant a", "bun run sim --mutant b"] },
    { ...torture, failure: { count: 1, repeat: "bun run torture --seed 7 --previous ./a|b" }, lost: 3 },
    { ...fuzz, targets: [...fuzz.targets, { name: "log", inputs: 0, finding: "bun run fuzz --input AA==" }] },
  );
  expect(page.rows.map(({ found }) => found)).toEqual([
    "2 failures: `bun run sim --seed 5`",
    "0 failures; never seen: a session expired, a configuration was rolled back",
    "58 caught, 2 survived: `bun run sim --mutant a`, `bun run sim --mutant b`",
    "1 failure: `bun run torture --seed 7 --previous ./a\\|b`; lost 3, repeated 0, misordered 0",
    "1 finding: `bun run fuzz --input AA==`",
  ]);
  const text = renderPage(page);
  expect(table(text, "In all").map((line) => line.split(" | ").at(-1))).toEqual([
    "2 failures |",
    "58 caught, 2 survived |",
    "1 failure |",
    "1 finding |",
  ]);
  expect(table(text, "Fuzz by target")).toContain("| log | 0 | 1 |");
  expect(renderPage(parsePage(text))).toBe(text);
});

test("only the last hunt for mutants shows the present state", () => {
  const page = renderPage(pageOf({ ...mutants, survivors: ["bun run sim --mutant a"] }, { ...mutants, hunted: 61 }));
  expect(table(page, "In all")).toEqual([
    "| mutants | 2 | the last run, on abc1234: 61 hunted in 24.3 min | 61 caught, 0 survived |",
  ]);
});

test("what is written by hand behind the figures stays when a row is appended", () => {
  const explained = "1 failure: a vote → twice, see `tests/raft/election.test.ts`; mended \\| by hand";
  const [first] = pageOf(simulator).rows;
  const page = renderPage({ ...EMPTY, rows: [{ ...first!, found: explained }] });
  const longer = renderPage(addRun(parsePage(page), DATE, "def5678", simulator));
  expect(table(longer, "Runs")[0]).toEndWith(` | ${explained} |`);
  expect(parsePage(longer).rows).toHaveLength(2);
});

test("a page is written as `bun fmt` leaves it", async () => {
  const failed = { ...torture, failure: { count: 1, repeat: "bun run torture --previous ./a|b_c*d" } };
  const text = renderPage(pageOf(simulator, mutants, failed, powerCuts, fuzz));
  const formatter = Bun.spawn([process.execPath, "fmt", "--no-script", "--stdin-filepath=tests/EVIDENCE.md"], {
    cwd: ROOT,
    stdin: new Blob([text]),
    stdout: "pipe",
  });
  expect(await new Response(formatter.stdout).text()).toBe(text);
});

test("a page that would not be written again as it is, or that does not add up, is refused", () => {
  const page = renderPage(pageOf(simulator, torture, powerCuts, fuzz));
  const refusals: readonly (readonly [section: string, text: string, other: string, why: string])[] = [
    ["Runs", "28,908,832 events", "many events", "not in the form of any tool"],
    ["Runs", DATE, "yesterday", "begins with a date and a commit"],
    ["Runs", "| what it was ", "| what ", "the columns are date, commit, run, what, found"],
    ["Torture by nemesis", "| kill ", "kill ", "not a row of the table: kill"],
    ["Torture by nemesis", "| stop ", "| a | stop ", "not 2 cells in | a | stop"],
    ["Torture by nemesis", "| 1,200 ", "| many ", "many is not a number"],
    ["Fuzz by target", "Fuzz by target", "Fuzz", "sections In all, Torture by nemesis, Fuzz, Runs"],
    ["Torture by nemesis", "1,200 ", "1,201 ", "have 1,216 strikes, the table above them 1,217"],
    ["Runs", "10 power cuts", "9 power cuts", "have 10 power cuts of all nodes, the table above them 11"],
    ["Fuzz by target", "| 234,567", "| 234,568", "have 1,234,567 inputs, the table above them 1,234,568"],
    ["Runs", "0 findings", "2 findings", "have 2 findings, the table above them 0"],
  ];
  for (const [section, text, other, why] of refusals) {
    const at = page.indexOf(text, page.indexOf(`## ${section}`));
    expect(at).toBeGreaterThan(0);
    expect(() => parsePage(page.slice(0, at) + other + page.slice(at + text.length))).toThrow(why);
  }
});

test("the totals of all are computed anew, whatever stands there", () => {
  const page = renderPage(pageOf(simulator, torture));
  const wrong = page.replace("1,000 seeds, 28,908,832 events", "9 seeds, 9 events");
  expect(wrong).not.toBe(page);
  expect(renderPage(parsePage(wrong))).toBe(page);
});

/** A checkout in memory: its page, and the files that differ from its commit. */
function checkout(changed: string[] = []): Checkout & { page: string } {
  const here = {
    page: renderPage(pageOf(simulator)),
    head: () => "abc1234",
    changedSince: (commit: string) => (commit === "abc1234" ? changed : ["everything"]),
    readPage: () => here.page,
    writePage: (text: string) => void (here.page = text),
  };
  return here;
}

const NOW = new Date("2026-12-02T23:59:00Z");

test("a run on a commit gets its row, though the page itself has changed, also by other runs meanwhile", () => {
  const here = checkout(["tests/EVIDENCE.md"]);
  const append = beginEvidence(here, { short: false, plan: undefined, mutant: null });
  beginEvidence(here, {})(torture, NOW);
  expect(append(fuzz, NOW)).toBe("tests/EVIDENCE.md has a row more, for abc1234");
  const rows = parsePage(here.page).rows.map(({ date, commit, run }) => `${date} ${commit} ${run.split(",")[0]}`);
  expect(rows).toEqual(["2026-12-01 abc1234 simulator", "2026-12-02 abc1234 torture", "2026-12-02 abc1234 fuzz"]);
});

test("a run on a tree that is no commit's is refused before it begins", () => {
  for (const path of ["src/raft/raft.ts", "tests/fuzz/corpus/log.txt", "new.ts"]) {
    const why = `a run that counts is of a commit; changed: ${path}`;
    expect(() => beginEvidence(checkout(["tests/EVIDENCE.md", path]), {})).toThrow(why);
  }
});

test("a run of other worlds than the drawn ones is refused before it begins, and so is one whose page is not understood", () => {
  expect(() => beginEvidence(checkout(), { short: true, mutant: "a", seeds: undefined })).toThrow(
    "a run that counts is without --short, --mutant",
  );
  const here = checkout();
  here.page += "and a line by hand\n";
  expect(() => beginEvidence(here, {})).toThrow("not a row of the table: and a line by hand");
});

test("a run whose files were changed meanwhile leaves no row; that it added to the fuzzers' corpus is no such change", () => {
  const changed: string[] = [];
  const here = checkout(changed);
  const append = beginEvidence(here, {});
  changed.push("tests/fuzz/corpus/log.txt");
  expect(append(fuzz, NOW)).toContain("a row more");
  const before = here.page;
  changed.push("src/raft/raft.ts");
  expect(append(fuzz, NOW)).toBe("no row in tests/EVIDENCE.md: changed during the run: src/raft/raft.ts");
  expect(here.page).toBe(before);
});
