// Do the answers agree with the log indexes that they name? Sorted by index, the simplest possible queue must give each answer;
// and what was answered before something else was sent has the lower index. Independent of the FIFO checker beside it.
import type { Operation } from "./history.ts";
import { realTimeViolation } from "../kit/real-time-order.ts";

/** What is wrong, or null. The history must be complete: every operation answered. */
export function indexViolation(history: readonly Operation[]): string | null {
  const byIndex = history.toSorted((a, b) => a.index - b.index);
  return replayed(byIndex) ?? realTimeViolation(history);
}

const name = (operation: Operation): string => `${operation.client} #${operation.number} at index ${operation.index}`;

function replayed(byIndex: readonly Operation[]): string | null {
  const queue: Operation[] = [];
  let head = 0;
  let lastIndex = 0;
  let lastJob = 0;
  const lastNumber = new Map<string, number>();
  for (const operation of byIndex) {
    if (operation.index <= lastIndex) return `${name(operation)}: another operation names that index, too`;
    lastIndex = operation.index;
    if (operation.number !== (lastNumber.get(operation.client) ?? 0) + 1) {
      return `${name(operation)} was executed after #${lastNumber.get(operation.client) ?? 0}`;
    }
    lastNumber.set(operation.client, operation.number);
    if (operation.type === "enqueue") {
      if (operation.jobId <= lastJob) return `${name(operation)} got job id ${operation.jobId} after ${lastJob}`;
      lastJob = operation.jobId;
      queue.push(operation);
      continue;
    }
    const next = queue[head];
    if (operation.value === null) {
      if (next !== undefined) return `${name(operation)} found nothing, but value ${next.value} was inside`;
      continue;
    }
    if (next === undefined || next.value !== operation.value || next.jobId !== operation.jobId) {
      return `${name(operation)} gave value ${operation.value}, but ${next?.value ?? "nothing"} was next`;
    }
    head++;
  }
  return null;
}
