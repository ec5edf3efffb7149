// The state of one Raft node: Figure 2's, how far the log is durable, and the pending effects of this turn.
import type { Refusal } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import type { MemberSets } from "./configuration.ts";
import type { ChangeResult, Outgoing, Persist, ProposeResult, ReadResult, Role, Token, Transition } from "./effects.ts";
import type { Effects } from "./effects.ts";
import type { Entry } from "./entry.ts";
import type { Log } from "./log.ts";
import type { Progress } from "./progress.ts";
import type { Configuration, HardState, LogIndex, Member, MemberId, SnapshotMeta, Term } from "./types.ts";

export interface RaftSettings {
  readonly self: MemberId;
  readonly random: Random;
  readonly heartbeatMs: number;
  readonly electionMinMs: number;
  readonly electionMaxMs: number;
  /** Records of one AppendEntries; a single larger entry still goes out alone. */
  readonly maxAppendBytes: number;
  /** Bounds of what is sent to one follower and not acknowledged. */
  readonly maxInflightMessages: number;
  readonly maxInflightBytes: number;
  readonly maxUncommittedBytes: number;
  /** Compacted entries kept for followers that are a little behind. */
  readonly keepLogBytes: number;
  readonly recovered: {
    readonly hardState: HardState;
    readonly snapshot: SnapshotMeta | null;
    readonly entries: readonly Entry[];
  };
  readonly now: number;
  readonly wall: number;
}

export interface RaftState {
  readonly settings: RaftSettings;
  readonly self: MemberId;
  now: number;
  wall: number;

  role: Role;
  currentTerm: Term;
  votedFor: MemberId | null;
  leader: MemberId | null;
  readonly log: Log;
  commitIndex: LogIndex;
  /** The newest snapshot that counts (installed ones at once, own ones once durable). */
  snapshot: SnapshotMeta | null;
  /** Cluster time, milliseconds with fractions; stamps take the whole part. */
  clusterTime: number;
  diskLow: boolean;

  /** The configuration in force: the last one in the log, committed or not. */
  configuration: Configuration;
  configurationIndex: LogIndex;
  members: MemberSets;
  /** All that may still matter, oldest first; the last is in force. Entry 0 is the snapshot's, or none at index 0. */
  configurations: ConfigurationAt[];

  /** The last index that the leader of this term has verified here. */
  verifiedIndex: LogIndex;
  /** The lowest prevLogIndex that was refused to the leader of this term; null: none was. */
  refusedIndex: LogIndex | null;
  /** A message came from the leader this turn; the tick turns this into `leaderContactAt`. */
  leaderContacted: boolean;
  leaderContactAt: number;
  /** Bytes of an incomplete message of the leader's were received this turn. */
  leaderBytesReceived: boolean;
  /** When the last whole message of the leader's was received. */
  leaderMessageAt: number;
  /** The tick sets `electionDeadline` this far ahead: `now` is old while the inbox is drained. */
  electionWait: number | null;
  electionDeadline: number;
  /** Until then elections are fast, a failed pre-vote is tried again soon: the leader is known to have ended. */
  fastElectionUntil: number;
  campaign: Campaign | null;

  leadership: Leadership | null;
  /** What the leader knows about each other member; empty on others. */
  readonly progress: Map<MemberId, Progress>;
  transfer: Transfer | null;
  readonly linksDown: Set<MemberId>;
  /** What the links to other members carry, in bytes per second; not measured for those that are missing. */
  readonly linkRates: Map<MemberId, number>;

  /** The hard state that storage has confirmed. */
  durable: HardState;
  inflight: InflightPersist | null;
  /** Storage had no space for entries, and has not reported any since. */
  noSpace: NoSpace | null;
  nextSeq: number;
  /** Stored snapshots that do not count yet, oldest first. */
  snapshotsToPersist: SnapshotToPersist[];
  /** Messages that must not leave before what they claim is durable. */
  waiting: WaitingMessage[];
  pendingEffects: PendingEffects;
  readonly checked: Checked;
}

export interface ConfigurationAt {
  readonly index: LogIndex;
  readonly configuration: Configuration;
}

export interface Campaign {
  readonly preVote: boolean;
  readonly transfer: boolean;
  /** The term asked for. */
  readonly term: Term;
  readonly granted: Set<MemberId>;
  readonly refused: Set<MemberId>;
  readonly why: string;
}

export interface Leadership {
  readonly since: number;
  /** The entry that opened the term: nothing is read or changed before it has committed. */
  readonly noopIndex: LogIndex;
  heartbeatAt: number;
  /** CheckQuorum counts silence from here at the earliest; Infinity: from the coming tick (our own loop stalled). */
  quorumFrom: number;
  uncommittedBytes: number;
  /** Something was acknowledged or became durable: the commit index may move. */
  matchMoved: boolean;
  /** Counter of heartbeat rounds that carry reads. */
  readContext: number;
  readsAsked: Token[];
  readonly readRounds: { readonly context: number; readonly index: LogIndex; readonly tokens: readonly Token[] }[];
  /** What waits for the present change of configuration. */
  changeToken: Token | null;
  join: PendingJoin | null;
  probeToken: number;
  /** A leader whose disk is low hands over from here on. */
  handOverFrom: number;
  /** A majority had disk space in the last turn. */
  hadDiskSpace: boolean;
}

/** A join under the id of another incarnation: is that one alive? */
export interface PendingJoin {
  readonly token: Token;
  readonly member: Member;
  readonly earlier: MemberId;
  readonly probeToken: number;
  readonly deadline: number;
}

export interface Transfer {
  /** null: no request; the leader itself decided to hand over. */
  readonly token: Token | null;
  readonly to: MemberId;
  readonly term: Term;
  readonly deadline: number;
  sent: boolean;
}

export interface InflightPersist {
  readonly seq: number;
  readonly since: number;
  /** After it, entries up to here are durable. Clipped by truncations meanwhile, so an old write never vouches for new entries. */
  upTo: LogIndex;
  readonly hardState: HardState | null;
  readonly snapshot: SnapshotToPersist | null;
  /** What leaves when it is durable; what comes back when it was not written. */
  readonly waiting: readonly WaitingMessage[];
}

export interface NoSpace {
  readonly since: number;
  /** Not even for the frame of a snapshot. */
  readonly snapshots: boolean;
}

export type SnapshotToPersist = NonNullable<Persist["snapshot"]>;

export interface WaitingMessage {
  readonly out: Outgoing;
  /** Entries up to here must be durable; 0: only the term. */
  readonly needIndex: LogIndex;
}

export interface PendingEffects {
  send: Outgoing[];
  sendParts: Effects["sendParts"][number][];
  storeParts: Effects["storeParts"][number][];
  installSnapshot: SnapshotMeta | null;
  committed: Entry[];
  proposed: ProposeResult[];
  changed: ChangeResult[];
  read: ReadResult[];
  transitions: Transition[];
  stop: Refusal | null;
}

/** What the last cheap check saw. */
export interface Checked {
  currentTerm: Term;
  votedFor: MemberId | null;
  commitIndex: LogIndex;
  lastIndex: LogIndex;
  leading: boolean;
}

export function noEffects(): PendingEffects {
  return {
    send: [],
    sendParts: [],
    storeParts: [],
    installSnapshot: null,
    committed: [],
    proposed: [],
    changed: [],
    read: [],
    transitions: [],
    stop: null,
  };
}
