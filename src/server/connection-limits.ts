// How many connections may there be? Each kind has a limit of its own, so that a flood of one kind never shuts out another.
//
// A connection is unauthenticated until its hello was received. At the limit of those, the one that has been silent the
// longest goes, of the address that has the most: a member or client sends its hello at once, so it gets through a flood of silence.
// Clients beyond their limit are refused. Members and administrators have limits of their own; administrators always get in, since
// what they ask takes a moment, and the one that has been there the longest goes.
import { type Failure, failure } from "../lib/errors.ts";
import type { MemberId } from "../raft/types.ts";

export interface MaxConnections {
  readonly maxUnauthenticated: number;
  readonly maxClients: number;
  readonly maxClientsPerAddress: number;
  readonly maxAdmins: number;
  readonly maxPeers: number;
  /** A member has one connection to us; more are left over from a moment ago. */
  readonly maxPeersPerMember: number;
}

/** A connection that is closed in favour of a new one, and why. */
export interface Eviction<C> {
  readonly connection: C;
  readonly why: Failure;
}

export interface ConnectionLimiter<C> {
  /** A connection was accepted from `remote` (`host:port`). */
  enter(connection: C, remote: string): Eviction<C> | null;
  /** Its hello is a client's: null, or why it is refused. */
  becomeClient(connection: C): Failure | null;
  /** Its hello is an administrator's, and it may be one. */
  becomeAdmin(connection: C): Eviction<C> | null;
  /** Its hello is a member's. `isKnown`: who is in the configuration; at the limit others are evicted for those. */
  becomePeer(
    connection: C,
    member: MemberId,
    isKnown: (member: MemberId) => boolean,
  ): { readonly refused: Failure | null; readonly eviction: Eviction<C> | null };
  leave(connection: C): void;
}

type CountedConnection =
  | { readonly kind: "unauthenticated" | "client" | "admin"; readonly address: string }
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

export function createConnectionLimiter<C>(limits: MaxConnections): ConnectionLimiter<C> {
  const counted = new Map<C, CountedConnection>();
  /** By address. */
  const byAddress = {
    unauthenticated: createGroups<string, C>(),
    client: createGroups<string, C>(),
    admin: createGroups<string, C>(),
  } as const;
  const peers = createGroups<MemberId, C>();
  const count = { unauthenticated: 0, client: 0, admin: 0, peer: 0 };

  function take(connection: C, slot: CountedConnection): void {
    leave(connection);
    counted.set(connection, slot);
    count[slot.kind]++;
    if (slot.kind === "peer") peers.add(slot.member, connection);
    else byAddress[slot.kind].add(slot.address, connection);
  }

  function leave(connection: C): void {
    const slot = counted.get(connection);
    if (slot === undefined) return;
    counted.delete(connection);
    count[slot.kind]--;
    if (slot.kind === "peer") peers.remove(slot.member, connection);
    else byAddress[slot.kind].remove(slot.address, connection);
  }

  /** Of the address that has the most of that kind. */
  function oldestOf(kind: "unauthenticated" | "admin"): C | undefined {
    let most: { readonly address: string; readonly size: number } | null = null;
    for (const [address, { size }] of byAddress[kind].groups) if (size > (most?.size ?? 0)) most = { address, size };
    return most === null ? undefined : byAddress[kind].oldest(most.address);
  }

  function oldestUnknown(isKnown: (member: MemberId) => boolean): C | undefined {
    for (const member of peers.groups.keys()) if (!isKnown(member)) return peers.oldest(member);
    return undefined;
  }

  /** Stops counting `connection`, which is to be closed. */
  function evict(connection: C | undefined, why: string): Eviction<C> | null {
    if (connection === undefined) return null;
    leave(connection);
    return { connection, why: failure("OVERLOADED", why) };
  }

  return {
    enter: (connection, remote) => {
      const full = count.unauthenticated >= limits.maxUnauthenticated;
      const why = `${limits.maxUnauthenticated} connections have not sent their hello, this one for the longest`;
      const eviction = full ? evict(oldestOf("unauthenticated"), why) : null;
      take(connection, { kind: "unauthenticated", address: addressOf(remote) });
      return eviction;
    },
    becomeClient: (connection) => {
      const address = counted.get(connection)?.address ?? "";
      if (count.client >= limits.maxClients) {
        return failure("OVERLOADED", `this node has its ${limits.maxClients} clients; try again later or another node`);
      }
      if (byAddress.client.size(address) >= limits.maxClientsPerAddress) {
        const why = `this node has ${limits.maxClientsPerAddress} clients of the address ${address}, as many as one may have`;
        return failure("OVERLOADED", why);
      }
      take(connection, { kind: "client", address });
      return null;
    },
    becomeAdmin: (connection) => {
      const full = count.admin >= limits.maxAdmins;
      const why = `${limits.maxAdmins} administrators are connected, and this one has been the longest`;
      const eviction = full ? evict(oldestOf("admin"), why) : null;
      take(connection, { kind: "admin", address: counted.get(connection)?.address ?? "" });
      return eviction;
    },
    becomePeer: (connection, member, isKnown) => {
      let eviction: Eviction<C> | null = null;
      if (peers.size(member) >= limits.maxPeersPerMember) {
        eviction = evict(peers.oldest(member), `${member} has newer connections to this node`);
      } else if (count.peer >= limits.maxPeers) {
        if (isKnown(member)) eviction = evict(oldestUnknown(isKnown), "a member of the cluster needs this connection");
        if (eviction === null) {
          const why = `all ${limits.maxPeers} connections for members are in use`;
          return { refused: failure("OVERLOADED", why), eviction: null };
        }
      }
      take(connection, { kind: "peer", address: counted.get(connection)?.address ?? "", member });
      return { refused: null, eviction };
    },
    leave,
  };
}

const MAPPED_IPV4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
/** The network half of an IPv6 address: who has one such address has 2^64. */
const NETWORK_GROUPS = 4;

/** Whose connection it is, as far as an address shows that: an IPv4 address, or the network of an IPv6 one. */
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
