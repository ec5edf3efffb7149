// Which request numbers of a session are in the log but not applied yet? A retry of one waits for the same entry, and the next
// number is known.
import { must } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { isResolve } from "../queue/commands.ts";
import type { Request } from "../wire/protocol.ts";
import type { EntryOutcome, Waiter } from "./replica.ts";

/** What becomes of a request that was not executed yet. */
export type Admission =
  /** To be proposed now. */
  | { readonly type: "next"; readonly waiter: Waiter }
  /** It is pending already; the caller gets the answer of that entry. */
  | { readonly type: "waits" }
  | { readonly type: "refused"; readonly failure: Failure };

export interface PendingRequests<Caller> {
  /** `lastNumber`: the last one of the session that was executed. */
  enter(caller: Caller, request: Request, lastNumber: number): Admission;
}

interface SessionRequests<Caller> {
  /** The last number that was proposed. */
  lastNumber: number;
  readonly numbers: Map<number, PendingRequest<Caller>>;
}

/** An object instead of a closure, because a busy leader makes one for every request. */
class PendingRequest<Caller> implements Waiter {
  readonly session: number;
  readonly number: number;
  readonly command: Uint8Array;
  readonly caller: Caller;
  /** Null while nobody else waits, as for almost every number. */
  others: Caller[] | null = null;
  readonly #completed: (number: PendingRequest<Caller>, outcome: EntryOutcome) => void;

  constructor(
    { session, number, command }: Request,
    caller: Caller,
    completed: (number: PendingRequest<Caller>, outcome: EntryOutcome) => void,
  ) {
    this.session = session;
    this.number = number;
    this.command = command;
    this.caller = caller;
    this.#completed = completed;
  }

  complete(outcome: EntryOutcome): void {
    this.#completed(this, outcome);
  }
}

/** `answer` is called once for every caller that waits for a number, in the order in which they came. */
export function createPendingRequests<Caller>(
  retryAfterMs: number,
  answer: (caller: Caller, outcome: EntryOutcome) => void,
): PendingRequests<Caller> {
  const bySession = new Map<number, SessionRequests<Caller>>();

  function completed({ session, number, caller, others }: PendingRequest<Caller>, outcome: EntryOutcome): void {
    const ofSession = must(bySession.get(session), "the session of a pending request");
    ofSession.numbers.delete(number);
    // What was never logged leaves a gap, so the numbers behind it must be sent again after it.
    if (outcome.type === "failed" && ofSession.lastNumber === number) ofSession.lastNumber--;
    if (ofSession.numbers.size === 0) bySession.delete(session);
    answer(caller, outcome);
    for (const other of others ?? []) answer(other, outcome);
  }

  return {
    enter: (caller, request, lastNumber) => {
      const { session, number, command } = request;
      const ofSession = bySession.get(session) ?? { lastNumber: 0, numbers: new Map<number, PendingRequest<Caller>>() };
      const same = ofSession.numbers.get(number);
      if (same !== undefined) {
        // A resolve asks for this number's answer, whatever its command: the entry will give it.
        if (!isResolve(command) && !equalBytes(same.command, command)) {
          return {
            type: "refused",
            failure: failure("CONFLICT", `number ${number} is pending with another command`),
          };
        }
        same.others ??= [];
        same.others.push(caller);
        return { type: "waits" };
      }
      const expected = Math.max(lastNumber, ofSession.lastNumber) + 1;
      if (number !== expected) {
        const why = `number ${number} came before number ${expected} of its session`;
        return { type: "refused", failure: failure("OUT_OF_ORDER", why, { retryAfterMs }) };
      }
      const waiter = new PendingRequest(request, caller, completed);
      ofSession.numbers.set(number, waiter);
      ofSession.lastNumber = number;
      if (ofSession.numbers.size === 1) bySession.set(session, ofSession);
      return { type: "next", waiter };
    },
  };
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}
