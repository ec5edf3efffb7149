// The queue's types: commands in, replies out.
import type { ErrorCode } from "../lib/errors.ts";

/** The one queue of this version. */
export const QUEUE_NAME = "default";

/** How a payload is to be read. Servers never look inside it. */
export const ENCODING = { bytes: 0, json: 1 } as const;
/** Encodings have one byte. */
export const MAX_ENCODING = 0xff;

/** What a producer gives. On the wire a job has eight fields; those of the work queue must be empty in this version. */
export interface NewJob {
  readonly encoding: number;
  readonly payload: Uint8Array;
}

export interface Job extends NewJob {
  /** From a counter of the group: 1, 2, 3 … */
  readonly id: number;
}

export type Command =
  | { readonly type: "enqueue"; readonly queue: string; readonly jobs: readonly NewJob[] }
  /** Without a lease (leaseMs 0): what is given out is removed. At most `max` jobs and `maxBytes` of payload (but at least one job). */
  | {
      readonly type: "dequeue";
      readonly queues: readonly string[];
      readonly max: number;
      readonly maxBytes: number;
      readonly leaseMs: number;
      readonly waitMs: number;
    }
  /** Gives a number's stored answer whatever its command was, or records the number as void, so that a session can go on. */
  | { readonly type: "resolve" };

/** The answer to one numbered request. Its encoding is stored, so a retry gets the same bytes. */
export type Reply =
  | { readonly type: "enqueued"; readonly index: number; readonly firstId: number; readonly count: number }
  /** No jobs: the queue was empty. */
  | { readonly type: "dequeued"; readonly index: number; readonly jobs: readonly Job[] }
  | { readonly type: "void"; readonly index: number }
  /**
   * `session` is the index of the OPEN entry that began it. `lastNumber` is the present one: go on with the next. The answers to the
   * numbers above `acknowledgedThrough` were never acknowledged: an earlier process of this client may not have had them.
   */
  | {
      readonly type: "opened";
      readonly index: number;
      readonly session: number;
      readonly lastNumber: number;
      readonly acknowledgedThrough: number;
      readonly expiresMs: number;
    }
  | { readonly type: "closed"; readonly index: number }
  | { readonly type: "refused"; readonly index: number; readonly code: ErrorCode; readonly message: string };

/** What `apply` needs of a log entry: the fields of its record (raft/entry.ts), as plain values. */
export interface EntryFields {
  readonly index: number;
  readonly term: number;
  readonly kind: "noop" | "config" | "command" | "batch" | "open" | "close" | "tick" | "touch" | "version";
  readonly flags: number;
  /** Cluster time in milliseconds: the only clock that `apply` knows. */
  readonly time: number;
  readonly wall: number;
  readonly session: number;
  readonly number: number;
  readonly acknowledgedThrough: number;
  readonly body: Uint8Array;
}

/** What applying one entry gives the waiting client, if it waits on this node. */
export interface AppliedEntry {
  readonly index: number;
  /** The encoded reply; null for entries that no request waits for (noop, config, tick, touch). */
  readonly reply: Uint8Array | null;
  /** The number had been executed before: `reply` is the stored answer. */
  readonly duplicate: boolean;
}

/** What keeping a job, or an answer, costs beside its bytes: part of the rules, so it is the same everywhere. */
export const JOB_BYTES = 8;
export const ANSWER_BYTES = 128;
