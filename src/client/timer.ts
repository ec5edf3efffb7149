// What does a client wait for at most once at a time? A timer that is set or not.
import type { Clock } from "../lib/clock.ts";

export interface Timer {
  readonly isSet: boolean;
  /** Not when it is set already. */
  set(ms: number, run: () => void): void;
  cancel(): void;
}

export function createTimer(clock: Clock): Timer {
  let cancel: (() => void) | null = null;
  return {
    get isSet() {
      return cancel !== null;
    },
    set: (ms, run) => {
      cancel ??= clock.after(ms, () => {
        cancel = null;
        run();
      });
    },
    cancel: () => {
      cancel?.();
      cancel = null;
    },
  };
}
