// Does a handover end? A leader that hands over takes nothing new meanwhile, so it must give up in time, by its own clock.
import type { Raft } from "../../src/raft/raft.ts";

/** What is asked of a node's raft. */
type HandingOver = Pick<Raft, "self" | "now"> & { readonly transfer: object | null };

export interface Handovers {
  /** After every callback into that node. */
  observe(name: string, raft: HandingOver): void;
}

export function createHandovers(electionMaxMs: number, fail: (what: string) => void): Handovers {
  /** By node: the handover that was seen last, and when it was first seen. */
  const begun = new Map<string, { readonly transfer: object; readonly at: number }>();
  return {
    observe: (name, { self, now, transfer }) => {
      if (transfer === null) return;
      const known = begun.get(name);
      if (known?.transfer !== transfer) begun.set(name, { transfer, at: now });
      else if (now - known.at > electionMaxMs)
        fail(`${self} hands over leadership for more than ${electionMaxMs}ms and takes nothing meanwhile`);
    },
  };
}
