// The source keeps to its drawing: imports point down only, the pure folders stay pure, names and sizes keep the rules of the house,
// and the code map in src/README.md is complete.
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { parseSync, Visitor } from "oxc-parser";

const SRC = join(import.meta.dir, "../src");

/**
 * The drawing: main -> cli -> {cluster -> client, server} -> {wire, storage} -> {raft, queue} -> {lib, config}.
 * A folder imports itself and what stands in its line, also by `import type`; raft and queue never import each other.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  main: ["cli", "lib", "config"],
  index: ["client", "wire", "lib"],
  cli: ["cluster", "client", "server", "wire", "storage", "raft", "queue", "lib", "config"],
  cluster: ["client", "wire", "storage", "raft", "lib", "config"],
  client: ["wire", "raft", "queue", "lib", "config"],
  server: ["wire", "storage", "raft", "queue", "lib", "config"],
  wire: ["raft", "queue", "lib", "config"],
  storage: ["raft", "lib", "config"],
  raft: ["lib"],
  queue: ["lib"],
  config: ["lib"],
  lib: [],
};

/** What comes from outside, by folder. The pure folders take nothing. */
const MAY_USE: Readonly<Record<string, readonly string[]>> = {
  main: ["citty"],
  cli: ["citty", "consola/core", "fastest-levenshtein", "node:"],
  cluster: ["node:", "valibot", "@peculiar/x509", "reflect-metadata"],
  server: ["node:"],
  client: ["node:"],
  lib: ["msgpackr/pack"],
  wire: ["node:net", "node:crypto", "node:tls"],
  storage: ["node:fs", "node:path", "bun:ffi"],
};

/** The real sides of the ports: only they may touch the clock, the disk, the network and the process. */
const REAL_PORTS = ["storage/real-disk.ts", "wire/tcp.ts", "wire/tls.ts", "lib/real-clock.ts"];
/** Where the real sides are chosen. Everything else gets its ports handed in. */
const EDGE = /^(?:cli\/[\w-]+|client\/(?:connect|unacknowledged))\.ts$/;

const PURE = ["raft", "queue"];
const SIMULATED = ["raft", "queue", "storage", "wire", "server", "client"];

const WORLD =
  /\b(Date|Math\.random|crypto|performance|process|Bun(?!\.CryptoHasher)|fetch|setTimeout|setInterval|setImmediate|queueMicrotask|console)\b/g;
const SUSPENDS = /\b(await|async|Promise)\b/g;

const MAX_FILE_LINES = 400;
/** `config.ts` is a list: each number with its reason, and nothing to follow. */
const LISTS = ["config.ts"];
const MAX_FUNCTION_LINES = 70;
/** Variables that change, of a function with functions inside: more of them are state, and belong into a record. */
const MAX_HIDDEN_VARIABLES = 5;

interface SourceFile {
  readonly path: string;
  readonly folder: string;
  readonly text: string;
  /** Without comments and the text of strings. */
  readonly code: string;
}

const paths = readdirSync(SRC, { recursive: true, encoding: "utf8" })
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => path.endsWith(".ts"))
  .toSorted();

const files: readonly SourceFile[] = paths.map((path) => {
  const text = readFileSync(join(SRC, path), "utf8");
  const folder = path.includes("/") ? (path.split("/")[0] as string) : path.replace(/\.ts$/, "");
  return { path, folder, text, code: codeOnly(text) };
});

/** Blanks out comments and strings, keeps line breaks and the expressions inside templates. */
function codeOnly(text: string): string {
  const token = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\[\s\S])*`/g;
  return text.replace(token, (found) => {
    if (!found.startsWith("`")) return found.replace(/[^\n]/g, " ");
    return [...found.matchAll(/\$\{([^}]*)\}/g)].map((expression) => expression[1]).join(" ; ");
  });
}

