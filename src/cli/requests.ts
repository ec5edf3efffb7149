// Turns a typed command into the command for the queue. A value's JSON text is stored as typed.
import { QUEUE, WIRE } from "../config.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { type Command, ENCODING, QUEUE_NAME } from "../queue/types.ts";
import type { NumberedCommand } from "./commands.ts";

const utf8 = new TextEncoder();

export function requestOf(asked: NumberedCommand): Command {
  if (asked.type === "dequeue") {
    const max = asked.max ?? 1;
    return { type: "dequeue", queues: [QUEUE_NAME], max, maxBytes: WIRE.maxPayloadBytes, leaseMs: 0, waitMs: 0 };
  }
  const jobs = asked.values.map((json) => ({ encoding: ENCODING.json, payload: utf8.encode(json) }));
  return { type: "enqueue", queue: QUEUE_NAME, jobs };
}

/** A node would hang up on a frame that is too large; this refuses it before anything is sent. Null: it fits. */
export function tooLarge(asked: NumberedCommand): Failure | null {
  if (asked.type === "dequeue") return null;
  const bytes = asked.values.reduce((sum, json) => sum + Buffer.byteLength(json), 0);
  return bytes > WIRE.maxPayloadBytes ? TOO_LARGE : null;
}

export const TOO_LARGE: Failure = failure(
  "TOO_LARGE",
  `the values of one command have at most ${WIRE.maxPayloadBytes} bytes together`,
);

/** What decoding a logged command may meet. */
export const LOGGED_COMMAND_LIMITS = { maxJobsPerCommand: QUEUE.maxJobsPerCommand };
