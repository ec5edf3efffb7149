// What happens when a running node finds that its data cannot be trusted? That run ends, and a second one in the same process asks the
// other members to let it in again.
import type { RaftqError } from "../lib/errors.ts";
import type { Clock } from "../lib/clock.ts";
import type { OnStopped, RunningNode } from "./types.ts";

/** `lost`: the error means that the data on this disk cannot be trusted. */
export type OnRunEnded = (error: RaftqError | null, lost: boolean) => void;

/** Starts one run; `distrusted` is the error that ended the run before. Calls `onEnded` once, never from inside the call. */
export type StartRun = (distrusted: RaftqError | null, onEnded: OnRunEnded) => RunningNode;

/** A node that loses its data twice within this time has a disk, or a cluster, that needs a person. */
const MIN_INTERVAL_MS = 60_000;

export function restartOnDataLoss(clock: Clock, start: StartRun, onStopped: OnStopped): RunningNode {
  let lostAt = Number.NEGATIVE_INFINITY;
  let stopping = false;
  const onEnded: OnRunEnded = (error, lost) => {
    const now = clock.now();
    if (error === null || !lost || stopping || now - lostAt < MIN_INTERVAL_MS) return onStopped(error);
    lostAt = now;
    run = start(error, onEnded);
  };
  let run = start(null, onEnded);
  return {
    id: run.id,
    status: () => run.status(),
    clusterId: () => run.clusterId(),
    stop: () => {
      stopping = true;
      run.stop();
    },
    inspect: () => run.inspect(),
  };
}
