/**
 * A client that sends exactly what a test gives it, over a network and a clock of the kit. `createTestCluster` connects one to a node:
 * `visit`, or `connect` from any host and with any hello.
 */
import { WIRE } from "../../src/config.ts";
import { must } from "../../src/lib/assert.ts";
import type { Failure } from "../../src/lib/errors.ts";
import { encodeCommand, type Open } from "../../src/queue/commands.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import type { Reply } from "../../src/queue/types.ts";
import { type Connection, type Message, openConnection } from "../../src/wire/connection.ts";
import type { ByteStream, Network } from "../../src/wire/network.ts";
import type { ClientMessage, Hello, ServerMessage } from "../../src/wire/protocol.ts";
import { HELLO, OPEN } from "./messages.ts";
import type { TestClock } from "./simulated-clock.ts";

type WithoutFrame<M> = M extends unknown ? Omit<M, "frameId"> : never;
/** A client's message, without the frame id. */
export type Question = WithoutFrame<ClientMessage>;

export interface TestClient {
  /** Together: they arrive in one piece. */
  send(...messages: readonly Message[]): void;
  /**
   * Sends it with the next frame id, from 1 on, and runs until it is answered. Undefined: the connection was closed instead, or there is
   * no answer after `limitMs` of virtual time; without a limit of its own that is an error.
   */
  ask(question: Question, limitMs?: number): ServerMessage | undefined;
  /** What came for that frame. */
  answerTo(frameId: number): ServerMessage | undefined;
  /** The session of a client id, which must be let in. */
  openSession(clientId: string, more?: Partial<Pick<Open, "nonce" | "generated" | "resume">>): number;
  /** Ends the connection without a message, as a killed process does. */
  close(): void;
  readonly received: Message[];
  readonly closed: (Failure | null)[];
  readonly stream: ByteStream;
}

export interface Connecting {
  readonly network: Network;
  readonly clock: TestClock;
  readonly address: string;
  /** Null: it is silent. */
  readonly hello: Partial<Hello> | null;
  /** How long it waits for the answer to its hello. */
  readonly helloTimeoutMs?: number;
  /** Runs the simulated world until `done`, or throws. */
  readonly until: (done: () => boolean) => void;
}

export const NONCE = new Uint8Array(16).fill(7);

/** The connection stands when this returns; the hello may not be answered yet. */
export function connect({ network, clock, address, hello, until, ...limits }: Connecting): TestClient {
  const received: Message[] = [];
  const closed: (Failure | null)[] = [];
  let dialed: { readonly connection: Connection; readonly stream: ByteStream } | null = null;
  network.dial(address, 1_000, (result) => {
    if (!result.ok) throw new Error(result.why);
    const { stream } = result;
    const connection = openConnection({
      stream,
      clock,
      limits: { ...WIRE, ...limits },
      side: "dialed",
      // What is kept of a message must be copied: its bytes are a view.
      onMessage: (message) => received.push(structuredClone(message)),
      onClosed: (why) => closed.push(why),
    });
    dialed = { connection, stream };
    if (hello === null) return;
    connection.send({ ...HELLO, ...hello });
    connection.flush();
  });
  until(() => dialed !== null);
  const { connection, stream } = must<{ readonly connection: Connection; readonly stream: ByteStream }>(
    dialed,
    "a link",
  );
  let frames = 0;
  const send = (...messages: readonly Message[]): void => {
    for (const message of messages) connection.send(message);
    connection.flush();
  };
  const answerTo = (frameId: number): ServerMessage | undefined =>
    received.find((message): message is ServerMessage => "frameId" in message && message.frameId === frameId);
  const ask = (question: Question, limitMs?: number): ServerMessage | undefined => {
    const frameId = ++frames;
    send({ ...question, frameId });
    const isOver = (): boolean => answerTo(frameId) !== undefined || closed.length > 0;
    if (limitMs === undefined) until(isOver);
    else for (const end = clock.now() + limitMs; !isOver() && clock.now() < end;) clock.pass(1);
    return answerTo(frameId);
  };
  return {
    received,
    closed,
    stream,
    send,
    ask,
    answerTo,
    openSession: (clientId, more = {}) => {
      const reply = replyOf(ask({ ...OPEN, nonce: NONCE, ...more, clientId }));
      if (reply.type !== "opened") throw new Error(`${clientId} was not let in: ${JSON.stringify(reply)}`);
      return reply.session;
    },
    close: () => connection.close(null),
  };
}

export function replyOf(answer: Message | undefined): Reply {
  if (answer?.type !== "reply") throw new Error(`expected a reply, got ${JSON.stringify(answer)}`);
  return decodeReply(answer.reply);
}

export const request = (session: number, number: number, command: Uint8Array, acknowledgedThrough = number - 1) =>
  ({ type: "request", group: 0, session, number, acknowledgedThrough, command }) as const satisfies Question;

/** The command that enqueues jobs of these payloads, texts or bytes. */
export function enqueueCommand(...payloads: readonly (string | Uint8Array)[]): Uint8Array {
  const jobs = payloads.map((payload) =>
    typeof payload === "string"
      ? ({ encoding: 1, payload: new TextEncoder().encode(payload) } as const)
      : ({ encoding: 0, payload } as const),
  );
  return encodeCommand({ type: "enqueue", queue: "default", jobs });
}

export const dequeueCommand = (max = 1, maxBytes = 1_000): Uint8Array =>
  encodeCommand({ type: "dequeue", queues: ["default"], max, maxBytes, leaseMs: 0, waitMs: 0 });

/** Listens on a port in a node's place: each connection gets what `answer` gives; null: nothing. */
export function listenInPlaceOfNode(
  { network, clock }: Pick<Connecting, "network" | "clock">,
  port: number,
  answer: (message: Message) => Message | null,
): void {
  const accept = (stream: ByteStream): void => {
    const connection: Connection = openConnection({
      stream,
      clock,
      limits: WIRE,
      side: "accepted",
      onMessage: (message) => {
        const answered = answer(message);
        if (answered !== null) connection.send(answered);
        connection.flush();
      },
      onClosed: () => {},
    });
  };
  network.listen("127.0.0.1", port, accept, () => {});
}
