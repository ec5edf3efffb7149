// Who counts? The configuration as bytes (the body of a `config` entry and part of every snapshot), and majorities over it.
import { createReader, createWriter, Malformed, type Reader, type Writer } from "../lib/msgpack.ts";
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

/** Values of a configuration: the last one only where nodes were removed. */
const WITHOUT_REMOVED = 3;
const WITH_REMOVED = 4;

export function encodeConfiguration(configuration: Configuration): Uint8Array {
  const writer = createWriter(0, 256);
  const { removed } = configuration;
  writer.array(removed.length === 0 ? WITHOUT_REMOVED : WITH_REMOVED);
  writeMembers(writer, configuration.voters);
  writeMembers(writer, configuration.outgoing);
  writer.array(configuration.learners.length);
  for (const learner of configuration.learners) {
    writer.array(4).text(learner.id).text(learner.incarnation).text(learner.address);
    if (learner.replaces === null) writer.nil();
    else writer.text(learner.replaces);
  }
  if (removed.length === 0) return writer.finish();
  writer.array(removed.length);
  for (const { id, readmitted } of removed) writer.array(2).text(id).boolean(readmitted);
  return writer.finish();
}

function writeMembers(writer: Writer, members: readonly Member[]): void {
  writer.array(members.length);
  for (const member of members) writer.array(3).text(member.id).text(member.incarnation).text(member.address);
}

/** Throws Malformed. */
export function decodeConfiguration(bytes: Uint8Array): Configuration {
  const reader = createReader(bytes);
  const length = reader.array(WITHOUT_REMOVED, WITH_REMOVED);
  const voters = readMembers(reader, "voters");
  const outgoing = readMembers(reader, "outgoing voters");
  const learners: Learner[] = [];
  const learnerCount = reader.array(0, MAX_MEMBERS);
  for (let at = 0; at < learnerCount; at++) {
    reader.array(4, 4);
    const member = readMember(reader);
    learners.push({ ...member, replaces: reader.nil() ? null : readMemberId(reader) });
  }
  const removed = length === WITH_REMOVED ? readRemoved(reader) : [];
  reader.end();
  refuseDuplicates(learners, "learners");
  for (const learner of learners) {
    const counted = [...voters, ...outgoing].some((voter) => memberId(voter) === memberId(learner));
    if (counted) throw new Malformed(`${memberId(learner)} is both a voter and a learner`);
  }
  if (voters.length === 0 && (outgoing.length > 0 || learners.length > 0)) {
    throw new Malformed("a configuration has members but no voters");
  }
  for (const { id, readmitted } of removed) {
    if (voters.some((voter) => voter.id === id)) throw new Malformed(`${id} is both removed and a voter`);
    if (!readmitted && learners.some((learner) => learner.id === id))
      throw new Malformed(`${id} is both removed and a learner`);
  }
  return { voters, outgoing, learners, removed };
}

function readRemoved(reader: Reader): Removed[] {
  const removed: Removed[] = [];
  const count = reader.array(1, MAX_REMOVED);
  for (let at = 0; at < count; at++) {
    reader.array(2, 2);
    removed.push({ id: readNodeId(reader), readmitted: reader.boolean() });
  }
  refuseDuplicates(removed, "removed nodes");
  return removed;
}

function readMembers(reader: Reader, what: string): Member[] {
  const members: Member[] = [];
  const count = reader.array(0, MAX_MEMBERS);
  for (let at = 0; at < count; at++) {
    reader.array(3, 3);
    members.push(readMember(reader));
  }
  refuseDuplicates(members, what);
  return members;
}

function readNodeId(reader: Reader): NodeId {
  const id = reader.text(MAX_NODE_ID_BYTES);
  if (!isNodeId(id)) throw new Malformed(`"${id}" is no node id`);
  return id;
}

function readMember(reader: Reader): Member {
  const id = readNodeId(reader);
  const incarnation = reader.text(MAX_INCARNATION_BYTES);
  if (!isIncarnation(incarnation)) throw new Malformed(`"${incarnation}" is no incarnation`);
  return { id, incarnation, address: reader.text(MAX_ADDRESS_BYTES) };
}

function readMemberId(reader: Reader): MemberId {
  const text = reader.text(MAX_MEMBER_ID_BYTES);
  if (!isMemberId(text)) throw new Malformed(`"${text}" is no member id`);
  return text;
}

function refuseDuplicates(members: readonly { readonly id: NodeId }[], what: string): void {
  const ids = new Set(members.map((member) => member.id));
  if (ids.size !== members.length) throw new Malformed(`one node id stands twice among the ${what}`);
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

/** A majority of each half says yes. False without any voter. */
export function hasQuorum(sets: MemberSets, saysYes: (member: MemberId) => boolean): boolean {
  if (sets.voters.length === 0) return false;
  return majoritySays(sets.voters, saysYes) && (sets.outgoing.length === 0 || majoritySays(sets.outgoing, saysYes));
}

export function majority(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

function majoritySays(voters: readonly MemberId[], saysYes: (member: MemberId) => boolean): boolean {
  let yes = 0;
  for (const voter of voters) if (saysYes(voter)) yes++;
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
