// Formats what a person reads on stderr: the messages of a command as they are, and a node's log as text
// (`2026-11-23T05:00:00.000Z INFO  …`) or as one JSON object a line. Parts of both may come from another machine.
import { type ConsolaReporter, createConsola, LogLevels, type LogObject } from "consola/core";
import type { LogEvent, LogLevel } from "../server/types.ts";
import { escapeText } from "./escape.ts";
import { type Sink, stderr } from "./stderr.ts";

/** Each argument is one line, whatever it holds. */
export interface Messages {
  info(...lines: readonly string[]): void;
  warn(...lines: readonly string[]): void;
  error(...lines: readonly string[]): void;
}

/** A terminal, unless its user has turned colours off. */
export const isColoured = (stream: { readonly isTTY?: boolean }): boolean =>
  stream.isTTY === true && (process.env["NO_COLOR"] ?? "") === "" && process.env["TERM"] !== "dumb";

const COLOURS = new Map<LogObject["type"], string>([
  ["warn", "\u001b[33m"],
  ["error", "\u001b[31m"],
]);

function coloured(text: string, { type }: LogObject): string {
  const colour = COLOURS.get(type);
  return colour === undefined ? text : `${colour}${text}\u001b[39m`;
}

/** What stands before the first line: time and level in a node's log, else the tag if there is one. */
function headOf(line: LogObject, isLog: boolean, hasColours: boolean): string {
  const { date, type, tag } = line;
  const mark = isLog ? type.toUpperCase().padEnd(5) : tag === "" ? "" : `${tag}:`;
  if (mark === "") return "";
  return `${isLog ? `${date.toISOString()} ` : ""}${hasColours ? coloured(mark, line) : mark} `;
}

const textReporter = (sink: Sink): ConsolaReporter => ({
  log: (line, { options: { formatOptions } }) => {
    if (line.args.length === 0) return;
    const lines = line.args.map((arg) => `${escapeText(String(arg))}\n`);
    sink.write(`${headOf(line, formatOptions.date === true, formatOptions.colors === true)}${lines.join("")}`);
  },
});

const jsonReporter = (sink: Sink): ConsolaReporter => ({
  log: ({ date, type: level, args, event, fields }) => {
    const more = typeof fields === "object" ? fields : {};
    const object = { time: date.toISOString(), level, event, text: args.join("\n"), ...more };
    sink.write(`${escapeText(JSON.stringify(object))}\n`);
  },
});

interface Style {
  readonly reporter: ConsolaReporter;
  readonly level: LogLevel;
  /** Each line with its time and its level. */
  readonly isLog: boolean;
  readonly hasColours: boolean;
}

const create = ({ reporter, level, isLog, hasColours }: Style) =>
  createConsola({
    reporters: [reporter],
    level: LogLevels[level],
    formatOptions: { date: isLog, colors: hasColours },
    // Otherwise lines that are repeated within a second become one; throttleMin counts when a clock is set back.
    throttle: 0,
    throttleMin: Number.POSITIVE_INFINITY,
  });

const plain = create({
  reporter: textReporter(stderr),
  level: "info",
  isLog: false,
  hasColours: isColoured(process.stderr),
});

/** Lines as they are. */
export const messages: Messages = plain;
/** With the name of the program before the first line. */
export const namedMessages: Messages = plain.withTag("raftq");

/** A node's log: lines of at least `least`. */
export function createNodeLog(
  least: LogLevel,
  format: "text" | "json",
  sink: Sink = stderr,
  hasColours = isColoured(process.stderr),
): (event: LogEvent) => void {
  const reporter = format === "text" ? textReporter(sink) : jsonReporter(sink);
  const log = create({ reporter, level: least, isLog: true, hasColours });
  const write = ({ level, event, text, fields }: LogEvent): void => log[level]({ args: [text], event, fields });
  return (event) => {
    const lost = sink.takeLost();
    if (lost > 0) {
      const text = `${lost} ${lost === 1 ? "line" : "lines"} left out here: nobody read stderr`;
      write({ level: least === "error" ? "error" : "warn", event: "lines-lost", text });
    }
    write(event);
  };
}
