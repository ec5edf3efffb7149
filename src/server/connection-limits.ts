// Limits connections: how many there may be, and how much memory their buffers may take together. Each kind has a limit of its own, so
// that a flood of one kind never shuts out another.
//
// A connection is unauthenticated until its hello was received. At the limit of those, the one that has been silent the
// longest goes, of the address that has the most: a member or client sends its hello at once, so it gets through a flood of silence.
// Clients beyond their limit are refused. Members and administrators have limits of their own; administrators always get in, since
// what they ask takes a moment, and the one that has been there the longest goes.
//
// Each connection has limits of its own for its buffers (incomplete frames, and answers that were not read yet); many of them together
// would still be too much. Then the one goes that has made no progress for the longest (completed no frame, read nothing), of the address
// that holds the most: a steady client is never that. Members of the cluster are closed only when no other connection holds anything, so
// that no flood of others disconnects them.
import { SERVER } from "../config.ts";
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

/** The connection limits of a node whose process may open `files` files: the defaults, or fewer of each kind. */
export function connectionLimitsWithin(files: number): {
  readonly maxConnections: MaxConnections;
  /** Accepted sockets, those that are closing included. */
  readonly maxSockets: number;
} {
  const { maxConnections, maxClosing, otherFiles } = SERVER;
  const free = Math.max(32, files - otherFiles);
  const maxPeers = Math.min(maxConnections.maxPeers, Math.floor(free / 8));
  const maxUnauthenticated = Math.min(maxConnections.maxUnauthenticated, Math.floor(free / 4));
  const closing = Math.min(maxClosing, Math.floor(free / 8));
  const maxAdmins = Math.min(maxConnections.maxAdmins, Math.floor(free / 16));
  const maxClients = Math.min(maxConnections.maxClients, free - maxPeers - maxUnauthenticated - maxAdmins - closing);
  const maxClientsPerAddress = Math.min(maxConnections.maxClientsPerAddress, maxClients);
  const maxSockets = maxClients + maxAdmins + maxUnauthenticated + maxPeers + closing;
  return {
    maxConnections: { ...maxConnections, maxPeers, maxUnauthenticated, maxAdmins, maxClients, maxClientsPerAddress },
    maxSockets,
  };
}

/** A connection that is closed in favour of a new one, and why. */
export interface Eviction<C> {
  readonly connection: C;
  readonly why: Failure;
}

type CountedConnection =
  | { readonly kind: "unauthenticated" | "client" | "admin"; readonly address: string }
  | { readonly kind: "peer"; readonly address: string; readonly member: MemberId };

/** Connections by something they share, each set in the order of arrival. */
type Groups<K, C> = Map<K, Set<C>>;

function addTo<K, C>(groups: Groups<K, C>, key: K, connection: C): void {
  const group = groups.get(key) ?? new Set();
  groups.set(key, group.add(connection));
}

function removeFrom<K, C>(groups: Groups<K, C>, key: K, connection: C): void {
  const group = groups.get(key);
  group?.delete(connection);
  if (group?.size === 0) groups.delete(key);
}

const sizeOf = <K, C>(groups: Groups<K, C>, key: K): number => groups.get(key)?.size ?? 0;
const oldestIn = <K, C>(groups: Groups<K, C>, key: K): C | undefined => groups.get(key)?.values().next().value;

export interface ConnectionLimiter<C> {
  readonly limits: MaxConnections;
  readonly counted: Map<C, CountedConnection>;
  readonly byAddress: Readonly<Record<"unauthenticated" | "client" | "admin", Groups<string, C>>>;
  readonly peers: Groups<MemberId, C>;
  readonly count: Record<CountedConnection["kind"], number>;
}

export function createConnectionLimiter<C>(limits: MaxConnections): ConnectionLimiter<C> {
  return {
    limits,
    counted: new Map(),
    byAddress: { unauthenticated: new Map(), client: new Map(), admin: new Map() },
    peers: new Map(),
    count: { unauthenticated: 0, client: 0, admin: 0, peer: 0 },
  };
}

/** A connection was accepted from `remote` (`host:port`). */
export function countAccepted<C>(limiter: ConnectionLimiter<C>, connection: C, remote: string): Eviction<C> | null {
  const { limits, count } = limiter;
  const isFull = count.unauthenticated >= limits.maxUnauthenticated;
  const why = `${limits.maxUnauthenticated} connections have not sent their hello, this one for the longest`;
  const eviction = isFull ? evict(limiter, oldestOf(limiter, "unauthenticated"), why) : null;
  recount(limiter, connection, { kind: "unauthenticated", address: addressOf(remote) });
  return eviction;
}

/** Its hello is a client's: null, or why it is refused. */
export function countClient<C>(limiter: ConnectionLimiter<C>, connection: C): Failure | null {
  const { limits, count, byAddress, counted } = limiter;
  const address = counted.get(connection)?.address ?? "";
  if (count.client >= limits.maxClients) {
    return failure("OVERLOADED", `this node has its ${limits.maxClients} clients; try again later or another node`);
  }
  if (sizeOf(byAddress.client, address) >= limits.maxClientsPerAddress) {
    const why = `this node has ${limits.maxClientsPerAddress} clients of the address ${address}, as many as one may have`;
    return failure("OVERLOADED", why);
  }
  recount(limiter, connection, { kind: "client", address });
  return null;
}

