// The numbered requests of one session: numbered, sent and sent again strictly in order. A number that once was unclear stays unclear
// until it is answered, and one that was answered stays here until its answer was taken. No I/O in here.
import { type ErrorCode, ERRORS, type Failure, failure } from "../lib/errors.ts";
import { assert, must } from "../lib/assert.ts";
import { RESOLVE } from "../queue/commands.ts";
import { decodeReply } from "../queue/replies.ts";
import type { Request } from "../wire/protocol.ts";
import { GO_ON, isFinalFor, isSessionOver, retryAction, type Verdict } from "./retry-policy.ts";
import { createRingBuffer, type RingBuffer } from "./ring-buffer.ts";
import type { ClientSettings, Done, Numbers, Outcome } from "./types.ts";

export type PipelineSettings = Pick<ClientSettings, "numbered" | "acknowledge" | "timeoutMs" | "follow" | "limits">;

export interface PipelineEvents {
  /** An answer came after the outcome of its request: its number was unclear, and is now resolved. */
  readonly onLate: Done;
  /** An answer was taken: a request that waits may fit the window now. */
  readonly onTaken: () => void;
}

export interface Pipeline {
  readonly settings: PipelineSettings;
  readonly on: PipelineEvents;
  /** From the first one that is unanswered or not taken, by position: the count of all that were pushed before. */
  readonly slots: RingBuffer<Slot>;
  /** What was sent on the present connection and has no answer yet, by frame. */
  readonly frames: RingBuffer<Slot>;
  /** Of the commands in `frames`. */
  bytesInFlight: number;
  /** The position from which on nothing was sent on the present connection, or must be sent again. */
  cursor: number;
  /** null: not known before the session is open, nor where the caller numbers. */
  nextNumber: number | null;
  /** The answers to all numbers up to this one were taken. */
  acknowledgedThrough: number;
  /** Requests that have no outcome yet. */
  waiting: number;
  lastDelivered: Slot | null;
}

interface Slot {
  readonly command: Uint8Array;
  readonly position: number;
  number: number | null;
  /** Milliseconds of the clock. */
  deadline: number;
  /** null: its outcome was delivered. Without an answer it was given up: its number must be resolved before a later one can run. */
  done: Done | null;
  answered: boolean;
  /** Its user has the answer, or there is none to have. */
  taken: boolean;
  /** Attempts on the present connection that have no answer yet. */
  open: number;
  /** An attempt ended, and it is unknown whether it took effect. */
  unclear: boolean;
  lastFrame: number;
  lastFailure: Failure | null;
}

const NOT_SENT = failure("TIMEOUT", "its time was over before it could be sent", { applied: "no" });

export function createPipeline(settings: PipelineSettings, on: PipelineEvents): Pipeline {
  return {
    settings,
    on,
    slots: createRingBuffer<Slot>(),
    frames: createRingBuffer<Slot>(),
    bytesInFlight: 0,
    cursor: 0,
    nextNumber: null,
    acknowledgedThrough: 0,
    waiting: 0,
    lastDelivered: null,
  };
}

/** From the session's applied answer: numbers go on behind `lastNumber`; those up to `acknowledged` need no answer any more. */
export function continueNumbers(pipeline: Pipeline, lastNumber: number, acknowledged: number): void {
  if (pipeline.settings.numbered) return;
  pipeline.nextNumber = lastNumber + 1;
  pipeline.acknowledgedThrough = acknowledged;
}

// ---- Sending

/** `number`: the caller numbers all requests of this pipeline itself, without gaps; else the pipeline does. */
export function pushRequest(
  pipeline: Pipeline,
  command: Uint8Array,
  deadline: number,
  done: Done,
  number: number | null,
): void {
  const { settings } = pipeline;
  pipeline.slots.put(pipeline.slots.end(), {
    command,
    position: pipeline.slots.end(),
    number,
    deadline,
    done,
    answered: false,
    // A resolve of what an earlier process left is its caller's to take.
    taken: settings.acknowledge.when === "delivered" && (number === null || settings.numbered),
    open: 0,
    unclear: false,
    lastFrame: 0,
    lastFailure: null,
  });
  pipeline.waiting++;
}

