// Which numbered requests are in flight, and in which order? One session's pipeline: numbers are given strictly in order, sent
// in order, and sent again in order; a number that once was unclear stays unclear until it is answered, and one that was answered
// stays here until its answer was taken. No I/O in here.
import { type ErrorCode, ERRORS, type Failure, failure } from "../lib/errors.ts";
import { assert, must } from "../lib/assert.ts";
import { encodeCommand } from "../queue/commands.ts";
import { decodeReply } from "../queue/replies.ts";
import type { Reply } from "../queue/types.ts";
import type { Request } from "../wire/protocol.ts";
import { createRingBuffer } from "./ring-buffer.ts";
import { isSessionOver, retryAction } from "./retry-policy.ts";

/** The outcome of one request. `number` is null when it never got one: no session was open. */
export type Outcome =
  | { readonly ok: true; readonly number: number; readonly reply: Reply; readonly duplicate: boolean }
  | { readonly ok: false; readonly number: number | null; readonly failure: Failure };
/** `taken` is called when the user has the outcome; before that, the answer is not acknowledged (see `PipelineSettings.acknowledges`). */
export type Done = (outcome: Outcome, taken: () => void) => void;

/** Numbers from the first to the last one. */
export interface Numbers {
  readonly first: number;
  readonly last: number;
}

/** What an answer means for the connection: go on; wait and send again; ask another node; the session is over. */
export type Verdict =
  | { readonly type: "goOn" }
  | { readonly type: "pause"; readonly retryAfterMs: number | undefined }
  | { readonly type: "leave"; readonly failure: Failure }
  | { readonly type: "over"; readonly failure: Failure };

export interface Pipeline {
  /** `number`: the caller numbers all requests of this pipeline itself, without gaps; else the pipeline does. */
  push(command: Uint8Array, deadline: number, done: Done, number: number | null): void;
  /** Sends the last number again: the abandoned one, or the one answered last. False when there is none, or others wait. */
  again(deadline: number, done: Done): boolean;
  /** From the session's applied answer: numbers go on behind `lastNumber`; those up to `acknowledged` need no answer any more. */
  opened(lastNumber: number, acknowledged: number): void;
  /** The next request to send on the present connection, or null when all are sent or a window is full. */
  next(session: number, frameId: number): Request | null;
  /** Payloads may be views of `reply`. */
  replied(frameId: number, reply: Uint8Array, duplicate: boolean): Verdict;
  refused(frameId: number, why: Failure): Verdict;
  /** What is unanswered on the connection is unclear now; all of it will be sent again. */
  connectionLost(): void;
  /** Delivers an outcome for every request whose time is over. `why`: what the client met meanwhile, if anything. */
  expire(now: number, why: Failure | null): void;
  /** Delivers a failure for every request. */
  failAll(why: Failure): void;
  /** Requests that have no outcome yet. */
  waiting(): number;
  /** Requests sent and not answered on the present connection. */
  inFlight(): number;
  /** Of their commands. */
  bytesInFlight(): number;
  nextDeadline(): number | null;
  /** The answers to all numbers up to this one were taken. */
  acknowledgedThrough(): number;
  /** Numbers that may have been executed and whose answers were not taken; null: there are none. */
  untaken(): Numbers | null;
}

export interface PipelineSettings {
  /** The caller gives all numbers, the same ones in every run: what was given up stays to be done, by this run or the next. */
  readonly numbered: boolean;
  /**
   * An answer is acknowledged once its request's `done` was called, or only when that one's `taken` was. Then an answer that comes
   * after the outcome (the number was unclear, and is resolved) has an owner too: `onLate`.
   */
  readonly acknowledges: "delivered" | "taken";
  readonly onLate: Done;
  /** An answer was taken: a request that waits may fit the window now. */
  readonly onTaken: () => void;
  /** Requests between the first unanswered and the last one sent. */
  readonly window: number;
  /** Bytes of the commands that are sent and not answered; one alone may be larger. */
  readonly windowBytes: number;
  /** Error codes that are final here although a retry might help (`--timeout 0`, `--no-follow`). */
  readonly isFinal: (code: ErrorCode) => boolean;
}

