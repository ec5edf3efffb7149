// Proposals of this leader: each entry enters the log in the turn in which it is proposed, or is refused, and a waiter gets its outcome.
import type { Failure } from "../lib/errors.ts";
import type { AppliedEntry } from "../queue/types.ts";
import type { Draft } from "../raft/entry.ts";
import { step } from "../raft/raft.ts";
import type { LogIndex } from "../raft/types.ts";
import type { LeaderEntry } from "./leader-entries.ts";
import type { ProposedRequest } from "./proposed-requests.ts";
import type { Replica } from "./replica.ts";
import type { OpenRequest, UnnumberedRequest } from "./requests.ts";

/** What waits for a proposed entry. Values, unlike the callbacks of reads and changes: a retry is added to the one that waits already. */
export type Waiter = ProposedRequest | UnnumberedRequest | OpenRequest | LeaderEntry;

/** How a proposed entry ended for its waiter. */
export type EntryOutcome =
  { readonly type: "applied"; readonly applied: AppliedEntry } | { readonly type: "failed"; readonly failure: Failure };

export interface Proposals {
  /** The waiters of what was proposed in this turn, in its order: raft answers all of it in the same turn. */
  ofThisTurn: Waiter[];
  /** The waiters of entries in the log. Empty unless this node leads: then the entries are of its own term. */
  readonly byIndex: Map<LogIndex, Waiter>;
  /** The first index of this node's present leadership, its no-op; null: it does not lead. */
  ledFrom: LogIndex | null;
}

export function createProposals(): Proposals {
  return { ofThisTurn: [], byIndex: new Map(), ledFrom: null };
}

/** This node leads and has applied its term's first entry, so what it knows of sessions is complete. */
export function hasAppliedNoop({ raft, proposals: { ledFrom }, stateMachine: { queue } }: Replica): boolean {
  return raft.role === "leader" && ledFrom !== null && queue.appliedIndex >= ledFrom;
}

/** And the cluster has a version and limits, so that it can serve. */
export function isReadyLeader(replica: Replica): boolean {
  return hasAppliedNoop(replica) && replica.stateMachine.queue.version > 0;
}

/** Only while requests are taken, at the start of the turn. */
export function propose({ raft, proposals, inbox }: Replica, draft: Draft, waiter: Waiter): void {
  proposals.ofThisTurn.push(waiter);
  step(raft, { type: "propose", token: inbox.nextToken++, draft });
}
