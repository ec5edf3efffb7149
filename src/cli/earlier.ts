// Which answers did an earlier process of this client id leave behind? Those that it did not acknowledge, because they could not be
// written or never came: fetched again by their numbers, in order, each acknowledged when it was written.
import type { Client } from "../client/client.ts";
import type { Outcome } from "../client/line.ts";
import { ERRORS, type Failure } from "../lib/errors.ts";
import type { Command } from "../queue/types.ts";
import { formatFailure, formatOutcome, formatVoid, type OutputStyle } from "./output.ts";
import { requestOf } from "./requests.ts";

export type Fetched =
  | { readonly type: "all" }
  /** The text could not be written. */
  | { readonly type: "unwritten" }
  | { readonly type: "failed"; readonly failure: Failure };

/** `write` resolves with whether the text was written. The client is open, and has no other requests. */
export async function fetchEarlier(
  client: Client,
  style: OutputStyle,
  write: (text: string) => Promise<boolean>,
): Promise<Fetched> {
  const left = client.unacknowledgedAtOpen();
  if (left === null) return { type: "all" };
  for (let number = left.first; number <= left.last; number++) {
    const { outcome, taken } = await ask(client, { type: "settle" }, number);
    if (!outcome.ok && !isAnswer(outcome.failure)) return { type: "failed", failure: outcome.failure };
    if (!(await write(await textOf(client, outcome, number, style)))) return { type: "unwritten" };
    taken();
  }
  return { type: "all" };
}

function ask(client: Client, command: Command, number: number) {
  return new Promise<{ readonly outcome: Outcome; readonly taken: () => void }>((resolve) =>
    client.submit(command, (outcome, taken) => resolve({ outcome, taken }), number),
  );
}

/** The number's own refusal, not a reason why it could not be asked for. */
const isAnswer = ({ code }: Failure): boolean =>
  ERRORS[code].class === "final" && code !== "SESSION_EXPIRED" && code !== "SESSION_FENCED" && code !== "UNAUTHORISED";

async function textOf(client: Client, outcome: Outcome, number: number, style: OutputStyle): Promise<string> {
  if (!outcome.ok) return formatFailure(null, outcome.failure, style, { requestNumber: number });
  const { reply } = outcome;
  switch (reply.type) {
    case "enqueued":
      return formatOutcome({ type: "enqueue", values: [] }, outcome, style);
    case "dequeued": {
      const isOne = reply.jobs.length <= 1 && (await wasOne(client, number));
      return formatOutcome({ type: "dequeue", max: isOne ? null : Math.max(1, reply.jobs.length) }, outcome, style);
    }
    case "void":
    case "opened":
    case "closed":
    case "refused":
      return formatVoid(number, style);
  }
}

/** `dequeue`, not `dequeue(10)`, which is shown as a list? The cluster knows the command when it is sent again: else CONFLICT. */
async function wasOne(client: Client, number: number): Promise<boolean> {
  const { outcome, taken } = await ask(client, requestOf({ type: "dequeue", max: null }), number);
  taken();
  return outcome.ok;
}
