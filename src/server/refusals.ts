// How is a refusal told without filling the log? Each text at once, and again only after a while.
import type { Clock } from "../lib/clock.ts";
import type { LogEvent } from "./types.ts";

interface RefusalLimits {
  readonly repeatRefusalMs: number;
  /** Different texts told within that time; whoever makes us invent more is not told about. */
  readonly maxRefusals: number;
}

export function createRefusals(
  clock: Clock,
  limits: RefusalLimits,
  log: (line: LogEvent) => void,
): (text: string) => void {
  const saidAt = new Map<string, number>();
  return (text) => {
    const now = clock.now();
    const last = saidAt.get(text);
    if (last !== undefined && now - last < limits.repeatRefusalMs) return;
    if (saidAt.size >= limits.maxRefusals) {
      for (const [old, at] of saidAt) if (now - at >= limits.repeatRefusalMs) saidAt.delete(old);
      if (saidAt.size >= limits.maxRefusals) return;
    }
    saidAt.set(text, now);
    log({ level: "warn", event: "refused", text: `refused ${text}` });
  };
}
