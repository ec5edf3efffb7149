// How are refusals logged without filling the log? Each text at once, and again only after an interval.
import type { Clock } from "../lib/clock.ts";
import type { LogEvent } from "./types.ts";

interface LogThrottleLimits {
  readonly refusalLogIntervalMs: number;
  /** Different texts logged within that time; more than these are left out. */
  readonly maxLoggedRefusals: number;
}

export function createLogThrottle(
  clock: Clock,
  limits: LogThrottleLimits,
  log: (line: LogEvent) => void,
): (text: string) => void {
  const loggedAt = new Map<string, number>();
  return (text) => {
    const now = clock.now();
    const last = loggedAt.get(text);
    if (last !== undefined && now - last < limits.refusalLogIntervalMs) return;
    if (loggedAt.size >= limits.maxLoggedRefusals) {
      for (const [old, at] of loggedAt) if (now - at >= limits.refusalLogIntervalMs) loggedAt.delete(old);
      if (loggedAt.size >= limits.maxLoggedRefusals) return;
    }
    loggedAt.set(text, now);
    log({ level: "warn", event: "refused", text: `refused ${text}` });
  };
}
