// A ring buffer: keeps items with rising numbers that leave in nearly the order they came.
import { assert } from "../lib/assert.ts";

export interface RingBuffer<T> {
  /** The number of the first item; `end()` when there is none. */
  first(): number;
  /** One more than the highest number ever put. */
  end(): number;
  /** How many items there are. */
  size(): number;
  /** Numbers only rise; those left out stay empty. */
  put(number: number, item: T): void;
  /** Null: taken, or never put. */
  at(number: number): T | null;
  take(number: number): T | null;
  /** In order. */
  all(): readonly T[];
  takeAll(): readonly T[];
}

const INITIAL_CELLS = 16;

export function createRingBuffer<T>(): RingBuffer<T> {
  /** As many as a power of two, so that the last bits of a number are its cell. */
  let cells: (T | null)[] = Array.from({ length: INITIAL_CELLS }, () => null);
  let first = 0;
  let end = 0;
  let size = 0;

  const at = (number: number): T | null =>
    number < first || number >= end ? null : (cells[number & (cells.length - 1)] ?? null);

  function append(item: T | null): void {
    if (end - first === cells.length) double();
    cells[end & (cells.length - 1)] = item;
    end++;
  }

  function double(): void {
    const larger = Array.from({ length: 2 * cells.length }, (): T | null => null);
    for (let number = first; number < end; number++) larger[number & (larger.length - 1)] = at(number);
    cells = larger;
  }

  function put(number: number, item: T): void {
    assert(number >= end, "the numbers of a ring buffer only rise");
    if (size === 0) first = end = number;
    while (end < number) append(null);
    append(item);
    size++;
  }

  function take(number: number): T | null {
    const item = at(number);
    if (item === null) return null;
    cells[number & (cells.length - 1)] = null;
    size--;
    while (first < end && cells[first & (cells.length - 1)] === null) first++;
    return item;
  }

  function all(): readonly T[] {
    const items: T[] = [];
    for (let number = first; number < end; number++) {
      const item = at(number);
      if (item !== null) items.push(item);
    }
    return items;
  }

  return {
    first: () => first,
    end: () => end,
    size: () => size,
    put,
    at,
    take,
    all,
    takeAll: () => {
      const items = all();
      for (let number = first; number < end; number++) take(number);
      return items;
    },
  };
}
