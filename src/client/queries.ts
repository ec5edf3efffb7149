// Which queries wait for an answer, and which of them are still to be sent? A query has no number; thousands may be pending at once.
import type { Query } from "./types.ts";
import { createDeadlineQueue, type PendingAnswer } from "./deadline-queue.ts";

export interface PendingQuery<T> extends PendingAnswer<T> {
  readonly query: Query;
  /** null: not on the present connection. */
  frameId: number | null;
}

export interface Queries<T> {
  add(pending: PendingQuery<T>): void;
  readonly count: number;
  /** On the present connection. */
  readonly inFlight: number;
  /** Removes and returns those that are not on the present connection. */
  takeUnsent(): readonly PendingQuery<T>[];
  sent(pending: PendingQuery<T>, frameId: number): void;
  /** Whose answer this is; it is not on the connection any more. */
  answered(frameId: number): PendingQuery<T> | undefined;
  /** It is to be sent once more. */
  again(pending: PendingQuery<T>): void;
  remove(pending: PendingQuery<T>): void;
  /** All of them are to be sent once more. */
  connectionLost(): void;
  /** Removes and returns those whose time is over. */
  expired(now: number): readonly PendingQuery<T>[];
  /** Removes and returns all. */
  takeAll(): readonly PendingQuery<T>[];
  nextDeadline(): number;
}

export function createQueries<T>(): Queries<T> {
  const waiting = createDeadlineQueue<T, PendingQuery<T>>();
  const frames = new Map<number, PendingQuery<T>>();
  let unsent = new Set<PendingQuery<T>>();

  function leave(pending: PendingQuery<T>): void {
    if (pending.frameId === null) unsent.delete(pending);
    else frames.delete(pending.frameId);
  }

  return {
    add: (pending) => {
      waiting.add(pending);
      unsent.add(pending);
    },
    get count() {
      return waiting.count;
    },
    get inFlight() {
      return frames.size;
    },
    takeUnsent: () => {
      const taken = [...unsent];
      unsent.clear();
      return taken;
    },
    sent: (pending, frameId) => {
      pending.frameId = frameId;
      frames.set(frameId, pending);
    },
    answered: (frameId) => {
      const pending = frames.get(frameId);
      if (pending === undefined) return undefined;
      frames.delete(frameId);
      pending.frameId = null;
      return pending;
    },
    again: (pending) => void unsent.add(pending),
    remove: (pending) => {
      leave(pending);
      waiting.remove(pending);
    },
    connectionLost: () => {
      frames.clear();
      unsent = new Set(waiting.all());
      for (const pending of unsent) pending.frameId = null;
    },
    expired: (now) => {
      const late = waiting.expired(now);
      for (const pending of late) leave(pending);
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
