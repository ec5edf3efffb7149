// Who waits for an answer that has no number? Questions, and those who want the session opened: each has its deadline.

export interface Waiter<T> {
  readonly deadline: number;
  readonly done: (answer: T) => void;
}

/** Whoever comes later has no earlier deadline: all of one client have the same time. */
export interface Waiting<W> {
  add(waiter: W): void;
  /** In the order they came. */
  all(): Iterable<W>;
  readonly count: number;
  remove(waiter: W): void;
  /** Removes and returns those whose time is over. */
  expired(now: number): readonly W[];
  /** Removes and returns everybody. */
  takeAll(): readonly W[];
  /** Infinity when nobody waits. */
  nextDeadline(): number;
}

export function createWaiting<T, W extends Waiter<T>>(): Waiting<W> {
  const waiters = new Set<W>();
  return {
    add: (waiter) => void waiters.add(waiter),
    all: () => waiters,
    get count() {
      return waiters.size;
    },
    remove: (waiter) => void waiters.delete(waiter),
    expired: (now) => {
      const taken: W[] = [];
      for (const waiter of waiters) {
        if (waiter.deadline > now) break;
        waiters.delete(waiter);
        taken.push(waiter);
      }
      return taken;
    },
    takeAll: () => {
      const taken = [...waiters];
      waiters.clear();
      return taken;
    },
    nextDeadline: () => {
      for (const { deadline } of waiters) return deadline;
      return Infinity;
    },
  };
}