function importsOf(file: SourceFile): readonly string[] {
  const statement = /(?:^|\n)\s*(?:import|export)\s(?:[^"';]*?\sfrom\s)?"([^"]+)"|\bimport\(\s*"([^"]+)"/g;
  return [...file.text.matchAll(statement)].map((match) => (match[1] ?? match[2]) as string);
}

function folderOf(from: SourceFile, specifier: string): string {
  const target = normalize(join(dirname(from.path), specifier));
  return target.includes("/") ? (target.split("/")[0] as string) : target.replace(/\.ts$/, "");
}

const isEdge = (file: SourceFile): boolean => REAL_PORTS.includes(file.path) || EDGE.test(file.path);

function lineOf(text: string, index: number): number {
  return text.slice(0, index).split("\n").length;
}

function occurrences(pattern: RegExp, among: readonly SourceFile[]): readonly string[] {
  return among.flatMap((file) =>
    [...file.code.matchAll(pattern)].map((match) => `${file.path}:${lineOf(file.code, match.index)} ${match[0]}`),
  );
}

test("every folder of src has its place in the drawing", () => {
  const unknown = files.filter((file) => MAY_IMPORT[file.folder] === undefined).map((file) => file.path);
  expect(unknown).toEqual([]);
});

test("imports point down only, type imports too", () => {
  const upward = files.flatMap((file) => {
    const allowed = [file.folder, ...(MAY_IMPORT[file.folder] ?? [])];
    return importsOf(file)
      .filter((specifier) => specifier.startsWith(".") && !specifier.endsWith("/package.json"))
      .filter((specifier) => !allowed.includes(folderOf(file, specifier)))
      .map((specifier) => `${file.path} imports ${specifier}`);
  });
  expect(upward).toEqual([]);
});

test("packages and built-in modules are used only where the table allows them", () => {
  const foreign = files.flatMap((file) => {
    const allowed = MAY_USE[file.folder] ?? [];
    return importsOf(file)
      .filter((specifier) => !specifier.startsWith("."))
      .filter(
        (specifier) => !allowed.some((name) => specifier === name || (name === "node:" && specifier.startsWith(name))),
      )
      .map((specifier) => `${file.path} imports ${specifier}`);
  });
  expect(foreign).toEqual([]);
});

test("what a person reads on stderr has one way there", () => {
  const users = files.filter((file) => importsOf(file).some((specifier) => specifier.startsWith("consola")));
  expect(users.map(({ path }) => path)).toEqual(["cli/log.ts"]);
  const writers = files.filter(({ code }) => /\bprocess\.stderr\.write\b|\bconsole\.|\bBun\.stderr\b/.test(code));
  expect(writers.map(({ path }) => path)).toEqual(["cli/stderr.ts"]);
});

test("what makes certificates is loaded only where one is made: it would slow down every start", () => {
  const atStart = /(?:^|\n)(?:import|export) (?!type\b)[^;]*"(?:reflect-metadata|@peculiar\/x509)"/;
  expect(files.filter(({ text }) => atStart.test(text)).map(({ path }) => path)).toEqual([]);
});

test("raft and queue know no I/O, clock or randomness of their own, and never wait", () => {
  const pure = files.filter((file) => PURE.includes(file.folder));
  expect(pure.length).toBeGreaterThan(0);
  expect(occurrences(WORLD, pure)).toEqual([]);
  expect(occurrences(SUSPENDS, pure)).toEqual([]);
});

test("whatever runs in the simulator touches the world through its ports only", () => {
  const simulated = files.filter((file) => SIMULATED.includes(file.folder) && !isEdge(file));
  expect(occurrences(WORLD, simulated)).toEqual([]);
});

test("the real disk, network and clock are chosen at the edge only", () => {
  const within = files.filter((file) => !isEdge(file));
  const chosen = within.flatMap((file) =>
    importsOf(file)
      .filter((specifier) => REAL_PORTS.includes(normalize(join(dirname(file.path), specifier))))
      .map((specifier) => `${file.path} imports ${specifier}`),
  );
  expect(chosen).toEqual([]);
});

test("nothing waits between bytes in and effects out", () => {
  const turn = files.filter((file) => SIMULATED.includes(file.folder) && !isEdge(file));
  expect(occurrences(SUSPENDS, turn)).toEqual([]);
});

test("timeouts and sizes have their place in config.ts", () => {
  const named = /\b(?:\w*Ms|\w*Timeout|(?:max|min|limit)\w*Bytes)\b["']?\s*[:=]\s*\d[\d_]*\d\b/g;
  const timer = /\b(?:after|setTimeout|setInterval)\(\s*(?:\d[\d_]*\d\b|[^;]*,\s*\d[\d_]*\d\s*\))/g;
  const elsewhere = files.filter((file) => file.path !== "config.ts");
  expect([...occurrences(named, elsewhere), ...occurrences(timer, elsewhere)]).toEqual([]);
  // Below these, a number belongs to a layout, an algorithm or the paper, and stands beside it.
  const edge = elsewhere.filter(({ folder }) => ["server", "client", "cluster", "cli"].includes(folder));
  expect(
    occurrences(/\bconst (?!MAX_PORT\b)(?:MAX|MIN|[A-Z_]+_(?:MS|BYTES|FACTOR|LIMIT|WINDOW))\w* = \d/g, edge),
  ).toEqual([]);
});

test("every file begins with a comment that states what it is for: a statement, no question", () => {
  const silent = files.filter((file) => !/^(?:#![^\n]*\n)?\/\/ [^\n?]+(?:\n|$)/.test(file.text));
  expect(silent.map((file) => file.path)).toEqual([]);
});

test(`no file is longer than ${MAX_FILE_LINES} lines, and none is a drawer`, () => {
  const long = files.filter(({ path, text }) => !LISTS.includes(path) && text.split("\n").length - 1 > MAX_FILE_LINES);
  expect(long.map((file) => file.path)).toEqual([]);
  const drawers = files.filter((file) => /\b(utils?|helpers?|common|misc|managers?)\b/i.test(file.path));
  expect(drawers.map((file) => file.path)).toEqual([]);
});

/** Lines of a function, and the variables in it that change while functions inside of it can see them. */
interface FunctionShape {
  readonly where: string;
  readonly lines: number;
  readonly hiddenVariables: number;
}

function functionsOf({ path, text }: SourceFile): readonly FunctionShape[] {
  const shapes: FunctionShape[] = [];
  const open: { variables: number; hasInner: boolean }[] = [];
  const enter = (): void => {
    for (const outer of open) outer.hasInner = true;
    open.push({ variables: 0, hasInner: false });
  };
  const leave = ({ start, end }: { readonly start: number; readonly end: number }): void => {
    const { variables, hasInner } = open.pop() ?? { variables: 0, hasInner: false };
    const first = lineOf(text, start);
    const hiddenVariables = hasInner ? variables : 0;
    shapes.push({ where: `${path}:${first}`, lines: lineOf(text, end) - first + 1, hiddenVariables });
  };
  new Visitor({
    VariableDeclaration: ({ kind, declarations }) => {
      const inside = open.at(-1);
      if (inside !== undefined && kind === "let") inside.variables += declarations.length;
    },
    FunctionDeclaration: enter,
    "FunctionDeclaration:exit": leave,
    FunctionExpression: enter,
    "FunctionExpression:exit": leave,
    ArrowFunctionExpression: enter,
    "ArrowFunctionExpression:exit": leave,
  }).visit(parseSync(path, text).program);
  return shapes;
}

test(`no function is longer than ${MAX_FUNCTION_LINES} lines, and none hides more than ${MAX_HIDDEN_VARIABLES} variables from its reader`, () => {
  const shapes = files.flatMap(functionsOf);
  expect(shapes.length).toBeGreaterThan(1_000);
  expect(shapes.filter(({ lines }) => lines > MAX_FUNCTION_LINES)).toEqual([]);
  expect(shapes.filter(({ hiddenVariables }) => hiddenVariables > MAX_HIDDEN_VARIABLES)).toEqual([]);
});

test("a comment that names a file names one that exists", () => {
  const folders = Object.keys(MAY_IMPORT).join("|");
  const mention = new RegExp(`(?://|\\*).*?\\b((?:${folders})/(?:[\\w-]+/)*[\\w-]+\\.ts)`, "g");
  const dead = files.flatMap((file) =>
    [...file.text.matchAll(mention)]
      .filter((match) => !paths.includes(match[1] as string))
      .map((match) => `${file.path} names ${match[1]}`),
  );
  expect(dead).toEqual([]);
});

test("the code map in src/README.md names every file, and no file that is gone", () => {
  const map = readFileSync(join(SRC, "README.md"), "utf8");
  const documents = readdirSync(SRC, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".md"));
  const wanted = [...paths, ...documents.filter((path) => path !== "README.md")];
  const named = new Set([...map.matchAll(/`((?:[\w-]+\/)*[\w-]+\.(?:ts|md))`/g)].map((match) => match[1] as string));
  expect(wanted.filter((path) => !named.has(path))).toEqual([]);
  expect([...named].filter((path) => !wanted.includes(path) && !path.includes("package"))).toEqual([]);
});
