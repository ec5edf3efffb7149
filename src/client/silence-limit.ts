// How long may a node that owes an answer be silent? Longer while many bytes are on their way to it, and twice as long after each
// silence: what is too slow for one connection must not be sent over the next ones for ever.
import type { Clock } from "../lib/clock.ts";
import type { ClientLimits } from "./types.ts";

export interface SilenceLimit {
  /** Something came from the node, or nothing was owed until now. */
  quietFromNow(): void;
  answered(): void;
  /** Milliseconds until the silence is too long; 0: it is. */
  left(bytesInFlight: number): number;
  /** It was too long. */
  exhausted(): void;
}

export function createSilenceLimit(
  clock: Clock,
  limits: Pick<ClientLimits, "silenceMs" | "slowBytesPerMs" | "maxSilenceFactor">,
): SilenceLimit {
  let quietSince = clock.now();
  let factor = 1;
  return {
    quietFromNow: () => {
      quietSince = clock.now();
    },
    answered: () => {
      factor = 1;
    },
    left: (bytesInFlight) => {
      const allowed = factor * (limits.silenceMs + bytesInFlight / limits.slowBytesPerMs);
      return Math.max(0, quietSince + allowed - clock.now());
    },
    exhausted: () => {
      factor = Math.min(2 * factor, limits.maxSilenceFactor);
    },
  };
}
