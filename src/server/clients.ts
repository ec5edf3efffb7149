// The connections of clients, and how many requests may be pending on each and on all of them.
import { SERVER } from "../config.ts";
import { assert } from "../lib/assert.ts";
import { type Failure } from "../lib/errors.ts";
import type { ClientMessage } from "../wire/protocol.ts";
import type { Connection } from "../wire/connection.ts";

/** One connection of a client, with its pending requests. */
export interface ClientConnection {
  readonly connection: Connection;
  /** Sessions that used this connection: while it is open they are not idle. */
  readonly sessions: Set<number>;
  readonly pending: PendingCount;
  /** It sends no more (half-close): after its last answer the connection is closed. */
  isEnded: boolean;
  isClosed: boolean;
}

export interface ClientRequest {
  readonly client: ClientConnection;
  readonly arrivedAt: number;
  readonly message: ClientMessage;
  /** Of its command. */
  readonly bytes: number;
}

export interface Clients {
  readonly connections: Map<Connection, ClientConnection>;
  readonly limiter: RequestLimiter;
  /** Those with an answer of this turn. */
  readonly unflushed: Set<Connection>;
}

export function createClients(): Clients {
  return { connections: new Map(), limiter: createRequestLimiter(SERVER), unflushed: new Set() };
}

/** A connection with a client's hello. */
export function addClient({ connections }: Clients, connection: Connection): ClientConnection {
  const pending = { requests: 0, bytes: 0 };
  const client: ClientConnection = { connection, sessions: new Set(), pending, isEnded: false, isClosed: false };
  connections.set(connection, client);
  return client;
}

/** Counts one more pending request; returns which limit it breaks, if any: then it is to be refused. */
export function countRequest({ limiter }: Clients, { client, bytes }: ClientRequest): string | null {
  return limiter.enter(client.pending, bytes);
}

/** It is answered, or its client is gone. */
export function releaseRequest({ limiter }: Clients, { client, bytes }: ClientRequest): void {
  limiter.leave(client.pending, bytes);
}

export function clientClosed({ connections, unflushed }: Clients, connection: Connection): void {
  const client = connections.get(connection);
  if (client !== undefined) client.isClosed = true;
  connections.delete(connection);
  unflushed.delete(connection);
}

/** The client sends no more. True: its connection is closed after its last answer. */
export function clientEnded(clients: Clients, connection: Connection): boolean {
  const client = clients.connections.get(connection);
  if (client === undefined) return false;
  client.isEnded = true;
  closeWhenAnswered(clients, connection);
  return true;
}

/** Sends what was answered in this turn. */
export function flushAnswers(clients: Clients): void {
  for (const connection of clients.unflushed) {
    connection.flush();
    closeWhenAnswered(clients, connection);
  }
  clients.unflushed.clear();
}

function closeWhenAnswered({ connections }: Clients, connection: Connection): void {
  const client = connections.get(connection);
  if (client?.isEnded === true && client.pending.requests === 0) connection.close(null);
}

/** Requests that wait for an answer, over all connections. */
export function pendingCount({ connections }: Clients): number {
  return connections.values().reduce((sum, { pending }) => sum + pending.requests, 0);
}

/** The sessions used last stay alive while the connection does; more than the limit are kept alive by their own requests only. */
export function keepSessionAlive({ sessions }: ClientConnection, session: number): void {
  if (sessions.has(session)) return;
  const [first] = sessions;
  if (first !== undefined && sessions.size >= SERVER.maxSessionsPerConnection) sessions.delete(first);
  sessions.add(session);
}

export function connectedSessions({ connections }: Clients): ReadonlySet<number> {
  const sessions = new Set<number>();
  for (const client of connections.values()) for (const session of client.sessions) sessions.add(session);
  return sessions;
}

/**
 * A client without requests does not notice that this node leads no more, and the leader keeps only those sessions alive that are
 * connected to it. A few at a time: all of them will dial the leader.
 */
export function redirectIdleClients({ connections }: Clients, notLeading: () => Failure): void {
  let sent = 0;
  for (const { connection, sessions, pending } of connections.values()) {
    if (sessions.size === 0 || pending.requests > 0) continue;
    connection.close(notLeading());
    if (++sent === SERVER.maxRedirectsPerTurn) return;
  }
}

export interface RequestLimits {
  readonly maxPendingPerConnection: number;
  readonly maxPendingBytesPerConnection: number;
  readonly maxPending: number;
  readonly maxPendingBytes: number;
}

/** The pending requests of one connection, or of all. */
export interface PendingCount {
  requests: number;
  bytes: number;
}

export interface RequestLimiter {
  /** Counts one more request; returns which limit it breaks, if any: then it is to be refused, and left again. */
  enter(own: PendingCount, bytes: number): string | null;
  /** It was answered, whatever the answer was. */
  leave(own: PendingCount, bytes: number): void;
}

export function createRequestLimiter(limits: RequestLimits): RequestLimiter {
  const all: PendingCount = { requests: 0, bytes: 0 };

  const count = (pending: PendingCount, requests: number, bytes: number): void => {
    pending.requests += requests;
    pending.bytes += bytes;
  };

  return {
    enter: (own, bytes) => {
      count(own, 1, bytes);
      count(all, 1, bytes);
      const { maxPendingPerConnection, maxPendingBytesPerConnection, maxPending, maxPendingBytes } = limits;
      if (own.requests > maxPendingPerConnection)
        return `more than ${maxPendingPerConnection} requests are pending on this connection`;
      if (own.bytes > maxPendingBytesPerConnection)
        return `more than ${maxPendingBytesPerConnection} bytes of requests are pending on this connection`;
      if (all.requests > maxPending) return `more than ${maxPending} requests are pending on this node`;
      if (all.bytes > maxPendingBytes) return `more than ${maxPendingBytes} bytes of requests are pending on this node`;
      return null;
    },
    leave: (own, bytes) => {
      count(own, -1, -bytes);
      count(all, -1, -bytes);
      assert(own.requests >= 0 && own.bytes >= 0, "every request is answered once");
    },
  };
}
