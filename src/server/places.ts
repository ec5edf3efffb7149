// How many connections may there be, and whose? Places by kind, so that a flood of one kind never takes those of another.
//
// Whoever connects is a stranger until it has said hello. When no place for strangers is left, the one that has been silent the
// longest goes, of the address that has the most: a member or client says hello at once, so it gets through a flood of silence.
// Clients that are too many are refused. Places of members are theirs alone, and those of administrators: they always get in, since
// what they ask takes a moment, and the one that has been there the longest goes.
import { type Failure, failure } from "../lib/errors.ts";
import type { MemberId } from "../raft/types.ts";

export interface PlaceLimits {
  readonly maxStrangers: number;
  readonly maxClients: number;
  readonly maxClientsPerAddress: number;
  readonly maxAdmins: number;
  readonly maxPeers: number;
  /** A member has one connection to us; more are left over from a moment ago. */
  readonly maxPeersPerMember: number;
}

/** Who must leave for a newcomer, and why. */
export interface Leaving<C> {
  readonly connection: C;
  readonly why: Failure;
}

export interface Places<C> {
  /** Somebody has connected from `remote` (`host:port`). */
  enter(connection: C, remote: string): Leaving<C> | null;
  /** It said hello as a client: null, or why there is no place. */
  becomeClient(connection: C): Failure | null;
  /** It said hello as an administrator, and may be one. */
  becomeAdmin(connection: C): Leaving<C> | null;
  /** It said hello as a member. `isKnown`: who is in the configuration; those go first when places are few. */
  becomePeer(
    connection: C,
    member: MemberId,
    isKnown: (member: MemberId) => boolean,
  ): { readonly refused: Failure | null; readonly leaving: Leaving<C> | null };
  leave(connection: C): void;
}

type Place =
  | { readonly kind: "stranger" | "client" | "admin"; readonly address: string }
  | { readonly kind: "peer"; readonly address: string; readonly member: MemberId };

/** Connections by something they share, each set in the order of arrival. */
function createGroups<K, C>() {
  const groups = new Map<K, Set<C>>();
  return {
    groups,
    add: (key: K, connection: C): void => {
      const group = groups.get(key) ?? new Set();
      groups.set(key, group.add(connection));
    },
    remove: (key: K, connection: C): void => {
      const group = groups.get(key);
      group?.delete(connection);
      if (group?.size === 0) groups.delete(key);
    },
    size: (key: K): number => groups.get(key)?.size ?? 0,
    oldest: (key: K): C | undefined => groups.get(key)?.values().next().value,
  };
}

export function createPlaces<C>(limits: PlaceLimits): Places<C> {
  const places = new Map<C, Place>();
  /** By address. */
  const those = {
    stranger: createGroups<string, C>(),
    client: createGroups<string, C>(),
    admin: createGroups<string, C>(),
  } as const;
  const peers = createGroups<MemberId, C>();
  const count = { stranger: 0, client: 0, admin: 0, peer: 0 };

  function take(connection: C, place: Place): void {
    leave(connection);
    places.set(connection, place);
    count[place.kind]++;
    if (place.kind === "peer") peers.add(place.member, connection);
    else those[place.kind].add(place.address, connection);
  }

  function leave(connection: C): void {
    const place = places.get(connection);
    if (place === undefined) return;
    places.delete(connection);
    count[place.kind]--;
    if (place.kind === "peer") peers.remove(place.member, connection);
    else those[place.kind].remove(place.address, connection);
  }

  /** Of the address that has the most of that kind. */
  function oldestOf(kind: "stranger" | "admin"): C | undefined {
    let most: { readonly address: string; readonly size: number } | null = null;
    for (const [address, { size }] of those[kind].groups) if (size > (most?.size ?? 0)) most = { address, size };
    return most === null ? undefined : those[kind].oldest(most.address);
  }

  function oldestUnknown(isKnown: (member: MemberId) => boolean): C | undefined {
    for (const member of peers.groups.keys()) if (!isKnown(member)) return peers.oldest(member);
    return undefined;
  }

  /** Gives up the place of `connection`, which is to be closed. */
  function expel(connection: C | undefined, why: string): Leaving<C> | null {
    if (connection === undefined) return null;
    leave(connection);
    return { connection, why: failure("OVERLOADED", why) };
  }

  return {
    enter: (connection, remote) => {
      const full = count.stranger >= limits.maxStrangers;
      const why = `${limits.maxStrangers} connections wait with their hello, this one the longest`;
      const leaving = full ? expel(oldestOf("stranger"), why) : null;
      take(connection, { kind: "stranger", address: addressOf(remote) });
      return leaving;
    },
    becomeClient: (connection) => {
      const address = places.get(connection)?.address ?? "";
      if (count.client >= limits.maxClients) {
        return failure("OVERLOADED", `this node has its ${limits.maxClients} clients; try again later or another node`);
      }
      if (those.client.size(address) >= limits.maxClientsPerAddress) {
        const why = `this node has ${limits.maxClientsPerAddress} clients of the address ${address}, as many as one may have`;
        return failure("OVERLOADED", why);
      }
      take(connection, { kind: "client", address });
      return null;
    },
    becomeAdmin: (connection) => {
      const full = count.admin >= limits.maxAdmins;
      const why = `${limits.maxAdmins} administrators are connected, and this one has been the longest`;
      const leaving = full ? expel(oldestOf("admin"), why) : null;
      take(connection, { kind: "admin", address: places.get(connection)?.address ?? "" });
      return leaving;
    },
    becomePeer: (connection, member, isKnown) => {
      let leaving: Leaving<C> | null = null;
      if (peers.size(member) >= limits.maxPeersPerMember) {
        leaving = expel(peers.oldest(member), `${member} has newer connections to this node`);
      } else if (count.peer >= limits.maxPeers) {
        if (isKnown(member)) leaving = expel(oldestUnknown(isKnown), "the place is needed for a member of the cluster");
        if (leaving === null) {
          const why = `all ${limits.maxPeers} places for members are taken`;
          return { refused: failure("OVERLOADED", why), leaving: null };
        }
      }
      take(connection, { kind: "peer", address: places.get(connection)?.address ?? "", member });
      return { refused: null, leaving };
    },
    leave,
  };
}

const MAPPED_IPV4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
/** The network half of an IPv6 address: who has one such address has 2^64. */
const NETWORK_GROUPS = 4;

/** Whose connection it is, as far as an address tells: an IPv4 address, or the network of an IPv6 one. */
export function addressOf(remote: string): string {
  const host = remote.slice(0, Math.max(0, remote.lastIndexOf(":"))).replace(/^\[(.*)\]$/, "$1");
  const mapped = MAPPED_IPV4.exec(host)?.[1];
  if (mapped !== undefined) return mapped;
  if (!host.includes(":")) return host;
  const [left = "", right] = host.split("::");
  const head = left === "" ? [] : left.split(":");
  const tail = right === undefined || right === "" ? [] : right.split(":");
  const zeros = right === undefined ? 0 : 8 - head.length - tail.length;
  const groups = [...head, ...Array.from({ length: Math.max(0, zeros) }, () => "0"), ...tail];
  return `${groups.slice(0, NETWORK_GROUPS).join(":")}::/64`;
}
