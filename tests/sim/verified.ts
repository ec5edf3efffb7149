// Is what a follower takes for verified in its leader's log? It commits as far as that, whatever the leader has sent so far.
import type { Raft } from "../../src/raft/raft.ts";
import type { Term } from "../../src/raft/types.ts";

/** What is asked of a node's raft. */
type Following = Pick<Raft, "self" | "role" | "currentTerm" | "leader" | "verifiedIndex" | "lastIndex" | "termAt">;

export interface Verified {
  /** After every callback into any node. */
  observe(raft: Following): void;
}

export function createVerified(fail: (what: string) => void): Verified {
  /** Who led each term; a later look at it may find it in another one. */
  const leaders = new Map<Term, Following>();
  return {
    observe: (raft) => {
      const { self, role, currentTerm: term, verifiedIndex: index } = raft;
      if (role === "leader") return void leaders.set(term, raft);
      const leader = leaders.get(term);
      if (raft.leader === null || leader?.role !== "leader" || leader.currentTerm !== term) return;
      const [own, other] = [raft.termAt(index), leader.termAt(index)];
      if (index > leader.lastIndex)
        fail(`${self} takes index ${index} for verified in term ${term}, whose leader has only ${leader.lastIndex}`);
      else if (own !== undefined && other !== undefined && own !== other)
        fail(`${self} takes index ${index} for verified in term ${term}, and holds term ${own} there, not ${other}`);
    },
  };
}
