// Whose data are lost, whom does it ask to be let in again, and what does it tell people meanwhile?
import { type ErrorCode, RaftqError } from "../lib/errors.ts";
import type { Member } from "../raft/types.ts";
import { memberId } from "../raft/types.ts";
import type { LogEvent, NodeSettings } from "./types.ts";

/** Errors after which the data on this disk are not to be trusted, however well they read. */
const LOSSES: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["CORRUPT", "STALE_DISK"]);

export function isLoss(error: { readonly code: ErrorCode } | null): boolean {
  return error !== null && LOSSES.has(error.code);
}

/** Who may know the cluster: those that this node was told of, then those it knew; never itself. */
export function addressesToAsk(
  { join, advertise }: Pick<NodeSettings, "join" | "advertise">,
  contacts: readonly string[],
): readonly string[] {
  return [...new Set([...join, ...contacts])].filter((address) => address !== advertise);
}

export function nobodyToAsk(why: RaftqError): RaftqError {
  return new RaftqError(
    why.code,
    `${why.message}; no other member is known, so there is nobody to ask for the data`,
    why,
  );
}

export function sayDamaged(
  log: (line: LogEvent) => void,
  why: RaftqError,
  own: Member,
  addresses: readonly string[],
): void {
  const text = `${why.message}; asking ${addresses.join(", ")} to be let in again as ${memberId(own)}; nothing in the data directory is changed before a majority has agreed`;
  log({ level: "error", event: "damaged", text, fields: { code: why.code } });
}

export function saySetAside(log: (line: LogEvent) => void, clusterId: string): void {
  const text = `let into cluster ${clusterId} again as a learner; the damaged data were set aside, everything comes from the leader`;
  log({ level: "warn", event: "set-aside", text });
}
