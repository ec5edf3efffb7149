#!/usr/bin/env bun
// What does `raftq …` do? Finds the command, runs it, and turns whatever goes wrong into one clear line and an exit code.
import { type CommandDef, renderUsage, runCommand } from "citty";
import { nearest } from "./cli/suggest.ts";
import { isColoured, namedMessages } from "./cli/log.ts";
import { stderr } from "./cli/stderr.ts";
import { codeOf } from "./cli/stdout.ts";
import { VERSION } from "./cli/version.ts";
import { EXIT, type ExitCode, RaftqError } from "./lib/errors.ts";

const root: CommandDef = {
  meta: {
    name: "raftq",
    version: VERSION,
    description: "A work queue replicated by Raft that does not lose what it acknowledged",
  },
  subCommands: {
    node: () => import("./cli/node.ts").then(({ nodeCommand }) => nodeCommand),
    client: () => import("./cli/client.ts").then(({ clientCommand }) => clientCommand),
    cluster: () => import("./cli/cluster.ts").then(({ clusterCommand }) => clusterCommand),
  },
};

interface Found {
  readonly command: CommandDef;
  /** The words that lead there: `["raftq", "cluster", "up"]`. */
  readonly path: readonly string[];
  readonly rest: readonly string[];
}

const resolve = <T>(value: T | Promise<T> | (() => T) | (() => Promise<T>)): T | Promise<T> =>
  value instanceof Function ? value() : value;

/** Walks down the command tree as far as `argv` names commands. */
async function findCommand(argv: readonly string[]): Promise<Found> {
  let found: Found = { command: root, path: ["raftq"], rest: argv };
  for (;;) {
    const subCommands = new Map(Object.entries((await resolve(found.command.subCommands)) ?? {}));
    const [word, ...rest] = found.rest;
    if (subCommands.size === 0 || word === undefined || asksForHelp([word]) || asksForVersion([word])) return found;
    const subCommand = subCommands.get(word);
    if (subCommand === undefined) throw unknownWord(found.path, word, [...subCommands.keys()]);
    found = { command: await resolve(subCommand), path: [...found.path, word], rest };
  }
}

function unknownWord(path: readonly string[], word: string, names: readonly string[]): RaftqError {
  const before = path.join(" ");
  if (word.startsWith("-")) {
    return new RaftqError("USAGE", `${word} comes before any command: write ${before} <${names.join("|")}> ${word}.`);
  }
  const near = nearest(word, names);
  const suggestion = near === undefined ? `There is ${names.join(", ")}.` : `Did you mean ${before} ${near}?`;
  return new RaftqError("USAGE", `unknown command "${word}". ${suggestion}`);
}

const beforeDashes = (argv: readonly string[]): readonly string[] =>
  argv.includes("--") ? argv.slice(0, argv.indexOf("--")) : argv;
const asksForHelp = (argv: readonly string[]): boolean => argv.includes("--help") || argv.includes("-h");
const asksForVersion = (argv: readonly string[]): boolean => argv.includes("--version");

async function showHelp(found: Found): Promise<void> {
  const text = await renderUsage(found.command, {
    meta: { name: found.path.slice(0, -1).join(" "), version: VERSION },
  });
  process.stdout.write(`${isColoured(process.stdout) ? text : Bun.stripANSI(text)}\n`);
}

/** `raftq help cluster up`, `raftq cluster help up`: as if `--help` stood at the end. No command is called help, and no value. */
function withHelpFlag(argv: readonly string[]): readonly string[] {
  const at = argv.slice(0, 2).indexOf("help");
  return at < 0 ? argv : [...argv.toSpliced(at, 1), "--help"];
}

async function run(words: readonly string[]): Promise<ExitCode> {
  const argv = withHelpFlag(words);
  const found = await findCommand(argv);
  const flags = beforeDashes(found.rest);
  if (asksForHelp(flags)) {
    await showHelp(found);
    return EXIT.ok;
  }
  if (asksForVersion(flags)) {
    process.stdout.write(`raftq ${VERSION}\n`);
    return EXIT.ok;
  }
  if (found.command.run === undefined) {
    await showHelp(found);
    return found.command === root ? EXIT.ok : EXIT.usage;
  }
  try {
    const { result } = await runCommand(found.command, { rawArgs: [...found.rest] });
    return Object.values(EXIT).find((code) => code === result) ?? EXIT.ok;
  } catch (error) {
    if (error instanceof RaftqError && error.code === "USAGE") {
      const { message, details } = error;
      throw new RaftqError("USAGE", `${sentence(message)} More: ${found.path.join(" ")} --help`, error, details);
    }
    throw error;
  }
}

/** What follows a message needs an end before it. */
function sentence(message: string): string {
  return /[.!?)"]$/.test(message) ? message : `${message}.`;
}

/** What, why, what next: one line, and those that the error has below it. A stack only for those who ask for it. */
function tell(error: unknown): ExitCode {
  const wantsStack = process.env["RAFTQ_DEBUG"] === "1";
  const stack = wantsStack && error instanceof Error && error.stack !== undefined ? error.stack.split("\n") : [];
  if (error instanceof RaftqError) {
    const { message, details } = error;
    const next = error.code === "USAGE" ? [] : [error.next];
    const lines = details.length > 0 ? [message, ...details, ...next] : [[sentence(message), ...next].join(" ")];
    namedMessages.error(...lines, ...stack);
    return error.exitCode;
  }
  const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const advice = "RAFTQ_DEBUG=1 shows where; please report it";
  namedMessages.error(`stopped by a fault of its own: ${what} (${advice})`, ...stack);
  return EXIT.failed;
}

/** With the first code that is given. What was said on stderr may still be on its way to a slow reader. */
function leave(exitCode: ExitCode): void {
  if (isLeaving) return;
  isLeaving = true;
  void stderr.drained().then(() => process.exit(exitCode));
}
let isLeaving = false;

// `raftq cluster status | head -1`: the reader has all it wanted; that is no failure. A full disk is one.
process.stdout.on("error", (error) => {
  if (codeOf(error) === "EPIPE") process.exit(EXIT.ok);
  namedMessages.error(`stdout cannot be written: ${error.message}`);
  leave(EXIT.failed);
});

const exitCode = await run(process.argv.slice(2)).catch(tell);
// Answers may still be on their way to a slow reader; only the end of the stream says that they have left.
process.stdout.end(() => leave(exitCode));
