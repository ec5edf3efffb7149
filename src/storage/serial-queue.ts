// How do disk operations with callbacks run one after the other? In a fixed sequence, or in a serial queue.
import type { Done } from "./disk.ts";

export type DiskOperation = (next: Done) => void;

/** Runs the steps in order; the first error ends the sequence. */
export function inSequence(steps: readonly DiskOperation[], done: Done): void {
  const run = (at: number): void => {
    const step = steps[at];
    if (step === undefined) return done(null);
    step((error) => (error === null ? run(at + 1) : done(error)));
  };
  run(0);
}

/** The next task of the queue begins when this one calls `release`. */
export type SerialQueue = (task: (release: () => void) => void) => void;

export function createSerialQueue(): SerialQueue {
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