/** Sends the last number again: the abandoned one, or the one answered last. False when there is none, or others wait. */
export function repeatLast(pipeline: Pipeline, deadline: number, done: Done): boolean {
  const last = pipeline.lastDelivered;
  if (pipeline.waiting > 0 || last === null) return false;
  if (last.answered) {
    pushRequest(pipeline, last.command, deadline, done, last.number);
    return true;
  }
  last.done = done;
  last.deadline = deadline;
  goBackTo(pipeline, last);
  pipeline.waiting++;
  return true;
}

/** The next request to send on the present connection, or null when all are sent or a window is full. */
export function nextRequest(pipeline: Pipeline, session: number, frameId: number): Request | null {
  const { slots } = pipeline;
  const { window, windowBytes } = pipeline.settings.limits;
  while (pipeline.cursor < slots.end() && slotAt(pipeline, pipeline.cursor).answered) pipeline.cursor++;
  const { cursor } = pipeline;
  if (cursor >= slots.end() || cursor - slots.first() >= window) return null;
  const slot = slotAt(pipeline, cursor);
  if (slot.done === null && !isAwaitedBehind(pipeline, cursor)) return null;
  const { bytesInFlight } = pipeline;
  if (bytesInFlight > 0 && bytesInFlight + slot.command.length > windowBytes) return null;
  const number = slot.number ?? must(pipeline.nextNumber, "the last number of an open session");
  if (slot.number === null) {
    slot.number = number;
    pipeline.nextNumber = number + 1;
  }
  pipeline.cursor++;
  slot.open++;
  slot.lastFrame = frameId;
  pipeline.bytesInFlight += slot.command.length;
  pipeline.frames.put(frameId, slot);
  return {
    type: "request",
    frameId,
    group: 0,
    session,
    number,
    acknowledgedThrough: Math.min(pipeline.acknowledgedThrough, number - 1),
    command: commandOf(pipeline, slot),
  };
}

function slotAt({ slots }: Pipeline, position: number): Slot {
  return must(slots.at(position), "a slot of the pipeline");
}

/** Does a request behind `position` wait for its outcome? */
function isAwaitedBehind(pipeline: Pipeline, position: number): boolean {
  const end = pipeline.slots.end();
  for (let later = position + 1; later < end; later++) if (slotAt(pipeline, later).done !== null) return true;
  return false;
}

/** What is sent for a number: its command, or for a number given up a resolve, so that nothing happens after its outcome. */
function commandOf({ settings }: Pipeline, slot: Slot): Uint8Array {
  if (slot.done !== null) return slot.command;
  const isRefused = slot.lastFailure !== null && ERRORS[slot.lastFailure.code].class === "final";
  return settings.numbered && !isRefused ? slot.command : RESOLVE;
}

/** What is under way behind the number comes before its turn, so all of it is sent again. */
function goBackTo(pipeline: Pipeline, { position }: Slot): void {
  pipeline.cursor = Math.min(pipeline.cursor, position);
}

/** The connection is lost: what is unanswered on it is unclear now, and all of it will be sent again. */
export function resendRequests(pipeline: Pipeline): void {
  for (const slot of pipeline.frames.takeAll()) {
    slot.unclear = true;
    slot.open = 0;
  }
  pipeline.bytesInFlight = 0;
  pipeline.cursor = pipeline.slots.first();
}

// ---- Answers

/** Payloads of the outcome may be views of `bytes`. */
export function onReply(pipeline: Pipeline, frameId: number, bytes: Uint8Array, duplicate: boolean): Verdict {
  const slot = takeFrame(pipeline, frameId);
  if (slot === null || slot.answered) return GO_ON;
  const reply = decodeReply(bytes);
  const refusal = reply.type === "refused" ? failure(reply.code, reply.message) : null;
  if (refusal !== null && ERRORS[refusal.code].class !== "final")
    return attemptRefused(pipeline, slot, frameId, refusal);
  if (refusal !== null && isSessionOver(refusal.code)) return { type: "over", failure: refusal };
  const number = must(slot.number, "the number of a request that was answered");
  markAnswered(pipeline, slot);
  const outcome: Outcome =
    refusal === null ? { ok: true, number, reply, duplicate } : { ok: false, number, failure: refusal };
  if (slot.done === null) answeredLate(pipeline, slot, outcome);
  else deliver(pipeline, slot, outcome);
  return GO_ON;
}

