// What happens at the first failed write? It is reported once, and nothing goes on after it: no acknowledgement, no further write.
import { type Done, isNoSpace } from "./disk.ts";

export interface FailStop {
  /** Goes on with `then` after a step that succeeded, unless something failed meanwhile; reports the failure of one that did not. */
  readonly orFail: (then: () => void) => Done;
  /** The same, but lack of space is no failure: then it goes on with `noSpace`. Only for what is not promised to anybody yet. */
  readonly orFailUnlessNoSpace: (then: () => void, noSpace: () => void) => Done;
  readonly isOpen: () => boolean;
  /** Nothing goes on from now on, and nothing is a failure any more. */
  readonly shut: () => void;
  /** Runs `callback` at the first failure. */
  readonly onFailure: (callback: () => void) => void;
}

export function createFailStop(report: (error: Error) => void): FailStop {
  let open = true;
  let whenFailed = (): void => undefined;
  const orFail: FailStop["orFail"] = (then) => (error) => {
    if (!open) return;
    if (error === null) return then();
    open = false;
    report(error);
    whenFailed();
  };
  return {
    orFail,
    orFailUnlessNoSpace: (then, noSpace) => (error) => {
      if (open && error !== null && isNoSpace(error)) noSpace();
      else orFail(then)(error);
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
