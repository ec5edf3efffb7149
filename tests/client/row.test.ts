// Things with consecutive numbers, against a plain map of them.
import { expect, test } from "bun:test";
import { createRow } from "../../src/client/row.ts";
import { seededRandom } from "../../src/lib/random.ts";

test("a row gives back what was put under a number, once, in whatever order things go", () => {
  const random = seededRandom(7);
  const row = createRow<string>();
  const model = new Map<number, string>();
  let next = 0;
  for (let step = 0; step < 3_000; step++) {
    if (random.chance(step % 1_000 < 500 ? 60 : 40)) {
      next += random.between(1, 3);
      row.put(next, `thing ${next}`);
      model.set(next, `thing ${next}`);
      next++;
    } else {
      const number = random.between(Math.max(0, row.first() - 2), row.end() + 2);
      expect(row.take(number)).toBe(model.get(number) ?? null);
      model.delete(number);
    }
    expect(row.size()).toBe(model.size);
    expect(row.first()).toBe(Math.min(...model.keys(), row.end()));
  }
  expect(row.all()).toEqual([...model.values()]);
  expect(row.takeAll()).toEqual([...model.values()]);
  expect([row.size(), row.first()]).toEqual([0, row.end()]);
});

test("a row that ran empty goes on anywhere further on, without cells for what lies between", () => {
  const row = createRow<string>();
  row.put(3, "three");
  row.take(3);
  const far = Number.MAX_SAFE_INTEGER - 1;
  row.put(far, "far");
  expect(row.all()).toEqual(["far"]);
  expect(row.at(far)).toBe("far");
  expect(row.at(3)).toBeNull();
});