/** The node refused the request, and the log may not hold it. */
export function onRequestRefused(pipeline: Pipeline, frameId: number, why: Failure): Verdict {
  const slot = takeFrame(pipeline, frameId);
  return slot === null ? GO_ON : attemptRefused(pipeline, slot, frameId, why);
}

function takeFrame(pipeline: Pipeline, frameId: number): Slot | null {
  const slot = pipeline.frames.take(frameId);
  if (slot === null) return null;
  slot.open--;
  pipeline.bytesInFlight -= slot.command.length;
  return slot;
}

function attemptRefused(pipeline: Pipeline, slot: Slot, frameId: number, why: Failure): Verdict {
  if (why.applied === "unknown") slot.unclear = true;
  // An attempt that was already repeated, or a number answered meanwhile: only its count mattered.
  if (slot.answered || slot.lastFrame !== frameId) return GO_ON;
  if (isSessionOver(why.code)) return { type: "over", failure: why };
  slot.lastFailure = why;
  if (slot.done !== null && isFinalFor(pipeline.settings, why.code)) {
    giveUp(pipeline, slot, why);
    return GO_ON;
  }
  switch (retryAction(why)) {
    case "leave":
      goBackTo(pipeline, slot);
      return { type: "leave", failure: why };
    case "pause":
      return pauseAt(pipeline, slot, why);
    case "giveUp":
      return finallyRefused(pipeline, slot, why);
  }
}

function pauseAt(pipeline: Pipeline, slot: Slot, { retryAfterMs }: Failure): Verdict {
  goBackTo(pipeline, slot);
  return { type: "pause", retryAfterMs };
}

function finallyRefused(pipeline: Pipeline, slot: Slot, why: Failure): Verdict {
  if (slot.done === null) {
    // A resolve: the number is known to be spent, or the command it stands for is still pending.
    if (why.code !== "FORGOTTEN") return pauseAt(pipeline, slot, why);
    markAnswered(pipeline, slot);
    take(pipeline, slot);
    return GO_ON;
  }
  if (isNumberSpent(why.code)) markAnswered(pipeline, slot);
  giveUp(pipeline, slot, why, true);
  return GO_ON;
}

/** With these it is certain that the number stands for something that was executed before. */
const isNumberSpent = (code: ErrorCode): boolean => code === "CONFLICT" || code === "FORGOTTEN";

/** The slot's number has its answer: it is not sent again. */
function markAnswered(pipeline: Pipeline, slot: Slot): void {
  slot.answered = true;
  removeTaken(pipeline);
}

function take(pipeline: Pipeline, slot: Slot): void {
  slot.taken = true;
  removeTaken(pipeline);
}

function removeTaken(pipeline: Pipeline): void {
  const { settings, slots } = pipeline;
  for (let first = slots.at(slots.first()); first?.answered === true && first.taken; first = slots.at(slots.first())) {
    const number = first.number ?? 0;
    assert(
      settings.numbered || number <= pipeline.acknowledgedThrough + 1,
      "no answer is acknowledged before all earlier ones were taken",
    );
    pipeline.acknowledgedThrough = Math.max(pipeline.acknowledgedThrough, number);
    slots.take(first.position);
  }
  pipeline.cursor = Math.max(pipeline.cursor, slots.first());
}

// ---- Outcomes

function deliver(pipeline: Pipeline, slot: Slot, outcome: Outcome): void {
  const { done } = slot;
  if (done === null) return;
  slot.done = null;
  pipeline.lastDelivered = slot;
  pipeline.waiting--;
  done(outcome, takerOf(pipeline, slot));
}

/** Nothing can be taken with the outcome "unknown": there is no answer yet. */
function takerOf(pipeline: Pipeline, slot: Slot): () => void {
  if (!slot.answered) return () => {};
  return () => {
    take(pipeline, slot);
    pipeline.on.onTaken();
  };
}

