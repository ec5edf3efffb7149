// How is one node asked one thing, whoever leads? Its own view, over a connection of its own.
import { type Failure, failure } from "../lib/errors.ts";
import type { ServerMessage } from "../wire/protocol.ts";
import { type Query, type QueryAnswer, type QueryDone } from "./client.ts";
import { dialNode, type LinkPorts } from "./link.ts";

export interface AskLimits {
  readonly dialTimeoutMs: number;
  readonly silenceMs: number;
}

export function askNode(ports: LinkPorts, address: string, query: Query, limits: AskLimits, done: QueryDone): void {
  dialNode(ports, address, limits.dialTimeoutMs, (dialed) => {
    if (!dialed.ok) return done(dialed.fatal ?? failure("UNREACHABLE", `cannot reach ${address}: ${dialed.why}`));
    const { link } = dialed;
    const finish = (answer: QueryAnswer | Failure): void => {
      cancel();
      link.onMessage = () => {};
      link.close();
      done(answer);
    };
    const cancel = ports.clock.after(limits.silenceMs, () =>
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
