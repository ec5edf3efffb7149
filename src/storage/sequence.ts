// How do disk operations that answer by callback run one after the other? In sequences, and in lanes.
import type { Done } from "./disk.ts";

export type Step = (next: Done) => void;

/** Runs the steps in order; the first error ends the sequence. */
export function inSequence(steps: readonly Step[], done: Done): void {
  const run = (at: number): void => {
    const step = steps[at];
    if (step === undefined) return done(null);
    step((error) => (error === null ? run(at + 1) : done(error)));
  };
  run(0);
}

/** A task holds its lane until it calls `release`. */
export type Lane = (task: (release: () => void) => void) => void;

export function createLane(): Lane {
  const waiting: ((release: () => void) => void)[] = [];
  let busy = false;
  const runNext = (): void => {
    const task = waiting.shift();
    busy = task !== undefined;
    task?.(runNext);
  };
  return (task) => {
    waiting.push(task);
    if (!busy) runNext();
  };
}
