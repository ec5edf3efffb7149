// How does a serving node stop gracefully? It hands over leadership, answers its pending requests, and only then closes.
import { SERVER } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import type { Clients } from "./clients.ts";
import { isFailure, type Replica } from "./replica.ts";
import type { LogEvent } from "./types.ts";

/** Calls `close` when no request is pending any more, or when the time is over. */
export function stopGracefully(
  serving: { readonly replica: Replica; readonly clients: Clients },
  clock: Clock,
  log: (line: LogEvent) => void,
  close: () => void,
): void {
  const { replica, clients } = serving;
  const deadline = clock.now() + SERVER.stopTimeoutMs;
  const drain = (): void => {
    if (clients.waiting() === 0 || clock.now() >= deadline) return close();
    clock.after(SERVER.drainCheckMs, drain);
  };
  if (replica.raft.role !== "leader" || replica.raft.configuration.voters.length < 2) return drain();
  replica.transfer(null, (result) => {
    if (isFailure(result))
      log({ level: "warn", event: "transfer", text: `leadership was not handed over: ${result.message}` });
    drain();
  });
}
