// The Clock port. The real one is in `lib/real-clock.ts`, the simulated one is in the tests.

export interface Clock {
  /** Monotonic milliseconds, with fractions; has no relation to the calendar. */
  now(): number;
  /** Unix milliseconds: shown to people, never used for a decision. */
  wall(): number;
  /** Runs `callback` once after `ms`; the answer cancels it. */
  after(ms: number, callback: () => void): () => void;
  /** Runs `callback` once at the end of this round of the event loop, after the I/O that is already waiting. */
  soon(callback: () => void): void;
}
