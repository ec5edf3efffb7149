// The rules by which fresh nodes found one cluster; `bootstrap.ts` carries the messages. All founders
// state the same number and the same set of addresses. Only the one with the lowest id writes the first entry, when all are fresh on
// connections that are open; the others adopt it if it names their own incarnation. A founder that learns of one that is not fresh
// does not bootstrap: it adopts that one's entry, joins, or refuses.
import { Malformed } from "../lib/messagepack.ts";
import { encodeConfiguration, decodeConfiguration } from "../raft/configuration.ts";
import { decodeEntry, encodeEntry, type Entry, fieldsOf } from "../raft/entry.ts";
import type { Raft } from "../raft/raft.ts";
import { type ClusterId, type Configuration, isClusterId, type Member, memberId } from "../raft/types.ts";

/** What one founder states to another. */
export interface BootstrapStatement {
  readonly expect: number;
  /** Addresses of all founders, sorted. */
  readonly set: readonly string[];
  /** It never held data and knows no cluster. */
  readonly fresh: boolean;
  /** The index-1 record of its cluster, if it has one and still holds it. */
  readonly record: Uint8Array | null;
}

export interface FounderState {
  readonly member: Member;
  readonly statement: BootstrapStatement;
  /** As of its hello: its cluster, null if it had none, and the addresses of the members. */
  readonly clusterId: ClusterId | null;
  readonly members: readonly string[];
}

export type BootstrapStep =
  /** Not every founder has answered on a connection that is still open, or another one writes the configuration. */
  | { readonly type: "wait"; readonly missing: readonly string[] }
  /** This node has the lowest id and all founders are fresh: it writes the index-1 configuration. */
  | { readonly type: "bootstrap"; readonly members: readonly Member[] }
  | { readonly type: "adopt"; readonly record: Uint8Array }
  /** A cluster exists already; no founder that answered so far has a first entry that names this node. */
  | { readonly type: "join" }
  /** There is a cluster of other founders: --expect does not mean to join it. */
  | { readonly type: "foreign"; readonly why: string }
  | { readonly type: "refuse"; readonly why: string };

/** The founders named by --join, the node itself included. */
export function bootstrapSet(join: readonly string[], self: string): readonly string[] {
  return [...new Set([...join, self])].sort();
}

/** What to do, given this node's own statement and those of the others, by address, on connections that are open now. */
export function nextBootstrapStep(
  self: Member,
  own: BootstrapStatement,
  states: ReadonlyMap<string, FounderState>,
): BootstrapStep {
  for (const { statement } of states.values()) {
    if (!statement.fresh && statement.record !== null && namesMember(statement.record, self))
      return { type: "adopt", record: statement.record };
  }
  for (const [address, other] of states) {
    const why = other.statement.fresh ? null : foreignness(self, own, address, other);
    if (why !== null) return { type: "foreign", why };
  }
  if (states.values().some(({ statement }) => !statement.fresh)) return { type: "join" };
  const members = [self];
  for (const [address, { member, statement }] of states) {
    const why = disagreement(own, statement, address);
    if (why !== null) return { type: "refuse", why };
    if (members.some((other) => other.id === member.id)) {
      return { type: "refuse", why: `two founders have the id ${member.id}; one of them is at ${address}` };
    }
    members.push(member);
  }
  const missing = own.set.filter((address) => address !== self.address && !states.has(address));
  if (missing.length > 0) return { type: "wait", missing };
  const lowest = members.reduce((least, member) => (member.id < least.id ? member : least));
  return lowest.id === self.id ? { type: "bootstrap", members } : { type: "wait", missing: [] };
}

/**
 * Why the cluster at `address` is a foreign one; null: it may be this node's own, whose disk was lost. It is where it has a member at
 * this node's address, was founded by this node's founders, or comes from a command that names the same ones; and while the other
 * side does not know its members yet.
 */
