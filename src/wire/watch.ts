// Is the other side still there, and does it keep its deadlines? Hello in time, progress of every frame, never silent for long.
import type { Clock } from "../lib/clock.ts";
import { formatDuration } from "../lib/durations.ts";
import { type Failure, failure } from "../lib/errors.ts";

export interface WatchLimits {
  readonly helloTimeoutMs: number;
  readonly frameTimeoutMs: number;
  /** A frame that gets fewer bytes than this further within `frameTimeoutMs`, and is not whole then, does not come. */
  readonly frameProgressBytes: number;
  readonly pingIntervalMs: number;
  readonly idleTimeoutMs: number;
}

interface Watched {
  /** Frames read so far, and bytes held of the next one. */
  readonly framesRead: () => number;
  readonly bytesBuffered: () => number;
  /** That frame, for people, and how much of it there is. */
  readonly describeFrame: () => string;
  readonly ping: () => void;
  readonly expired: (why: Failure) => void;
}

export interface Watch {
  /** The other side's hello came. */
  greeted(): void;
  /** Bytes came and were read as far as they go. */
  bytesReceived(): void;
  stop(): void;
}

/** A timer that is later than this share of its time was held up by this process itself: the silence was ours. */
const STALL_SHARE = 0.1;

export function createWatch(clock: Clock, limits: WatchLimits, watched: Watched): Watch {
  let stopped = false;
  let lastContact = clock.now();
  /** The present frame, by how many came before it; null between frames. `bytes`: there were so many of it at `judgedAt`. */
  let incomplete: {
    readonly since: number;
    readonly frame: number;
    readonly judgedAt: number;
    readonly bytes: number;
  } | null = null;
  let frameTimer = false;

  /** Runs `check` after `ms`; a stalled process gets the whole time again, so that it first reads what has arrived. */
  function afterWatching(ms: number, check: () => void): () => void {
    const due = clock.now() + ms;
    let cancel = clock.after(ms, () => {
      if (stopped) return;
      if (clock.now() - due > ms * STALL_SHARE) cancel = afterWatching(ms, check);
      else check();
    });
    return () => cancel();
  }

  const cancelHello = afterWatching(limits.helloTimeoutMs, () => {
    const within = formatDuration(limits.helloTimeoutMs);
    watched.expired(failure("TIMEOUT", `no hello came within ${within}`, { applied: "no" }));
  });
  let cancelIdle = (): void => {};
  let cancelFrame = (): void => {};

  function watchSilence(): void {
    cancelIdle = afterWatching(limits.pingIntervalMs, () => {
      const silent = clock.now() - lastContact;
      if (silent >= limits.idleTimeoutMs) {
        watched.expired(failure("CONNECTION_LOST", `nothing was received for ${formatDuration(silent)}`));
        return;
      }
      if (silent >= limits.pingIntervalMs) watched.ping();
      watchSilence();
    });
  }

  function watchFrame(ms: number): void {
    frameTimer = true;
    cancelFrame = afterWatching(ms, () => {
      frameTimer = false;
      if (incomplete === null) return;
      const now = clock.now();
      const left = incomplete.judgedAt + limits.frameTimeoutMs - now;
      if (left > 0) return watchFrame(left);
      const bytes = watched.bytesBuffered();
      if (bytes - incomplete.bytes >= limits.frameProgressBytes) {
        incomplete = { ...incomplete, judgedAt: now, bytes };
        return watchFrame(limits.frameTimeoutMs);
      }
      const came = `${bytes - incomplete.bytes} bytes of it came within ${formatDuration(limits.frameTimeoutMs)}`;
      const frame = `${watched.describeFrame()} after ${formatDuration(now - incomplete.since)}`;
      watched.expired(failure("TIMEOUT", `${frame}: only ${came}`, { applied: "no" }));
    });
  }

  return {
    greeted: () => {
      cancelHello();
      watchSilence();
    },
    bytesReceived: () => {
      lastContact = clock.now();
      if (watched.bytesBuffered() === 0) {
        incomplete = null;
        return;
      }
      const frame = watched.framesRead();
      if (incomplete?.frame !== frame) incomplete = { since: lastContact, frame, judgedAt: lastContact, bytes: 0 };
      if (!frameTimer) watchFrame(limits.frameTimeoutMs);
    },
    stop: () => {
      stopped = true;
      cancelHello();
      cancelIdle();
      cancelFrame();
    },
  };
}
