// The messages between members: the paper's RPCs as a closed union, with the paper's field names.
// The sender is known from the connection (its hello), never from the message.
import type { Entry } from "./entry.ts";
import type { LogIndex, MemberId, SnapshotMeta, Term } from "./types.ts";

export interface RequestVote {
  readonly type: "RequestVote";
  /** The candidate's term; in a pre-vote the term it would campaign in. */
  readonly term: Term;
  readonly preVote: boolean;
  /** Set after TimeoutNow: the leader itself asked for this election, so a live leader is no reason to refuse. */
  readonly transfer: boolean;
  readonly lastLogIndex: LogIndex;
  readonly lastLogTerm: Term;
}

export interface RequestVoteReply {
  readonly type: "RequestVoteReply";
  /** The voter's current term. */
  readonly term: Term;
  readonly preVote: boolean;
  /** The term that was asked for: a reply of another round or kind is not counted. */
  readonly requestedTerm: Term;
  readonly voteGranted: boolean;
}

export interface AppendEntries {
  readonly type: "AppendEntries";
  readonly term: Term;
  readonly prevLogIndex: LogIndex;
  readonly prevLogTerm: Term;
  readonly leaderCommit: LogIndex;
  readonly entries: readonly Entry[];
}

export interface AppendEntriesReply {
  readonly type: "AppendEntriesReply";
  readonly term: Term;
  readonly success: boolean;
  /** success: every entry up to here equals the leader's and is durable on the replying member. Otherwise 0. */
  readonly matchIndex: LogIndex;
  /** no success: the prevLogIndex that was refused. Otherwise 0. */
  readonly rejectedIndex: LogIndex;
  /** no success: where the leader may look for agreement (term and index of the last entry that can agree). */
  readonly hintIndex: LogIndex;
  readonly hintTerm: Term;
  readonly diskLow: boolean;
}

/** What the state was after `index`, in one number. Nothing to raft: the server fills it in and reads it. */
export interface Checkpoint {
  readonly index: LogIndex;
  readonly digest: number;
}

/** Sent every heartbeat interval, ahead of bulk. Never claims or carries log entries. */
export interface Heartbeat {
  readonly type: "Heartbeat";
  readonly term: Term;
  /** min(leaderCommit, this follower's matchIndex): never more than the follower has verified. */
  readonly leaderCommit: LogIndex;
  /** Cluster time at the leader, milliseconds. */
  readonly time: number;
  /** A counter of this leadership: a reply with it confirms the leader for every read registered before it was sent. */
  readonly readContext: number;
  /** The newest checkpoint about which a majority agrees. */
  readonly agreed?: Checkpoint;
}

export interface HeartbeatReply {
  readonly type: "HeartbeatReply";
  readonly term: Term;
  readonly readContext: number;
  readonly diskLow: boolean;
  /** What this member's own apply came to, above what the leader knows to be agreed. */
  readonly checkpoints?: readonly Checkpoint[];
}

/** Leadership transfer: campaign at once. */
export interface TimeoutNow {
  readonly type: "TimeoutNow";
  readonly term: Term;
}

/**
 * One part of a snapshot, or a chunk of one that the link carries in about a second. Part 0 comes first; the receiver asks for the
 * next. `bytes` are filled in by the server, not by raft.
 */
export interface InstallSnapshot {
  readonly type: "InstallSnapshot";
  readonly term: Term;
  readonly meta: SnapshotMeta;
  /** The manifest (storage's encoding): lengths and checksums of all parts. */
  readonly manifest: Uint8Array;
  readonly part: number;
  readonly parts: number;
  /** Where in the part `bytes` begin. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface InstallSnapshotReply {
  readonly type: "InstallSnapshotReply";
  readonly term: Term;
  readonly index: LogIndex;
  /** The next part wanted; `parts` once all are stored. */
  readonly nextPart: number;
  /** So many bytes of that part are here. */
  readonly nextOffset: number;
  /** The snapshot counts on the receiver (or was not needed): its log holds everything up to `matchIndex`. 0 while parts are missing. */
  readonly matchIndex: LogIndex;
}

/** The leader found that this member forgot what it had acknowledged: its disk is stale, it must take the recovery path. */
export interface StaleDisk {
  readonly type: "StaleDisk";
  readonly term: Term;
  readonly acknowledgedIndex: LogIndex;
}

/** Is the earlier incarnation of a node id that asks to be swapped in still alive? (A copied id.) The answer carries the token. */
export interface Probe {
  readonly type: "Probe";
  readonly term: Term;
  readonly token: number;
}
export interface ProbeReply {
  readonly type: "ProbeReply";
  readonly term: Term;
  readonly token: number;
}

export type RaftMessage =
  | RequestVote
  | RequestVoteReply
  | AppendEntries
  | AppendEntriesReply
  | Heartbeat
  | HeartbeatReply
  | TimeoutNow
  | InstallSnapshot
  | InstallSnapshotReply
  | StaleDisk
  | Probe
  | ProbeReply;

export interface Outgoing {
  readonly to: MemberId;
  readonly message: RaftMessage;
}
