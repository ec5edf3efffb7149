// Which numbers of a session are in the log but not applied yet? A retry of one waits for the same entry, and the next one is known.
import { must } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { isSettle } from "../queue/commands.ts";
import type { Request } from "../wire/protocol.ts";
import type { Outcome, Waiter } from "./replica.ts";

/** What the state says of a request that it has not executed yet. */
export type Place =
  /** To be proposed now. */
  | { readonly type: "next"; readonly waiter: Waiter }
  /** It is under way already; the asker gets the answer of that entry. */
  | { readonly type: "waits" }
  | { readonly type: "refused"; readonly failure: Failure };

export interface UnderWay<Asker> {
  /** `lastNumber`: the last one of the session that was executed. */
  enter(asker: Asker, request: Request, lastNumber: number): Place;
}

interface Line<Asker> {
  /** The last number that was proposed. */
  lastNumber: number;
  readonly numbers: Map<number, NumberUnderWay<Asker>>;
}

/** An object instead of a closure, because a busy leader makes one for every request. */
class NumberUnderWay<Asker> implements Waiter {
  readonly session: number;
  readonly number: number;
  readonly command: Uint8Array;
  readonly asker: Asker;
  /** Null while nobody else waits, as for almost every number. */
  others: Asker[] | null = null;
  readonly #left: (number: NumberUnderWay<Asker>, outcome: Outcome) => void;

  constructor(
    { session, number, command }: Request,
    asker: Asker,
    left: (number: NumberUnderWay<Asker>, outcome: Outcome) => void,
  ) {
    this.session = session;
    this.number = number;
    this.command = command;
    this.asker = asker;
    this.#left = left;
  }

  settle(outcome: Outcome): void {
    this.#left(this, outcome);
  }
}

/** `answer` is called once for everybody who waits for a number, in the order in which they came. */
export function createUnderWay<Asker>(
  retryAfterMs: number,
  answer: (asker: Asker, outcome: Outcome) => void,
): UnderWay<Asker> {
  const lines = new Map<number, Line<Asker>>();

  function left({ session, number, asker, others }: NumberUnderWay<Asker>, outcome: Outcome): void {
    const line = must(lines.get(session), "the line of a number that is under way");
    line.numbers.delete(number);
    // What was never logged leaves a gap, so the numbers behind it must be sent again after it.
    if (outcome.type === "failed" && line.lastNumber === number) line.lastNumber--;
    if (line.numbers.size === 0) lines.delete(session);
    answer(asker, outcome);
    for (const other of others ?? []) answer(other, outcome);
  }

  return {
    enter: (asker, request, lastNumber) => {
      const { session, number, command } = request;
      const line = lines.get(session) ?? { lastNumber: 0, numbers: new Map<number, NumberUnderWay<Asker>>() };
      const same = line.numbers.get(number);
      if (same !== undefined) {
        // A settle asks for this number's answer, whatever its command: it will have it in a moment.
        if (!isSettle(command) && !equalBytes(same.command, command)) {
          return {
            type: "refused",
            failure: failure("CONFLICT", `number ${number} is under way with another command`),
          };
        }
        same.others ??= [];
        same.others.push(asker);
        return { type: "waits" };
      }
      const expected = Math.max(lastNumber, line.lastNumber) + 1;
      if (number !== expected) {
        const why = `number ${number} came before number ${expected} of its session`;
        return { type: "refused", failure: failure("OUT_OF_ORDER", why, { retryAfterMs }) };
      }
      const waiter = new NumberUnderWay(request, asker, left);
      line.numbers.set(number, waiter);
      line.lastNumber = number;
      if (line.numbers.size === 1) lines.set(session, line);
      return { type: "next", waiter };
    },
  };
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}
