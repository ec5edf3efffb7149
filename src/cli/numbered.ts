// Compares the lines of a file that is sent again with `--numbered` with what earlier runs sent under the same client id: nothing in
// them is executed again. Some are known to be the same, some are too old to be compared, and where one differs it is another file.
import type { Outcome } from "../client/client.ts";
import { ERRORS, type Failure, failure } from "../lib/errors.ts";

export interface NumberedLines {
  /** Lines up to this one have numbers that were used before. */
  readonly lastUsed: number;
  /** `isCommand`: else the line holds no command, and its number stands for nothing. */
  answered(line: number, outcome: Outcome, isCommand: boolean): void;
  /** The line asks for what cannot be done. */
  refused(line: number): void;
  /** For a person, before the first line. */
  beginning(): string;
  /** For a person, behind the last line. */
  end(): readonly string[];
  /** Why this run does not do what the file asks for behind the used numbers, or did nothing at all. */
  problem(): Failure | null;
}

/** `lastUsed`: the last number of the client id when this run began. */
export function createNumberedLines(clientId: string, lastUsed: number): NumberedLines {
  let same = 0;
  let forgotten = 0;
  let refused = 0;
  let executed = 0;
  let other = Infinity;

  return {
    lastUsed,
    answered: (line, outcome, isCommand) => {
      const standing = standingOf(outcome, isCommand);
      if (line > lastUsed) {
        if (standing === "refused") refused++;
        else if (standing === "same" && isCommand) executed++;
      } else if (standing === "same" || standing === "refused") same++;
      else if (standing === "other") other = Math.min(other, line);
      else if (standing === "forgotten" && isCommand) forgotten++;
    },
    refused: (line) => {
      if (line > lastUsed) refused++;
    },
    beginning: () => {
      if (lastUsed === 0) return `${clientId} is new: it has used no number before`;
      return `${clientId} has used ${lastUsed === 1 ? "number 1" : `the numbers 1 to ${lastUsed}`} before: ${upTo(lastUsed)} not executed again. Another file needs another --id`;
    },
    end: () => {
      const texts: string[] = [];
      if (lastUsed > 0)
        texts.push(
          `${forgotten} skipped: answered before and too old to be compared; ${same} answered as before; ${executed} executed now`,
        );
      if (refused > 0)
        texts.push(
          `${refused} refused: their numbers are used up, so put what you correct behind the last line of the file`,
        );
      return texts;
    },
    problem: () => {
      const advice = "Send another file under another --id";
      if (other !== Infinity) {
        const what = `line ${other} is not what number ${other} of ${clientId} stands for`;
        return failure("CONFLICT", `${what}: nothing behind line ${lastUsed} was sent. ${advice}`);
      }
      if (forgotten === 0 || same > 0) return null;
      const what = `nothing was executed, and nothing could be compared with what ${clientId} sent before`;
      return failure("FORGOTTEN", `${what}: that reached line ${lastUsed}. ${advice}`);
    },
  };
}

const upTo = (line: number): string => (line === 1 ? "line 1 is" : `lines 1 to ${line} are`);

type Standing = "same" | "other" | "forgotten" | "refused" | "unknown";

/** What an answer shows about a number that was used before. "refused": it stands for this command, which was not possible. */
function standingOf(outcome: Outcome, isCommand: boolean): Standing {
  if (outcome.ok) return (outcome.reply.type === "void") === isCommand ? "other" : "same";
  const { code } = outcome.failure;
  if (code === "FORGOTTEN") return "forgotten";
  if (code === "CONFLICT") return "other";
  if (ERRORS[code].class !== "final") return "unknown";
  return isCommand ? "refused" : "other";
}
