// `raftq client enqueue 42`: one command, one answer, one exit code.
import type { Client } from "../client/client.ts";
import type { Outcome } from "../client/line.ts";
import { ERRORS, EXIT, type ExitCode, type Failure } from "../lib/errors.ts";
import type { LineCommand } from "./commands.ts";
import { formatFailure, formatOutcome, type OutputStyle, tellPerson } from "./output.ts";
import type { AskText } from "./pipe.ts";
import { DEQUEUE_ONE, enqueueJson } from "./requests.ts";

export type OneCommand = Extract<LineCommand, { readonly type: "enqueue" | "dequeue" | "log" | "status" }>;

export async function runOnce(
  client: Client,
  ask: AskText,
  command: OneCommand,
  style: OutputStyle,
): Promise<ExitCode> {
  if (command.type === "log" || command.type === "status") {
    const answer = await ask(command);
    if (answer.ok) {
      process.stdout.write(`${answer.text}\n`);
      return EXIT.ok;
    }
    return tell(command.type, null, answer.failure, style);
  }
  const request = command.type === "enqueue" ? enqueueJson(command.json) : DEQUEUE_ONE;
  const outcome = await new Promise<Outcome>((resolve) => client.submit(request, resolve));
  if (!outcome.ok) return tell(command.type, outcome.number, outcome.failure, style);
  process.stdout.write(`${formatOutcome(command.type, outcome, style)}\n`);
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
