// Keeps one table current at the bottom of a terminal: it is drawn over its earlier version, and messages go above it. Without a terminal
// nothing is drawn, and messages are plain lines on stderr.
import { messages } from "./log.ts";

export interface LiveTable {
  /** True on a terminal. */
  readonly isShown: boolean;
  show(text: string): void;
  note(lines: readonly string[]): void;
  /** Leaves the last table where it is. */
  close(): void;
}

export const asText = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join("");

const CLEAR_BELOW = "\x1b[0J";
const up = (lines: number): string => (lines === 0 ? "" : `\x1b[${lines}A`);

export function openLiveTable(): LiveTable {
  const isShown = process.stdout.isTTY;
  let shown = "";
  const erase = (): string => `${up(shown.split("\n").length - 1)}\r${CLEAR_BELOW}`;
  return {
    isShown,
    show: (text) => {
      if (!isShown) return;
      // A line that wraps would be two on the screen, and one too many would stay when it is erased.
      const fitting = text
        .split("\n")
        .map((line) => Bun.sliceAnsi(line, 0, process.stdout.columns - 1))
        .join("\n");
      if (fitting === shown) return;
      process.stdout.write(`${erase()}${fitting}`);
      shown = fitting;
    },
    note: (lines) => {
      if (!isShown) messages.info(...lines);
      else if (lines.length > 0) process.stdout.write(`${shown === "" ? "" : erase()}${asText(lines)}${shown}`);
    },
    close: () => {
      shown = "";
    },
  };
}
