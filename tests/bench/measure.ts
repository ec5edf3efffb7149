// What is one figure of a benchmark? The median of three rounds, with the lowest and the highest.

export interface Figure {
  readonly what: string;
  readonly value: number;
  /** `jobs/s`, `ms` */
  readonly unit: string;
  /** Lowest and highest round. */
  readonly range: readonly [number, number];
}

const ROUNDS = 3;

/** `round` does the work and answers how much of it, and in how many seconds. */
export async function measure(
  what: string,
  unit: string,
  round: () => Promise<readonly [number, number]> | readonly [number, number],
): Promise<Figure> {
  const rates: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const [amount, seconds] = await round();
    rates.push(amount / seconds);
  }
  return figure(what, `${unit}/s`, rates);
}

export function figure(what: string, unit: string, values: readonly number[]): Figure {
  const sorted = values.toSorted((a, b) => a - b);
  const [low = Number.NaN] = sorted;
  return { what, unit, value: sorted[sorted.length >> 1] ?? low, range: [low, sorted.at(-1) ?? low] };
}

export function figureLine({ what, value, unit, range }: Figure): string {
  const [low, high] = range;
  return `${what.padEnd(46)} ${`${shown(value).padStart(11)} ${unit}`.padEnd(24)} (${shown(low)} to ${shown(high)})`;
}

const shown = (value: number): string => (value < 100 ? value.toFixed(2) : Math.round(value).toLocaleString("en"));

/** Repeats `work` for about half a second. */
export function repeated(work: () => void): readonly [number, number] {
  const began = performance.now();
  let count = 0;
  while (performance.now() - began < 500) {
    for (let i = 0; i < 100; i++) work();
    count += 100;
  }
  return [count, (performance.now() - began) / 1_000];
}
