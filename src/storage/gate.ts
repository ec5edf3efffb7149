// What happens at the first failed write? It is told once, and from then on nothing goes on: no acknowledgement, no further write.
import type { Done } from "./disk.ts";

export interface Gate {
  /** Goes on with `then` after a step that succeeded, unless something failed meanwhile; reports the failure of one that did not. */
  readonly orFail: (then: () => void) => Done;
  readonly isOpen: () => boolean;
  /** Nothing goes on from now on, and nothing is a failure any more. */
  readonly shut: () => void;
  /** Runs `callback` at the first failure. */
  readonly onFailure: (callback: () => void) => void;
}

export function createGate(report: (error: Error) => void): Gate {
  let open = true;
  let whenFailed = (): void => undefined;
  return {
    orFail: (then) => (error) => {
      if (!open) return;
      if (error === null) return then();
      open = false;
      report(error);
      whenFailed();
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
