// Which clock does a real process run on? The system's: monotonic time decides, calendar time is only shown.
import type { Clock } from "./clock.ts";

export function createRealClock(): Clock {
  return {
    now: () => performance.now(),
    wall: () => Date.now(),
    after: (ms, callback) => {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
    soon: (callback) => {
      setImmediate(callback);
    },
  };
}
