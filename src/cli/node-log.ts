// How does a node's log line look? On stderr: `2026-11-23T05:00:00.000Z INFO …` for people, or one JSON object a line.
import type { LogEvent, LogLevel } from "../server/types.ts";
import { escapeText } from "./escape.ts";

const SEVERITY = { debug: 0, info: 1, warn: 2, error: 3 } as const satisfies Record<LogLevel, number>;

export function logLine(event: LogEvent, at: Date, format: "text" | "json"): string {
  const time = at.toISOString();
  // Parts of a message may come from another machine: nothing in it may fake a line or reach the terminal.
  if (format === "text") return `${time} ${event.level.toUpperCase().padEnd(5)} ${escapeText(event.text)}\n`;
  const { level, event: name, text, fields } = event;
  return `${escapeText(JSON.stringify({ time, level, event: name, text, ...fields }))}\n`;
}

/** Writes lines of at least `least` to stderr. */
export function createNodeLog(least: LogLevel, format: "text" | "json"): (event: LogEvent) => void {
  // A terminal or a pipe that went away is no reason to stop serving.
  process.stderr.on("error", () => {});
  return (event) => {
    if (SEVERITY[event.level] >= SEVERITY[least]) process.stderr.write(logLine(event, new Date(), format));
  };
}
