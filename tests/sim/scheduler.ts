// What happens next in the simulated world? The earliest event; events of the same time in the order they were planned.

export interface Scheduler {
  /** Virtual milliseconds since the world began. */
  now(): number;
  /** Plans `run` for `delayMs` from now; the answer cancels it. */
  after(delayMs: number, run: () => void): () => void;
  /** Runs the next event; false when nothing is planned. */
  step(): boolean;
  readonly executed: number;
}

interface Planned {
  readonly at: number;
  readonly order: number;
  run: (() => void) | null;
}

export function createScheduler(): Scheduler {
  const heap: Planned[] = [];
  let time = 0;
  let order = 0;
  let executed = 0;

  const before = (a: Planned, b: Planned): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);
  const swap = (i: number, j: number): void => {
    const held = heap[i] as Planned;
    heap[i] = heap[j] as Planned;
    heap[j] = held;
  };
  const push = (planned: Planned): void => {
    let at = heap.push(planned) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(heap[at] as Planned, heap[parent] as Planned)) break;
      swap(at, parent);
      at = parent;
    }
  };
  const pop = (): Planned | undefined => {
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    heap[0] = last;
    let at = 0;
    for (;;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < heap.length && before(heap[child] as Planned, heap[least] as Planned)) least = child;
      }
      if (least === at) return first;
      swap(at, least);
      at = least;
    }
  };

  return {
    now: () => time,
    after: (delayMs, run) => {
      const planned: Planned = { at: time + Math.max(0, delayMs), order: order++, run };
      push(planned);
      return () => {
        planned.run = null;
      };
    },
    step: () => {
      for (;;) {
        const planned = pop();
        if (planned === undefined) return false;
        if (planned.run === null) continue;
        time = planned.at;
        executed++;
        planned.run();
        return true;
      }
    },
    get executed() {
      return executed;
    },
  };
}
