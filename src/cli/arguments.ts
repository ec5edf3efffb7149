// What did the user type after a command's name? Strict: an unknown flag, a flag without its value, a value out of range
// and a stray word are errors with a suggestion. citty lets all of them pass, so it only renders the help from here.
import type { ArgsDef, CommandDef } from "citty";
import { parseDuration } from "../lib/durations.ts";
import { type ExitCode, RaftqError } from "../lib/errors.ts";
import { nearest } from "./suggest.ts";

interface Described {
  readonly description: string;
  /** One letter, without the dash. */
  readonly alias?: string;
  /** The variable that is read when the flag is not given. */
  readonly environment?: string;
}

interface Valued<T> extends Described {
  readonly valueHint?: string;
  readonly default?: T;
  /** Given by place, not by `--name`. Positionals take their words in the order of the definition. */
  readonly positional?: boolean;
  readonly required?: boolean;
}

export type Argument =
  | ({ readonly type: "boolean" } & Described)
  | ({ readonly type: "text" } & Valued<string>)
  /** Words between commas. */
  | ({ readonly type: "list" } & Valued<readonly string[]>)
  | ({ readonly type: "integer"; readonly min: number; readonly max: number } & Valued<number>)
  /** `50ms`, `5s`, `0`; the value is in milliseconds. */
  | ({ readonly type: "duration" } & Valued<number>)
  | ({ readonly type: "choice"; readonly options: readonly string[] } & Valued<string>);

/** By flag name as typed, without the dashes: `"base-port"`. */
export type Arguments = Readonly<Record<string, Argument>>;

interface ValueOfType {
  readonly text: string;
  readonly list: readonly string[];
  readonly integer: number;
  readonly duration: number;
}
type Raw<A extends Argument> = A extends { readonly options: readonly (infer Option)[] }
  ? Option
  : A["type"] extends keyof ValueOfType
    ? ValueOfType[A["type"]]
    : never;
type ValueOf<A extends Argument> = A["type"] extends "boolean"
  ? boolean
  : A extends { readonly default: unknown } | { readonly required: true }
    ? Raw<A>
    : Raw<A> | undefined;

/** A flag that was not given, has no variable and no default is undefined; a boolean is then false. */
export type Values<D extends Arguments> = { readonly [Name in keyof D]: ValueOf<D[Name]> };

type Value = boolean | string | number | readonly string[] | undefined;
type Environment = Readonly<Record<string, string | undefined>>;

const usage = (message: string): RaftqError => new RaftqError("USAGE", message);
/** `-5` and `-0.5e3` are values, not flags. */
const NEGATIVE_NUMBER = /^-\d/;
const isFlag = (word: string): boolean => word.startsWith("-") && word !== "-" && !NEGATIVE_NUMBER.test(word);

const isPositional = (argument: Argument): boolean => argument.type !== "boolean" && argument.positional === true;

function example(argument: Argument): string {
  switch (argument.type) {
    case "boolean":
      return "";
    case "text":
    case "list":
      return argument.valueHint ?? "value";
    case "integer":
      return String(argument.default ?? argument.min);
    case "duration":
      return "5s";
    case "choice":
      return argument.options.join("|");
  }
}

function readInteger(text: string, name: string, min: number, max: number): number {
  const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw usage(`${name} is a whole number from ${min} to ${max}, not "${text}".`);
}

function readDuration(text: string, name: string): number {
  const value = parseDuration(text);
  if (value !== undefined) return value;
  throw usage(`${name} is a duration such as 50ms, 5s or 0, not "${text}".`);
}

function readChoice(text: string, name: string, options: readonly string[]): string {
  if (options.includes(text)) return text;
  const near = nearest(text, options);
  throw usage(
    `${name} is one of ${options.join(", ")}, not "${text}".${near === undefined ? "" : ` Did you mean ${near}?`}`,
  );
}

/** `name` as the user knows it: `--port`, `RAFTQ_PORT`, `<node>`. */
function read(argument: Argument, text: string, name: string): Value {
  switch (argument.type) {
    case "boolean": {
      const value = readChoice(text.toLowerCase(), name, ["1", "true", "0", "false"]);
      return value === "1" || value === "true";
    }
    case "text":
      if (text === "") throw usage(`${name} is empty: give it a value.`);
      return text;
    case "list": {
      const words = text.split(",").map((word) => word.trim());
      if (words.includes("")) throw usage(`${name} is a list between commas (${example(argument)}), not "${text}".`);
      return words;
    }
    case "integer":
      return readInteger(text, name, argument.min, argument.max);
    case "duration":
      return readDuration(text, name);
    case "choice":
      return readChoice(text, name, argument.options);
  }
}

