// Does the ring buffer of numbered items behave as a plain map of them does?
import { expect, test } from "bun:test";
import { createRingBuffer } from "../../src/client/ring-buffer.ts";
import { seededRandom } from "../../src/lib/random.ts";

test("a ring buffer gives back what was put under a number, once, in whatever order items leave", () => {
  const random = seededRandom(7);
  const ring = createRingBuffer<string>();
  const model = new Map<number, string>();
  let next = 0;
  for (let step = 0; step < 3_000; step++) {
    if (random.chance(step % 1_000 < 500 ? 60 : 40)) {
      next += random.between(1, 3);
      ring.put(next, `item ${next}`);
      model.set(next, `item ${next}`);
      next++;
    } else {
      const number = random.between(Math.max(0, ring.first() - 2), ring.end() + 2);
      expect(ring.take(number)).toBe(model.get(number) ?? null);
      model.delete(number);
    }
    expect(ring.size()).toBe(model.size);
    expect(ring.first()).toBe(Math.min(...model.keys(), ring.end()));
  }
  expect(ring.all()).toEqual([...model.values()]);
  expect(ring.takeAll()).toEqual([...model.values()]);
  expect([ring.size(), ring.first()]).toEqual([0, ring.end()]);
});

test("one that ran empty goes on anywhere further on, without cells for what lies between", () => {
  const ring = createRingBuffer<string>();
  ring.put(3, "three");
  ring.take(3);
  const far = Number.MAX_SAFE_INTEGER - 1;
  ring.put(far, "far");
  expect(ring.all()).toEqual(["far"]);
  expect(ring.at(far)).toBe("far");
  expect(ring.at(3)).toBeNull();
});
