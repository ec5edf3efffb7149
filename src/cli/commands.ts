// Parses one line to a command: `enqueue(x)`, `dequeue`, `log`, `-1` and the others. Spaces and letter case are ignored, values kept
// as typed.
import { QUEUE } from "../config.ts";
import { nearest } from "./suggest.ts";
import { INTEGER, isJson, splitAtCommas } from "./values.ts";

/** What becomes a numbered request. */
export type NumberedCommand =
  /** `values`: JSON texts as typed; several are one request, executed whole or not at all. */
  | { readonly type: "enqueue"; readonly values: readonly string[] }
  /** `max` null: one job, shown by itself; else up to so many, shown as a list. */
  | { readonly type: "dequeue"; readonly max: number | null };

export type LineCommand =
  | NumberedCommand
  /** Blank, or a comment. */
  | { readonly type: "nothing" }
  | { readonly type: "leave" }
  | { readonly type: "log"; readonly range: LogRange }
  | { readonly type: "status" }
  | { readonly type: "peek" }
  | { readonly type: "retry" }
  | { readonly type: "explain"; readonly on: boolean }
  | { readonly type: "help" }
  | BadLine;

/** `verb`: the command that was meant, if that much is clear. `unquoted`: what would be a JSON text if it had quotes. */
export interface BadLine {
  readonly type: "bad";
  readonly verb: "enqueue" | "dequeue" | "log" | null;
  readonly message: string;
  readonly unquoted?: string;
}

/** null: not given. */
export interface LogRange {
  readonly from: number | null;
  readonly to: number | null;
  /** This node's own log instead of the leader's. */
  readonly node: string | null;
}

export const WHOLE_LOG: LogRange = { from: null, to: null, node: null };

export const VERBS = [
  "enqueue",
  "dequeue",
  "peek",
  "log",
  "status",
  "retry",
  "explain",
  "help",
  "exit",
  "quit",
  "-1",
] as const;

/** A word, then the rest: `enqueue (42)`, `enqueue 42`, `ENQUEUE(42)`. */
const LINE = /^([A-Za-z]+)\s*([^]*)$/;

export function parseLine(line: string): LineCommand {
  const text = line.trim();
  if (text === "" || text.startsWith("#")) return { type: "nothing" };
  if (text === "-1") return { type: "leave" };
  if (text === "?") return { type: "help" };
  const [, word = "", rest = ""] = LINE.exec(text) ?? [];
  switch (word.toLowerCase()) {
    case "enqueue":
      return parseEnqueue(rest.trim());
    case "dequeue":
      return parseDequeue(rest.trim());
    case "status":
      return withoutArgument("status", rest, { type: "status" });
    case "peek":
      return withoutArgument("peek", rest, { type: "peek" });
    case "retry":
      return withoutArgument("retry", rest, { type: "retry" });
    case "exit":
    case "quit":
      // As they are typed in other shells: a call, or a statement.
      return withoutArgument(word, rest.replace(/;$/, ""), { type: "leave" });
    case "help":
      return { type: "help" };
    case "log":
      return parseLog(rest);
    case "explain":
      return parseExplain(rest.trim().toLowerCase());
    default:
      return bad(null, unknownCommand(text, word));
  }
}

/** The command for values given by themselves: `raftq client enqueue 42`. */
export function parseEnqueue(argument: string): NumberedCommand | BadLine {
  const opened = argument.startsWith("(");
  if (opened && !argument.endsWith(")")) {
    const last = argument.lastIndexOf(")");
    if (last < 0) return bad("enqueue", `the closing bracket is missing: write enqueue${argument})`);
    return bad("enqueue", `one command a line: "${argument.slice(last + 1).trim()}" stands behind the closing bracket`);
  }
  const json = opened ? argument.slice(1, -1).trim() : argument;
  if (json === "")
    return bad("enqueue", 'enqueue needs a value: enqueue(42), enqueue("text") or enqueue({"any":"JSON"})');
  return isJson(json) ? { type: "enqueue", values: [json] } : parseValues(json);
}

const { maxJobsPerCommand } = QUEUE;

function parseValues(text: string): NumberedCommand | BadLine {
  const values = splitAtCommas(text);
  if (values.length > maxJobsPerCommand)
    return bad("enqueue", `one command enqueues at most ${maxJobsPerCommand} values; these are ${values.length}`);
  const wrong = values.findIndex((value) => !isJson(value));
  if (wrong < 0) return { type: "enqueue", values };
  // A text that lacks its quotes, commas and all.
  if (!values.some(isJson)) {
    const message = `not an integer or JSON; did you mean enqueue(${JSON.stringify(text)})?`;
    return { type: "bad", verb: "enqueue", message, unquoted: text };
  }
  const value = values[wrong] ?? "";
  if (value === "") return bad("enqueue", `value ${wrong + 1} is missing: write one comma between two values`);
  return bad("enqueue", `value ${wrong + 1} is not an integer or JSON; did you mean ${JSON.stringify(value)}?`);
}

function parseDequeue(argument: string): LineCommand {
  const asked = argument.startsWith("(") && argument.endsWith(")") ? argument.slice(1, -1).trim() : argument;
  if (asked === "") return { type: "dequeue", max: null };
  const max = INTEGER.test(asked) ? Number(asked) : 0;
  if (max >= 1 && max <= maxJobsPerCommand) return { type: "dequeue", max };
  return bad("dequeue", `dequeue takes how many jobs, 1 to ${maxJobsPerCommand}, or nothing for one: dequeue(10)`);
}

function withoutArgument(verb: string, rest: string, command: LineCommand): LineCommand {
  if (/^(\(\s*\))?$/.test(rest.trim())) return command;
  return bad(null, `${verb} takes no value: write ${verb} alone`);
}

/** `--from 3 --to 9 --node n2`, in any order. */
function parseLog(rest: string): LineCommand {
  const words = rest
    .replace(/^\(\s*\)$/, "")
    .split(/[\s=]+/)
    .filter((word) => word !== "");
  let { from, to, node } = WHOLE_LOG;
  for (let at = 0; at < words.length; at += 2) {
    const flag = words[at];
    const value = words[at + 1];
    const index = INTEGER.test(value ?? "") ? Number(value) : 0;
    if (flag === "--node" && value !== undefined) node = value;
    else if (flag === "--from" && Number.isSafeInteger(index) && index > 0) from = index;
    else if (flag === "--to" && Number.isSafeInteger(index) && index > 0) to = index;
    else return bad("log", "log takes --from <index>, --to <index> and --node <id>: log --from 3 --to 9");
  }
  return { type: "log", range: { from, to, node } };
}

function parseExplain(word: string): LineCommand {
  if (word === "on" || word === "off") return { type: "explain", on: word === "on" };
  return bad(null, "explain is on or off: explain on");
}

function unknownCommand(text: string, word: string): string {
  const near = nearest(word, VERBS);
  if (near !== undefined) return `unknown command "${word}"; did you mean ${near}?`;
  if (isJson(text)) return `a value alone is no command; did you mean enqueue(${text})?`;
  return `unknown command; there is ${VERBS.join(", ")}`;
}

const bad = (verb: BadLine["verb"], message: string): BadLine => ({ type: "bad", verb, message });
