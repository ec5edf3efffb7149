// Who has room on its disk, and what does a leader without room do? It hands over to a member that has some (DESIGN section 5).
import { nameOf, noteTransition } from "./append.ts";
import { hasQuorum } from "./configuration.ts";
import type { Progress } from "./progress.ts";
import type { Leadership, RaftState } from "./state.ts";
import { beginTransfer, bestFollower } from "./transfer.ts";

/** A handover that came to nothing is not tried again before this many election timeouts. */
const HANDOVER_TIMEOUTS = 10;

/**
 * May the leader take what makes the state larger? Yes while a majority (of each half) has room: a voter that is silent has none,
 * because what the others take without it must fit on the disks of those that answer.
 */
export function hasRoom(state: Readonly<RaftState>): boolean {
  const { leadership, progress } = state;
  if (leadership === null) return true;
  const isLow = state.diskLow || progress.values().some(({ diskLow }) => diskLow);
  return !isLow || countRoom(state, leadership).enough;
}

/** How many voters have room, for the answer that refuses. */
export function votersWithRoom(state: Readonly<RaftState>): { readonly room: number; readonly voters: number } {
  const { leadership, members } = state;
  const room = leadership === null ? 0 : countRoom(state, leadership).room;
  return { room, voters: members.voters.length };
}

function countRoom(
  state: Readonly<RaftState>,
  leadership: Leadership,
): { readonly enough: boolean; readonly room: number } {
  const roomy = new Set(state.diskLow ? [] : [state.self]);
  for (const follower of state.progress.values()) {
    if (!follower.diskLow && answers(state, leadership, follower)) roomy.add(follower.id);
  }
  const enough = hasQuorum(state.members, (id) => roomy.has(id));
  return { enough, room: state.members.voters.filter((id) => roomy.has(id)).length };
}

function answers(state: Readonly<RaftState>, leadership: Leadership, follower: Progress): boolean {
  const since = Math.max(follower.lastHeard, leadership.quorumFrom);
  return !follower.stale && state.now - since <= state.settings.electionMaxMs;
}

/** Once per turn. */
export function driveRoom(state: RaftState): void {
  const { leadership } = state;
  if (leadership === null) return;
  tellRoom(state, leadership);
  if (state.diskLow) handOver(state, leadership);
}

/** For people: each change once. */
function tellRoom(state: RaftState, leadership: Leadership): void {
  const enough = hasRoom(state);
  if (enough === leadership.hadRoom) return;
  leadership.hadRoom = enough;
  const { room, voters } = votersWithRoom(state);
  const now = enough ? "enqueues pass again" : "enqueues are refused";
  noteTransition(state, `${room} of ${voters} voters have room on their disks: ${now}`);
}

/** Only to one that said in this leadership that it has room, and that holds everything that is committed. */
function handOver(state: RaftState, leadership: Leadership): void {
  const { settings } = state;
  if (state.transfer !== null || state.now < leadership.handOverFrom) return;
  if (state.commitIndex < leadership.noopIndex) return;
  const heir = bestFollower(state, (follower) => {
    const isKnown = follower.lastHeard > leadership.since && !follower.diskLow;
    return isKnown && follower.state === "replicate" && follower.matchIndex >= state.commitIndex;
  });
  if (heir === null) return;
  leadership.handOverFrom = state.now + HANDOVER_TIMEOUTS * settings.electionMaxMs;
  noteTransition(state, `its disk is low: handing over to ${nameOf(heir)}, which has room`);
  beginTransfer(state, null, heir);
}
