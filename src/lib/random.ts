// The only source of chance: a seeded generator (sfc32) that is passed in, so that one seed is one run.

export interface Random {
  /** A whole number from 0 to `limit` - 1. `limit` is from 1 to 2^32. */
  below(limit: number): number;
  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number;
  /** True in `percent` of 100 cases (fractions allowed). */
  chance(percent: number): boolean;
  /** An independent generator, so that one purpose drawing more numbers does not shift another's. */
  fork(): Random;
}

/** A generator whose whole sequence follows from `seed` (any safe integer). */
export function seededRandom(seed: number): Random {
  let a = seed >>> 0;
  let b = Math.floor(seed / 0x1_0000_0000) >>> 0;
  let c = 0x9e3779b9;
  let counter = 1;
  const next = (): number => {
    const t = (((a + b) >>> 0) + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) >>> 0;
    c = ((c << 21) | (c >>> 11)) >>> 0;
    c = (c + t) >>> 0;
    return t;
  };
  for (let warmUp = 0; warmUp < 15; warmUp++) next();
  const below = (limit: number): number => Math.floor((next() / 0x1_0000_0000) * limit);
  return {
    below,
    between: (low, high) => low + below(high - low + 1),
    chance: (percent) => (next() / 0x1_0000_0000) * 100 < percent,
    fork: () => seededRandom(next() * 0x10_0000 + (next() >>> 12)),
  };
}
