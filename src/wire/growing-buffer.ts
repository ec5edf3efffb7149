// Joins the parts of a frame, or of a message, as they arrive, in memory that grows with them: a claimed length alone costs nothing.
import { WIRE } from "../config.ts";
import { release } from "../lib/release.ts";

export interface GrowingBuffer {
  /** `total`: the length in the end. The memory doubles up to that: every byte is moved at most twice on average. */
  append(part: Uint8Array, total: number): void;
  length(): number;
  allocated(): number;
  /** A view of what is there. */
  bytes(): Uint8Array;
  /** All of it, once it is complete; the caller releases it. What is appended next begins a new one. */
  take(): Uint8Array;
  discard(): void;
}

export function createGrowingBuffer(): GrowingBuffer {
  let memory = new Uint8Array(0);
  let filled = 0;

  function begin(): void {
    memory = new Uint8Array(0);
    filled = 0;
  }

  return {
    append: (part, total) => {
      const needed = filled + part.length;
      if (needed > memory.length) {
        const larger = new Uint8Array(Math.min(total, Math.max(needed, memory.length * 2, WIRE.firstBufferBytes)));
        larger.set(memory.subarray(0, filled));
        release(memory);
        memory = larger;
      }
      memory.set(part, filled);
      filled = needed;
    },
    length: () => filled,
    allocated: () => memory.length,
    bytes: () => memory.subarray(0, filled),
    take: () => {
      const complete = memory;
      begin();
      return complete;
    },
    discard: () => {
      release(memory);
      begin();
    },
  };
}
