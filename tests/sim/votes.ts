// Was every vote on a disk before it counted, and given once? The disks are asked, not the nodes.
import { STORAGE } from "../../src/config.ts";
import type { Raft } from "../../src/raft/raft.ts";
import { type HardState, type MemberId, memberId, type Term } from "../../src/raft/types.ts";
import { readMeta } from "../../src/storage/meta.ts";
import type { SimDisk } from "../kit/simulated-disk.ts";
import { holdsQuorum } from "./members.ts";

export interface Votes {
  /** After every callback into a life. */
  observe(who: string, raft: Raft): void;
}

export interface VotePorts {
  /** The disk of that member; null: it was lost, with whatever it had voted. */
  readonly diskOf: (member: MemberId) => SimDisk | null;
  readonly fail: (what: string) => void;
}

export function createVotes({ diskOf, fail }: VotePorts): Votes {
  const durable = new Map<MemberId, HardState>();
  const judged = new Set<Term>();

  /** What storage has confirmed never goes back: no term falls, no vote of a term changes, not even across restarts. */
  function onlyForward(who: string, { self, durable: now }: Raft): void {
    const before = durable.get(self);
    if (before !== undefined && before.currentTerm === now.currentTerm && before.votedFor === now.votedFor) return;
    durable.set(self, { currentTerm: now.currentTerm, votedFor: now.votedFor });
    if (before === undefined || now.currentTerm > before.currentTerm) return;
    if (now.currentTerm < before.currentTerm)
      fail(`${who}: its durable term fell from ${before.currentTerm} to ${now.currentTerm}`);
    else if (before.votedFor !== null)
      fail(`${who}: in term ${now.currentTerm} it voted for ${before.votedFor}, and then for ${now.votedFor}`);
  }

  function mayHaveVoted(voter: MemberId, candidate: MemberId, term: Term): boolean {
    const disk = diskOf(voter);
    if (disk === null) return true;
    const hardState = durableHardState(disk);
    // One that has moved on to a later term does not hold any more whom it voted for.
    return hardState.currentTerm > term || (hardState.currentTerm === term && hardState.votedFor === candidate);
  }

  return {
    observe: (who, raft) => {
      onlyForward(who, raft);
      const { role, currentTerm, self, configuration } = raft;
      if (role !== "leader" || judged.has(currentTerm)) return;
      judged.add(currentTerm);
      if (holdsQuorum([configuration], (voter) => mayHaveVoted(voter, self, currentTerm))) return;
      const { voters, outgoing } = configuration;
      const on = [...voters, ...outgoing].map(memberId).filter((voter) => mayHaveVoted(voter, self, currentTerm));
      fail(`${who} leads term ${currentTerm}, but only the disks of ${on.join(" ") || "nobody"} know of a vote for it`);
    },
  };
}

/** As a power cut would leave it. */
function durableHardState(disk: SimDisk): HardState {
  const refuse = (): never => {
    throw new Error("reading meta only reads");
  };
  const port = { ...disk.restart(), read: disk.durable, create: refuse, write: refuse };
  return readMeta(port, STORAGE.formatVersion)?.meta.hardState ?? { currentTerm: 0, votedFor: null };
}
