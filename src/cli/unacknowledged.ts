// Prints the answers that an earlier process of this client id did not acknowledge; each is acknowledged when it was written.
import type { Client, Outcome } from "../client/client.ts";
import { askAgain, unacknowledgedAnswers } from "../client/unacknowledged.ts";
import type { Failure } from "../lib/errors.ts";
import type { NumberedCommand } from "./commands.ts";
import { formatFailure, formatOutcome, formatVoid, type OutputStyle } from "./output.ts";
import { requestOf } from "./requests.ts";

export type PrintResult =
  /** `last`: what the last one answered, as far as that shows; null: that does not show, or there was none. */
  | { readonly type: "all"; readonly last: NumberedCommand | null }
  /** The text could not be written. */
  | { readonly type: "unwritten" }
  | { readonly type: "failed"; readonly failure: Failure };

/** `write` resolves with whether the text was written. The client is open, and has no other requests. */
export async function printUnacknowledged(
  client: Client,
  style: OutputStyle,
  write: (text: string) => Promise<boolean>,
): Promise<PrintResult> {
  const answers = unacknowledgedAnswers(client);
  let last: NumberedCommand | null = null;
  for (let next = await answers.next(); ; next = await answers.next()) {
    if (next.done === true)
      return next.value === null ? { type: "all", last } : { type: "failed", failure: next.value };
    const { number, outcome, taken } = next.value;
    last = await askedBy(client, outcome, number);
    if (!(await write(textOf(last, outcome, number, style)))) return { type: "unwritten" };
    taken();
  }
}

function textOf(asked: NumberedCommand | null, outcome: Outcome, number: number, style: OutputStyle): string {
  if (!outcome.ok) return formatFailure(null, outcome.failure, style, { requestNumber: number });
  return asked === null ? formatVoid(number, style) : formatOutcome(asked, outcome, style);
}

/** What was asked for, as far as the answer shows it. */
async function askedBy(client: Client, outcome: Outcome, number: number): Promise<NumberedCommand | null> {
  if (!outcome.ok) return null;
  const { reply } = outcome;
  switch (reply.type) {
    case "enqueued":
      return { type: "enqueue", values: [] };
    case "dequeued": {
      const isOne = reply.jobs.length <= 1 && (await wasOne(client, number));
      return { type: "dequeue", max: isOne ? null : Math.max(1, reply.jobs.length) };
    }
    case "void":
    case "opened":
    case "closed":
    case "refused":
      return null;
  }
}

/** `dequeue`, not `dequeue(10)`, which is shown as a list? The cluster knows the command when it is sent again: else CONFLICT. */
async function wasOne(client: Client, number: number): Promise<boolean> {
  const { outcome, taken } = await askAgain(client, requestOf({ type: "dequeue", max: null }), number);
  taken();
  return outcome.ok;
}
