// Reports the first failed write, once. Nothing goes on after it: no acknowledgement, no further write.
import { runSteps, type Steps } from "./steps.ts";

export interface FailStop {
  /** Runs these steps, and goes on with `then` after the last, unless something fails meanwhile; reports the failure of one of them. */
  readonly run: <T>(steps: Steps<T>, then: (result: T) => void) => void;
  /** Reports a failure, unless one was reported before. */
  readonly fail: (error: Error) => void;
  readonly isOpen: () => boolean;
  /** Nothing goes on from now on, and nothing is a failure any more. */
  readonly close: () => void;
  /** Runs `callback` at the first failure. */
  readonly onFailure: (callback: () => void) => void;
}

export function createFailStop(report: (error: Error) => void): FailStop {
  let open = true;
  let whenFailed = (): void => undefined;
  const fail = (error: Error): void => {
    if (!open) return;
    open = false;
    report(error);
    whenFailed();
  };
  return {
    run: (steps, then) =>
      runSteps(
        steps,
        ({ error, result }) => (error === null ? then(result) : fail(error)),
        () => open,
      ),
    fail,
    isOpen: () => open,
    close: () => {
      open = false;
    },
    onFailure: (callback) => {
      whenFailed = callback;
    },
  };
}
