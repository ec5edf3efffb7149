// How is one given node queried, whether it leads or not? Over a connection of its own, within `timeoutMs`.
import { type Failure, failure } from "../lib/errors.ts";
import type { ServerMessage } from "../wire/protocol.ts";
import { type Query, type QueryAnswer, type QueryDone } from "./client.ts";
import { dialNode, type DialPorts } from "./node-connection.ts";

export function queryNode(ports: DialPorts, address: string, query: Query, timeoutMs: number, done: QueryDone): void {
  const deadline = ports.clock.now() + timeoutMs;
  dialNode(ports, address, timeoutMs, (dialed) => {
    if (!dialed.ok) return done(dialed.fatal ?? failure("UNREACHABLE", `cannot reach ${address}: ${dialed.why}`));
    const { link } = dialed;
    const finish = (answer: QueryAnswer | Failure): void => {
      cancel();
      link.onMessage = () => {};
      link.close();
      done(answer);
    };
    const cancel = ports.clock.after(Math.max(0, deadline - ports.clock.now()), () =>
      finish(failure("TIMEOUT", `${address} does not answer`, { applied: "no" })),
    );
    link.onClosed = (why) => finish(failure("UNREACHABLE", `${address}: ${why}`));
    link.onMessage = (message: ServerMessage) => {
      if (message.type === "reply" || message.type === "pong") return;
      finish(message.type === "failure" ? message.failure : message);
    };
    link.send({ ...query, frameId: 1 });
    link.flush();
  });
}
