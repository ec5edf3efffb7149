// How much memory may the buffers of all connections take together? Incomplete frames, and answers that were not read yet.
//
// Each connection has limits of its own; many of them together would still be too much. Then the one goes that has made no progress
// for the longest (completed no frame, read nothing), of the address that holds the most: a steady client is never that. Members of
// the cluster are closed only when no other connection holds anything, so that no flood of others disconnects them.
import { addressOf } from "./connection-limits.ts";

export interface BufferBudget<C> {
  /** The memory that the connection takes now. Returns those to be closed, which are no longer counted. */
  update(connection: C, owner: Owner, bytes: number): readonly C[];
  leave(connection: C): void;
  readonly bytes: number;
}

export interface Owner {
  /** `host:port` */
  readonly remote: string;
  /** Of the present configuration, as far as its hello was to be believed. */
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
