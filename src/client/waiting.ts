// Who waits for an answer that has no number? Questions, and those who want the session opened: each has its deadline.

export interface Waiter<T> {
  readonly deadline: number;
  readonly done: (answer: T) => void;
}

export interface Waiting<W> {
  add(waiter: W): void;
  all(): readonly W[];
  remove(waiter: W): void;
  /** Removes and returns those whose time is over. */
  expired(now: number): readonly W[];
  /** Removes and returns everybody. */
  takeAll(): readonly W[];
  /** Infinity when nobody waits. */
  nextDeadline(): number;
}

export function createWaiting<T, W extends Waiter<T>>(): Waiting<W> {
  let waiters: readonly W[] = [];
  const take = (which: (waiter: W) => boolean): readonly W[] => {
    const taken = waiters.filter(which);
    waiters = waiters.filter((waiter) => !taken.includes(waiter));
    return taken;
  };
  return {
    add: (waiter) => {
      waiters = [...waiters, waiter];
    },
    all: () => waiters,
    remove: (waiter) => void take((other) => other === waiter),
    expired: (now) => take(({ deadline }) => deadline <= now),
    takeAll: () => take(() => true),
    nextDeadline: () => waiters.reduce((least, { deadline }) => Math.min(least, deadline), Infinity),
  };
}
