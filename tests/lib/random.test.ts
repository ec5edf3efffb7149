// Is one seed one sequence, for ever, and is the sequence fair enough to choose faults and timeouts with?
import { describe, expect, test } from "bun:test";
import { type Random, seededRandom } from "../../src/lib/random.ts";

const draw = (random: Random, count = 1_000, limit = 1_000): number[] =>
  Array.from({ length: count }, () => random.below(limit));

describe("a seed", () => {
  test("gives these numbers: another sequence would make every recorded seed worthless", () => {
    expect(draw(seededRandom(1), 6)).toEqual([537, 454, 82, 153, 652, 623]);
    expect(draw(seededRandom(0xfeed_face_cafe), 6)).toEqual([121, 511, 987, 953, 494, 724]);
  });

  test("gives the same sequence each time, and another seed another one", () => {
    expect(draw(seededRandom(42))).toEqual(draw(seededRandom(42)));
    const first = new Set(Array.from({ length: 500 }, (_, seed) => draw(seededRandom(seed), 4, 2 ** 32).join()));
    expect(first.size).toBe(500);
  });

  test("counts with all its bits: seeds that differ above 2^32 differ", () => {
    expect(draw(seededRandom(5), 10)).not.toEqual(draw(seededRandom(5 + 2 ** 32), 10));
  });
});

describe("the numbers", () => {
  test("stay in their range, reach both ends and are spread evenly", () => {
    const random = seededRandom(7);
    const counts = new Map<number, number>();
    for (let round = 0; round < 60_000; round++) {
      const value = random.between(3, 8);
      counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    expect([...counts.keys()].toSorted((a, b) => a - b)).toEqual([3, 4, 5, 6, 7, 8]);
    for (const count of counts.values()) expect(Math.abs(count - 10_000)).toBeLessThan(500);
  });

  test("are whole numbers below the limit, up to the largest limit", () => {
    const random = seededRandom(8);
    let top = 0;
    for (let round = 0; round < 10_000; round++) {
      const value = random.below(2 ** 32);
      expect(Number.isInteger(value) && value >= 0 && value < 2 ** 32).toBe(true);
      top = Math.max(top, value);
    }
    expect(top).toBeGreaterThan(2 ** 32 * 0.99);
    expect(random.below(1)).toBe(0);
    expect(random.between(5, 5)).toBe(5);
  });

  test("meet a chance in about that many of 100 cases, 0 never and 100 always", () => {
    const random = seededRandom(9);
    const met = (percent: number): number =>
      Array.from({ length: 20_000 }, () => random.chance(percent)).filter(Boolean).length / 200;
    expect(met(0)).toBe(0);
    expect(met(100)).toBe(100);
    expect(Math.abs(met(25) - 25)).toBeLessThan(1.5);
    expect(Math.abs(met(0.5) - 0.5)).toBeLessThan(0.3);
  });
});

describe("a fork", () => {
  test("is not disturbed by what its parent draws later, and does not repeat it", () => {
    const parent = seededRandom(10);
    const fork = parent.fork();
    const other = seededRandom(10);
    const same = other.fork();
    draw(other, 50);
    const numbers = draw(fork, 100);
    expect(draw(same, 100)).toEqual(numbers);
    expect(draw(parent, 100)).not.toEqual(numbers);
  });

  test("differs from its siblings", () => {
    const parent = seededRandom(11);
    const forks = Array.from({ length: 200 }, () => draw(parent.fork(), 4, 2 ** 32).join());
    expect(new Set(forks).size).toBe(200);
  });
});