interface Slot {
  readonly command: Uint8Array;
  readonly position: number;
  number: number | null;
  deadline: number;
  /** null: given up. Its number must be resolved before a later one can run. */
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

const RESOLVE = encodeCommand({ type: "resolve" });
const NOT_SENT = failure("TIMEOUT", "its time was over before it could be sent", { applied: "no" });
const GO_ON: Verdict = { type: "goOn" };
/** With these it is certain that the number stands for something that was executed before. */
const isNumberSpent = (code: ErrorCode): boolean => code === "CONFLICT" || code === "FORGOTTEN";

export function createPipeline(settings: PipelineSettings): Pipeline {
  /** From the first one that is unanswered, by position: the count of all that were pushed before. */
  const slots = createRingBuffer<Slot>();
  /** What was sent on the present connection and has no answer yet, by frame. */
  const frames = createRingBuffer<Slot>();
  /** Of their commands. */
  let bytesInFlight = 0;
  let cursor = 0;
  let nextNumber: number | null = null;
  let acknowledgedThrough = 0;
  let live = 0;
  let lastDelivered: Slot | null = null;

  const at = (position: number): Slot => must(slots.at(position), "a slot of the pipeline");

  function append(command: Uint8Array, deadline: number, done: Done, number: number | null): void {
    const position = slots.end();
    slots.put(position, {
      command,
      position,
      number,
      deadline,
      done,
      answered: false,
      // A resolve of what an earlier process left is its caller's to take.
      taken: settings.acknowledges === "delivered" && (number === null || settings.numbered),
      open: 0,
      unclear: false,
      lastFrame: 0,
      lastFailure: null,
    });
    live++;
  }

  /** The slot's number has its answer: it is not sent again. */
  function markAnswered(slot: Slot): void {
    slot.answered = true;
    removeTaken();
  }

  function removeTaken(): void {
    for (
      let first = slots.at(slots.first());
      first?.answered === true && first.taken;
      first = slots.at(slots.first())
    ) {
      const number = first.number ?? 0;
      assert(
        settings.numbered || number <= acknowledgedThrough + 1,
        "no answer is acknowledged before all earlier ones were taken",
      );
      acknowledgedThrough = Math.max(acknowledgedThrough, number);
      slots.take(first.position);
    }
    cursor = Math.max(cursor, slots.first());
  }

  function take(slot: Slot): void {
    slot.taken = true;
    removeTaken();
  }

  function deliver(slot: Slot, outcome: Outcome): void {
    const { done } = slot;
    if (done === null) return;
    slot.done = null;
    lastDelivered = slot;
    live--;
    done(outcome, takerOf(slot));
  }

  /** Nothing can be taken with the outcome "unknown": there is no answer yet. */
  function takerOf(slot: Slot): () => void {
    if (!slot.answered) return () => {};
    return () => {
      take(slot);
      settings.onTaken();
    };
  }

  /** A number whose outcome was delivered earlier has its answer now. */
  function answeredLate(slot: Slot, outcome: Outcome): void {
    // It had no effect, as its outcome was or could have been; but the next run of a file asks for this number again.
    if (!outcome.ok && settings.numbered) return;
    if (!outcome.ok || outcome.reply.type === "void") return take(slot);
    if (!slot.taken) settings.onLate(outcome, takerOf(slot));
  }

  /** The outcome is a failure (`isOwn`: the node's answer to this very number); the number, if it was ever used, stays here until it is resolved. */
  function giveUp(slot: Slot, why: Failure, isOwn = false): void {
    const number = slot.number ?? numberItWouldGet(slot);
    if (slot.number === null) {
      slot.taken = true;
      markAnswered(slot);
    }
    // Everything behind this number waits for it, so it is resolved first.
    else if (!slot.answered) goBackTo(slot);
    const reported = failureOf(slot, why, isOwn);
    // What may have been executed has an answer that its user has not: it is delivered late, or to the next process of this id.
    if (reported.applied === "unknown" && !settings.numbered) slot.taken = false;
    deliver(slot, { ok: false, number, failure: reported });
  }

  function numberItWouldGet(slot: Slot): number | null {
    if (nextNumber === null) return null;
    let before = 0;
    for (let position = cursor; position < slot.position; position++) {
      if (!at(position).answered && at(position).number === null) before++;
    }
    return nextNumber + before;
  }

  /** `applied` of the outcome covers all attempts: one unclear attempt makes it unknown, unless the number itself was answered. */
  function failureOf(slot: Slot, why: Failure, isOwn: boolean): Failure {
    if (!slot.unclear && slot.open === 0) {
      // What is unknown of others, whose leader is gone, is certain of a request that no leader has.
      return why.applied === "no" ? why : failure("NO_LEADER", why.message);
    }
    if (isSessionOver(why.code)) {
      return {
        ...why,
        applied: "unknown",
        message: `${why.message}; request ${slot.number ?? "?"} may have been executed before`,
      };
    }
    if (ERRORS[why.code].class === "final") {
      if (isOwn) return why;
      return failure("CONNECTION_LOST", `request ${slot.number ?? "?"} may have been executed: ${why.message}`);
    }
    return failure("TIMEOUT", `no answer to request ${slot.number ?? "?"} in time`);
  }

  /** What is sent for a number: its command, or for a number given up a resolve, so that nothing happens after its outcome. */
  function commandOf(slot: Slot): Uint8Array {
    if (slot.done !== null) return slot.command;
    const isRefused = slot.lastFailure !== null && ERRORS[slot.lastFailure.code].class === "final";
    return settings.numbered && !isRefused ? slot.command : RESOLVE;
  }

  /** Does a request behind `position` wait for its outcome? */
  function isAwaitedBehind(position: number): boolean {
    for (let later = position + 1; later < slots.end(); later++) if (at(later).done !== null) return true;
    return false;
  }

  function takeFrame(frameId: number): Slot | null {
    const slot = frames.take(frameId);
    if (slot === null) return null;
    slot.open--;
    bytesInFlight -= slot.command.length;
    return slot;
  }

  function refused(slot: Slot, frameId: number, why: Failure): Verdict {
    if (why.applied === "unknown") slot.unclear = true;
    // An attempt that was already repeated, or a number answered meanwhile: only its count mattered.
    if (slot.answered || slot.lastFrame !== frameId) return GO_ON;
    if (isSessionOver(why.code)) return { type: "over", failure: why };
    slot.lastFailure = why;
    const isResolving = slot.done === null;
    if (!isResolving && settings.isFinal(why.code)) {
      giveUp(slot, why);
      return GO_ON;
    }
    switch (retryAction(why)) {
      case "leave":
        goBackTo(slot);
        return { type: "leave", failure: why };
      case "pause":
        return pauseAt(slot, why);
      case "giveUp":
        return finallyRefused(slot, why);
    }
  }

  /** What is under way behind the number comes before its turn, so all of it is sent again. */
  function goBackTo({ position }: Slot): void {
    cursor = Math.min(cursor, position);
  }

  function pauseAt(slot: Slot, { retryAfterMs }: Failure): Verdict {
    goBackTo(slot);
    return { type: "pause", retryAfterMs };
  }

  function finallyRefused(slot: Slot, why: Failure): Verdict {
    if (slot.done === null) {
      // A resolve: the number is known to be spent, or the command it stands for is still pending.
      if (why.code !== "FORGOTTEN") return pauseAt(slot, why);
      markAnswered(slot);
      take(slot);
      return GO_ON;
    }
    if (isNumberSpent(why.code)) markAnswered(slot);
    giveUp(slot, why, true);
    return GO_ON;
  }

  return {
    push: append,
    again: (deadline, done) => {
      if (live > 0) return false;
      const last = lastDelivered;
      if (last === null) return false;
      if (last.answered) {
        append(last.command, deadline, done, last.number);
        return true;
      }
      last.done = done;
      last.deadline = deadline;
      goBackTo(last);
      live++;
      return true;
    },
    opened: (lastNumber, acknowledged) => {
      if (settings.numbered) return;
      nextNumber = lastNumber + 1;
      acknowledgedThrough = acknowledged;
    },
    next: (session, frameId) => {
      while (cursor < slots.end() && at(cursor).answered) cursor++;
      if (cursor >= slots.end() || cursor - slots.first() >= settings.window) return null;
      const slot = at(cursor);
      if (slot.done === null && !isAwaitedBehind(cursor)) return null;
      if (bytesInFlight > 0 && bytesInFlight + slot.command.length > settings.windowBytes) return null;
      if (slot.number === null) {
        const number = must(nextNumber, "the last number of an open session");
        slot.number = number;
        nextNumber = number + 1;
      }
      cursor++;
      slot.open++;
      slot.lastFrame = frameId;
      bytesInFlight += slot.command.length;
      frames.put(frameId, slot);
      const { number } = slot;
      const acknowledged = Math.min(acknowledgedThrough, number - 1);
      return {
        type: "request",
        frameId,
        group: 0,
        session,
        number,
        acknowledgedThrough: acknowledged,
        command: commandOf(slot),
      };
    },
    replied: (frameId, bytes, duplicate) => {
      const slot = takeFrame(frameId);
      if (slot === null || slot.answered) return GO_ON;
      const reply = decodeReply(bytes);
      if (reply.type === "refused" && ERRORS[reply.code].class !== "final") {
        return refused(slot, frameId, failure(reply.code, reply.message));
      }
      if (reply.type === "refused" && isSessionOver(reply.code))
        return { type: "over", failure: failure(reply.code, reply.message) };
      const number = must(slot.number, "the number of a request that was answered");
      markAnswered(slot);
      const outcome: Outcome =
        reply.type === "refused"
          ? { ok: false, number, failure: failure(reply.code, reply.message) }
          : { ok: true, number, reply, duplicate };
      if (slot.done === null) answeredLate(slot, outcome);
      else deliver(slot, outcome);
      return GO_ON;
    },
    refused: (frameId, why) => {
      const slot = takeFrame(frameId);
      return slot === null ? GO_ON : refused(slot, frameId, why);
    },
    connectionLost: () => {
      for (const slot of frames.takeAll()) {
        slot.unclear = true;
        slot.open = 0;
      }
      bytesInFlight = 0;
      cursor = slots.first();
    },
    expire: (now, why) => {
      for (const slot of slots.all()) {
        if (slot.done !== null && slot.deadline <= now) giveUp(slot, why ?? slot.lastFailure ?? NOT_SENT);
      }
    },
    failAll: (why) => {
      // A copy: a receiver may push again.
      for (const slot of slots.all()) if (slot.done !== null) giveUp(slot, why);
    },
    waiting: () => live,
    inFlight: () => frames.size(),
    bytesInFlight: () => bytesInFlight,
    nextDeadline: () => {
      // All requests of a client have the same time-out, so the first one that waits is the first to run out.
      for (let position = slots.first(); live > 0 && position < slots.end(); position++) {
        if (at(position).done !== null) return at(position).deadline;
      }
      return null;
    },
    acknowledgedThrough: () => acknowledgedThrough,
    untaken: () => {
      const left = slots
        .all()
        .filter(
          ({ number, taken, answered, unclear, open }) =>
            number !== null && !taken && (answered || unclear || open > 0),
        );
      const first = left[0]?.number;
      const last = left.at(-1)?.number;
      return typeof first === "number" && typeof last === "number" ? { first, last } : null;
    },
  };
}
