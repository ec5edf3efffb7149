// Checks the arguments in front of citty, over its own definitions, and converts their values. citty parses, dispatches and renders
// the help; but it lets unknown flags, missing values and stray words pass.
import type { ArgDef, CommandContext, CommandDef, Resolvable } from "citty";
import { type ExitCode, RaftqError } from "../lib/errors.ts";
import { didYouMean, nonEmpty, type Convert, truth } from "./conversions.ts";
import { shellWord } from "./escape.ts";
import { nearest } from "./suggest.ts";

/** What citty knows of a flag or a positional; the variable that is read when it is not given; and a conversion. */
type Argument = ArgDef & {
  // Choices are a conversion, too: citty's check of an enum suggests nothing, and does not support variables.
  readonly type: "boolean" | "string" | "positional";
  readonly environment?: string;
  /** A flag that cannot be given together with this one, and whose variable does not count then. */
  readonly insteadOf?: string;
  readonly convert?: Convert<unknown>;
};
export type Arguments = Readonly<Record<string, Argument>>;

type Present = { readonly default: string } | { readonly required: true };
type ValueOf<A> = A extends { readonly type: "boolean" }
  ? boolean
  : (A extends { readonly convert: Convert<infer T> } ? T : string) | (A extends Present ? never : undefined);
/** What was not given, and has no default, is undefined; a boolean is then false. */
export type Values<D extends Arguments> = { readonly [Name in keyof D]: ValueOf<D[Name]> };

/** A command of citty's. `meta.name` is all the words that lead to it; examples stand below its usage. */
export interface Command extends CommandDef {
  readonly meta: { readonly name: string; readonly description: string; readonly examples?: readonly string[] };
  /** Of a command with subcommands: the flags that may stand before the subcommand's name. */
  readonly args?: Resolvable<Arguments>;
  readonly subCommands?: Resolvable<Readonly<Record<string, Command>>>;
  readonly default?: string;
}

type Parsed = Pick<CommandContext, "args" | "rawArgs">;
type Environment = Readonly<Record<string, string | undefined>>;

const usage = (message: string): RaftqError => new RaftqError("USAGE", message);

/** What follows a message needs an end before it. */
export const sentence = (message: string): string => (/[.!?)"]$/.test(message) ? message : `${message}.`);

/** What `run` throws about the usage names the help of the command. */
export async function withHelpHint<T>({ meta }: Command, run: () => T | Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof RaftqError) || error.code !== "USAGE") throw error;
    const { message, details } = error;
    throw new RaftqError("USAGE", `${sentence(message)} More: ${meta.name} --help`, error, details);
  }
}

/**
 * What citty parsed, from the words that `checked` made: a flag that was given is there as `--name` or `--name=value`.
 * A variable counts for what was not given.
 */
export function valuesOf<D extends Arguments>(definition: D, parsed: Parsed, environment: Environment): Values<D>;
export function valuesOf(definition: Arguments, { args, rawArgs }: Parsed, environment: Environment): object {
  const given = new Set(beforeDashes(rawArgs).map((word) => word.split("=", 1)[0]));
  const replaced = new Set<string>();
  for (const [name, { insteadOf: other }] of Object.entries(definition)) {
    if (other === undefined || !given.has(`--${name}`)) continue;
    if (given.has(`--${other}`)) throw usage(`--${name} is instead of --${other}: leave out one of the two.`);
    replaced.add(other);
  }
  const entries = Object.entries(definition).map(([name, { type, environment: variable = "", convert = nonEmpty }]) => {
    const isGiven = given.has(`--${name}`) || given.has(`--no-${name}`);
    const fromVariable = isGiven || replaced.has(name) ? undefined : environment[variable] || undefined;
    const shown = fromVariable !== undefined ? variable : type === "positional" ? `<${name}>` : `--${name}`;
    const value = fromVariable ?? args[name];
    if (type === "boolean") return [name, typeof value === "string" ? truth(value, shown) : value === true];
    return [name, typeof value === "string" ? convert(value, shown) : undefined];
  });
  return Object.fromEntries(entries);
}

