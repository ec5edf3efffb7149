// Is nothing accepted while no majority agrees about the state? From the leader's own word that writes stop until its word that they go
// on, nothing that a client asks for may enter its log.
import type { Raft } from "../../src/raft/raft.ts";
import type { EntryKind } from "../../src/raft/entry.ts";
import type { LogIndex } from "../../src/raft/types.ts";

export interface Disputes {
  /** A line of that node's log. */
  logged(who: string, text: string): void;
  /** After every callback into it. */
  observe(who: string, raft: Leading): void;
}

/** What is asked of a node's raft. */
type Leading = Pick<Raft, "lastIndex" | "entryAt"> & { readonly leadership: object | null };

const CLIENTS: ReadonlySet<EntryKind> = new Set(["command", "batch", "open", "close"]);

export const isClients = (kind: EntryKind): boolean => CLIENTS.has(kind);

interface Stopped {
  readonly leadership: object | null;
  lastIndex: LogIndex;
}

export function createDisputes(fail: (what: string) => void): Disputes {
  const reportingStop = new Set<string>();
  const stopped = new Map<string, Stopped>();
  return {
    logged: (who, text) => {
      if (text.startsWith("writes stop:")) reportingStop.add(who);
      if (text.startsWith("writes go on:")) reportingStop.delete(who);
    },
    observe: (who, { leadership, lastIndex, entryAt }) => {
      const since = stopped.get(who);
      if (since === undefined && !reportingStop.has(who)) return;
      if (since !== undefined && since.leadership === leadership) {
        for (let index = since.lastIndex + 1; index <= lastIndex; index++) {
          const kind = entryAt(index)?.kind;
          if (kind !== undefined && isClients(kind))
            fail(`${who} says that writes stop, and takes a ${kind} at index ${index}`);
        }
        since.lastIndex = lastIndex;
      }
      if (leadership === null) reportingStop.delete(who);
      if (!reportingStop.has(who)) stopped.delete(who);
      else if (since?.leadership !== leadership) stopped.set(who, { leadership, lastIndex });
    },
  };
}