/** Its hello is an administrator's, and it may be one. */
export function countAdmin<C>(limiter: ConnectionLimiter<C>, connection: C): Eviction<C> | null {
  const { limits, count, counted } = limiter;
  const isFull = count.admin >= limits.maxAdmins;
  const why = `${limits.maxAdmins} administrators are connected, and this one has been the longest`;
  const eviction = isFull ? evict(limiter, oldestOf(limiter, "admin"), why) : null;
  recount(limiter, connection, { kind: "admin", address: counted.get(connection)?.address ?? "" });
  return eviction;
}

/** Its hello is a member's. `isKnown`: who is in the configuration; at the limit others are evicted for those. */
export function countPeer<C>(
  limiter: ConnectionLimiter<C>,
  connection: C,
  member: MemberId,
  isKnown: (member: MemberId) => boolean,
): { readonly refused: Failure | null; readonly eviction: Eviction<C> | null } {
  const { limits, count, peers, counted } = limiter;
  let eviction: Eviction<C> | null = null;
  if (sizeOf(peers, member) >= limits.maxPeersPerMember) {
    eviction = evict(limiter, oldestIn(peers, member), `${member} has newer connections to this node`);
  } else if (count.peer >= limits.maxPeers) {
    const why = "a member of the cluster needs this connection";
    if (isKnown(member)) eviction = evict(limiter, oldestUnknown(limiter, isKnown), why);
    if (eviction === null) {
      const refused = failure("OVERLOADED", `all ${limits.maxPeers} connections for members are in use`);
      return { refused, eviction };
    }
  }
  recount(limiter, connection, { kind: "peer", address: counted.get(connection)?.address ?? "", member });
  return { refused: null, eviction };
}

/** It is closed. */
export function uncount<C>({ counted, count, peers, byAddress }: ConnectionLimiter<C>, connection: C): void {
  const slot = counted.get(connection);
  if (slot === undefined) return;
  counted.delete(connection);
  count[slot.kind]--;
  if (slot.kind === "peer") removeFrom(peers, slot.member, connection);
  else removeFrom(byAddress[slot.kind], slot.address, connection);
}

function recount<C>(limiter: ConnectionLimiter<C>, connection: C, slot: CountedConnection): void {
  const { counted, count, peers, byAddress } = limiter;
  uncount(limiter, connection);
  counted.set(connection, slot);
  count[slot.kind]++;
  if (slot.kind === "peer") addTo(peers, slot.member, connection);
  else addTo(byAddress[slot.kind], slot.address, connection);
}

/** Of the address that has the most of that kind. */
function oldestOf<C>({ byAddress }: ConnectionLimiter<C>, kind: "unauthenticated" | "admin"): C | undefined {
  let most: { readonly address: string; readonly size: number } | null = null;
  for (const [address, { size }] of byAddress[kind]) if (size > (most?.size ?? 0)) most = { address, size };
  return most === null ? undefined : oldestIn(byAddress[kind], most.address);
}

function oldestUnknown<C>({ peers }: ConnectionLimiter<C>, isKnown: (member: MemberId) => boolean): C | undefined {
  for (const member of peers.keys()) if (!isKnown(member)) return oldestIn(peers, member);
  return undefined;
}

/** Stops counting `connection`, which is to be closed. */
function evict<C>(limiter: ConnectionLimiter<C>, connection: C | undefined, why: string): Eviction<C> | null {
  if (connection === undefined) return null;
  uncount(limiter, connection);
  return { connection, why: failure("OVERLOADED", why) };
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

export interface BufferBudget<C> {
  /** The memory that the connection takes now. Returns those to be closed, which are no longer counted. */
  update(connection: C, owner: Owner, bytes: number): readonly C[];
  leave(connection: C): void;
  readonly bytes: number;
}

export interface Owner {
  /** `host:port` */
  readonly remote: string;
  /** Of the present configuration, as its hello claims. */
  readonly isMember: boolean;
}

interface Usage {
  readonly address: string;
  readonly isMember: boolean;
  readonly bytes: number;
}

export function createBufferBudget<C>(maxBytes: number): BufferBudget<C> {
  /** Those that hold anything, by when they last made progress. */
  const usages = new Map<C, Usage>();
  let total = 0;

  function leave(connection: C): void {
    total -= usages.get(connection)?.bytes ?? 0;
    usages.delete(connection);
  }

  function slowest(areMembers: boolean): C | undefined {
    const sums = new Map<string, number>();
    for (const { address, isMember, bytes } of usages.values()) {
      if (isMember === areMembers) sums.set(address, (sums.get(address) ?? 0) + bytes);
    }
    let most = 0;
    let among = "";
    for (const [address, bytes] of sums) if (bytes > most) [most, among] = [bytes, address];
    for (const [connection, { address, isMember }] of usages)
      if (isMember === areMembers && address === among) return connection;
    return undefined;
  }

  return {
    update: (connection, { remote, isMember }, bytes) => {
      const before = usages.get(connection);
      if (before !== undefined && bytes < before.bytes) leave(connection);
      if (bytes > 0) {
        total += bytes - (usages.get(connection)?.bytes ?? 0);
        usages.set(connection, { address: before?.address ?? addressOf(remote), isMember, bytes });
      }
      const gone: C[] = [];
      while (total > maxBytes) {
        const given = slowest(false) ?? slowest(true);
        if (given === undefined) break;
        leave(given);
        gone.push(given);
      }
      return gone;
    },
    leave,
    get bytes() {
      return total;
    },
  };
}
