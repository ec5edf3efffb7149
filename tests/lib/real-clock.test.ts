// Does a real timer fire when it should, however long it is set for?
import { expect, spyOn, test } from "bun:test";
import { createRealClock } from "../../src/lib/real-clock.ts";

const clock = createRealClock();
const LONG_MS = 2 ** 48;

test("a short wait ends, a cancelled one does not", async () => {
  const fired: string[] = [];
  const cancel = clock.after(5, () => fired.push("cancelled"));
  clock.after(5, () => fired.push("short"));
  cancel();
  await Bun.sleep(30);
  expect(fired).toEqual(["short"]);
});

test("a wait that is longer than a timer of the runtime can be does not end at once, and can be cancelled", async () => {
  const fired: number[] = [];
  const cancels = [2 ** 31, LONG_MS].map((ms) => clock.after(ms, () => fired.push(ms)));
  await Bun.sleep(30);
  for (const cancel of cancels) cancel();
  expect(fired).toEqual([]);
});

test("a calendar that jumps by days moves `wall` only", () => {
  const before = clock.now();
  const jumps = [-86_400_000, 86_400_000, 0];
  const stood = spyOn(Date, "now").mockImplementation(() => 1_700_000_000_000 + (jumps[0] ?? 0));
  try {
    let last = before;
    for (; jumps.length > 0; jumps.shift()) {
      expect(clock.wall()).toBe(1_700_000_000_000 + (jumps[0] ?? 0));
      const now = clock.now();
      expect(now).toBeGreaterThanOrEqual(last);
      expect(now - before).toBeLessThan(60_000);
      last = now;
    }
  } finally {
    stood.mockRestore();
  }
});

test("it is made of as many timers as it takes, one after the other", () => {
  const waits: number[] = [];
  const stood = spyOn(globalThis, "setTimeout").mockImplementation(((callback: () => void, ms: number) => {
    waits.push(ms);
    if (waits.length < 5) callback();
    return 0;
  }) as unknown as typeof setTimeout);
  try {
    let fired = 0;
    clock.after(2 * (2 ** 31 - 1) + 7, () => fired++);
    expect([fired, waits]).toEqual([1, [2 ** 31 - 1, 2 ** 31 - 1, 7]]);
  } finally {
    stood.mockRestore();
  }
});
