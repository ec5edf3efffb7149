// What is due next: a binary heap by due time, then kind, then id, from which any item can be removed.
import { must } from "../lib/assert.ts";

/** The order among items that are due at the same time. Numbers are part of the rules. */
export const DUE = { answersForgotten: 1, clientForgotten: 2 } as const;
export type DueKind = (typeof DUE)[keyof typeof DUE];

export interface DueItem {
  dueAt: number;
  kind: DueKind;
  id: number;
  /** Its place in the heap; -1: it is in none. */
  slot: number;
}

export interface Schedule<Item extends DueItem> {
  readonly heap: Item[];
}

export function createSchedule<Item extends DueItem>(): Schedule<Item> {
  return { heap: [] };
}

/** The item that is due first; null: there is none. */
export function firstDue<Item extends DueItem>({ heap }: Schedule<Item>): Item | null {
  return heap[0] ?? null;
}

/** Enters an item, or finds its new place when its due time, kind or id has changed. */
export function schedule<Item extends DueItem>({ heap }: Schedule<Item>, item: Item): void {
  if (item.slot < 0) {
    item.slot = heap.length;
    heap.push(item);
  }
  siftDown(heap, siftUp(heap, item.slot));
}

export function unschedule<Item extends DueItem>({ heap }: Schedule<Item>, item: Item): void {
  const { slot } = item;
  if (slot < 0) return;
  item.slot = -1;
  const last = must(heap.pop(), "the last item of a heap with items");
  if (last === item) return;
  heap[slot] = last;
  last.slot = slot;
  siftDown(heap, siftUp(heap, slot));
}

function isBefore(a: DueItem, b: DueItem): boolean {
  if (a.dueAt !== b.dueAt) return a.dueAt < b.dueAt;
  if (a.kind !== b.kind) return a.kind < b.kind;
  return a.id < b.id;
}

function siftUp(heap: DueItem[], from: number): number {
  let slot = from;
  while (slot > 0) {
    const parent = (slot - 1) >> 1;
    if (!swapIfBefore(heap, slot, parent)) break;
    slot = parent;
  }
  return slot;
}

function siftDown(heap: DueItem[], from: number): void {
  for (let slot = from; ;) {
    const left = 2 * slot + 1;
    if (left >= heap.length) return;
    const right = left + 1;
    const child = right < heap.length && isBefore(at(heap, right), at(heap, left)) ? right : left;
    if (!swapIfBefore(heap, child, slot)) return;
    slot = child;
  }
}

/** Swaps the two when the lower one is due earlier. */
function swapIfBefore(heap: DueItem[], lower: number, upper: number): boolean {
  const [one, other] = [at(heap, lower), at(heap, upper)];
  if (!isBefore(one, other)) return false;
  heap[upper] = one;
  heap[lower] = other;
  one.slot = upper;
  other.slot = lower;
  return true;
}

const at = (heap: readonly DueItem[], slot: number): DueItem => must(heap[slot], "an item of the heap");
