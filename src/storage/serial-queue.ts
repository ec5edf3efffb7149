// Runs tasks that end with callbacks one after the other.

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
