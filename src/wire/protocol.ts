// Every message on the wire, as a closed union; `layouts.ts` describes the bytes of each; PROTOCOL.md explains them.
import type { Failure } from "../lib/errors.ts";
import type { Job } from "../queue/types.ts";
import type { Checkpoint, RaftMessage } from "../raft/messages.ts";
import type { ClusterId, Incarnation, LogIndex, Member, NodeId, Term } from "../raft/types.ts";

/** What the other side may do, from the least to the most: each role may do all that stands before it. */
export const ROLES = ["read-only", "client", "admin", "peer"] as const;
export type AccessRole = (typeof ROLES)[number];

/** A feature of a peer's hello: the dialer takes the node at this address for `id`, as in its configuration. */
export const dialsNode = (id: NodeId): string => `to ${id}`;

export interface Hello {
  readonly type: "hello";
  readonly version: number;
  /** What builds without it may ignore, by name: optional abilities, and `dialsNode`. */
  readonly features: readonly string[];
  readonly role: AccessRole;
  /** The cluster the dialer expects at this address; null: any (clients), or none yet (fresh nodes). */
  readonly clusterId: ClusterId | null;
  /** Peers only. */
  readonly node: Member | null;
  /** 32 fresh bytes: the dialer asks both sides to prove that they know the shared secret (`secret.ts`). */
  readonly nonce?: Uint8Array;
}

/** The answer to a hello with a nonce: who the accepting node is, and its own nonce for the dialer's proof. */
export interface Challenge {
  readonly type: "challenge";
  readonly nonce: Uint8Array;
  readonly clusterId: ClusterId | null;
  readonly node: Member;
}

/** The dialer's answer to a challenge. */
export interface Proof {
  readonly type: "proof";
  readonly proof: Uint8Array;
}

export interface HelloAnswer {
  readonly type: "helloAnswer";
  readonly version: number;
  readonly features: readonly string[];
  readonly clusterId: ClusterId | null;
  readonly node: Member;
  readonly leader: string | null;
  readonly term: Term;
  readonly members: readonly string[];
  readonly maxFrameBytes: number;
  readonly maxPayloadBytes: number;
  /** The accepting side's own proof, after a challenge. */
  readonly proof?: Uint8Array;
}

/** The first message of either side that its owner sees. */
export type Greeting = Hello | HelloAnswer;

/** A numbered request of a session. Only `command` is compared on a retry. */
export interface Request {
  readonly type: "request";
  readonly frameId: number;
  readonly group: number;
  readonly session: number;
  readonly number: number;
  readonly acknowledgedThrough: number;
  readonly command: Uint8Array;
}

export type ClientMessage =
  | Request
  /**
   * `nonce`: 16 bytes, one per process; the same nonce again is the same session. `generated`: no other process will use the id.
   * `resume`: go on with a session that was made dormant, or refuse.
   */
  | {
      readonly type: "open";
      readonly frameId: number;
      readonly group: number;
      readonly clientId: string;
      readonly nonce: Uint8Array;
      readonly generated: boolean;
      readonly resume: boolean;
    }
  /** Refused unless the answers to all its numbers are acknowledged, `acknowledgedThrough` included. */
  | {
      readonly type: "close";
      readonly frameId: number;
      readonly group: number;
      readonly session: number;
      readonly acknowledgedThrough: number;
    }
  /** `linearizable`: only the leader answers, after a ReadIndex round; otherwise this node's own view, at once. */
  | { readonly type: "status"; readonly frameId: number; readonly linearizable: boolean }
  /** The oldest job, which stays where it is: only the leader answers, after a ReadIndex round. */
  | { readonly type: "peek"; readonly frameId: number }
  /** Entries `from`..`to`, the newest that fit; `to` 0: up to the last. `local`: this node's own log, unconfirmed. */
  | {
      readonly type: "log";
      readonly frameId: number;
      readonly from: LogIndex;
      readonly to: LogIndex;
      readonly local: boolean;
    }
  /** The true path of the entry at `index`, as its leader saw it. */
  | { readonly type: "trace"; readonly frameId: number; readonly index: LogIndex }
  /** `comesBack`: the cluster has let this node id in before; it is no newcomer. */
  | { readonly type: "join"; readonly frameId: number; readonly member: Member; readonly comesBack: boolean }
  | { readonly type: "remove"; readonly frameId: number; readonly ids: readonly NodeId[] }
  /** A node id that was removed may join again. */
  | { readonly type: "readmit"; readonly frameId: number; readonly id: NodeId }
  | { readonly type: "transfer"; readonly frameId: number; readonly to: NodeId | null }
  | { readonly type: "ping"; readonly frameId: number };

export type ServerMessage =
  /** `reply` is queue/replies.ts' encoding, equal to the byte on every retry. */
  | { readonly type: "reply"; readonly frameId: number; readonly duplicate: boolean; readonly reply: Uint8Array }
  | { readonly type: "failure"; readonly frameId: number; readonly failure: Failure }
  | { readonly type: "statusAnswer"; readonly frameId: number; readonly status: NodeStatus }
  | { readonly type: "logAnswer"; readonly frameId: number; readonly page: LogPage }
  | { readonly type: "peekAnswer"; readonly frameId: number; readonly peeked: Peeked }
  | { readonly type: "traceAnswer"; readonly frameId: number; readonly trace: Trace }
  /** join, remove, readmit, transfer: done, in force at `index`. `clusterId`: what a joiner must write down. */
  | { readonly type: "done"; readonly frameId: number; readonly index: LogIndex; readonly clusterId: ClusterId | null }
  | { readonly type: "pong"; readonly frameId: number };

