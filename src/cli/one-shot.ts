// `raftq client enqueue 42`: one command, one answer, one exit code.
import type { Client, Outcome } from "../client/client.ts";
import { ERRORS, EXIT, type ExitCode, type Failure } from "../lib/errors.ts";
import type { NumberedCommand } from "./commands.ts";
import { printUnacknowledged } from "./unacknowledged.ts";
import { namedMessages } from "./log.ts";
import { formatFailure, formatOutcome, type OutputStyle, notifyPerson } from "./output.ts";
import type { AskText, Question } from "./pipe.ts";
import { requestOf, tooLarge } from "./requests.ts";
import type { Output } from "./stdout.ts";

export type OneCommand = NumberedCommand | Question | { readonly type: "retry" };

export interface OneShotEnds {
  readonly output: Output;
  /** For stderr. */
  readonly notify: (text: string) => void;
}

export async function runOnce(
  client: Client,
  ask: AskText,
  command: OneCommand,
  style: OutputStyle,
  { output, notify }: OneShotEnds,
): Promise<ExitCode> {
  const print = async (text: string): Promise<boolean> => (await output.write(`${text}\n`)) === null;

  /** A redirect, or an error for a program that asked for JSON, is an answer; a person reads an error on stderr. */
  async function fail(number: number | null, why: Failure): Promise<ExitCode> {
    if (style.json || why.code === "NOT_LEADER")
      await print(formatFailure(command.type, why, style, { requestNumber: number ?? undefined }));
    else namedMessages.error(notifyPerson(why));
    return ERRORS[why.code].exit;
  }

  async function retry(): Promise<ExitCode> {
    const refused = await new Promise<Failure | null>((resolve) => client.open(resolve));
    if (refused !== null) return fail(null, refused);
    if (client.unacknowledgedAtOpen() === null) {
      notify("nothing to print again: every answer to this client was acknowledged");
      return EXIT.empty;
    }
    const printed = await printUnacknowledged(client, style, print);
    return printed.type === "failed" ? fail(null, printed.failure) : EXIT.ok;
  }

  if (command.type === "retry") return retry();
  if (command.type !== "enqueue" && command.type !== "dequeue") {
    const answer = await ask(command);
    if (!answer.ok) return fail(null, answer.failure);
    await print(answer.text);
    return answer.isEmpty ? EXIT.empty : EXIT.ok;
  }
  const problem = tooLarge(command);
  if (problem !== null) return fail(null, problem);
  const { outcome, taken } = await new Promise<{ readonly outcome: Outcome; readonly taken: () => void }>((resolve) =>
    client.submit(requestOf(command), (answered, take) => resolve({ outcome: answered, taken: take })),
  );
  if (!outcome.ok) {
    const exit = await fail(outcome.number, outcome.failure);
    if (output.problem() === null) taken();
    return exit;
  }
  if (await print(formatOutcome(command, outcome, style))) taken();
  return outcome.reply.type === "dequeued" && outcome.reply.jobs.length === 0 ? EXIT.empty : EXIT.ok;
}
