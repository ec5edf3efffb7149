// Calls a node: one connection, one request, one answer.
import { type Failure, failure } from "../lib/errors.ts";
import { formatDuration } from "../lib/durations.ts";
import type { DialPorts } from "./dial.ts";
import { connectNode, type Target } from "./node-connection.ts";
import type { ClientMessage, ServerMessage } from "./protocol.ts";

export type CallResult =
  | {
      readonly type: "answer";
      readonly message: Exclude<ServerMessage, { readonly type: "failure" | "reply" | "pong" }>;
    }
  | { readonly type: "refused"; readonly why: Failure }
  /** It may have received the request, and did not answer. */
  | { readonly type: "unanswered"; readonly why: Failure }
  /** The request was not sent. */
  | { readonly type: "unreachable"; readonly why: Failure };

/** Within `target.timeoutMs` as a whole. Calls `done` once, never from inside the call. */
export function callNode(
  ports: DialPorts,
  target: Target,
  request: ClientMessage,
  done: (result: CallResult) => void,
): void {
  const { clock } = ports;
  const { address, timeoutMs } = target;
  const deadline = clock.now() + timeoutMs;
  connectNode(ports, target, (connected) => {
    if (!connected.ok) return done({ type: "unreachable", why: connected.why });
    const { link } = connected;
    const end = (result: CallResult): void => {
      cancelTimer();
      link.close();
      done(result);
    };
    const cancelTimer = clock.after(Math.max(0, deadline - clock.now()), () => {
      const why = `${address} did not answer within ${formatDuration(timeoutMs)}`;
      end({ type: "unanswered", why: failure("TIMEOUT", why, { applied: "no" }) });
    });
    link.onClosed = (why) => end({ type: "unanswered", why });
    link.onMessage = (message) => {
      if (message.type === "failure") end({ type: "refused", why: message.failure });
      else if (message.type !== "reply" && message.type !== "pong") end({ type: "answer", message });
    };
    link.send(request);
    link.flush();
  });
}
