// Runs a test that awaits in virtual time: nothing waits for a real clock, so a busy machine does not change what happens.
import type { Scheduler } from "./scheduler.ts";

/** Virtual time that no test needs: one that is still waiting then waits for what never comes. */
const LIMIT_MS = 600_000;

/** Runs `work` to its end. Between two events of the scheduler, every promise that has settled continues. */
export async function runInVirtualTime(scheduler: Scheduler, work: () => Promise<void>): Promise<void> {
  const end = scheduler.now() + LIMIT_MS;
  let isSettled = false;
  const settled = work().finally(() => {
    isSettled = true;
  });
  // Awaited below; until then, a rejection is not unhandled.
  settled.catch(() => {});
  for (;;) {
    await new Promise((next) => setImmediate(next));
    if (isSettled) return settled;
    if (scheduler.now() > end) throw new Error(`the test still waits after ${LIMIT_MS} ms of virtual time`);
    if (!scheduler.step()) throw new Error("the test waits, and nothing is planned that could end that");
  }
}
