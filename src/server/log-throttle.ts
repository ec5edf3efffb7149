// Logs refusals without filling the log: each text at once, and again only after an interval.
import { SERVER } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import type { LogEvent } from "./types.ts";

/** Logs a refusal. More different texts than there is space for within the interval are left out. */
export function createLogThrottle(clock: Clock, log: (line: LogEvent) => void): (text: string) => void {
  const { refusalLogIntervalMs, maxLoggedRefusals } = SERVER;
  const loggedAt = new Map<string, number>();
  return (text) => {
    const now = clock.now();
    const last = loggedAt.get(text);
    if (last !== undefined && now - last < refusalLogIntervalMs) return;
    if (loggedAt.size >= maxLoggedRefusals) {
      for (const [old, at] of loggedAt) if (now - at >= refusalLogIntervalMs) loggedAt.delete(old);
      if (loggedAt.size >= maxLoggedRefusals) return;
    }
    loggedAt.set(text, now);
    log({ level: "warn", event: "refused", text: `refused ${text}` });
  };
}
