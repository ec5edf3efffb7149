// How does a simulated client speak? Through the product's codec, over simulated connections: one per address, opened when needed.
import { WIRE } from "../../src/config.ts";
import { decodeMessage, encodeMessage } from "../../src/wire/codec.ts";
import { createDeframer } from "../../src/wire/frame.ts";
import { dialerHandshake, type Handshake } from "../../src/wire/handshake.ts";
import type { ByteStream, Network } from "../../src/wire/network.ts";
import type { ClientMessage, ServerMessage, WireMessage } from "../../src/wire/protocol.ts";

type Unnumbered<T> = T extends unknown ? Omit<T, "frameId"> : never;
export type Question = Unnumbered<ClientMessage>;

/** null: refused, lost, or no answer in time. An answer that comes after that is given all the same, as a second call. */
export type Answered = (message: ServerMessage | null) => void;

export interface Caller {
  ask(address: string, question: Question, timeoutMs: number, answered: Answered): void;
  /** All connections end; the next question takes new ones. */
  hangUp(): void;
  /** The process is gone: its connections end, nothing is called any more. */
  close(): void;
}

export interface CallerPorts {
  readonly network: Network;
  readonly after: (ms: number, run: () => void) => void;
  readonly received: (data: Uint8Array) => void;
  readonly fail: (what: string) => void;
}

interface Line {
  stream: ByteStream | null;
  /** Frames that wait for the answer to our hello; null once it came. */
  held: Uint8Array[] | null;
  readonly waiting: Map<number, Answered>;
  /** How many chunks of data came in. */
  chunks: number;
  handshake: Handshake | null;
}

export function createCaller({ network, after, received, fail }: CallerPorts): Caller {
  const lines = new Map<string, Line>();
  let nextFrame = 1;
  let closed = false;

  function lineTo(address: string): Line {
    const known = lines.get(address);
    if (known !== undefined) return known;
    const line: Line = { stream: null, held: [], waiting: new Map(), chunks: 0, handshake: null };
    lines.set(address, line);
    network.dial(address, WIRE.dialTimeoutMs, (result) => {
      if (!result.ok) return lose(address, line);
      const { stream } = result;
      line.stream = stream;
      const deframer = createDeframer(WIRE.maxPeerFrameBytes);
      stream.onData = (data) => {
        if (closed) return;
        received(data);
        line.chunks++;
        const problem = deframer.push(data, (body) => {
          receive(address, line, decodeMessage(body));
          return true;
        });
        if (problem !== null) fail(`a client got a bad frame from ${address}: ${problem.message}`);
      };
      stream.onClose = () => lose(address, line);
      // A machine that lost its power before it answered sends nothing, ever.
      after(WIRE.dialTimeoutMs, () => {
        if (line.held === null || closed) return;
        stream.close();
        lose(address, line);
      });
      if (closed) return stream.close();
      line.handshake = dialerHandshake(stream.trust);
      const version = WIRE.protocolVersion;
      const hello = { type: "hello", version, features: [], role: "client", clusterId: null, node: null } as const;
      stream.write(encodeMessage(line.handshake.outgoing(hello)));
    });
    return line;
  }

  function receive(address: string, line: Line, message: WireMessage): void {
    if (message.type === "challenge" || message.type === "helloAnswer") {
      const step = line.handshake?.receive(message);
      if (step?.type === "answer") return line.stream?.write(encodeMessage(step.message));
      for (const frame of line.held ?? []) line.stream?.write(frame);
      line.held = null;
    } else if (message.type === "goodbye") {
      line.stream?.close();
      lose(address, line);
    } else if ("frameId" in message) {
      const answered = line.waiting.get(message.frameId);
      line.waiting.delete(message.frameId);
      answered?.(message as ServerMessage);
    } else fail(`a client got a ${message.type} from ${address}`);
  }

  function lose(address: string, line: Line): void {
    if (lines.get(address) === line) lines.delete(address);
    const unanswered = [...line.waiting.values()];
    line.waiting.clear();
    if (!closed) for (const answered of unanswered) answered(null);
  }

  return {
    ask: (address, question, timeoutMs, answered) => {
      if (closed) return;
      const frameId = nextFrame++;
      // Clients give up a connection that takes nothing any more, as nodes do.
      if ((lines.get(address)?.stream?.unsentBytes() ?? 0) > WIRE.maxClientSendBytes) lines.delete(address);
      const line = lineTo(address);
      const frame = encodeMessage({ ...question, frameId } as ClientMessage);
      line.waiting.set(frameId, answered);
      if (line.held === null) line.stream?.write(frame);
      else line.held.push(frame);
      const { chunks } = line;
      after(timeoutMs, () => {
        if (closed || !line.waiting.has(frameId)) return;
        // A silent line may be dead for ever (the other side's close was lost): the next question takes a new one.
        // The old one is still read, and the question stays in its table: a late answer must fit as well.
        if (line.chunks === chunks && lines.get(address) === line) lines.delete(address);
        answered(null);
      });
    },
    hangUp: () => {
      for (const line of lines.values()) line.stream?.close();
      lines.clear();
    },
    close: () => {
      closed = true;
      for (const line of lines.values()) line.stream?.close();
      lines.clear();
    },
  };
}
