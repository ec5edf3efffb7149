// Which clock does a real process run on? The system's: monotonic time decides, calendar time is only shown.
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

/** A wait may be what a person typed, or what another process asked for: of any length. */
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
