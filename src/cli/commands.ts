// What does one line say? `enqueue(x)`, `dequeue`, `log`, `-1` and their company: spaces and letter case forgiven, values kept
// as typed.
import { nearest } from "./suggest.ts";

export type LineCommand =
  /** Blank, or a comment. */
  | { readonly type: "nothing" }
  | { readonly type: "leave" }
  /** `json`: the text as typed, and valid. */
  | { readonly type: "enqueue"; readonly json: string }
  | { readonly type: "dequeue" }
  | { readonly type: "log"; readonly range: LogRange }
  | { readonly type: "status" }
  | { readonly type: "retry" }
  | { readonly type: "explain"; readonly on: boolean }
  | { readonly type: "help" }
  /** `verb`: the command that was meant, if that much is clear. */
  | { readonly type: "bad"; readonly verb: "enqueue" | "dequeue" | "log" | null; readonly message: string };

/** null: not given. */
export interface LogRange {
  readonly from: number | null;
  readonly to: number | null;
  /** This node's own log instead of the leader's. */
  readonly node: string | null;
}

export const WHOLE_LOG: LogRange = { from: null, to: null, node: null };

export const VERBS = ["enqueue", "dequeue", "log", "status", "retry", "explain", "help", "-1"] as const;

const INTEGER = /^-?(?:0|[1-9]\d*)$/;
/** A word, then the rest: `enqueue (42)`, `enqueue 42`, `ENQUEUE(42)`. */
const LINE = /^([A-Za-z]+)\s*([^]*)$/;

/** Is `text` one JSON value, with nothing behind it? */
export function isJson(text: string): boolean {
  if (INTEGER.test(text)) return true;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

export function parseLine(line: string): LineCommand {
  const text = line.trim();
  if (text === "" || text.startsWith("#")) return { type: "nothing" };
  if (text === "-1") return { type: "leave" };
  const [, word = "", rest = ""] = LINE.exec(text) ?? [];
  switch (word.toLowerCase()) {
    case "enqueue":
      return parseEnqueue(rest.trim());
    case "dequeue":
      return withoutArgument("dequeue", rest, { type: "dequeue" });
    case "status":
      return withoutArgument("status", rest, { type: "status" });
    case "retry":
      return withoutArgument("retry", rest, { type: "retry" });
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

/** The command for a value given by itself: `raftq client enqueue 42`. */
export function parseEnqueue(argument: string): LineCommand {
  const opened = argument.startsWith("(");
  if (opened && !argument.endsWith(")")) {
    const last = argument.lastIndexOf(")");
    if (last < 0) return bad("enqueue", `the closing bracket is missing: write enqueue${argument})`);
    return bad("enqueue", `one command a line: "${argument.slice(last + 1).trim()}" stands behind the closing bracket`);
  }
  const json = opened ? argument.slice(1, -1).trim() : argument;
  if (json === "")
    return bad("enqueue", 'enqueue needs a value: enqueue(42), enqueue("text") or enqueue({"any":"JSON"})');
  if (isJson(json)) return { type: "enqueue", json };
  return bad("enqueue", `not an integer or JSON; did you mean enqueue(${JSON.stringify(json)})?`);
}

function withoutArgument(verb: "dequeue" | "status" | "retry", rest: string, command: LineCommand): LineCommand {
  if (/^(\(\s*\))?$/.test(rest.trim())) return command;
  return bad(verb === "dequeue" ? verb : null, `${verb} takes no value: write ${verb} alone`);
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

const bad = (verb: "enqueue" | "dequeue" | "log" | null, message: string): LineCommand => ({
  type: "bad",
  verb,
  message,
});
