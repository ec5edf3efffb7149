// What a client does after an answer or a failure: it goes on, asks another node, waits and asks the same one again, or takes the
// failure as the answer.
import { type ErrorCode, ERRORS, type Failure } from "../lib/errors.ts";
import type { ClientSettings } from "./types.ts";

/** What an answer means for the connection and the session. */
export type Verdict =
  | { readonly type: "goOn" }
  /** Send again to this node, after so many milliseconds; undefined: a drawn pause. */
  | { readonly type: "pause"; readonly retryAfterMs: number | undefined }
  /** Send again to another node. */
  | { readonly type: "leave"; readonly failure: Failure }
  /** The session is over, or dormant. */
  | { readonly type: "over"; readonly failure: Failure };

export const GO_ON: Verdict = { type: "goOn" };

export function retryAction(why: Failure): "leave" | "pause" | "giveUp" {
  switch (ERRORS[why.code].class) {
    case "redirect":
    case "fatal":
      return "leave";
    case "retry":
    case "unknown":
      return isWithoutLeader(why.code) ? "leave" : "pause";
    case "final":
    case "local":
      return "giveUp";
  }
}

/** Is this the answer, although a client with other settings would ask again? `--timeout 0` asks once, `--no-follow` one node. */
export function isFinalFor(
  { follow, timeoutMs }: Pick<ClientSettings, "follow" | "timeoutMs">,
  code: ErrorCode,
): boolean {
  const isRedirect = ERRORS[code].class === "redirect";
  return isRedirect ? !follow : timeoutMs === 0;
}

const isWithoutLeader = (code: ErrorCode): boolean =>
  code === "NO_LEADER" || code === "STARTING" || code === "REJOINING" || code === "LEADER_CHANGED";

export const isSessionOver = (code: ErrorCode): boolean => code === "SESSION_EXPIRED" || code === "SESSION_FENCED";
