// Which configurations may be in force anywhere, and how many disks may be lost before they cannot be served any more?
import { type Configuration, type LogIndex, type Member, type MemberId, memberId } from "../../src/raft/types.ts";

export interface ConfigurationSeen {
  readonly index: LogIndex;
  readonly configuration: Configuration;
}

/** The newest committed configuration and every one behind it in some log, on whatever disk. */
export function inForce(
  seen: readonly ConfigurationSeen[],
  committed: ConfigurationSeen | null,
): readonly Configuration[] {
  const floor = committed?.index ?? 0;
  const newer = seen.filter(({ index }) => index > floor).map(({ configuration }) => configuration);
  return committed === null ? newer : [committed.configuration, ...newer];
}

function halvesOf(configuration: Configuration): readonly (readonly Member[])[] {
  return [configuration.voters, configuration.outgoing].filter((half) => half.length > 0);
}

export function isVoterOf(configuration: Configuration, member: MemberId): boolean {
  return halvesOf(configuration).some((half) => half.some((voter) => memberId(voter) === member));
}

/** Do `members` hold a majority of every half of every configuration? */
export function holdsQuorum(configurations: readonly Configuration[], holds: (member: MemberId) => boolean): boolean {
  return configurations.every((configuration) =>
    halvesOf(configuration).every((half) => half.filter((voter) => holds(memberId(voter))).length > half.length / 2),
  );
}

/** May this disk be wiped as well? Beyond a minority of lost disks, nothing promises anything (and tests must not ask for it). */
export function mayBeLost(
  configurations: readonly Configuration[],
  lost: ReadonlySet<MemberId>,
  victim: MemberId,
): boolean {
  return configurations.length > 0 && holdsQuorum(configurations, (member) => member !== victim && !lost.has(member));
}
