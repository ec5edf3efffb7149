// Writes our lines to stderr: in order, and without waiting for their reader. One that has stopped reading, or has ended, stops no work, and
// what is not read takes no more memory than a limit.
import { STDERR } from "../config.ts";

export interface Sink {
  /** Leaves the text out if too much before it is unread. */
  write(text: string): void;
  /** How many texts were left out since the last call; reported once there is space again. */
  takeLost(): number;
  /** Resolves when all was written or refused, and after `exitWaitMs` in any case. */
  drained(): Promise<void>;
}

interface SinkLimits {
  readonly maxUnread: number;
  readonly exitWaitMs: number;
}

/** `send` calls back when the system has taken the text, or has refused it. */
export function createSink(send: (text: string, done: () => void) => void, limits: SinkLimits): Sink {
  let unread = 0;
  let lost = 0;
  const waiting: (() => void)[] = [];
  const isFull = (): boolean => unread >= limits.maxUnread;
  return {
    write: (text) => {
      if (isFull()) {
        lost++;
        return;
      }
      unread += text.length;
      send(text, () => {
        unread -= text.length;
        if (unread === 0) for (const wake of waiting.splice(0)) wake();
      });
    },
    takeLost: () => {
      const taken = isFull() ? 0 : lost;
      lost -= taken;
      return taken;
    },
    drained: () =>
      new Promise((resolve) => {
        if (unread === 0) return resolve();
        const timer = setTimeout(resolve, limits.exitWaitMs);
        waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}

export const stderr: Sink = createSink((text, done) => void process.stderr.write(text, done), STDERR);

// A terminal or a pipe that went away, or a full disk, is no reason to stop: what can be written later is.
process.stderr.on("error", () => {});
