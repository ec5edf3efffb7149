// How are items with consecutive numbers kept that leave in nearly the order they came? In a ring buffer.
import { assert } from "../lib/assert.ts";

export interface RingBuffer<T> {
  /** The number of the first thing that is here; `end()` when nothing is. */
  first(): number;
  /** One more than the highest number ever put. */
  end(): number;
  /** How many are here. */
  size(): number;
  /** Numbers only rise; those left out stay empty. */
  put(number: number, thing: T): void;
  /** Null: taken, or never put. */
  at(number: number): T | null;
  take(number: number): T | null;
  /** Everything that is here, in order. */
  all(): readonly T[];
  takeAll(): readonly T[];
}

const SMALLEST = 16;

export function createRingBuffer<T>(): RingBuffer<T> {
  /** As many as a power of two, so that the last bits of a number are its cell. */
  let cells: (T | null)[] = Array.from({ length: SMALLEST }, () => null);
  let first = 0;
  let end = 0;
  let size = 0;

  const at = (number: number): T | null =>
    number < first || number >= end ? null : (cells[number & (cells.length - 1)] ?? null);

  function append(thing: T | null): void {
    if (end - first === cells.length) double();
    cells[end & (cells.length - 1)] = thing;
    end++;
  }

  function double(): void {
    const larger = Array.from({ length: 2 * cells.length }, (): T | null => null);
    for (let number = first; number < end; number++) larger[number & (larger.length - 1)] = at(number);
    cells = larger;
  }

  function put(number: number, thing: T): void {
    assert(number >= end, "the numbers of a row only rise");
    if (size === 0) first = end = number;
    while (end < number) append(null);
    append(thing);
    size++;
  }

  function take(number: number): T | null {
    const thing = at(number);
    if (thing === null) return null;
    cells[number & (cells.length - 1)] = null;
    size--;
    while (first < end && cells[first & (cells.length - 1)] === null) first++;
    return thing;
  }

  function all(): readonly T[] {
    const things: T[] = [];
    for (let number = first; number < end; number++) {
      const thing = at(number);
      if (thing !== null) things.push(thing);
    }
    return things;
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
      const things = all();
      for (let number = first; number < end; number++) take(number);
      return things;
    },
  };
}
