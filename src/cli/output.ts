// Formats answers: plain text for people and shells, one JSON object for programs; values exactly as they were stored.
import { ERRORS, type Failure } from "../lib/errors.ts";
import type { Outcome } from "../client/client.ts";
import { ENCODING, type Job, type NewJob } from "../queue/types.ts";
import type { NumberedCommand } from "./commands.ts";
import { escapeText, onOneLine } from "./escape.ts";
import { isJson } from "./values.ts";

export interface OutputStyle {
  readonly json: boolean;
  /** stdout is a terminal: nothing of a value may act on it. */
  readonly terminal: boolean;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A job's value as one line of JSON text, as it was typed; null: it is bytes, or no JSON although its producer declared it as JSON. */
function jsonOf({ encoding, payload }: NewJob): string | null {
  if (encoding !== ENCODING.json) return null;
  try {
    const text = utf8.decode(payload);
    return isJson(text) ? onOneLine(text) : null;
  } catch {
    // Not UTF-8.
    return null;
  }
}

const base64Of = ({ payload }: NewJob): string => Buffer.from(payload).toString("base64");

/** One line: JSON text, or for bytes what no JSON text is, `base64:AQI=`. */
export const valueText = (job: NewJob): string => jsonOf(job) ?? `base64:${base64Of(job)}`;

/** In an object: `"value":…`, or `"base64":"…"`, so that bytes are distinguished from a value that looks like them. */
export function valueMember(job: NewJob): readonly [name: "value" | "base64", value: string | Raw] {
  const json = jsonOf(job);
  return json === null ? ["base64", base64Of(job)] : ["value", raw(json)];
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
export function formatOutcome(asked: NumberedCommand, outcome: Outcome, style: OutputStyle): string {
  const { type: verb } = asked;
  if (!outcome.ok) return formatFailure(verb, outcome.failure, style, { requestNumber: outcome.number ?? undefined });
  const { number, reply, duplicate } = outcome;
  const answer = { number, index: reply.index, duplicate };
  switch (reply.type) {
    case "enqueued":
      return formatEnqueued(answer, reply.firstId, reply.count, style);
    case "dequeued":
      return asked.type === "dequeue" && asked.max !== null
        ? formatSeveral(answer, reply.jobs, style)
        : formatDequeued(answer, reply.jobs[0], style);
    case "void":
      return formatVoid(number, style, verb);
    case "opened":
    case "closed":
    case "refused":
      throw new Error(`a request was answered with "${reply.type}"`);
  }
}

/** `verb` null: what was asked for is not known any more. */
export const formatVoid = (number: number, style: OutputStyle, verb: string | null = null): string =>
  formatFailure(verb, VOID, style, { requestNumber: number });

const VOID: Failure = {
  code: "CONFLICT",
  applied: "no",
  message: "this number was resolved without its command: the command was not executed; give it a new number",
};

interface Answer {
  readonly number: number;
  readonly index: number;
  readonly duplicate: boolean;
}

/** `members`: JSON text between the request's number and the log's index. */
function answerJson(verb: string, status: string, members: string, { number, index, duplicate }: Answer): string {
  const again = duplicate ? ',"duplicate":true' : "";
  return `{"command":"${verb}","status":"${status}","requestNumber":${number},${members}"index":${index}${again}}`;
}

function formatEnqueued(answer: Answer, firstId: number, count: number, style: OutputStyle): string {
  // A retry prints the same answer.
  if (!style.json) return `ok ${count === 1 ? "id" : "ids"}=${idRange(firstId, count)} index=${answer.index}`;
  const ids = count === 1 ? `"id":${firstId},` : `"firstId":${firstId},"count":${count},`;
  return answerJson("enqueue", "ok", ids, answer);
}

/** Jobs of one request have consecutive ids, when they come and when they go. */
export const idRange = (firstId: number, count: number): string =>
  count === 1 ? String(firstId) : `${firstId}-${firstId + count - 1}`;

/** `--numbered`: an earlier run had this number's answer, and it is no longer known which command it stood for. */
export function formatSkipped(number: number, style: OutputStyle): string {
  if (!style.json) return `skipped number=${number}`;
  return `{"command":"enqueue","status":"skipped","requestNumber":${number},"code":"FORGOTTEN"}`;
}

export const EMPTY = "(empty)";

/** `"id":7,"value":42` */
function members(job: Job, style: OutputStyle): string {
  const text = jsonObject([["id", job.id], valueMember(job)]).slice(1, -1);
  return style.terminal ? escapeText(text) : text;
}

export const shownValue = (job: NewJob, style: OutputStyle): string =>
  style.terminal ? escapeText(valueText(job)) : valueText(job);

function formatDequeued(answer: Answer, job: Job | undefined, style: OutputStyle): string {
  if (job === undefined) return style.json ? answerJson("dequeue", "empty", "", answer) : EMPTY;
  if (!style.json) return shownValue(job, style);
  return answerJson("dequeue", "ok", `${members(job, style)},`, answer);
}

function formatSeveral(answer: Answer, jobs: readonly Job[], style: OutputStyle): string {
  if (!style.json) return jobs.length === 0 ? EMPTY : `[${jobs.map((job) => shownValue(job, style)).join(",")}]`;
  const shown = jobs.map((job) => `{${members(job, style)}}`);
  return answerJson("dequeue", jobs.length === 0 ? "empty" : "ok", `"jobs":[${shown.join(",")}],`, answer);
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
export function notifyPerson(why: Failure): string {
  const message = why.message.endsWith(".") ? why.message : `${why.message}.`;
  // A missing leader's message already names what to start.
  return escapeText(why.code === "NO_LEADER" ? message : `${message} ${ERRORS[why.code].next}`);
}
