// Which answers without a number are waited for? Those to queries, and to the opening of the session: each has a deadline.

export interface PendingAnswer<T> {
  readonly deadline: number;
  readonly done: (answer: T) => void;
}

/** A later one has no earlier deadline: all of one client have the same time-out. */
export interface DeadlineQueue<W> {
  add(answer: W): void;
  /** In the order they came. */
  all(): Iterable<W>;
  readonly count: number;
  remove(answer: W): void;
  /** Removes and returns those whose time is over. */
  expired(now: number): readonly W[];
  /** Removes and returns everybody. */
  takeAll(): readonly W[];
  /** Infinity when nobody waits. */
  nextDeadline(): number;
}

export function createDeadlineQueue<T, W extends PendingAnswer<T>>(): DeadlineQueue<W> {
  const pending = new Set<W>();
  return {
    add: (answer) => void pending.add(answer),
    all: () => pending,
    get count() {
      return pending.size;
    },
    remove: (answer) => void pending.delete(answer),
    expired: (now) => {
      const taken: W[] = [];
      for (const answer of pending) {
        if (answer.deadline > now) break;
        pending.delete(answer);
        taken.push(answer);
      }
      return taken;
    },
    takeAll: () => {
      const taken = [...pending];
      pending.clear();
      return taken;
    },
    nextDeadline: () => {
      for (const { deadline } of pending) return deadline;
      return Infinity;
    },
  };
}
