// May this fresh node found a cluster, and with whom? Pure rules (DESIGN section 4, Founding); `founders.ts` carries the messages.
import { Malformed } from "../lib/messagepack.ts";
import { encodeConfiguration, decodeConfiguration } from "../raft/configuration.ts";
import { decodeEntry, encodeEntry, type Entry, fieldsOf } from "../raft/entry.ts";
import type { Raft } from "../raft/raft.ts";
import { type ClusterId, type Configuration, isClusterId, type Member, memberId } from "../raft/types.ts";

/** What one node told another about founding. */
export interface FoundingWord {
  readonly expect: number;
  /** Addresses of all founders, sorted. */
  readonly set: readonly string[];
  /** It never held data and knows no cluster. */
  readonly fresh: boolean;
  /** The index-1 record of its cluster, if it has one and still holds it. */
  readonly record: Uint8Array | null;
}

export interface Heard {
  readonly member: Member;
  readonly word: FoundingWord;
  /** As of its hello: its cluster, null if it had none, and the addresses of the members. */
  readonly clusterId: ClusterId | null;
  readonly members: readonly string[];
}

export type FoundingStep =
  /** Not everybody was heard on a connection that is still open, or another one writes the configuration. */
  | { readonly type: "wait"; readonly missing: readonly string[] }
  /** This node has the lowest id and everybody is fresh: it writes the index-1 configuration. */
  | { readonly type: "found"; readonly members: readonly Member[] }
  | { readonly type: "adopt"; readonly record: Uint8Array }
  /** A cluster exists already; no founder heard so far has a first entry that names this node. */
  | { readonly type: "join" }
  /** A cluster is there that these founders did not found: whoever says --expect did not mean to join it. */
  | { readonly type: "foreign"; readonly why: string }
  | { readonly type: "refuse"; readonly why: string };

/** The founders named by --join, the node itself included. */
export function foundingSet(join: readonly string[], self: string): readonly string[] {
  return [...new Set([...join, self])].sort();
}

/** What to do, given one's own word and what was heard from others, by address, on connections that are open now. */
export function nextFoundingStep(self: Member, own: FoundingWord, heard: ReadonlyMap<string, Heard>): FoundingStep {
  for (const { word } of heard.values()) {
    if (!word.fresh && word.record !== null && namesMember(word.record, self))
      return { type: "adopt", record: word.record };
  }
  for (const [address, other] of heard) {
    const why = other.word.fresh ? null : foreignness(self, own, address, other);
    if (why !== null) return { type: "foreign", why };
  }
  if (heard.values().some(({ word }) => !word.fresh)) return { type: "join" };
  const members = [self];
  for (const [address, { member, word }] of heard) {
    const why = disagreement(own, word, address);
    if (why !== null) return { type: "refuse", why };
    if (members.some((other) => other.id === member.id)) {
      return { type: "refuse", why: `two founders have the id ${member.id}; one of them is at ${address}` };
    }
    members.push(member);
  }
  const missing = own.set.filter((address) => address !== self.address && !heard.has(address));
  if (missing.length > 0) return { type: "wait", missing };
  const lowest = members.reduce((least, member) => (member.id < least.id ? member : least));
  return lowest.id === self.id ? { type: "found", members } : { type: "wait", missing: [] };
}

/**
 * Why the cluster at `address` is a stranger's; null: it may be this node's own, whose disk was lost. It is where it has a member at
 * this node's address, was founded by this node's founders, or comes from a command that names the same ones; and while the other
 * side does not know its members yet.
 */
function foreignness(self: Member, own: FoundingWord, address: string, other: Heard): string | null {
  const { word, clusterId, members } = other;
  if (clusterId === null || members.length === 0 || members.includes(self.address)) return null;
  if (statement(word) === statement(own)) return null;
  if (word.record !== null && isEntryOf(word.record, own.set)) return null;
  return `${address} belongs to cluster ${clusterId} already, and this node is no member of it, but --expect ${own.expect} founds a new cluster of ${own.set.join(", ")}; to join the one that is there, leave out --expect`;
}

/** The first entry that the founders at these addresses wrote. */
function isEntryOf(record: Uint8Array, set: readonly string[]): boolean {
  const entry = foundingEntryOf(record);
  const addresses = entry === null ? [] : (votersOf(entry) ?? []).map((voter) => voter.address).sort();
  return addresses.join() === set.join();
}

const statement = ({ expect, set }: FoundingWord): string => `expects ${expect} founders: ${set.join(", ")}`;

/** All founders must state the same number and the same set; otherwise each refuses, and says both. */
export function disagreement(own: FoundingWord, other: FoundingWord, address: string): string | null {
  if (statement(own) === statement(other)) return null;
  return `the founders do not agree: this node ${statement(own)}; ${address} ${statement(other)}`;
}

/** The index-1 entry. Time and wall are 0, so that it depends on nothing but the founders. */
export function foundingEntry(members: readonly Member[]): Entry {
  const voters = members.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const body = encodeConfiguration({ voters, outgoing: [], learners: [], removed: [] });
  const draft = { kind: "config", session: 0, number: 0, answeredUpTo: 0, body } as const;
  return encodeEntry({ index: 1, term: 1, time: 0, wall: 0 }, draft);
}

/**
 * The index-1 entry of a cluster of this id, where the log does not hold it any more: as long as the members are the founders it
 * follows from them, and the id, which is its hash, proves it. null: the members have changed since.
 */
export function foundingEntryFrom({ voters }: Configuration, clusterId: ClusterId): Entry | null {
  const entry = foundingEntry(voters);
  return clusterIdOf(entry) === clusterId ? entry : null;
}

/** The entry inside a record that another founder sent; null when it is not, byte for byte, what founders write. */
export function foundingEntryOf(record: Uint8Array): Entry | null {
  const decoded = decodeEntry(record, 0);
  if (!decoded.ok || decoded.entry.kind !== "config") return null;
  const voters = votersOf(decoded.entry);
  if (voters === null) return null;
  const entry = foundingEntry(voters);
  return Buffer.compare(entry.record, record) === 0 ? entry : null;
}

/** null: its body is no configuration. Whoever sends a record may have put anything under its checksum. */
function votersOf(entry: Entry): readonly Member[] | null {
  try {
    return decodeConfiguration(fieldsOf(entry).body).voters;
  } catch (error) {
    if (error instanceof Malformed) return null;
    throw error;
  }
}

export function namesMember(record: Uint8Array, self: Member): boolean {
  const entry = foundingEntryOf(record);
  if (entry === null) return false;
  return votersOf(entry)?.some((voter) => memberId(voter) === memberId(self)) === true;
}

/** It founded alone, and nothing was done here since: there is the founding entry, and what a leader appends by itself. */
export function isLonely({ configuration, snapshot, log }: Pick<Raft, "configuration" | "snapshot" | "log">): boolean {
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
