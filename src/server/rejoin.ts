// Data loss: which errors mean it, which addresses a node asks then to be let in again, and what it logs.
import { type ErrorCode, RaftqError } from "../lib/errors.ts";
import type { Member } from "../raft/types.ts";
import { memberId } from "../raft/types.ts";
import type { LogEvent, NodeSettings } from "./types.ts";

/** Errors after which the data on this disk are not trusted, even if they are readable. */
const LOSSES: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["CORRUPT", "STALE_DISK"]);

export function isLoss(error: { readonly code: ErrorCode } | null): boolean {
  return error !== null && LOSSES.has(error.code);
}

/** Who may know the cluster: the addresses of --join, then the known members; never itself. */
export function rejoinAddresses(
  { join, advertise }: Pick<NodeSettings, "join" | "advertise">,
  knownMembers: readonly string[],
): readonly string[] {
  return [...new Set([...join, ...knownMembers])].filter((address) => address !== advertise);
}

export function noKnownMember(why: RaftqError): RaftqError {
  return new RaftqError(
    why.code,
    `${why.message}; no other member is known, so there is nobody to ask for the data`,
    why,
  );
}

export function logDamaged(
  log: (line: LogEvent) => void,
  why: RaftqError,
  own: Member,
  addresses: readonly string[],
): void {
  const text = `${why.message}; asking ${addresses.join(", ")} to be let in again as ${memberId(own)}; nothing in the data directory is changed before a majority has agreed`;
  log({ level: "error", event: "damaged", text, fields: { code: why.code } });
}

export function logQuarantined(log: (line: LogEvent) => void, clusterId: string): void {
  const text = `let into cluster ${clusterId} again as a learner; the damaged data were quarantined, everything comes from the leader`;
  log({ level: "warn", event: "quarantined", text });
}
