// How much memory may all connections hold together? Parts of frames that are not whole yet, and answers that nobody reads.
//
// Each connection has limits of its own; many of them together would still be too much. Then the one goes that has made no progress
// for the longest (completed no frame, read nothing), of the address that holds the most: a steady client is never that. Members of
// the cluster go only when nobody else holds anything, so that no flood of others disconnects them.
import { addressOf } from "./places.ts";

export interface Held<C> {
  /** The memory that the connection takes now. Answers who must be given up, and holds nothing of theirs any more. */
  note(connection: C, owner: Owner, bytes: number): readonly C[];
  leave(connection: C): void;
  readonly bytes: number;
}

export interface Owner {
  /** `host:port` */
  readonly remote: string;
  /** Of the present configuration, as far as its hello was to be believed. */
  readonly isMember: boolean;
}

interface Holder {
  readonly address: string;
  readonly isMember: boolean;
  readonly bytes: number;
}

export function createHeld<C>(maxBytes: number): Held<C> {
  /** Those that hold anything, by when they last made progress. */
  const holders = new Map<C, Holder>();
  let total = 0;

  function leave(connection: C): void {
    total -= holders.get(connection)?.bytes ?? 0;
    holders.delete(connection);
  }

  function slowest(areMembers: boolean): C | undefined {
    const sums = new Map<string, number>();
    for (const { address, isMember, bytes } of holders.values()) {
      if (isMember === areMembers) sums.set(address, (sums.get(address) ?? 0) + bytes);
    }
    let most = 0;
    let among = "";
    for (const [address, bytes] of sums) if (bytes > most) [most, among] = [bytes, address];
    for (const [connection, { address, isMember }] of holders)
      if (isMember === areMembers && address === among) return connection;
    return undefined;
  }

  return {
    note: (connection, { remote, isMember }, bytes) => {
      const before = holders.get(connection);
      if (before !== undefined && bytes < before.bytes) leave(connection);
      if (bytes > 0) {
        total += bytes - (holders.get(connection)?.bytes ?? 0);
        holders.set(connection, { address: before?.address ?? addressOf(remote), isMember, bytes });
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