/** Between founders that bootstrap a cluster. */
export type BootstrapMessage =
  | {
      readonly type: "bootstrap";
      readonly expect: number;
      readonly set: readonly string[];
      readonly fresh: boolean;
      readonly record: Uint8Array | null;
    }
  | {
      readonly type: "bootstrapAnswer";
      readonly expect: number;
      readonly set: readonly string[];
      readonly fresh: boolean;
      readonly record: Uint8Array | null;
    };

/** A peer's frame: numbered and checksummed; a gap or a mismatch closes the connection. */
export interface PeerFrame {
  readonly type: "peer";
  readonly sequence: number;
  readonly message: RaftMessage | BootstrapMessage;
}

/** A part of a message that is too long to be sent at once, numbered as a peer's frame is. */
export interface PeerFragment {
  readonly type: "fragment";
  readonly sequence: number;
  /** Bytes of the message that follow; 0: this is the last fragment. */
  readonly left: number;
  readonly bytes: Uint8Array;
}

/** Either side, before it closes the connection: why. */
export interface Goodbye {
  readonly type: "goodbye";
  readonly failure: Failure;
}

export type WireMessage =
  Hello | Challenge | Proof | HelloAnswer | ClientMessage | ServerMessage | PeerFrame | PeerFragment | Goodbye;

export const MEMBER_ROLES = ["voter", "learner", "outgoing"] as const;
export type MemberRole = (typeof MEMBER_ROLES)[number];
export const NODE_STATES = ["leader", "follower", "candidate", "learner", "starting"] as const;
export type NodeState = (typeof NODE_STATES)[number];

export interface MemberStatus {
  readonly id: NodeId;
  readonly incarnation: Incarnation;
  readonly address: string;
  readonly role: MemberRole;
  /** It answered the reporting node within the last second (`config.ts` SERVER.reachableMs), as this very incarnation. */
  readonly reachable: boolean;
  /** Leader only, else 0. */
  readonly matchIndex: LogIndex;
  /** Its disk has less space than the reserve, as far as the answering node knows: the leader of all, others of themselves. */
  readonly diskLow: boolean;
}

/** What a node did with its time in the last `windowMs`; the names are those of `server/stages.ts`. */
export interface StageTimes {
  readonly windowMs: number;
  readonly stages: readonly StageTime[];
}

export interface StageTime {
  readonly name: string;
  readonly count: number;
  readonly microseconds: number;
  readonly longestMicroseconds: number;
}

export interface NodeStatus {
  readonly node: Member;
  readonly clusterId: ClusterId | null;
  readonly state: NodeState;
  readonly term: Term;
  readonly leader: NodeId | null;
  readonly leaderAddress: string | null;
  readonly commitIndex: LogIndex;
  readonly appliedIndex: LogIndex;
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
  readonly snapshotIndex: LogIndex;
  readonly members: readonly MemberStatus[];
  /** Jobs that wait, and their payload bytes. */
  readonly ready: number;
  readonly readyBytes: number;
  /** Live ones, and dormant ones. */
  readonly sessions: number;
  readonly dormantSessions: number;
  readonly uptimeMs: number;
  readonly residentBytes: number;
  readonly logBytes: number;
  /** The newest checkpoint where this node's state was found to be a majority's; null: none yet. */
  readonly checkpoint: Checkpoint | null;
  /** null: too little time has passed. */
  readonly times: StageTimes | null;
}

export interface LogLine {
  readonly index: LogIndex;
  readonly term: Term;
  readonly kind: string;
  /** Unix milliseconds: the leader's wall clock when it stamped the entry. */
  readonly wall: number;
  /** "" when no client is behind it, or its session has ended and the log no longer shows whose it was. */
  readonly client: string;
  readonly requestNumber: number;
  /** The entry's body as logged. */
  readonly body: Uint8Array;
}

export interface LogPage {
  readonly node: NodeId;
  readonly term: Term;
  readonly snapshotIndex: LogIndex;
  readonly commitIndex: LogIndex;
  readonly appliedIndex: LogIndex;
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
  /** There are entries in the asked range before the first one given. */
  readonly more: boolean;
  readonly entries: readonly LogLine[];
}

/** The queue after the entry at `appliedIndex`. */
export interface Peeked {
  /** The oldest; null: none waits. */
  readonly job: Job | null;
  /** Jobs that wait. */
  readonly ready: number;
  readonly appliedIndex: LogIndex;
}

/** Times are microseconds since the leader took the request. */
export interface Trace {
  readonly index: LogIndex;
  readonly term: Term;
  readonly leader: NodeId;
  readonly durable: readonly { readonly id: NodeId; readonly microseconds: number }[];
  readonly committedMicroseconds: number;
  readonly voters: number;
}
