// Which questions without a number wait for an answer, and which of them are still to be sent? Thousands may be under way at once.
import type { Query } from "./types.ts";
import { createWaiting, type Waiter } from "./waiting.ts";

export interface Asked<T> extends Waiter<T> {
  readonly query: Query;
  /** null: not on the present connection. */
  frameId: number | null;
}

export interface Asking<T> {
  add(asked: Asked<T>): void;
  readonly count: number;
  /** On the present connection. */
  readonly underWay: number;
  /** Removes and returns those that are not on the present connection. */
  takeUnsent(): readonly Asked<T>[];
  sent(asked: Asked<T>, frameId: number): void;
  /** Whose answer this is; it is not on the connection any more. */
  answered(frameId: number): Asked<T> | undefined;
  /** It is to be sent once more. */
  again(asked: Asked<T>): void;
  remove(asked: Asked<T>): void;
  /** All of them are to be sent once more. */
  connectionLost(): void;
  /** Removes and returns those whose time is over. */
  expired(now: number): readonly Asked<T>[];
  /** Removes and returns all. */
  takeAll(): readonly Asked<T>[];
  nextDeadline(): number;
}

export function createAsking<T>(): Asking<T> {
  const waiting = createWaiting<T, Asked<T>>();
  const frames = new Map<number, Asked<T>>();
  let unsent = new Set<Asked<T>>();

  function leave(asked: Asked<T>): void {
    if (asked.frameId === null) unsent.delete(asked);
    else frames.delete(asked.frameId);
  }

  return {
    add: (asked) => {
      waiting.add(asked);
      unsent.add(asked);
    },
    get count() {
      return waiting.count;
    },
    get underWay() {
      return frames.size;
    },
    takeUnsent: () => {
      const taken = [...unsent];
      unsent.clear();
      return taken;
    },
    sent: (asked, frameId) => {
      asked.frameId = frameId;
      frames.set(frameId, asked);
    },
    answered: (frameId) => {
      const asked = frames.get(frameId);
      if (asked === undefined) return undefined;
      frames.delete(frameId);
      asked.frameId = null;
      return asked;
    },
    again: (asked) => void unsent.add(asked),
    remove: (asked) => {
      leave(asked);
      waiting.remove(asked);
    },
    connectionLost: () => {
      frames.clear();
      unsent = new Set(waiting.all());
      for (const asked of unsent) asked.frameId = null;
    },
    expired: (now) => {
      const late = waiting.expired(now);
      for (const asked of late) leave(asked);
      return late;
    },
    takeAll: () => {
      frames.clear();
      unsent.clear();
      return waiting.takeAll();
    },
    nextDeadline: waiting.nextDeadline,
  };
}
