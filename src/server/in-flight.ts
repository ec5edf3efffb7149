// How many requests may wait for their answers, and how many bytes of theirs? Of one connection, and of all.
import { assert } from "../lib/assert.ts";

export interface InFlightLimits {
  readonly maxInFlightPerConnection: number;
  readonly maxInFlightBytesPerConnection: number;
  readonly maxInFlight: number;
  readonly maxInFlightBytes: number;
}

/** What waits, of one connection or of all. */
export interface Waiting {
  requests: number;
  bytes: number;
}

export interface InFlight {
  /** Counts one more request; the answer says which limit it breaks, if any: then it is to be refused, and left again. */
  enter(own: Waiting, bytes: number): string | null;
  /** It was answered, whatever the answer was. */
  leave(own: Waiting, bytes: number): void;
}

export function createInFlight(limits: InFlightLimits): InFlight {
  const all: Waiting = { requests: 0, bytes: 0 };

  const count = (waiting: Waiting, requests: number, bytes: number): void => {
    waiting.requests += requests;
    waiting.bytes += bytes;
  };

  return {
    enter: (own, bytes) => {
      count(own, 1, bytes);
      count(all, 1, bytes);
      const { maxInFlightPerConnection, maxInFlightBytesPerConnection, maxInFlight, maxInFlightBytes } = limits;
      if (own.requests > maxInFlightPerConnection)
        return `more than ${maxInFlightPerConnection} requests are under way on this connection`;
      if (own.bytes > maxInFlightBytesPerConnection)
        return `more than ${maxInFlightBytesPerConnection} bytes of requests are under way on this connection`;
      if (all.requests > maxInFlight) return `more than ${maxInFlight} requests are under way on this node`;
      if (all.bytes > maxInFlightBytes)
        return `more than ${maxInFlightBytes} bytes of requests are under way on this node`;
      return null;
    },
    leave: (own, bytes) => {
      count(own, -1, -bytes);
      count(all, -1, -bytes);
      assert(own.requests >= 0 && own.bytes >= 0, "every request is answered once");
    },
  };
}
