// The configuration: its bytes (the body of a `config` entry and part of every snapshot), and majorities over it.
import { boolean, decode, encode, list, nullable, text, textOf, tuple } from "../lib/layout.ts";
import {
  isIncarnation,
  isMemberId,
  isNodeId,
  memberId,
  type Configuration,
  type Learner,
  type LogIndex,
  type Member,
  type MemberId,
  type NodeId,
  type Removed,
} from "./types.ts";

// Limits of the format, not settings: what the names in `types.ts` and a DNS name with a port can need.
const MAX_MEMBERS = 64;
/** Removed ids that are remembered; the one removed the longest ago is forgotten first. A few KiB in each configuration. */
export const MAX_REMOVED = 256;
const MAX_NODE_ID_BYTES = 32;
const MAX_INCARNATION_BYTES = 16;
const MAX_MEMBER_ID_BYTES = MAX_NODE_ID_BYTES + 1 + MAX_INCARNATION_BYTES;
const MAX_ADDRESS_BYTES = 255 + 6;

const nodeId = textOf("node id", MAX_NODE_ID_BYTES, isNodeId);
const memberFields = {
  id: nodeId,
  incarnation: textOf("incarnation", MAX_INCARNATION_BYTES, isIncarnation),
  address: text(MAX_ADDRESS_BYTES),
};
const members = list(tuple<Member>("a member", memberFields), MAX_MEMBERS);
const learner = tuple<Learner>("a learner", {
  ...memberFields,
  replaces: nullable(textOf("member id", MAX_MEMBER_ID_BYTES, isMemberId)),
});
const removedNode = tuple<Removed>("a removed node", { id: nodeId, readmitted: boolean });

const configurationLayout = tuple<Configuration>(
  "a configuration",
  {
    voters: members,
    outgoing: members,
    learners: list(learner, MAX_MEMBERS),
    removed: list(removedNode, MAX_REMOVED),
  },
  { check: contradictionIn },
);

export function encodeConfiguration(configuration: Configuration): Uint8Array {
  return encode(configurationLayout, configuration);
}

/** Throws Malformed. */
export function decodeConfiguration(bytes: Uint8Array): Configuration {
  return decode(configurationLayout, bytes);
}

function contradictionIn({ voters, outgoing, learners, removed }: Configuration): string | null {
  const twice = Object.entries({ voters, "outgoing voters": outgoing, learners, "removed nodes": removed }).find(
    ([, nodes]) => new Set(nodes.map(({ id }) => id)).size !== nodes.length,
  );
  if (twice !== undefined) return `one node id stands twice among the ${twice[0]}`;
  const counted = new Set([...voters, ...outgoing].map(memberId));
  for (const one of learners.map(memberId)) if (counted.has(one)) return `${one} is both a voter and a learner`;
  if (voters.length === 0 && (outgoing.length > 0 || learners.length > 0))
    return "a configuration has members but no voters";
  for (const { id, readmitted } of removed) {
    if (voters.some((voter) => voter.id === id)) return `${id} is both removed and a voter`;
    if (!readmitted && learners.some((one) => one.id === id)) return `${id} is both removed and a learner`;
  }
  return null;
}

/** A node with this id takes part, in whatever role and incarnation. */
export function namesNode({ voters, outgoing, learners }: Configuration, id: NodeId): boolean {
  return [voters, outgoing, learners].some((members) => members.some((member) => member.id === id));
}

export function namesMember({ voters, outgoing, learners }: Configuration, id: MemberId): boolean {
  return [voters, outgoing, learners].some((members) => members.some((member) => memberId(member) === id));
}

/** A configuration by member ids, computed once when it takes effect. */
export interface MemberSets {
  readonly voters: readonly MemberId[];
  readonly outgoing: readonly MemberId[];
  readonly learners: readonly MemberId[];
  /** All of them, each once. */
  readonly all: readonly MemberId[];
}

export function memberSets(configuration: Configuration): MemberSets {
  const voters = configuration.voters.map(memberId);
  const outgoing = configuration.outgoing.map(memberId);
  const learners = configuration.learners.map(memberId);
  return { voters, outgoing, learners, all: [...new Set([...voters, ...outgoing, ...learners])] };
}

export function isJoint(sets: MemberSets): boolean {
  return sets.outgoing.length > 0;
}

/** Takes part in elections and commits, in the old or the new half. */
export function isVoter(sets: MemberSets, member: MemberId): boolean {
  return sets.voters.includes(member) || sets.outgoing.includes(member);
}

/** A majority of each half agrees. False without any voter. */
export function hasQuorum(sets: MemberSets, agrees: (member: MemberId) => boolean): boolean {
  if (sets.voters.length === 0) return false;
  return majoritySays(sets.voters, agrees) && (sets.outgoing.length === 0 || majoritySays(sets.outgoing, agrees));
}

export function majority(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

function majoritySays(voters: readonly MemberId[], agrees: (member: MemberId) => boolean): boolean {
  let yes = 0;
  for (const voter of voters) if (agrees(voter)) yes++;
  return yes >= majority(voters.length);
}

const sorted: number[] = [];

/** The highest value that a majority of each half has reached (an index for commits, a context for reads). */
export function quorumValue(sets: MemberSets, valueOf: (member: MemberId) => number): LogIndex {
  if (sets.voters.length === 0) return 0;
  const inVoters = majorityValue(sets.voters, valueOf);
  return sets.outgoing.length === 0 ? inVoters : Math.min(inVoters, majorityValue(sets.outgoing, valueOf));
}

function majorityValue(voters: readonly MemberId[], valueOf: (member: MemberId) => number): number {
  sorted.length = 0;
  for (const voter of voters) {
    // Insertion into a list of at most a few: largest first.
    const value = valueOf(voter);
    let at = sorted.length;
    sorted.push(value);
    for (; at > 0 && (sorted[at - 1] ?? 0) < value; at--) sorted[at] = sorted[at - 1] ?? 0;
    sorted[at] = value;
  }
  return sorted[majority(voters.length) - 1] ?? 0;
}
