// Does the schedule always give what is due first, whatever was entered, moved and taken out?
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/lib/random.ts";
import { createSchedule, DUE, type DueItem, firstDue, schedule, unschedule } from "../../src/queue/schedule.ts";

const order = (a: DueItem, b: DueItem): number => a.dueAt - b.dueAt || a.kind - b.kind || a.id - b.id;

test("random items come out by due time, kind and id, also when some were put off, taken out, or taken out twice", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = seededRandom(seed);
    const found = createSchedule();
    const items = new Set<DueItem>();
    const draw = (): Pick<DueItem, "dueAt" | "kind"> => ({
      dueAt: random.below(20),
      kind: random.chance(50) ? DUE.answersForgotten : DUE.clientForgotten,
    });
    for (let round = 0; round < 300; round++) {
      const known = [...items][random.below(Math.max(1, items.size))];
      if (known === undefined || random.chance(50)) {
        const item = { ...draw(), id: round, slot: -1 };
        items.add(item);
        schedule(found, item);
      } else if (random.chance(60)) schedule(found, Object.assign(known, draw()));
      else {
        unschedule(found, known);
        if (random.chance(20)) unschedule(found, known);
        items.delete(known);
      }
      expect(firstDue(found)).toBe([...items].toSorted(order)[0] ?? null);
    }
    const left = [...items].toSorted(order);
    for (const item of left) {
      expect(firstDue(found)).toBe(item);
      unschedule(found, item);
    }
    expect(firstDue(found)).toBeNull();
  }
});
