// What does a typed command ask of the queue? A value's JSON text is stored as typed.
import { QUEUE, WIRE } from "../config.ts";
import { type Command, ENCODING } from "../queue/types.ts";

const DEFAULT_QUEUE = "default";
const utf8 = new TextEncoder();

export function enqueueJson(json: string): Command {
  return { type: "enqueue", queue: DEFAULT_QUEUE, jobs: [{ encoding: ENCODING.json, payload: utf8.encode(json) }] };
}

export const DEQUEUE_ONE: Command = {
  type: "dequeue",
  queues: [DEFAULT_QUEUE],
  max: 1,
  maxBytes: WIRE.maxPayloadBytes,
  leaseMs: 0,
  waitMs: 0,
};

/** What decoding a logged command may meet. */
export const LOGGED_COMMAND_LIMITS = { maxJobsPerCommand: QUEUE.maxJobsPerCommand };
