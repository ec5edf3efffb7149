// Dials a node and sends it a hello: the way in which members, founders, joining nodes and clients reach a node.
import type { Clock } from "../lib/clock.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { type Connection, type ConnectionLimits, type Message, openConnection, type Progress } from "./connection.ts";
import type { Network } from "./network.ts";
import type { Hello } from "./protocol.ts";

export interface DialPorts {
  readonly network: Network;
  readonly clock: Clock;
  readonly limits: ConnectionLimits;
}

/** What this side sends of itself; the protocol version is added. */
export type OwnHello = Pick<Hello, "role" | "clusterId" | "node" | "features">;

export interface Dial {
  readonly address: string;
  /** For the connection, not for the answer to the hello. */
  readonly timeoutMs: number;
  readonly hello: OwnHello;
  /** There is no connection. `refused`: nothing listens there. The failure is UNAUTHORISED or UNREACHABLE. */
  readonly onUnreachable: (why: Failure, refused: boolean) => void;
  /** There is one; the hello is about to be sent. */
  readonly onConnected?: (connection: Connection) => void;
  /** The first message is the other side's `helloAnswer`. */
  readonly onMessage: (connection: Connection, message: Message) => void;
  /** As `OpenConnection.onClosed`. */
  readonly onClosed: (connection: Connection, why: Failure | null) => void;
  readonly onRead?: (connection: Connection, milliseconds: number) => void;
  readonly onProgress?: (connection: Connection, progress: Progress) => void;
}

/** Calls nothing from inside the call. The result ends the dial, and the connection if there is one; of `dial` nothing is called from then on but `onClosed`. */
export function dialNode({ network, clock, limits }: DialPorts, dial: Dial): () => void {
  let connection: Connection | null = null;
  let cancelled = false;
  network.dial(dial.address, dial.timeoutMs, (dialed) => {
    if (cancelled) return dialed.ok ? dialed.stream.close() : undefined;
    if (!dialed.ok) {
      const code = dialed.unauthorised === true ? "UNAUTHORISED" : "UNREACHABLE";
      return dial.onUnreachable(failure(code, dialed.why), dialed.refused);
    }
    const opened = openConnection({
      stream: dialed.stream,
      clock,
      limits,
      side: "dialed",
      onMessage: (message) => dial.onMessage(opened, message),
      onClosed: (why) => dial.onClosed(opened, why),
      onRead: (milliseconds) => dial.onRead?.(opened, milliseconds),
      onProgress: (progress) => dial.onProgress?.(opened, progress),
    });
    connection = opened;
    dial.onConnected?.(opened);
    opened.send({ type: "hello", version: limits.protocolVersion, ...dial.hello });
    opened.flush();
  });
  return () => {
    cancelled = true;
    connection?.close(null);
  };
}

/** The other side sent no hello but something else: it is no raftq, or one of another kind. */
export function isStranger(connection: Connection, why: Failure): boolean {
  return why.code === "BAD_REQUEST" && connection.greeting === null;
}
