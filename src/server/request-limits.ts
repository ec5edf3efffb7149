// How many requests may be pending, and how many bytes of theirs? Per connection, and for the node.
import { assert } from "../lib/assert.ts";

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
