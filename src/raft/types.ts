// Raft's types, in the paper's words (Figure 2); a *member* is the paper's server, a node id together with its incarnation.

declare const brand: unique symbol;
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** A node's name as people write it: `n1`. `^[a-z0-9][a-z0-9-]{0,31}$`. */
export type NodeId = Brand<string, "NodeId">;
/** Who votes: node id and incarnation, `n1@9f3c01b2d4e5a677`. A wiped disk comes back as another member. */
export type MemberId = Brand<string, "MemberId">;
/** 16 hexadecimal digits drawn once for a data directory and durable before the first hello. */
export type Incarnation = Brand<string, "Incarnation">;
/** The first 16 hexadecimal digits of the SHA-256 of the index-1 record. */
export type ClusterId = Brand<string, "ClusterId">;

/** Terms and log indexes are safe integers below 2^48; 0 means "none yet". The first entry has index 1. */
export type Term = number;
export type LogIndex = number;

const NODE_ID = /^[a-z0-9][a-z0-9-]{0,31}$/;
const HEX_16 = /^[0-9a-f]{16}$/;

export function isNodeId(text: string): text is NodeId {
  return NODE_ID.test(text);
}
export function isIncarnation(text: string): text is Incarnation {
  return HEX_16.test(text);
}
export function isClusterId(text: string): text is ClusterId {
  return HEX_16.test(text);
}
export function isMemberId(text: string): text is MemberId {
  const at = text.indexOf("@");
  return at > 0 && isNodeId(text.slice(0, at)) && isIncarnation(text.slice(at + 1));
}

export interface Member {
  readonly id: NodeId;
  readonly incarnation: Incarnation;
  /** Where its peers and clients reach it: `127.0.0.1:3000`, `[::1]:3000`. */
  readonly address: string;
}

export function memberId(member: { readonly id: NodeId; readonly incarnation: Incarnation }): MemberId {
  const text = `${member.id}@${member.incarnation}`;
  if (!isMemberId(text)) throw new Error(`"${text}" is no member id`);
  return text;
}

/** The node id inside a member id. */
export function nodeIdOf(member: MemberId): NodeId {
  const text = member.slice(0, member.indexOf("@"));
  if (!isNodeId(text)) throw new Error(`"${member}" is no member id`);
  return text;
}

export interface Learner extends Member {
  /** The earlier incarnation of the same node id that this one takes the place of when it is promoted (the one recovery path). */
  readonly replaces: MemberId | null;
}

/** A node id that was removed. It stays remembered, so that a holder of its certificate or its data is refused. */
export interface Removed {
  readonly id: NodeId;
  /** An administrator lets it join again. It counts as removed until it is a voter, so that every voter has learned of it before. */
  readonly readmitted: boolean;
}

/**
 * Who takes part. `outgoing` is empty except in joint consensus (dissertation section 4.3), when it holds the old voters: then
 * an election and a commit need a majority of `voters` and one of `outgoing`.
 */
export interface Configuration {
  readonly voters: readonly Member[];
  readonly outgoing: readonly Member[];
  readonly learners: readonly Learner[];
  /** The longest ago first; at most `MAX_REMOVED`. */
  readonly removed: readonly Removed[];
}

export const NO_CONFIGURATION: Configuration = { voters: [], outgoing: [], learners: [], removed: [] };

/** What must be durable before a node acts on a term or a vote (Figure 2, persistent state). */
export interface HardState {
  readonly currentTerm: Term;
  readonly votedFor: MemberId | null;
}

/** Which log a snapshot stands for. The state itself is `queue`'s, in parts. */
export interface SnapshotMeta {
  readonly index: LogIndex;
  readonly term: Term;
  readonly configuration: Configuration;
  /** The index of the entry that carried `configuration`. */
  readonly configurationIndex: LogIndex;
  /** Cluster time of the entry at `index`, milliseconds. */
  readonly time: number;
}
