// How is a client connected to one node? It dials the node, exchanges hellos, and gets a connection for messages both ways.
import { WIRE } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import { ERRORS, type Failure, failure } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import { type Connection, type Message, openConnection } from "../wire/connection.ts";
import type { ByteStream, Network } from "../wire/network.ts";
import type { ClientMessage, HelloAnswer, AccessRole, ServerMessage } from "../wire/protocol.ts";

export interface DialPorts {
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  /** What this side wants to do; without it: produce and consume. */
  readonly role?: AccessRole;
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
  onClosed: (why: string) => void;
}

export type DialedNode =
  | { readonly ok: true; readonly link: NodeConnection }
  /** `fatal`: the node itself reported that this client and it cannot work together. */
  | { readonly ok: false; readonly state: NoAnswer; readonly why: string; readonly fatal: Failure | null };

/** Nothing listens there; nothing came in time; it is starting; anything else. */
export type NoAnswer = "down" | "silent" | "starting" | "failed";

export const SILENT = "it accepts connections, but does not answer: it is paused or cut off, or no raftq";

/** The answer cancels. */
export function dialNode(
  ports: DialPorts,
  address: string,
  timeoutMs: number,
  done: (result: DialedNode) => void,
): () => void {
  let over = false;
  let isConnected = false;
  let stop: () => void = () => {};
  const finish = (result: DialedNode): void => {
    if (over) return;
    over = true;
    cancelTimer();
    done(result);
  };
  const cancelTimer = ports.clock.after(timeoutMs, () => {
    finish({ ok: false, state: "silent", why: isConnected ? SILENT : "no answer", fatal: null });
    stop();
  });
  ports.network.dial(address, timeoutMs, (dialed) => {
    if (!dialed.ok) {
      const fatal = dialed.unauthorised === true ? failure("UNAUTHORISED", dialed.why) : null;
      if (dialed.refused) return finish({ ok: false, state: "down", why: "nobody listens there", fatal });
      return finish({ ok: false, state: "failed", why: dialed.why, fatal });
    }
    if (over) return dialed.stream.close();
    isConnected = true;
    stop = sendHello(ports, address, dialed.stream, finish);
  });
  return () => {
    over = true;
    cancelTimer();
    stop();
  };
}

function sendHello(
  ports: DialPorts,
  address: string,
  stream: ByteStream,
  done: (result: DialedNode) => void,
): () => void {
  let link: NodeConnection | null = null;
  let closed = false;
  const onMessage = (message: Message): void => {
    if (closed) return;
    if (message.type === "helloAnswer" && link === null) {
      link = createLink(connection, message, () => (closed = true));
      done({ ok: true, link });
    } else if (link !== null && isForClients(message)) {
      link.onMessage(message);
    }
  };
  const onClosed = (why: Failure | null): void => {
    if (closed) return;
    closed = true;
    const reason = why?.message ?? "the node closed the connection";
    const state = why?.code === "STARTING" ? "starting" : "failed";
    if (link === null) done({ ok: false, state, why: reason, fatal: fatalFor(why, address) });
    else link.onClosed(reason);
  };
  const connection = openConnection({
    stream,
    clock: ports.clock,
    limits: WIRE,
    side: "dialed",
    onMessage,
    onClosed,
    onRead: () => link?.onBytes(),
  });
  const hello = {
    type: "hello",
    version: WIRE.protocolVersion,
    features: [],
    role: ports.role ?? "client",
    clusterId: null,
    node: null,
  } as const;
  connection.send(hello);
  connection.flush();
  return () => {
    closed = true;
    connection.close(null);
  };
}

/** Another cluster, another version, other credentials, no raftq at all: a later try meets the same. */
function fatalFor(why: Failure | null, address: string): Failure | null {
  if (why?.code === "UNAUTHORISED") return { ...why, message: `${address}: ${why.message}` };
  if (why?.code === "BAD_REQUEST") return failure("UNREACHABLE", `${address}: ${why.message}`);
  return why !== null && ERRORS[why.code].class === "fatal" ? why : null;
}

function createLink(connection: Connection, hello: HelloAnswer, onClose: () => void): NodeConnection {
  return {
    hello,
    send: (message) => connection.send(message),
    flush: () => connection.flush(),
    close: () => {
      onClose();
      connection.close(null);
    },
    onMessage: () => {},
    onBytes: () => {},
    onClosed: () => {},
  };
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
