// Which members have disk space; a leader without any hands over to a member that has some.
import { nameOf, noteTransition } from "./append.ts";
import { hasQuorum } from "./configuration.ts";
import type { Progress } from "./progress.ts";
import type { Leadership, RaftState } from "./state.ts";
import { beginTransfer, bestFollower } from "./transfer.ts";

/** A handover that came to nothing is not tried again before this many election timeouts. */
const HANDOVER_TIMEOUTS = 10;

/**
 * May the leader take what makes the state larger? Yes while no disk is known to be low, and else while a majority (of each half) has
 * space: then a voter that is silent has none, because what the others take without it must fit on the disks of those that answer.
 */
export function hasDiskSpace(state: Readonly<RaftState>): boolean {
  const { leadership, progress } = state;
  if (leadership === null) return true;
  const isLow = state.diskLow || progress.values().some(({ diskLow }) => diskLow);
  return !isLow || countDiskSpace(state, leadership).enough;
}

/** How many voters have disk space, for the text of a refusal. */
export function votersWithDiskSpace(state: Readonly<RaftState>): {
  readonly withSpace: number;
  readonly voters: number;
} {
  const { leadership, members } = state;
  const withSpace = leadership === null ? 0 : countDiskSpace(state, leadership).withSpace;
  return { withSpace, voters: members.voters.length };
}

function countDiskSpace(
  state: Readonly<RaftState>,
  leadership: Leadership,
): { readonly enough: boolean; readonly withSpace: number } {
  const withSpace = new Set(state.diskLow ? [] : [state.self]);
  for (const follower of state.progress.values()) {
    if (!follower.diskLow && answers(state, leadership, follower)) withSpace.add(follower.id);
  }
  const enough = hasQuorum(state.members, (id) => withSpace.has(id));
  return { enough, withSpace: state.members.voters.filter((id) => withSpace.has(id)).length };
}

function answers(state: Readonly<RaftState>, leadership: Leadership, follower: Progress): boolean {
  const since = Math.max(follower.lastContact, leadership.quorumFrom);
  return !follower.stale && state.now - since <= state.settings.electionMaxMs;
}

/** Once per turn. */
export function driveDiskSpace(state: RaftState): void {
  const { leadership } = state;
  if (leadership === null) return;
  reportDiskSpace(state, leadership);
  if (state.diskLow) handOver(state, leadership);
}

/** For the log: each change once. */
function reportDiskSpace(state: RaftState, leadership: Leadership): void {
  const enough = hasDiskSpace(state);
  if (enough === leadership.hadDiskSpace) return;
  leadership.hadDiskSpace = enough;
  const { withSpace, voters } = votersWithDiskSpace(state);
  const now = enough ? "enqueues pass again" : "enqueues are refused";
  noteTransition(state, `${withSpace} of ${voters} voters have disk space: ${now}`);
}

/** Only to one that reported disk space under this leadership, and that holds everything that is committed. */
function handOver(state: RaftState, leadership: Leadership): void {
  const { settings } = state;
  if (state.transfer !== null || state.now < leadership.handOverFrom) return;
  if (state.commitIndex < leadership.noopIndex) return;
  const transferee = bestFollower(state, (follower) => {
    const isKnown = follower.lastContact > leadership.since && !follower.diskLow;
    return isKnown && follower.state === "replicate" && follower.matchIndex >= state.commitIndex;
  });
  if (transferee === null) return;
  leadership.handOverFrom = state.now + HANDOVER_TIMEOUTS * settings.electionMaxMs;
  noteTransition(state, `its disk is low: handing over to ${nameOf(transferee)}, which has disk space`);
  beginTransfer(state, null, transferee);
}
