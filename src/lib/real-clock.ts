// The system's clock behind the Clock port: monotonic time decides, calendar time is only shown.
import type { Clock } from "./clock.ts";

/** A timer of the runtime has 31 bits; one that is set for longer, 25 days, would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export function createRealClock(): Clock {
  return {
    now: () => performance.now(),
    wall: () => Date.now(),
    after,
    soon: (callback) => {
      setImmediate(callback);
    },
  };
}

/** A wait may be of any length: a person, or another process, may have chosen it. */
function after(ms: number, callback: () => void): () => void {
  let cancel = (): void => {};
  const wait = (left: number): void => {
    const now = Math.min(left, LONGEST_TIMER_MS);
    const timer = setTimeout(() => (left > now ? wait(left - now) : callback()), now);
    cancel = () => clearTimeout(timer);
  };
  wait(ms);
  return () => cancel();
}
