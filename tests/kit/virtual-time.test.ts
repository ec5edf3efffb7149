// Does a test in virtual time end without waiting, and fail where it would wait for ever?
import { expect, test } from "bun:test";
import { createScheduler, type Scheduler } from "./scheduler.ts";
import { runInVirtualTime } from "./virtual-time.ts";

test("an hour takes no time, and promises settle between two events", async () => {
  const scheduler = createScheduler();
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => void scheduler.after(ms, resolve));
  const seen: number[] = [];
  await runInVirtualTime(scheduler, async () => {
    void sleep(2).then(() => seen.push(scheduler.now()));
    await sleep(3);
    seen.push(scheduler.now());
    await sleep(300_000);
    seen.push(scheduler.now());
  });
  expect(seen).toEqual([2, 3, 300_003]);
});

const failureOf = (scheduler: Scheduler, work: () => Promise<void>): Promise<unknown> =>
  runInVirtualTime(scheduler, work).catch((error: unknown) => error);

test("what the test throws is thrown, also before the first event", async () => {
  const failed = new Error("wrong");
  expect(await failureOf(createScheduler(), () => Promise.reject(failed))).toBe(failed);
});

test("a test that waits for nothing fails, and so does one that waits for ever", async () => {
  const never = new Promise<void>(() => {});
  expect(await failureOf(createScheduler(), () => never)).toMatchObject({
    message: expect.stringContaining("nothing is planned"),
  });
  const busy = createScheduler();
  const again = (): void => void busy.after(1_000, again);
  again();
  expect(await failureOf(busy, () => never)).toMatchObject({ message: expect.stringContaining("still waits") });
});
