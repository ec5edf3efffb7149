// Which configurations may be in force anywhere, and who must be there to serve them?
import { type Configuration, type LogIndex, type Member, type MemberId, memberId } from "../../src/raft/types.ts";

export interface ConfigurationSeen {
  readonly index: LogIndex;
  readonly configuration: Configuration;
}

/**
 * The newest committed configuration and every one behind it in some log, on whatever disk, where nothing else is committed: what a
 * removed node holds there stays on its disk for ever, and is never in force.
 */
export function inForce(
  seen: readonly ConfigurationSeen[],
  committed: ConfigurationSeen | null,
  lastCommitted: LogIndex,
): readonly Configuration[] {
  const newer = seen.filter(({ index }) => index > lastCommitted).map(({ configuration }) => configuration);
  return committed === null ? newer : [committed.configuration, ...newer];
}

function halvesOf(configuration: Configuration): readonly (readonly Member[])[] {
  return [configuration.voters, configuration.outgoing].filter((half) => half.length > 0);
}

export function isVoterOf(configuration: Configuration, member: MemberId): boolean {
  return halvesOf(configuration).some((half) => half.some((voter) => memberId(voter) === member));
}

/** What a configuration becomes when its learners vote, some of them or all; nothing when it has none. */
export function withVotingLearners({ voters, learners }: Configuration): readonly Configuration[] {
  return subsetsOf(learners)
    .filter((some) => some.length > 0)
    .map((some) => {
      const stay = voters.filter((voter) => !some.some(({ replaces }) => replaces === memberId(voter)));
      return { voters: [...stay, ...some], outgoing: [], learners: [], removed: [] };
    });
}

function subsetsOf<T>(all: readonly T[]): readonly (readonly T[])[] {
  return all.reduce<readonly (readonly T[])[]>((some, one) => [...some, ...some.map((set) => [...set, one])], [[]]);
}

/** Do `members` hold a majority of every half of every configuration? */
export function holdsQuorum(configurations: readonly Configuration[], holds: (member: MemberId) => boolean): boolean {
  return configurations.every((configuration) =>
    halvesOf(configuration).every((half) => half.filter((voter) => holds(memberId(voter))).length > half.length / 2),
  );
}

/**
 * May `next` follow `before` in the log? One change at a time: into a joint configuration of both, out of it to the new one, and
 * beside that only learners and addresses change. So the majorities of neighbours always intersect.
 */
export function mayFollow(before: Configuration, next: Configuration): boolean {
  const same = (one: readonly Member[], other: readonly Member[]): boolean =>
    one.length === other.length && one.every((member) => other.some((known) => memberId(known) === memberId(member)));
  if (before.outgoing.length > 0)
    return same(before.voters, next.voters) && (next.outgoing.length === 0 || same(before.outgoing, next.outgoing));
  return next.outgoing.length === 0 ? same(before.voters, next.voters) : same(before.voters, next.outgoing);
}
