// Formats a table. All look alike: a head in capitals, columns as wide as their widest cell, nothing in a cell that acts on a
// terminal.
import { escapeText } from "./escape.ts";

/** Null, an unknown value, is shown as a dash. */
export type Cell = string | number | null;

const BETWEEN_COLUMNS = "  ";

/** The lines, with no line end behind the last one. The first row is the head, if there is one. */
export function table(rows: readonly (readonly Cell[])[]): string {
  const texts = rows.map((row) => row.map((cell) => (cell === null ? "-" : escapeText(String(cell)))));
  const widths: number[] = [];
  for (const row of texts)
    for (const [at, text] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, Bun.stringWidth(text));
  const padded = (text: string, at: number): string => text + " ".repeat((widths[at] ?? 0) - Bun.stringWidth(text));
  return texts.map((row) => row.map(padded).join(BETWEEN_COLUMNS).trimEnd()).join("\n");
}
