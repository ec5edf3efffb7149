// The time limits of a client: a timer that is set at most once at a time, answers that are awaited until a deadline, and how long a
// node that owes an answer may be silent.
import type { Clock } from "../lib/clock.ts";
import type { ClientLimits } from "./types.ts";

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

/** An answer without a number that is awaited: to a query, or to the opening of the session. */
export interface PendingAnswer<T> {
  /** Milliseconds of the clock. */
  readonly deadline: number;
  readonly done: (answer: T) => void;
}

/** In the order they came; a later one has no earlier deadline, since all of one client have the same time-out. */
export type Pending<W extends { readonly deadline: number }> = Set<W>;

/** Removes and returns those whose time is over. */
export function takeExpired<W extends { readonly deadline: number }>(pending: Pending<W>, now: number): readonly W[] {
  const taken: W[] = [];
  for (const one of pending) {
    if (one.deadline > now) break;
    pending.delete(one);
    taken.push(one);
  }
  return taken;
}

/** Removes and returns all. */
export function takeAll<W extends { readonly deadline: number }>(pending: Pending<W>): readonly W[] {
  const taken = [...pending];
  pending.clear();
  return taken;
}

/** Infinity when there is none. */
export function firstDeadline(pending: Pending<{ readonly deadline: number }>): number {
  for (const { deadline } of pending) return deadline;
  return Infinity;
}

/**
 * How long a node that owes an answer may be silent: longer while many bytes are on their way to it, and twice as long after each
 * silence, since what is too slow for one connection must not be sent over the next ones without end.
 */
export interface SilenceLimit {
  /** Something came from the node, or no answer was owed until now. */
  restart(): void;
  answered(): void;
  /** Milliseconds until the silence is too long; 0: it is. */
  remainingMs(bytesInFlight: number): number;
  /** It was too long. */
  exceeded(): void;
}

export function createSilenceLimit(
  clock: Clock,
  limits: Pick<ClientLimits, "silenceMs" | "slowBytesPerMs" | "maxSilenceFactor">,
): SilenceLimit {
  let silentSince = clock.now();
  let factor = 1;
  return {
    restart: () => {
      silentSince = clock.now();
    },
    answered: () => {
      factor = 1;
    },
    remainingMs: (bytesInFlight) => {
      const allowed = factor * (limits.silenceMs + bytesInFlight / limits.slowBytesPerMs);
      return Math.max(0, silentSince + allowed - clock.now());
    },
    exceeded: () => {
      factor = Math.min(2 * factor, limits.maxSilenceFactor);
    },
  };
}
