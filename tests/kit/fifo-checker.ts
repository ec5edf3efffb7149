/**
 * Checks that a history of a FIFO queue is linearizable. For complete histories with distinct values four conditions decide it, in
 * O(n log n) (Henzinger, Sezgin and Vafeiadis, "Aspect-oriented linearizability proofs", CONCUR 2013).
 */

/** Invocation and return, in any strictly increasing measure; an operation that never returned returns at Infinity. */
export interface Interval {
  readonly invoked: number;
  readonly returned: number;
}

export type FifoOperation =
  | (Interval & { readonly type: "enqueue"; readonly value: number })
  | (Interval & { readonly type: "dequeue"; readonly value: number })
  /** A dequeue that found nothing. */
  | (Interval & { readonly type: "empty" });

/** What is wrong, in words that name the values; null when the history is linearizable. */
export function fifoViolation(history: readonly FifoOperation[]): string | null {
  const enqueues = new Map<number, Interval>();
  const dequeues = new Map<number, Interval>();
  const empties: Interval[] = [];
  for (const operation of history) {
    switch (operation.type) {
      case "enqueue":
        if (enqueues.has(operation.value))
          throw new Error(`the history is no test: value ${operation.value} is enqueued twice`);
        enqueues.set(operation.value, operation);
        break;
      case "dequeue":
        if (dequeues.has(operation.value)) return `DUPLICATE: value ${operation.value} was dequeued twice`;
        dequeues.set(operation.value, operation);
        break;
      case "empty":
        empties.push(operation);
        break;
    }
  }
  return unexpected(enqueues, dequeues) ?? misordered(enqueues, dequeues) ?? wronglyEmpty(enqueues, dequeues, empties);
}

/** A value may come out only if it went in, and not before. */
function unexpected(enqueues: ReadonlyMap<number, Interval>, dequeues: ReadonlyMap<number, Interval>): string | null {
  for (const [value, dequeue] of dequeues) {
    const enqueue = enqueues.get(value);
    if (enqueue === undefined) return `UNEXPECTED: value ${value} was dequeued and never enqueued`;
    if (dequeue.returned < enqueue.invoked) return `UNEXPECTED: value ${value} was dequeued before it was enqueued`;
  }
  return null;
}

/** If x was in the queue before y was sent, y must not be out before the dequeue of x has begun. */
function misordered(enqueues: ReadonlyMap<number, Interval>, dequeues: ReadonlyMap<number, Interval>): string | null {
  const byInvocation = [...enqueues].sort((a, b) => a[1].invoked - b[1].invoked);
  const byReturn = [...enqueues].sort((a, b) => compare(a[1].returned, b[1].returned));
  let next = 0;
  let latest = -Infinity;
  let latestValue = 0;
  for (const [y, enqueue] of byInvocation) {
    for (;;) {
      const earlier = byReturn[next];
      if (earlier === undefined || earlier[1].returned >= enqueue.invoked) break;
      next++;
      const invoked = dequeues.get(earlier[0])?.invoked ?? Infinity;
      if (invoked <= latest) continue;
      latest = invoked;
      latestValue = earlier[0];
    }
    const dequeue = dequeues.get(y);
    if (dequeue !== undefined && dequeue.returned < latest) {
      const fate = latest === Infinity ? "was never dequeued" : "was asked for only later";
      return `ORDER: value ${latestValue} was enqueued before value ${y}, but ${y} came out while ${latestValue} ${fate}`;
    }
  }
  return null;
}

/** "Empty" is wrong when some value was surely inside at every moment of the operation. */
function wronglyEmpty(
  enqueues: ReadonlyMap<number, Interval>,
  dequeues: ReadonlyMap<number, Interval>,
  empties: readonly Interval[],
): string | null {
  const inside: { from: number; to: number }[] = [];
  const certain = [...enqueues]
    .map(([value, enqueue]) => ({ from: enqueue.returned, to: dequeues.get(value)?.invoked ?? Infinity }))
    .filter(({ from, to }) => from < to)
    .sort((a, b) => a.from - b.from);
  for (const { from, to } of certain) {
    const last = inside.at(-1);
    if (last !== undefined && from < last.to) last.to = Math.max(last.to, to);
    else inside.push({ from, to });
  }
  const sorted = [...empties].sort((a, b) => a.invoked - b.invoked);
  let at = 0;
  for (const empty of sorted) {
    while ((inside[at]?.to ?? Infinity) <= empty.invoked) at++;
    const span = inside[at];
    if (span !== undefined && span.from < empty.invoked && empty.returned < span.to) {
      return `EMPTY: a dequeue from ${empty.invoked} to ${empty.returned} found nothing, but the queue was never empty from ${span.from} to ${span.to}`;
    }
  }
  return null;
}

/** Subtraction would give NaN for two infinities. */
function compare(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
