// The answers that an earlier process of this client id did not acknowledge, because it ended or could not write them: fetched again
// by their numbers, in order, and acknowledged one by one as they are taken.
import { ERRORS, type Failure } from "../lib/errors.ts";
import type { Command } from "../queue/types.ts";
import type { Client, Outcome } from "./client.ts";

export interface UnacknowledgedAnswer {
  readonly number: number;
  readonly outcome: Outcome;
  /** To be called once its user has it. */
  readonly taken: () => void;
}

/** The client is open, and has no other requests. Ends early with a failure when a number cannot be asked for. */
export async function* unacknowledgedAnswers(client: Client): AsyncGenerator<UnacknowledgedAnswer, Failure | null> {
  const left = client.unacknowledgedAtOpen();
  if (left === null) return null;
  for (let number = left.first; number <= left.last; number++) {
    const answer = await new Promise<UnacknowledgedAnswer | Failure>((resolve) => fetchAnswer(client, number, resolve));
    if (!("outcome" in answer)) return answer;
    yield answer;
  }
  return null;
}

/** `done` gets a failure when the number cannot be asked for. */
export function fetchAnswer(
  client: Client,
  number: number,
  done: (answer: UnacknowledgedAnswer | Failure) => void,
): void {
  client.submit(
    { type: "resolve" },
    (outcome, taken) => done(outcome.ok || isAnswer(outcome.failure) ? { number, outcome, taken } : outcome.failure),
    number,
  );
}

export function askAgain(client: Client, command: Command, number: number): Promise<UnacknowledgedAnswer> {
  return new Promise((resolve) =>
    client.submit(command, (outcome, taken) => resolve({ number, outcome, taken }), number),
  );
}

/** The number's own refusal, not a reason why it could not be asked for. */
const isAnswer = ({ code }: Failure): boolean =>
  ERRORS[code].class === "final" && code !== "SESSION_EXPIRED" && code !== "SESSION_FENCED" && code !== "UNAUTHORISED";
