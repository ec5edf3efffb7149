/** Virtual time: plans events and runs the earliest one; those of the same time in the order in which they were planned. */

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

/** Fewer cancelled events than that are not worth a look at all. */
const FEW_CANCELLED = 64;

export function createScheduler(): Scheduler {
  let heap: Planned[] = [];
  let cancelled = 0;
  let time = 0;
  let order = 0;
  let executed = 0;

  const before = (a: Planned, b: Planned): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);
  const push = (planned: Planned): void => {
    let at = heap.length;
    heap.push(planned);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Planned;
      if (!before(planned, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = planned;
  };
  const pop = (): Planned | undefined => {
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    const { length } = heap;
    let at = 0;
    for (let child = 1; child < length; child = 2 * at + 1) {
      if (child + 1 < length && before(heap[child + 1] as Planned, heap[child] as Planned)) child++;
      const below = heap[child] as Planned;
      if (!before(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
    return first;
  };

  /** Most timers are cancelled long before their time: once half of the heap are such, it is made anew without them. */
  const dropCancelled = (): void => {
    const planned = heap.filter(({ run }) => run !== null);
    heap = [];
    cancelled = 0;
    for (const one of planned) push(one);
  };

  return {
    now: () => time,
    after: (delayMs, run) => {
      const planned: Planned = { at: time + Math.max(0, delayMs), order: order++, run };
      push(planned);
      return () => {
        // A timer that has run is in the heap no more.
        if (planned.run === null) return;
        planned.run = null;
        cancelled++;
        if (cancelled > FEW_CANCELLED && 2 * cancelled > heap.length) dropCancelled();
      };
    },
    step: () => {
      for (;;) {
        const planned = pop();
        if (planned === undefined) return false;
        const { run } = planned;
        if (run === null) {
          cancelled--;
          continue;
        }
        time = planned.at;
        executed++;
        planned.run = null;
        run();
        return true;
      }
    },
    get executed() {
      return executed;
    },
  };
}

/** Runs all events of the next `ms` milliseconds. */
export function pass(scheduler: Scheduler, ms: number): void {
  let over = false;
  scheduler.after(ms, () => {
    over = true;
  });
  while (!over) scheduler.step();
}

/** Runs events until `done`. False: it is not, after `limitMs` of virtual time or because nothing is planned any more. */
export function passUntil(scheduler: Scheduler, done: () => boolean, limitMs: number): boolean {
  const end = scheduler.now() + limitMs;
  while (!done()) if (scheduler.now() > end || !scheduler.step()) return false;
  return true;
}

/** Runs events until nothing is planned any more. */
export function runAll(scheduler: Scheduler): void {
  while (scheduler.step());
}