/** What citty runs: `run` answers with the exit code; what it throws becomes one line on stderr (main.ts). */
export function runWith<const D extends Arguments>(
  definition: D,
  run: (values: Values<D>) => Promise<ExitCode> | ExitCode,
): (context: CommandContext) => Promise<void> {
  return async (context) => {
    // citty does not pass on what a subcommand returns.
    process.exitCode = await run(valuesOf(definition, context, process.env));
  };
}

export function command<const D extends Arguments>(definition: {
  readonly name: string;
  readonly description: string;
  readonly examples: readonly string[];
  readonly args: D;
  readonly run: (values: Values<D>) => Promise<ExitCode> | ExitCode;
}): Command {
  const { name, description, examples, args, run } = definition;
  return { meta: { name, description, examples }, args, run: runWith(args, run) };
}

/** `-5` and `-0.5e3` are values, not flags. */
export const isFlag = (word: string): boolean => /^-[^\d]/.test(word);

/** Where flags can be: behind `--` all are words. */
export const beforeDashes = (argv: readonly string[]): readonly string[] =>
  argv.includes("--") ? argv.slice(0, argv.indexOf("--")) : argv;

interface Flag {
  readonly name: string;
  /** As citty gets it: `--name`, or `--no-name` for what is on by default. */
  readonly written: string;
  /** A value to show; null for a flag that takes none. */
  readonly example: string | null;
}

/** By what the user may type. */
function flagsOf(definition: Arguments): ReadonlyMap<string, Flag> {
  const flags = new Map<string, Flag>();
  for (const [name, argument] of Object.entries(definition)) {
    if (argument.type === "positional") continue;
    const example = argument.type === "boolean" ? null : (argument.default ?? argument.valueHint ?? "value");
    const flag = { name, written: `--${name}`, example };
    flags.set(flag.written, flag);
    if (typeof argument.alias === "string") flags.set(`-${argument.alias}`, flag);
    if (argument.default === true) flags.set(`--no-${name}`, { ...flag, written: `--no-${name}` });
  }
  return flags;
}

interface Split {
  readonly flags: readonly string[];
  readonly words: readonly string[];
}

/** `flags` in the form that citty reads unambiguously: `--name`, `--no-name` or `--name=value`. Behind `--` all are words. */
function split(definition: Arguments, argv: readonly string[], others: Arguments = {}): Split {
  const known = flagsOf(definition);
  const given = new Map<string, string>();
  const words: string[] = [];
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? "";
    if (word === "--") return { flags: [...given.values()], words: [...words, ...argv.slice(at + 1)] };
    if (!isFlag(word)) {
      words.push(word);
      continue;
    }
    const [typed = "", ...inline] = word.split("=");
    const { name, written, example } = known.get(typed) ?? unknownFlag(typed, known, others);
    if (given.has(name)) throw usage(`${written} was given twice: give it once.`);
    if (example === null && inline.length > 0) throw usage(`${typed} takes no value: write ${typed} alone.`);
    if (example !== null && inline.length === 0) {
      const next = argv[++at];
      if (next === undefined || isFlag(next)) throw usage(`--${name} needs a value: --${name} ${example}`);
      inline.push(next);
    }
    given.set(name, [written, ...(example === null ? [] : [inline.join("=")])].join("="));
  }
  return { flags: [...given.values()], words };
}

function unknownFlag(typed: string, known: ReadonlyMap<string, Flag>, others: Arguments): never {
  const other = others[flagsOf(others).get(typed)?.name ?? ""];
  if (other !== undefined) throw usage(`${typed} does not go with this command (${other.description}).`);
  const names = [...known.keys()].filter((flag) => flag.startsWith("--")).map((flag) => flag.slice(2));
  const near = nearest(typed.replace(/^-+/, ""), names);
  throw usage(`unknown flag ${typed}.${near === undefined ? "" : didYouMean(`--${near}`)}`);
}

