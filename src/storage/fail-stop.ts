// What happens at the first failed write? It is reported once, and nothing goes on after it: no acknowledgement, no further write.
import type { Done } from "./disk.ts";
import { runSteps, type Steps } from "./steps.ts";

export interface FailStop {
  /** Runs these steps, and goes on with `then` after the last, unless something fails meanwhile; reports the failure of one of them. */
  readonly run: <T>(steps: Steps<T>, then: (result: T) => void) => void;
  /** Goes on with `then` after an operation that succeeded, unless something failed meanwhile; reports the failure of one that did not. */
  readonly orFail: (then: () => void) => Done;
  readonly isOpen: () => boolean;
  /** Nothing goes on from now on, and nothing is a failure any more. */
  readonly shut: () => void;
  /** Runs `callback` at the first failure. */
  readonly onFailure: (callback: () => void) => void;
}

export function createFailStop(report: (error: Error) => void): FailStop {
  let open = true;
  let whenFailed = (): void => undefined;
  const fail = (error: Error): void => {
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
    orFail: (then) => (error) => {
      if (!open) return;
      if (error === null) then();
      else fail(error);
    },
    isOpen: () => open,
    shut: () => {
      open = false;
    },
    onFailure: (callback) => {
      whenFailed = callback;
    },
  };
}
