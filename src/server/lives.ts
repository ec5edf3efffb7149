// What if a node finds while it runs that its data cannot be trusted? That life of it ends, and another one in the same process asks
// the other members to let it in again.
import type { RaftqError } from "../lib/errors.ts";
import type { Clock } from "../lib/clock.ts";
import type { OnStopped, RunningNode } from "./types.ts";

/** `lost`: the error says that what is on this disk cannot be trusted. */
export type OnEnded = (error: RaftqError | null, lost: boolean) => void;

/** Starts one life; `distrusted` is what the life before has found. Calls `onEnded` once, never from inside the call. */
export type StartLife = (distrusted: RaftqError | null, onEnded: OnEnded) => RunningNode;

/** Who loses its data twice within so short a time has a disk, or a cluster, that needs a person. */
const TWICE_MS = 60_000;

export function inLives(clock: Clock, start: StartLife, onStopped: OnStopped): RunningNode {
  let lostAt = Number.NEGATIVE_INFINITY;
  let stopping = false;
  const onEnded: OnEnded = (error, lost) => {
    const now = clock.now();
    if (error === null || !lost || stopping || now - lostAt < TWICE_MS) return onStopped(error);
    lostAt = now;
    life = start(error, onEnded);
  };
  let life = start(null, onEnded);
  return {
    id: life.id,
    status: () => life.status(),
    clusterId: () => life.clusterId(),
    stop: () => {
      stopping = true;
      life.stop();
    },
    inspect: () => life.inspect(),
  };
}
