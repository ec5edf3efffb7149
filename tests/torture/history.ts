// What was asked, when, and what was answered? Every operation of every client, on the one clock of the harness.

export interface Operation {
  readonly client: string;
  readonly number: number;
  readonly type: "enqueue" | "dequeue";
  /** What was enqueued, or came out; null: the queue was empty. */
  value: number | null;
  /** Milliseconds, before it was sent. */
  readonly invoked: number;
  /** Infinity: not answered yet. */
  returned: number;
  /** The log index that the answer names. */
  index: number;
  jobId: number;
}

export const isAnswered = (operation: Operation): boolean => operation.returned !== Infinity;

export function invoke(client: string, number: number, value: number | null): Operation {
  const type = value === null ? "dequeue" : "enqueue";
  return { client, number, type, value, invoked: performance.now(), returned: Infinity, index: 0, jobId: 0 };
}
