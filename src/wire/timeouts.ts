// Enforces the time-outs of the other side of a connection: its hello, the progress of each frame, and silence, which a ping interrupts.
import { WIRE } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import { formatDuration } from "../lib/durations.ts";
import { type Failure, failure } from "../lib/errors.ts";
import type { Deframer } from "./frame.ts";
import type { Reassembly } from "./reassembly.ts";

export interface TimeoutLimits {
  readonly helloTimeoutMs: number;
  readonly frameTimeoutMs: number;
  /** An incomplete frame of which fewer bytes than this are received within `frameTimeoutMs` ends the connection. */
  readonly frameProgressBytes: number;
  readonly pingIntervalMs: number;
  readonly idleTimeoutMs: number;
}

/** The connection that the time-outs belong to. */
interface TimedConnection {
  readonly deframer: Deframer;
  readonly reassembly: Reassembly;
  readonly ping: () => void;
  readonly expired: (why: Failure) => void;
}

export interface Timeouts {
  readonly clock: Clock;
  readonly limits: TimeoutLimits;
  readonly connection: TimedConnection;
  stopped: boolean;
  /** When bytes were received last. */
  receivedAt: number;
  /** Null between frames. */
  incomplete: IncompleteFrame | null;
  /** The frame timer runs; it outlives the frame that it was set for, and then judges the present one. */
  frameTimerSet: boolean;
  cancelHello: () => void;
  cancelIdle: () => void;
  cancelFrame: () => void;
}

interface IncompleteFrame {
  /** Frames completed before it. */
  readonly frame: number;
  readonly since: number;
  /** When its progress was last checked, and the bytes that it had then. */
  checkedAt: number;
  checkedBytes: number;
}

/** Waits for the hello from now on. */
export function startTimeouts(clock: Clock, limits: TimeoutLimits, connection: TimedConnection): Timeouts {
  const timeouts: Timeouts = {
    clock,
    limits,
    connection,
    stopped: false,
    receivedAt: clock.now(),
    incomplete: null,
    frameTimerSet: false,
    cancelHello: () => {},
    cancelIdle: () => {},
    cancelFrame: () => {},
  };
  timeouts.cancelHello = after(timeouts, limits.helloTimeoutMs, () => {
    const within = formatDuration(limits.helloTimeoutMs);
    connection.expired(failure("TIMEOUT", `no hello came within ${within}`, { applied: "no" }));
  });
  return timeouts;
}

/** Runs `check` after `ms`; a stalled process waits for the full time again, so that it first reads what has arrived. */
function after(timeouts: Timeouts, ms: number, check: () => void): () => void {
  const { clock } = timeouts;
  const due = clock.now() + ms;
  let cancel = clock.after(ms, () => {
    if (timeouts.stopped) return;
    if (clock.now() - due > ms * WIRE.stallShare) cancel = after(timeouts, ms, check);
    else check();
  });
  return () => cancel();
}

export function helloReceived(timeouts: Timeouts): void {
  timeouts.cancelHello();
  checkSilenceLater(timeouts);
}

function checkSilenceLater(timeouts: Timeouts): void {
  timeouts.cancelIdle = after(timeouts, timeouts.limits.pingIntervalMs, () => checkSilence(timeouts));
}

function checkSilence(timeouts: Timeouts): void {
  const { clock, limits, connection } = timeouts;
  const silent = clock.now() - timeouts.receivedAt;
  if (silent >= limits.idleTimeoutMs) {
    connection.expired(failure("CONNECTION_LOST", `nothing was received for ${formatDuration(silent)}`));
    return;
  }
  if (silent >= limits.pingIntervalMs) connection.ping();
  checkSilenceLater(timeouts);
}

/** Bytes were received, and their complete frames read. */
export function bytesReceived(timeouts: Timeouts): void {
  const now = timeouts.clock.now();
  timeouts.receivedAt = now;
  const { deframer } = timeouts.connection;
  if (deframer.buffered() === 0) {
    timeouts.incomplete = null;
    return;
  }
  const frame = deframer.frames;
  if (timeouts.incomplete?.frame !== frame)
    timeouts.incomplete = { frame, since: now, checkedAt: now, checkedBytes: 0 };
  if (!timeouts.frameTimerSet) checkFrameLater(timeouts, timeouts.limits.frameTimeoutMs);
}

function checkFrameLater(timeouts: Timeouts, ms: number): void {
  timeouts.frameTimerSet = true;
  timeouts.cancelFrame = after(timeouts, ms, () => {
    timeouts.frameTimerSet = false;
    if (timeouts.incomplete !== null) checkFrame(timeouts, timeouts.incomplete);
  });
}

function checkFrame(timeouts: Timeouts, incomplete: IncompleteFrame): void {
  const { clock, limits, connection } = timeouts;
  const now = clock.now();
  const left = incomplete.checkedAt + limits.frameTimeoutMs - now;
  if (left > 0) return checkFrameLater(timeouts, left);
  const bytes = connection.deframer.buffered();
  const progress = bytes - incomplete.checkedBytes;
  if (progress >= limits.frameProgressBytes) {
    incomplete.checkedAt = now;
    incomplete.checkedBytes = bytes;
    return checkFrameLater(timeouts, limits.frameTimeoutMs);
  }
  const frame = `${describeFrame(connection)} after ${formatDuration(now - incomplete.since)}`;
  const within = formatDuration(limits.frameTimeoutMs);
  connection.expired(
    failure("TIMEOUT", `${frame}: only ${progress} bytes of it came within ${within}`, { applied: "no" }),
  );
}

/** The frame that is not complete, for people. */
function describeFrame({ deframer, reassembly }: TimedConnection): string {
  const frame = `a frame is not complete, ${deframer.buffered()} of ${deframer.frameBytes()} bytes`;
  const message = reassembly.describe();
  return message === null ? frame : `${frame}, a fragment of a message (${message})`;
}

export function stopTimeouts(timeouts: Timeouts): void {
  timeouts.stopped = true;
  timeouts.cancelHello();
  timeouts.cancelIdle();
  timeouts.cancelFrame();
}