/** A number whose outcome was delivered earlier has its answer now. */
function answeredLate(pipeline: Pipeline, slot: Slot, outcome: Outcome): void {
  // It had no effect, as its outcome was or could have been; but the next run of a file asks for this number again.
  if (!outcome.ok && pipeline.settings.numbered) return;
  if (!outcome.ok || outcome.reply.type === "void") return take(pipeline, slot);
  if (!slot.taken) pipeline.on.onLate(outcome, takerOf(pipeline, slot));
}

/** Delivers an outcome for every request whose time is over. `cause`: why no node took requests meanwhile, if so. */
export function expireRequests(pipeline: Pipeline, now: number, cause: Failure | null): void {
  let before: Failure | null = null;
  for (const slot of pipeline.slots.all()) {
    // A number that came too early waits for one before it: the reason is what that one met.
    const reason: Failure | null = (slot.lastFailure?.code === "OUT_OF_ORDER" ? before : null) ?? slot.lastFailure;
    before = reason ?? before;
    if (slot.done !== null && slot.deadline <= now) giveUp(pipeline, slot, cause ?? reason ?? NOT_SENT);
  }
}

/** Delivers a failure for every request. */
export function failRequests(pipeline: Pipeline, why: Failure): void {
  // A copy: a receiver may push again.
  for (const slot of pipeline.slots.all()) if (slot.done !== null) giveUp(pipeline, slot, why);
}

/** The outcome is a failure (`isOwn`: the node's answer to this very number); the number, if it was ever used, stays here until it is resolved. */
function giveUp(pipeline: Pipeline, slot: Slot, why: Failure, isOwn = false): void {
  const number = slot.number ?? numberItWouldGet(pipeline, slot);
  if (slot.number === null) {
    slot.taken = true;
    markAnswered(pipeline, slot);
  }
  // Everything behind this number waits for it, so it is resolved first.
  else if (!slot.answered) goBackTo(pipeline, slot);
  const reported = failureOf(slot, why, isOwn);
  // What may have been executed has an answer that its user has not: it is delivered late, or to the next process of this id.
  if (reported.applied === "unknown" && !pipeline.settings.numbered) slot.taken = false;
  deliver(pipeline, slot, { ok: false, number, failure: reported });
}

function numberItWouldGet(pipeline: Pipeline, slot: Slot): number | null {
  if (pipeline.nextNumber === null) return null;
  let before = 0;
  for (let position = pipeline.cursor; position < slot.position; position++) {
    const earlier = slotAt(pipeline, position);
    if (!earlier.answered && earlier.number === null) before++;
  }
  return pipeline.nextNumber + before;
}

/** `applied` of the outcome covers all attempts: one unclear attempt makes it unknown, unless the number itself was answered. */
function failureOf(slot: Slot, why: Failure, isOwn: boolean): Failure {
  if (!slot.unclear && slot.open === 0) {
    // The outcome of others is unknown, since their leader is lost; of a request that no leader has received it is certain.
    return why.applied === "no" ? why : failure("NO_LEADER", why.message);
  }
  const request = `request ${slot.number ?? "?"}`;
  if (isSessionOver(why.code))
    return { ...why, applied: "unknown", message: `${why.message}; ${request} may have been executed before` };
  if (ERRORS[why.code].class === "final")
    return isOwn ? why : failure("CONNECTION_LOST", `${request} may have been executed: ${why.message}`);
  return failure("TIMEOUT", `no answer to ${request} in time`);
}

// ---- The rest

/** The first deadline of a request that waits; Infinity: none does. */
export function nextDeadline(pipeline: Pipeline): number {
  const { slots } = pipeline;
  // All requests of a client have the same time-out, so the first one that waits is the first to run out.
  for (let position = slots.first(); pipeline.waiting > 0 && position < slots.end(); position++) {
    const { done, deadline } = slotAt(pipeline, position);
    if (done !== null) return deadline;
  }
  return Infinity;
}

/** Numbers that may have been executed and whose answers were not taken; null: there are none. */
export function untaken({ slots }: Pipeline): Numbers | null {
  const left = slots
    .all()
    .filter(
      ({ number, taken, answered, unclear, open }) => number !== null && !taken && (answered || unclear || open > 0),
    );
  const first = left[0]?.number;
  const last = left.at(-1)?.number;
  return typeof first === "number" && typeof last === "number" ? { first, last } : null;
}
