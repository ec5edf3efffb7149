// Did raftq keep its promise? Checks a history: lost, duplicated, misordered, and what two checkers report.
import { fifoViolation } from "../kit/fifo-checker.ts";
import { type Operation, isAnswered } from "./history.ts";
import { indexViolation } from "./index-witness.ts";
import { producerOf } from "./payload.ts";

export interface Reckoning {
  readonly enqueued: number;
  readonly dequeued: number;
  readonly empty: number;
  /** Acknowledged, and not there. */
  readonly lost: number;
  readonly duplicated: number;
  /** Came out after a later value of the same producer. */
  readonly misordered: number;
}

/** `history` after the queue was drained. */
export function reckon(history: readonly Operation[]): Reckoning {
  const answered = history.filter(isAnswered);
  const enqueues = answered.filter(({ type }) => type === "enqueue");
  const out = answered.filter(({ type, value }) => type === "dequeue" && value !== null);
  const seen = new Set(out.map(({ value }) => value));
  const last = new Map<number, number>();
  let misordered = 0;
  for (const { value } of out.toSorted((a, b) => a.index - b.index)) {
    const producer = producerOf(value!);
    if (value! < (last.get(producer) ?? 0)) misordered++;
    last.set(producer, value!);
  }
  return {
    enqueued: enqueues.length,
    dequeued: out.length,
    empty: answered.filter(({ type, value }) => type === "dequeue" && value === null).length,
    lost: enqueues.filter(({ value }) => !seen.has(value)).length,
    duplicated: out.length - seen.size,
    misordered,
  };
}

/** In words, what the history proves to be wrong. */
export function violations(history: readonly Operation[]): readonly string[] {
  const { lost, duplicated, misordered } = reckon(history);
  const found: string[] = [];
  if (lost > 0) found.push(`${lost} acknowledged jobs are lost`);
  if (duplicated > 0) found.push(`${duplicated} jobs came out twice`);
  if (misordered > 0) found.push(`${misordered} jobs came out of order`);
  const open = history.filter((operation) => !isAnswered(operation)).length;
  // The checkers judge complete histories; that this one is not, is a failure of its own.
  if (open > 0) return [...found, `${open} requests have no definite answer`];
  const fifo = fifoViolation(
    history.map(({ type, value, invoked, returned }) =>
      type === "enqueue"
        ? { type, value: value!, invoked, returned }
        : value === null
          ? { type: "empty", invoked, returned }
          : { type, value, invoked, returned },
    ),
  );
  const index = indexViolation(history);
  return [...found, ...[fifo, index].filter((problem) => problem !== null)];
}
