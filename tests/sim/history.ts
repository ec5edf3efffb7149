// What did the clients ask, when, and what were they answered? The record that the checkers judge.
import type { ErrorCode } from "../../src/lib/errors.ts";
import type { Reply } from "../../src/queue/types.ts";
import type { FifoOperation } from "../kit/fifo-checker.ts";

export type Call =
  { readonly type: "enqueue"; readonly values: readonly number[] } | { readonly type: "dequeue"; readonly max: number };

/**
 * Until "answered" or "refused", which is the number's answer for ever, the harness sends the same number again. "never": surely not
 * executed, as what was refused; "unclear": it cannot be known any more.
 */
export type Fate = "pending" | "answered" | "refused" | "never" | "unclear";

/** Where real clients give the numbers: one process of a client id, or all of them where a file gives them (`--numbered`). */
export interface NumberSpace {
  readonly client: string;
  /** Several operations may share a number: each has its part of the answer. */
  readonly batches: boolean;
  /** In the order in which they were asked for. */
  readonly operations: Operation[];
}

export interface Operation {
  readonly client: string;
  /** The session that sent it first; 0: a real client keeps that for itself. */
  readonly session: number;
  /** 0: a real client has not named it, or never gave it one. */
  number: number;
  /** Null: a hand-written client numbers its session's requests itself. */
  readonly space: NumberSpace | null;
  readonly call: Call;
  readonly command: Uint8Array;
  /** Stamps of the history: every invocation and every return has its own. */
  readonly invoked: number;
  returned: number;
  fate: Fate;
  /** Exactly what the first definite answer held; every later one must equal it. */
  replyBytes: Uint8Array | null;
  reply: Reply | null;
}

export interface History {
  readonly operations: readonly Operation[];
  stamp(): number;
  /** A value that was never used, and the bytes that stand for it. */
  newPayload(padding: number): { readonly value: number; readonly payload: Uint8Array };
  /** The value of a payload that came out; null when these are not the bytes that went in. */
  valueOf(payload: Uint8Array): number | null;
  begin(operation: Pick<Operation, "client" | "session" | "number" | "call" | "command">): Operation;
  /** It is the last one of `space`. */
  beginIn(space: NumberSpace, operation: Pick<Operation, "number" | "call" | "command">): Operation;
  answer(operation: Operation, reply: Reply, replyBytes: Uint8Array): void;
}

const utf8 = new TextEncoder();
const text = new TextDecoder();

export function createHistory(): History {
  const operations: Operation[] = [];
  const payloads: Uint8Array[] = [];
  let stamps = 0;

  function enter(given: Pick<Operation, "client" | "session" | "number" | "space" | "call" | "command">): Operation {
    const operation: Operation = {
      ...given,
      invoked: ++stamps,
      returned: Infinity,
      fate: "pending",
      replyBytes: null,
      reply: null,
    };
    operations.push(operation);
    return operation;
  }

  return {
    operations,
    stamp: () => ++stamps,
    newPayload: (padding) => {
      const value = payloads.length;
      const payload = utf8.encode(`${value}:${"x".repeat(padding)}`);
      payloads.push(payload);
      return { value, payload };
    },
    valueOf: (payload) => {
      const value = Number.parseInt(text.decode(payload.subarray(0, 16)), 10);
      const original = payloads[value];
      return original !== undefined && equalBytes(original, payload) ? value : null;
    },
    begin: (given) => enter({ ...given, space: null }),
    beginIn: (space, given) => {
      const operation = enter({ ...given, client: space.client, session: 0, space });
      space.operations.push(operation);
      return operation;
    },
    answer: (operation, reply, replyBytes) => {
      operation.returned = ++stamps;
      operation.fate = reply.type === "void" ? "never" : reply.type === "refused" ? "refused" : "answered";
      operation.reply = reply;
      operation.replyBytes = replyBytes;
    },
  };
}

/** Refusals that are the number's answer for ever: the numbers behind it go on. Any other leaves the number free. */
const RECORDED_REFUSALS: ReadonlySet<ErrorCode> = new Set(["BAD_REQUEST", "NO_QUEUE", "TOO_LARGE", "QUEUE_FULL"]);

/** Is this the answer that every retry of the number gets, and not one to this attempt only? */
export function isRecorded(reply: Reply): boolean {
  return reply.type !== "refused" || RECORDED_REFUSALS.has(reply.code);
}

/** The number has its answer, which every retry gets. */
export function isSettled({ fate }: Operation): boolean {
  return fate === "answered" || fate === "refused";
}

/**
 * The history as the FIFO checker wants it: one operation per job. `replyOf` gives what an unanswered operation did, if the log
 * holds it; what is in no log never happened.
 */
export function fifoHistory(history: History, replyOf: (operation: Operation) => Reply | null): FifoOperation[] {
  const result: FifoOperation[] = [];
  for (const operation of history.operations) {
    if (operation.fate === "never" || operation.fate === "refused") continue;
    const { invoked, returned } = operation;
    const reply = operation.reply ?? replyOf(operation);
    if (reply === null || reply.type === "refused") continue;
    if (operation.call.type === "enqueue") {
      for (const value of operation.call.values) result.push({ type: "enqueue", value, invoked, returned });
    } else if (reply.type === "dequeued") {
      for (const job of reply.jobs) {
        const value = history.valueOf(job.payload);
        if (value === null) throw new Error(`job ${job.id} came out with other bytes than went in`);
        result.push({ type: "dequeue", value, invoked, returned });
      }
      if (reply.jobs.length === 0 && returned < Infinity) result.push({ type: "empty", invoked, returned });
    }
  }
  return result;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
