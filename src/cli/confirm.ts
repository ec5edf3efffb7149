// Asks whether the user really wants what cannot be undone: on a terminal only; a script confirms with a flag (--yes).
// Not by consola's prompt: that one writes to stdout, passes escapes through, takes a single key for an answer, and Ctrl-D leaves it
// waiting forever.
import { createInterface } from "node:readline";
import { escapeText } from "./escape.ts";
import { stderr } from "./stderr.ts";

/** Is there a person to ask, who sees the question? */
export const canAsk = (): boolean => process.stdin.isTTY && process.stderr.isTTY;

/** True for `y` and `yes`; anything else, Ctrl-C and the end of the input mean no. */
export async function confirm(question: string): Promise<boolean> {
  // Listened for first: Ctrl-C may come as soon as the question is shown.
  const answered = readAnswer();
  stderr.write(`${escapeText(question)} [y/N] `);
  const answer = await answered;
  if (answer === null) stderr.write("\n");
  return answer !== null && /^y(es)?$/i.test(answer.trim());
}

/** Null: there is none. */
function readAnswer(): Promise<string | null> {
  return new Promise((resolve) => {
    const reader = createInterface({ input: process.stdin, terminal: false });
    const end = (answer: string | null): void => {
      process.off("SIGINT", interrupted);
      // Closing it calls this again, which then changes nothing.
      resolve(answer);
      reader.close();
    };
    const interrupted = (): void => end(null);
    process.on("SIGINT", interrupted);
    reader.once("line", end);
    reader.once("close", () => end(null));
  });
}
