// The numbered requests that are proposed and not applied yet: a retry of one waits for the same entry, and the next number of its session
// is known.
import { must } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { SERVER } from "../config.ts";
import { isResolve } from "../queue/commands.ts";
import type { Request } from "../wire/protocol.ts";
import type { ClientRequest } from "./clients.ts";

/** Waits for its entry. */
export interface ProposedRequest {
  readonly type: "numbered";
  readonly session: number;
  readonly number: number;
  readonly command: Uint8Array;
  /** Whose answer it is; and retries of it that came meanwhile, null for almost every number. */
  readonly request: ClientRequest;
  retries: ClientRequest[] | null;
}

interface SessionRequests {
  /** The last number that was proposed. */
  lastNumber: number;
  readonly numbers: Map<number, ProposedRequest>;
}

/** By session. */
export type ProposedRequests = Map<number, SessionRequests>;

/** What becomes of a request that was not executed yet. */
export type Admission =
  | { readonly type: "propose"; readonly proposed: ProposedRequest }
  /** It is proposed already; it gets the answer of that entry. */
  | { readonly type: "wait" }
  | { readonly type: "refused"; readonly failure: Failure };

/** `lastNumber`: the last one of the session that was executed. */
export function admit(
  bySession: ProposedRequests,
  request: ClientRequest,
  { session, number, command }: Request,
  lastNumber: number,
): Admission {
  const ofSession = bySession.get(session) ?? { lastNumber: 0, numbers: new Map<number, ProposedRequest>() };
  const same = ofSession.numbers.get(number);
  if (same !== undefined) {
    // A resolve asks for this number's answer, whatever its command: the entry will give it.
    if (!isResolve(command) && !equalBytes(same.command, command)) {
      return { type: "refused", failure: failure("CONFLICT", `number ${number} is pending with another command`) };
    }
    same.retries ??= [];
    same.retries.push(request);
    return { type: "wait" };
  }
  const expected = Math.max(lastNumber, ofSession.lastNumber) + 1;
  if (number !== expected) {
    const why = `number ${number} came before number ${expected} of its session`;
    return { type: "refused", failure: failure("OUT_OF_ORDER", why, { retryAfterMs: SERVER.retryAfterMs }) };
  }
  const proposed: ProposedRequest = { type: "numbered", session, number, command, request, retries: null };
  ofSession.numbers.set(number, proposed);
  ofSession.lastNumber = number;
  if (ofSession.numbers.size === 1) bySession.set(session, ofSession);
  return { type: "propose", proposed };
}

/** `isLogged`: its entry was applied. What was never logged leaves a gap, so the numbers behind it must be sent again after it. */
export function removeProposed(
  bySession: ProposedRequests,
  { session, number }: ProposedRequest,
  isLogged: boolean,
): void {
  const ofSession = must(bySession.get(session), "the session of a proposed request");
  ofSession.numbers.delete(number);
  if (!isLogged) ofSession.lastNumber = Math.min(ofSession.lastNumber, number - 1);
  if (ofSession.numbers.size === 0) bySession.delete(session);
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}