/**
 * What citty is to parse instead of `argv`. Throws RaftqError USAGE for all that the definition does not allow; of flags that
 * only other commands have (`others`) it names what they are for.
 */
export function checked(definition: Arguments, argv: readonly string[], others?: Arguments): readonly string[] {
  const { flags, words } = split(definition, argv, others);
  const positionals = Object.entries(definition).filter(([, { type }]) => type === "positional");
  const stray = words[positionals.length];
  if (stray !== undefined) throw usage(`"${stray}" is one word too many here.`);
  const missing = positionals
    .slice(words.length)
    .find(([, about]) => about.required !== false && about.default === undefined);
  if (missing !== undefined) throw usage(`<${missing[0]}> is missing: ${missing[1].description}.`);
  return words.length === 0 ? flags : [...flags, "--", ...words];
}

export const resolve = <T>(value: Resolvable<T>): T | Promise<T> => (value instanceof Function ? value() : value);

/** `enqueue(7)` and `enqueue 7` in one word, as in the shell and in a pipe. */
const splitCall = (word: string): readonly string[] =>
  /^(\w+)\s*\((.*)\)$/s.exec(word) ?? /^(\w+)\s+(.*)$/s.exec(word) ?? [];

interface FoundCommand {
  /** What the words name; and what runs then: that, or its default. */
  readonly named: Command;
  readonly command: Command;
  readonly rest: readonly string[];
  /** The flags that may stand before its name: its own, and those of the commands beside it. */
  readonly parentArgs: Arguments | undefined;
}

/**
 * Which command is meant? citty knows only when it has parsed already, and then its parse fails before a check can report more.
 * Throws RaftqError USAGE for a word that is no command.
 */
export async function findCommand(parent: Command, argv: readonly string[], root = parent): Promise<FoundCommand> {
  const subCommands = new Map(Object.entries((await resolve(parent.subCommands)) ?? {}));
  const parentArgs = await resolve(parent.args);
  const { flags, words } =
    parentArgs === undefined ? { flags: [], words: argv } : await withHelpHint(parent, () => split(parentArgs, argv));
  const [word, ...others] = words;
  if (word === undefined) {
    const command = subCommands.get(parent.default ?? "") ?? parent;
    return { named: parent, command, rest: flags, parentArgs };
  }
  const [, called = word, value = ""] = parentArgs === undefined ? [] : splitCall(word);
  const command = subCommands.get(called.toLowerCase());
  if (command !== undefined) {
    const rest = parentArgs === undefined ? others : [...flags, "--", ...(value === "" ? [] : [value]), ...others];
    if (command.subCommands !== undefined) return findCommand(command, rest, root);
    return { named: command, command, rest, parentArgs };
  }
  const names = [...subCommands.keys()];
  const way = parent.meta.name;
  if (isFlag(word)) throw usage(`${word} comes before any command: write ${way} <${names.join("|")}> ${word}.`);
  const elsewhere = (await commandsCalled(root, word.toLowerCase())).map((name) =>
    [name, ...others.map(shellWord)].join(" "),
  );
  if (elsewhere.length > 0) throw usage(`unknown command "${word}".${didYouMean(elsewhere.join(" or "))}`);
  const near = nearest(word, names);
  const suggestion = near === undefined ? ` There is ${names.join(", ")}.` : didYouMean(`${way} ${near}`);
  throw usage(`unknown command "${word}".${suggestion}`);
}

/** All commands that may be meant when the words before `name` are missing or wrong. */
async function commandsCalled(parent: Command, name: string): Promise<readonly string[]> {
  const below = Object.entries((await resolve(parent.subCommands)) ?? {});
  const found = await Promise.all(
    below.map(async ([word, command]) => [
      ...(word === name ? [command.meta.name] : []),
      ...(await commandsCalled(command, name)),
    ]),
  );
  return found.flat();
}
