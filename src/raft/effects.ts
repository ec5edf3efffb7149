// What goes into Raft and what comes out of it, as values: the whole contract between the core and the turn.
//
// Obligations of the caller (server/turn.ts), in this order, once per turn:
//   1. step every waiting input, then one `tick`; then `takeEffects` once.
//   2. `send` may leave at once. `persist` goes to storage; everything in `persist.sendAfter` leaves only when storage
//      reports that persist durable, and is dropped when its link is closed by then. Then step `persisted` with its seq.
//   3. at most one persist is in flight: `takeEffects` gives none while one is, and gathers what arrives meanwhile. One that
//      has no space for all of its frames does not wait: step `unwritten`, drop its `sendAfter`, and step `spaceFound` later.
//   4. `installSnapshot` (replace the applied state by the received snapshot) comes before `committed` (apply in order).
import type { Refusal } from "../lib/errors.ts";
import type { Draft, Entry } from "./entry.ts";
import type { Outgoing as MessageTo, RaftMessage } from "./messages.ts";
import type { HardState, LogIndex, Member, MemberId, NodeId, SnapshotMeta, Term } from "./types.ts";

/** The number of a connection. Replies name the one their request came on; 0: our own link to that member. */
export type Link = number;

export type Outgoing = MessageTo & { readonly link: Link };

/** Chosen by the caller to recognise the answer. */
export type Token = number;

export type MembershipChange =
  /**
   * Let `member` in as a learner; it is promoted to voter when it has caught up. Another incarnation of a known id is swapped in.
   * `comesBack`: it was let in before, so its id is known, or it was removed. `byAdministrator`: also if it was removed; else
   * the holder of a node's certificate asks, for itself.
   */
  | {
      readonly type: "join";
      readonly member: Member;
      readonly comesBack: boolean;
      readonly byAdministrator: boolean;
    }
  | { readonly type: "remove"; readonly ids: readonly NodeId[] }
  /** Lets an id that was removed join again. */
  | { readonly type: "readmit"; readonly id: NodeId };

export type Input =
  /** `now`: monotonic milliseconds; `wall`: Unix milliseconds, for people. The inbox is drained before a tick judges timers. */
  | { readonly type: "tick"; readonly now: number; readonly wall: number }
  | { readonly type: "message"; readonly from: MemberId; readonly link: Link; readonly message: RaftMessage }
  | { readonly type: "propose"; readonly token: Token; readonly draft: Draft }
  | { readonly type: "persisted"; readonly seq: number }
  /** That persist ended without space: all of it is durable but the entries from `entriesFrom` on, and, with `snapshot`, its snapshot. */
  | {
      readonly type: "unwritten";
      readonly seq: number;
      readonly entriesFrom: LogIndex | null;
      readonly snapshot: boolean;
    }
  /** There is space again for what was not written. */
  | { readonly type: "spaceFound" }
  /** The snapshot of our own state at `meta.index` has its parts, manifest and directory durable; it does not count yet. */
  | { readonly type: "snapshotSaved"; readonly meta: SnapshotMeta }
  /** A received chunk is kept (asked for by `storeParts`); the parts before `nextPart` are durable. */
  | {
      readonly type: "partStored";
      readonly from: MemberId;
      readonly link: Link;
      readonly meta: SnapshotMeta;
      readonly nextPart: number;
      readonly nextOffset: number;
      readonly parts: number;
    }
  | { readonly type: "read"; readonly token: Token }
  | { readonly type: "change"; readonly token: Token; readonly change: MembershipChange }
  /** `to`: null lets the leader choose the most up-to-date voter. */
  | { readonly type: "transfer"; readonly token: Token; readonly to: NodeId | null }
  /** Our own link to that member came up / went down: what was in flight on it is lost, acknowledgements on it are void. */
  | { readonly type: "linkUp"; readonly member: MemberId }
  | { readonly type: "linkDown"; readonly member: MemberId }
  /** That member acknowledged bytes of bulk that we sent, and the link carries so many in a second. */
  | { readonly type: "linkProgress"; readonly member: MemberId; readonly bytesPerSecond: number }
  /** Bytes of an incomplete message of that member were received. */
  | { readonly type: "bytesReceived"; readonly member: MemberId }
  /** The connection to the leader closed and the one reconnect was refused: nothing listens there, so an election need not wait. */
  | { readonly type: "leaderGone"; readonly leader: MemberId }
  /** Our own loop stalled longer than a heartbeat: the silence was ours, so the election timer starts afresh. */
  | { readonly type: "stalled" }
  /** Whether our own disk is low; reported to the leader in replies. */
  | { readonly type: "diskLow"; readonly low: boolean };

export interface Persist {
  /** Names this persist in `persisted`. Rises by 1. */
  readonly seq: number;
  /** To be durable before any frame of this persist is written. */
  readonly hardState: HardState | null;
  /** In order and without gaps; the first index may be at or below the last one written: that is a truncation. */
  readonly entries: readonly Entry[];
  /** Makes a stored snapshot count. `reset`: nothing in the log counts any more. Entries below `keepFrom` may be deleted afterwards. */
  readonly snapshot: { readonly meta: SnapshotMeta; readonly reset: boolean; readonly keepFrom: LogIndex } | null;
  readonly sendAfter: readonly Outgoing[];
}

export type ProposeResult =
  | { readonly token: Token; readonly ok: true; readonly index: LogIndex; readonly term: Term }
  | { readonly token: Token; readonly ok: false; readonly refused: Refusal };

/** Answers to `change` and `transfer`: given when the change has committed or the transfer is over. */
export type ChangeResult =
  | { readonly token: Token; readonly ok: true; readonly index: LogIndex }
  | { readonly token: Token; readonly ok: false; readonly refused: Refusal };

export type ReadResult =
  /** Once `index` is applied, the state shows every operation acknowledged before the read was asked. */
  | { readonly token: Token; readonly ok: true; readonly index: LogIndex }
  | { readonly token: Token; readonly ok: false; readonly refused: Refusal };

export type Role = "follower" | "candidate" | "leader" | "learner";

/** One change of role, term or known leader, with the reason for the log line. */
export interface Transition {
  readonly role: Role;
  readonly term: Term;
  readonly leader: MemberId | null;
  /** "leader n3 silent for 412ms; pre-vote 3 of 5" */
  readonly why: string;
}

export interface Effects {
  readonly persist: Persist | null;
  readonly send: readonly Outgoing[];
  /** The caller reads so much of the part, from `offset` on, from its snapshot and sends it on our link to `to`. */
  readonly sendParts: readonly {
    readonly to: MemberId;
    readonly term: Term;
    readonly meta: SnapshotMeta;
    readonly part: number;
    readonly offset: number;
    readonly maxBytes: number;
  }[];
  /** Received parts to store; `partStored` follows when they are durable. */
  readonly storeParts: readonly {
    readonly from: MemberId;
    readonly link: Link;
    readonly meta: SnapshotMeta;
    readonly manifest: Uint8Array;
    readonly part: number;
    readonly parts: number;
    readonly offset: number;
    readonly bytes: Uint8Array;
  }[];
  readonly installSnapshot: SnapshotMeta | null;
  /** Newly committed entries, in order, without gaps, each exactly once per run of the process. */
  readonly committed: readonly Entry[];
  readonly proposed: readonly ProposeResult[];
  readonly changed: readonly ChangeResult[];
  readonly read: readonly ReadResult[];
  readonly transitions: readonly Transition[];
  /** This node must stop and take the recovery path: the leader reported that its disk is stale. */
  readonly stop: Refusal | null;
}