/** The definition's name for `--name` or `-n`; an error that names the nearest flag when there is none. */
function flagName(definition: Arguments, typed: string): string {
  const flags = Object.entries(definition).filter(([, argument]) => !isPositional(argument));
  for (const [name, argument] of flags) {
    if (typed === `--${name}` || (argument.alias !== undefined && typed === `-${argument.alias}`)) return name;
  }
  const near = nearest(
    typed.replace(/^-+/, ""),
    flags.map(([name]) => name),
  );
  throw usage(`unknown flag ${typed}.${near === undefined ? "" : ` Did you mean --${near}?`}`);
}

interface Split {
  /** Flag texts as given; null for a boolean. */
  readonly given: ReadonlyMap<string, string | null>;
  readonly words: readonly string[];
}

function split(definition: Arguments, argv: readonly string[]): Split {
  const given = new Map<string, string | null>();
  const words: string[] = [];
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? "";
    if (word === "--") {
      words.push(...argv.slice(at + 1));
      break;
    }
    if (!isFlag(word)) {
      words.push(word);
      continue;
    }
    const equals = word.indexOf("=");
    const name = flagName(definition, equals < 0 ? word : word.slice(0, equals));
    if (given.has(name)) throw usage(`--${name} was given twice: give it once.`);
    const argument = definition[name];
    if (argument?.type === "boolean") {
      if (equals >= 0) throw usage(`--${name} takes no value: write --${name} alone.`);
      given.set(name, null);
    } else if (equals >= 0) {
      given.set(name, word.slice(equals + 1));
    } else {
      const next = argv[at + 1];
      if (argument !== undefined && (next === undefined || isFlag(next))) {
        throw usage(`--${name} needs a value: --${name} ${example(argument)}`);
      }
      given.set(name, next ?? "");
      at++;
    }
  }
  return { given, words };
}

/** The values of `definition` as typed in `argv`, else from `environment`, else the defaults. Throws RaftqError USAGE. */
export function parseArguments<D extends Arguments>(
  definition: D,
  argv: readonly string[],
  environment?: Environment,
): Values<D>;
export function parseArguments(
  definition: Arguments,
  argv: readonly string[],
  environment: Environment = {},
): Readonly<Record<string, Value>> {
  const { given, words } = split(definition, argv);
  const waiting = [...words];
  const values = new Map<string, Value>();
  for (const [name, argument] of Object.entries(definition)) {
    const positional = isPositional(argument);
    const text = positional ? waiting.shift() : given.get(name);
    const variable = argument.environment === undefined ? undefined : environment[argument.environment];
    if (text === null) values.set(name, true);
    else if (text !== undefined) values.set(name, read(argument, text, positional ? `<${name}>` : `--${name}`));
    else if (variable !== undefined && variable !== "")
      values.set(name, read(argument, variable, argument.environment ?? ""));
    else if (argument.type === "boolean") values.set(name, false);
    else if (argument.default !== undefined) values.set(name, argument.default);
    else if (argument.required === true)
      throw usage(`${positional ? `<${name}>` : `--${name}`} is missing: ${argument.description}.`);
    else values.set(name, undefined);
  }
  const stray = waiting[0];
  if (stray !== undefined) throw usage(`"${stray}" is one word too many here.`);
  return Object.fromEntries(values);
}

/** The same definition for citty, which renders `--help` from it. */
function forHelp(definition: Arguments): ArgsDef {
  const entries = Object.entries(definition).map(([name, argument]): [string, ArgsDef[string]] => {
    const variable = argument.environment === undefined ? "" : ` [${argument.environment}]`;
    const description = `${argument.description}${variable}`;
    const alias = argument.alias === undefined ? {} : { alias: argument.alias };
    if (argument.type === "boolean") return [name, { type: "boolean", description, ...alias }];
    if (argument.positional === true) return [name, { type: "positional", description, required: false }];
    return [name, { type: "string", description, valueHint: argument.valueHint ?? example(argument), ...alias }];
  });
  return Object.fromEntries(entries);
}

/** A command that takes its arguments strictly. `run` answers the exit code; what it throws becomes one line (main.ts). */
export function strictCommand<const D extends Arguments>(command: {
  readonly name: string;
  readonly description: string;
  readonly arguments: D;
  readonly run: (values: Values<D>) => Promise<ExitCode> | ExitCode;
}): CommandDef {
  return {
    meta: { name: command.name, description: command.description },
    args: forHelp(command.arguments),
    run: ({ rawArgs }) => command.run(parseArguments(command.arguments, rawArgs, process.env)),
  };
}
