// What is one figure of a benchmark? The median of three rounds, with the slowest and the fastest.

export interface Figure {
  readonly what: string;
  /** Per second. */
  readonly rate: number;
  readonly unit: string;
  /** Slowest and fastest round. */
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
  const sorted = rates.toSorted((a, b) => a - b);
  return { what, unit, rate: sorted[1] as number, range: [sorted[0] as number, sorted[2] as number] };
}

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
