// How much may wait in the queue? Producers are quicker than consumers, above all while nodes are down: at high water they pause until
// most of it has been taken out. The bounds of a node's disk and memory (watch.ts) follow from it.
import type { Operation } from "./history.ts";
import { sizeOf } from "./payload.ts";

const MiB = 1024 * 1024;
/** Large enough for snapshots of several parts. */
export const HIGH_WATER_BYTES = 8 * MiB;
const LOW_WATER_BYTES = 1 * MiB;
/** What a small job costs beside its padding. */
const JOB_BYTES = 20;

export interface Tide {
  /** A definite answer. */
  note(operation: Pick<Operation, "type" | "value">): void;
  isHigh(): boolean;
}

export function createTide(): Tide {
  let bytes = 0;
  let isHigh = false;
  return {
    note: ({ type, value }) => {
      if (value === null) return;
      bytes += (type === "enqueue" ? 1 : -1) * (JOB_BYTES + sizeOf(value));
      isHigh = bytes > (isHigh ? LOW_WATER_BYTES : HIGH_WATER_BYTES);
    },
    isHigh: () => isHigh,
  };
}