function foreignness(self: Member, own: BootstrapStatement, address: string, other: FounderState): string | null {
  const { statement, clusterId, members } = other;
  if (clusterId === null || members.length === 0 || members.includes(self.address)) return null;
  if (described(statement) === described(own)) return null;
  if (statement.record !== null && isEntryOf(statement.record, own.set)) return null;
  return `${address} belongs to cluster ${clusterId} already, and this node is no member of it, but --expect ${own.expect} founds a new cluster of ${own.set.join(", ")}; to join the one that is there, leave out --expect`;
}

/** The first entry that the founders at these addresses wrote. */
function isEntryOf(record: Uint8Array, set: readonly string[]): boolean {
  const entry = bootstrapEntryOf(record);
  const addresses = entry === null ? [] : (votersOf(entry) ?? []).map((voter) => voter.address).sort();
  return addresses.join() === set.join();
}

const described = ({ expect, set }: BootstrapStatement): string => `expects ${expect} founders: ${set.join(", ")}`;

/** All founders must state the same number and the same set; otherwise each refuses, and names both. */
export function disagreement(own: BootstrapStatement, other: BootstrapStatement, address: string): string | null {
  if (described(own) === described(other)) return null;
  return `the founders do not agree: this node ${described(own)}; ${address} ${described(other)}`;
}

/** The index-1 entry. Time and wall are 0, so that it depends on nothing but the founders. */
export function bootstrapEntry(members: readonly Member[]): Entry {
  const voters = members.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const body = encodeConfiguration({ voters, outgoing: [], learners: [], removed: [] });
  const draft = { kind: "config", session: 0, number: 0, acknowledgedThrough: 0, body } as const;
  return encodeEntry({ index: 1, term: 1, time: 0, wall: 0 }, draft);
}

/**
 * The index-1 entry of a cluster of this id, where the log does not hold it any more: as long as the members are the founders it
 * follows from them, and the id, which is its hash, proves it. null: the members have changed since.
 */
export function bootstrapEntryFrom({ voters }: Configuration, clusterId: ClusterId): Entry | null {
  const entry = bootstrapEntry(voters);
  return clusterIdOf(entry) === clusterId ? entry : null;
}

/** The entry inside a record that another founder sent; null when it is not, byte for byte, what founders write. */
export function bootstrapEntryOf(record: Uint8Array): Entry | null {
  const decoded = decodeEntry(record, 0);
  if (!decoded.ok || decoded.entry.kind !== "config") return null;
  const voters = votersOf(decoded.entry);
  if (voters === null) return null;
  const entry = bootstrapEntry(voters);
  return Buffer.compare(entry.record, record) === 0 ? entry : null;
}

/** null: its body is no configuration. A sender may have put anything under a record's checksum. */
function votersOf(entry: Entry): readonly Member[] | null {
  try {
    return decodeConfiguration(fieldsOf(entry).body).voters;
  } catch (error) {
    if (error instanceof Malformed) return null;
    throw error;
  }
}

export function namesMember(record: Uint8Array, self: Member): boolean {
  const entry = bootstrapEntryOf(record);
  if (entry === null) return false;
  return votersOf(entry)?.some((voter) => memberId(voter) === memberId(self)) === true;
}

/** It bootstrapped alone and was not used since: there is the first entry, and what a leader appends by itself. */
export function isUnusedAndAlone({
  configuration,
  snapshot,
  log,
}: Pick<Raft, "configuration" | "snapshot" | "log">): boolean {
  if (configuration.voters.length !== 1 || snapshot !== null) return false;
  return log.entries.every(
    ({ index, kind }) => index === 1 || kind === "noop" || kind === "version" || kind === "tick",
  );
}

export function clusterIdOf(entry: Entry): ClusterId {
  const id = new Bun.CryptoHasher("sha256").update(entry.record).digest("hex").slice(0, 16);
  if (!isClusterId(id)) throw new Error(`"${id}" is no cluster id`);
  return id;
}
