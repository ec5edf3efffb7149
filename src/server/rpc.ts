// How does a node call another node, as an administrator? One connection, one request, one answer.
import { type Failure, failure } from "../lib/errors.ts";
import type { Clock } from "../lib/clock.ts";
import type { ClusterId } from "../raft/types.ts";
import type { ClientMessage } from "../wire/protocol.ts";
import { type ConnectionLimits, type Message, openConnection } from "../wire/connection.ts";
import type { Network } from "../wire/network.ts";

export interface RpcSettings {
  readonly protocolVersion: number;
  readonly dialTimeoutMs: number;
  readonly answerTimeoutMs: number;
}

export type RpcResult =
  { readonly type: "answer"; readonly message: Message } | { readonly type: "failed"; readonly failure: Failure };

/** `clusterId`: only a node of this cluster may answer. Calls `done` once, never from inside the call. */
export function call(
  ports: { readonly network: Network; readonly clock: Clock; readonly limits: ConnectionLimits },
  settings: RpcSettings,
  address: string,
  clusterId: ClusterId | null,
  request: ClientMessage,
  done: (answer: RpcResult) => void,
): void {
  let over = false;
  const finish = (answer: RpcResult): void => {
    if (over) return;
    over = true;
    done(answer);
  };
  ports.network.dial(address, settings.dialTimeoutMs, (result) => {
    if (!result.ok) {
      const code = result.unauthorised === true ? "UNAUTHORISED" : "UNREACHABLE";
      return finish({ type: "failed", failure: failure(code, `cannot reach ${address}: ${result.why}`) });
    }
    const connection = openConnection({
      stream: result.stream,
      clock: ports.clock,
      limits: ports.limits,
      side: "dialed",
      onMessage: (message) => {
        if (message.type === "helloAnswer") {
          connection.send(request);
          return connection.flush();
        }
        finish(message.type === "failure" ? { type: "failed", failure: message.failure } : { type: "answer", message });
        cancel();
        connection.close(null);
      },
      onClosed: (why) => {
        cancel();
        finish({ type: "failed", failure: why ?? failure("CONNECTION_LOST", `${address} closed the connection`) });
      },
    });
    const cancel = ports.clock.after(settings.answerTimeoutMs, () => {
      finish({
        type: "failed",
        failure: failure("TIMEOUT", `${address} did not answer within ${settings.answerTimeoutMs}ms`),
      });
      connection.close(null);
    });
    const { protocolVersion: version } = settings;
    connection.send({ type: "hello", version, features: [], role: "admin", clusterId, node: null });
    connection.flush();
  });
}
