// Ctrl-C, TERM and HUP: the first one stops gracefully, one that comes at least a second later stops at once. HUP may mean something
// else: read the credentials again.
import { CLUSTER } from "../config.ts";

/** npx and terminals deliver the first signal twice, so a second one only counts after `CLUSTER.secondSignalMs`. */
export function onStopSignals(
  graceful: (signal: NodeJS.Signals) => void,
  now: (signal: NodeJS.Signals) => void,
  reload: (() => void) | null = null,
): void {
  let firstAt: number | null = null;
  const received = (signal: NodeJS.Signals): void => {
    if (firstAt === null) {
      firstAt = performance.now();
      graceful(signal);
    } else if (performance.now() - firstAt >= CLUSTER.secondSignalMs) {
      now(signal);
    }
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, received);
  process.on("SIGHUP", reload ?? received);
}
