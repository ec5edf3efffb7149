// `raftq client enqueue 42`: one command, one answer, one exit code.
import type { Client } from "../client/client.ts";
import type { Outcome } from "../client/line.ts";
import { ERRORS, EXIT, type ExitCode, type Failure } from "../lib/errors.ts";
import type { NumberedCommand } from "./commands.ts";
import { formatFailure, formatOutcome, type OutputStyle, tellPerson } from "./output.ts";
import type { AskText, Question } from "./pipe.ts";
import { requestOf, tooLarge } from "./requests.ts";

export type OneCommand = NumberedCommand | Question;

export async function runOnce(
  client: Client,
  ask: AskText,
  command: OneCommand,
  style: OutputStyle,
): Promise<ExitCode> {
  if (command.type !== "enqueue" && command.type !== "dequeue") {
    const answer = await ask(command);
    if (answer.ok) {
      process.stdout.write(`${answer.text}\n`);
      return answer.isEmpty ? EXIT.empty : EXIT.ok;
    }
    return tell(command.type, null, answer.failure, style);
  }
  const problem = tooLarge(command);
  if (problem !== null) return tell(command.type, null, problem, style);
  const outcome = await new Promise<Outcome>((resolve) => client.submit(requestOf(command), resolve));
  if (!outcome.ok) return tell(command.type, outcome.number, outcome.failure, style);
  process.stdout.write(`${formatOutcome(command, outcome, style)}\n`);
  return outcome.reply.type === "dequeued" && outcome.reply.jobs.length === 0 ? EXIT.empty : EXIT.ok;
}

/** A redirect, or an error for a program that asked for JSON, is an answer; a person reads an error on stderr. */
function tell(verb: string, number: number | null, why: Failure, style: OutputStyle): ExitCode {
  if (style.json || why.code === "NOT_LEADER") {
    process.stdout.write(`${formatFailure(verb, why, style, { requestNumber: number ?? undefined })}\n`);
  } else {
    process.stderr.write(`raftq: ${tellPerson(why)}\n`);
  }
  return ERRORS[why.code].exit;
}
