// Connects to a node as a client or an administrator: dials it, exchanges hellos, and gives a connection for messages both ways.
import { ERRORS, type Failure, failure } from "../lib/errors.ts";
import type { Connection, Message } from "./connection.ts";
import { dialNode, type DialPorts } from "./dial.ts";
import type { AccessRole, ClientMessage, Hello, HelloAnswer, ServerMessage } from "./protocol.ts";

export interface Target {
  readonly address: string;
  /** What this side wants to do. */
  readonly role: AccessRole;
  /** Only a node of this cluster may answer; null: of any. */
  readonly clusterId: Hello["clusterId"];
  /** Until there is a connection. */
  readonly dialTimeoutMs: number;
  /** Until the hello is answered, from the start on. */
  readonly timeoutMs: number;
}

export interface NodeConnection {
  readonly hello: HelloAnswer;
  /** Waits until `flush`, so that many leave in one write. */
  send(message: ClientMessage): void;
  flush(): void;
  close(): void;
  onMessage: (message: ServerMessage) => void;
  /** Some bytes came, perhaps of a message that is not whole yet. */
  onBytes: () => void;
  /** Not called after `close`. */
  onClosed: (why: Failure) => void;
}

export type Connected =
  | { readonly ok: true; readonly link: NodeConnection }
  | { readonly ok: false; readonly state: NoAnswer; readonly why: Failure };

/** Nothing listens there; nothing came in time; it is starting; anything else. */
export type NoAnswer = "down" | "silent" | "starting" | "failed";

export const SILENT = "it accepts connections, but does not answer: it is paused or cut off, or no raftq";

/** Calls `done` once, never from inside the call. The result cancels. */
export function connectNode(
  ports: DialPorts,
  { address, role, clusterId, dialTimeoutMs, timeoutMs }: Target,
  done: (result: Connected) => void,
): () => void {
  let link: NodeConnection | null = null;
  let isDialed = false;
  let isOver = false;
  const hangUp = (): void => {
    isOver = true;
    cancelTimer();
    cancelDial();
  };
  const fail = (state: NoAnswer, why: Failure): void => {
    if (isOver) return;
    hangUp();
    done({ ok: false, state, why });
  };
  const receive = (connection: Connection, message: Message): void => {
    if (isOver) return;
    if (link !== null) {
      if (isForClients(message)) link.onMessage(message);
    } else if (message.type === "helloAnswer") {
      cancelTimer();
      link = linkOver(connection, message, hangUp);
      done({ ok: true, link });
    }
  };
  const closed = (why: Failure): void => {
    if (link === null) return fail(why.code === "STARTING" ? "starting" : "failed", why);
    if (isOver) return;
    isOver = true;
    link.onClosed(why);
  };
  const cancelTimer = ports.clock.after(timeoutMs, () =>
    fail("silent", failure("TIMEOUT", isDialed ? SILENT : "no answer")),
  );
  const cancelDial = dialNode(ports, {
    address,
    timeoutMs: dialTimeoutMs,
    hello: { role, clusterId, node: null, features: [] },
    onUnreachable: (why, refused) =>
      refused ? fail("down", { ...why, message: "nobody listens there" }) : fail("failed", why),
    onConnected: () => (isDialed = true),
    onMessage: receive,
    onClosed: (_, why) => closed(why ?? failure("CONNECTION_LOST", "the node closed the connection")),
    onRead: () => link?.onBytes(),
  });
  return hangUp;
}

function linkOver(connection: Connection, hello: HelloAnswer, close: () => void): NodeConnection {
  return {
    hello,
    send: (message) => connection.send(message),
    flush: () => connection.flush(),
    close,
    onMessage: () => {},
    onBytes: () => {},
    onClosed: () => {},
  };
}

/** Another cluster, another version, other credentials, no raftq at all: a later try meets the same. Null: it may not. */
export function fatalFor(why: Failure, address: string): Failure | null {
  if (why.code === "UNAUTHORISED") return { ...why, message: `${address}: ${why.message}` };
  if (why.code === "BAD_REQUEST") return failure("UNREACHABLE", `${address}: ${why.message}`);
  return ERRORS[why.code].class === "fatal" ? why : null;
}

/** What a node may send to a client; the connection lets nothing else through. */
const FOR_CLIENTS: Readonly<Record<ServerMessage["type"], true>> = {
  reply: true,
  failure: true,
  statusAnswer: true,
  logAnswer: true,
  peekAnswer: true,
  traceAnswer: true,
  done: true,
  pong: true,
};
const isForClients = (message: Message): message is ServerMessage => Object.hasOwn(FOR_CLIENTS, message.type);
