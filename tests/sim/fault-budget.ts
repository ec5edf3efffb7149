// Which disks may still be struck, so that everything acknowledged stays survivable? At most a minority of every configuration that
// may be in force has lost or damaged its disk, counting those that are not yet swapped in again.
import type { Configuration, MemberId } from "../../src/raft/types.ts";
import { holdsQuorum, withVotingLearners } from "./members.ts";

/** whole: every configuration that may be in force has a quorum of sound disks. broken: none has. */
export type Standing = "whole" | "doubtful" | "broken";

export interface FaultBudget {
  /** Members whose disks were wiped or damaged: a node that comes back on that machine is another member. */
  readonly lost: ReadonlySet<MemberId>;
  /** `suspects`: others that are about to lose what they know. */
  mayLose(member: MemberId, suspects?: readonly MemberId[]): boolean;
  lose(member: MemberId): void;
  standing(): Standing;
}

export function createFaultBudget(configurations: () => readonly Configuration[]): FaultBudget {
  const lost = new Set<MemberId>();
  const served = (all: readonly Configuration[], without: readonly MemberId[]): boolean =>
    holdsQuorum(all, (member) => !without.includes(member) && !lost.has(member));
  return {
    lost,
    mayLose: (member, suspects = []) => {
      const all = configurations();
      // A learner may be made a voter in the very moment in which it is lost, or while nobody knows that its state is wrong.
      const next = all.flatMap(withVotingLearners);
      return all.length > 0 && served([...all, ...next], [member, ...suspects]);
    },
    lose: (member) => void lost.add(member),
    standing: () => {
      const all = configurations();
      if (served(all, [])) return "whole";
      return all.some((one) => served([one], [])) ? "doubtful" : "broken";
    },
  };
}
