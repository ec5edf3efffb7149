// How does an answer look? Plain text for people and shells, one JSON object for programs; values exactly as they were stored.
import { ERRORS, type Failure } from "../lib/errors.ts";
import type { Outcome } from "../client/line.ts";
import { ENCODING, type Job, type NewJob } from "../queue/types.ts";
import { isJson } from "./commands.ts";
import { escapeText, onOneLine } from "./escape.ts";

export type NumberedVerb = "enqueue" | "dequeue";

export interface OutputStyle {
  readonly json: boolean;
  /** stdout is a terminal: nothing of a value may act on it. */
  readonly terminal: boolean;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A payload as one line of JSON text: as typed if it is JSON, else its bytes in base64. */
export function valueText(job: NewJob): string {
  if (job.encoding === ENCODING.json) {
    try {
      const text = utf8.decode(job.payload);
      if (isJson(text)) return onOneLine(text);
    } catch {
      // Not UTF-8, although its producer said JSON: shown as what it is, bytes.
    }
  }
  return `{"base64":"${Buffer.from(job.payload).toString("base64")}"}`;
}

/** Members in the order given; those that are undefined are left out. `raw` members are JSON text already. */
export function jsonObject(
  members: readonly (readonly [string, string | number | boolean | null | undefined | Raw])[],
): string {
  const parts: string[] = [];
  for (const [name, value] of members) {
    if (value === undefined) continue;
    const text = typeof value === "object" && value !== null ? value.raw : JSON.stringify(value);
    parts.push(`${JSON.stringify(name)}:${text}`);
  }
  return `{${parts.join(",")}}`;
}
export interface Raw {
  readonly raw: string;
}
export const raw = (text: string): Raw => ({ raw: text });

/** One line for one answer of a numbered request. */
export function formatOutcome(verb: NumberedVerb, outcome: Outcome, style: OutputStyle): string {
  if (!outcome.ok) return formatFailure(verb, outcome.failure, style, { requestNumber: outcome.number ?? undefined });
  const { number, reply, duplicate } = outcome;
  switch (reply.type) {
    case "enqueued":
      return formatEnqueued(number, reply.firstId, reply.index, duplicate, style);
    case "dequeued":
      return formatDequeued(number, reply.jobs[0], reply.index, duplicate, style);
    case "void":
      return formatFailure(verb, VOID, style, { requestNumber: number });
    case "opened":
    case "closed":
    case "refused":
      throw new Error(`a request was answered with "${reply.type}"`);
  }
}

const VOID: Failure = {
  code: "CONFLICT",
  applied: "no",
  message: "this number was settled without its command: the command was not executed; give it a new number",
};

function formatEnqueued(
  number: number,
  id: number | undefined,
  index: number | undefined,
  duplicate: boolean,
  style: OutputStyle,
): string {
  // A retry prints the same answer; only where nothing else is known any more, that it was executed before.
  if (!style.json) return id === undefined ? "ok duplicate" : `ok id=${id} index=${index}`;
  const known = id === undefined ? "" : `,"id":${id},"index":${index}`;
  return `{"command":"enqueue","status":"ok","requestNumber":${number}${known}${duplicate ? ',"duplicate":true' : ""}}`;
}

/** `--numbered`: this number was executed and acknowledged so long ago that its answer is gone; only the fact is left. */
export function formatForgotten(number: number, style: OutputStyle): string {
  return formatEnqueued(number, undefined, undefined, true, style);
}

function formatDequeued(
  number: number,
  job: Job | undefined,
  index: number,
  duplicate: boolean,
  style: OutputStyle,
): string {
  const again = duplicate ? ',"duplicate":true' : "";
  if (job === undefined) {
    return style.json
      ? `{"command":"dequeue","status":"empty","requestNumber":${number},"index":${index}${again}}`
      : "(empty)";
  }
  const value = style.terminal ? escapeText(valueText(job)) : valueText(job);
  if (!style.json) return value;
  return `{"command":"dequeue","status":"ok","requestNumber":${number},"id":${job.id},"value":${value},"index":${index}${again}}`;
}

export interface FailureContext {
  readonly requestNumber?: number | undefined;
  /** Of a pipe. */
  readonly line?: number | undefined;
}

export function formatFailure(
  verb: string | null,
  why: Failure,
  style: OutputStyle,
  context: FailureContext = {},
): string {
  if (why.code === "NOT_LEADER")
    return escapeText(
      jsonObject([
        ["status", "redirect"],
        ["leader", why.leader ?? null],
      ]),
    );
  const where = context.line === undefined ? "" : `line ${context.line}: `;
  if (!style.json) return escapeText(`error ${why.code}: ${where}${why.message}`);
  return escapeText(
    jsonObject([
      ["command", verb],
      ["status", "error"],
      ["line", context.line],
      ["requestNumber", context.requestNumber],
      ["code", why.code],
      ["class", ERRORS[why.code].class],
      ["applied", why.applied],
      ["retryAfterMs", why.retryAfterMs],
      ["leader", why.leader],
      ["message", why.message],
    ]),
  );
}

/** What happened, why, and what to do next, on one line. */
export function tellPerson(why: Failure): string {
  const message = why.message.endsWith(".") ? why.message : `${why.message}.`;
  // A missing leader's message already says what to start.
  return escapeText(why.code === "NO_LEADER" ? message : `${message} ${ERRORS[why.code].next}`);
}
