// When may an older copy of a member's disk be put back? Only where its leader is bound to notice: it leads on in the term of the copy,
// has the member's acknowledgement of entries that the copy lacks, and still has those in its log. Term and vote are as they were, so
// no vote is forgotten. In any other case nobody could know of the loss (DESIGN section 9: not tolerated), so the world does not do it.
import type { Raft } from "../../src/raft/raft.ts";
import type { HardState, LogIndex, MemberId } from "../../src/raft/types.ts";
import type { Backup } from "../kit/simulated-disk.ts";
import type { Machine, NodeLife, Outdated } from "./world.ts";

export interface Copy {
  readonly content: Backup;
  readonly self: MemberId;
  readonly leader: NodeLife;
  readonly leadership: object;
  readonly hardState: HardState;
  readonly lastIndex: LogIndex;
}

/** null: it does not follow this leader, or not with all that it has. What is being written may be missing in the copy. */
export function copyOfMember(machine: Machine, leader: Machine): Copy | null {
  const [raft, leads] = [raftOf(machine.life), raftOf(leader.life)];
  if (raft === undefined || leads === undefined || leads.leadership === null || leader.life === null) return null;
  const { self, lastIndex, durable, currentTerm } = raft;
  const follows = durable.currentTerm === leads.currentTerm && currentTerm === leads.currentTerm;
  if (!follows || leads.termAt(lastIndex) !== raft.termAt(lastIndex)) return null;
  return {
    content: machine.disk.backup(),
    self,
    leader: leader.life,
    leadership: leads.leadership,
    hardState: durable,
    lastIndex,
  };
}

/** What its leader knows to be missing in the copy; null: nothing, or it cannot be known. */
export function missedSince(machine: Machine, copy: Copy): Outdated | null {
  const { self, leader, leadership, hardState, lastIndex } = copy;
  const [raft, leads] = [raftOf(machine.life), raftOf(leader)];
  if (raft?.self !== self || !leader.process.alive() || leads?.leadership !== leadership) return null;
  const { currentTerm, votedFor } = raft.durable;
  if (currentTerm !== hardState.currentTerm || votedFor !== hardState.votedFor) return null;
  if (raft.currentTerm !== currentTerm || raft.votedFor !== votedFor) return null;
  const progress = leads.progress.get(self);
  if (progress === undefined || progress.stale || progress.state === "snapshot") return null;
  const { matchIndex } = progress;
  if (matchIndex <= lastIndex || leads.termAt(matchIndex) === undefined) return null;
  return { self, leader, term: currentTerm, acknowledged: matchIndex };
}

function raftOf(life: NodeLife | null): Raft | undefined {
  return life?.inspect()?.raft;
}
