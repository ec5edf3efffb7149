// How do the comparison's own clients talk TCP? Bytes in any split come in, and what is sent in one turn of the event loop
// leaves in one write, so that the client is seldom what is measured.
import { HOST } from "./peer.ts";

const DIAL_TIMEOUT_MS = 3_000;

export interface Connection {
  readonly isClosed: () => boolean;
  send(bytes: Buffer | string): void;
  close(): void;
}

/** A caller that waits for an answer. */
export interface Waiter<T> {
  resolve(value: T): void;
  reject(error: Error): void;
}

/** `take` gets all bytes not taken yet and answers how many it took. `closed` is called once, whichever side closed. */
export async function openConnection(
  port: number,
  take: (bytes: Buffer) => number,
  closed: (why: Error) => void,
): Promise<Connection> {
  let rest: Buffer | null = null;
  let out: Buffer[] = [];
  let isPlanned = false;
  let isClosed = false;
  const gone = (why: string): void => {
    if (isClosed) return;
    isClosed = true;
    closed(new Error(why));
  };
  const socket = await dial(port, {
    data: (chunk) => {
      const bytes: Buffer = rest === null ? chunk : Buffer.concat([rest, chunk]);
      const taken = take(bytes);
      rest = taken < bytes.length ? bytes.subarray(taken) : null;
    },
    drain: flush,
    gone,
  });
  function flush(): void {
    isPlanned = false;
    if (isClosed || out.length === 0) return;
    const bytes = out.length === 1 ? (out[0] as Buffer) : Buffer.concat(out);
    const written = Math.max(0, socket.write(bytes));
    out = written < bytes.length ? [bytes.subarray(written)] : [];
  }
  return {
    isClosed: () => isClosed,
    send: (bytes) => {
      out.push(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
      if (isPlanned) return;
      isPlanned = true;
      queueMicrotask(flush);
    },
    close: () => {
      socket.end();
      gone("closed");
    },
  };
}

interface Events {
  data(chunk: Buffer): void;
  drain(): void;
  gone(why: string): void;
}

function dial(port: number, events: Events): Promise<Bun.Socket<undefined>> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`port ${port} did not answer`)), DIAL_TIMEOUT_MS);
    Bun.connect<undefined>({
      hostname: HOST,
      port,
      socket: {
        binaryType: "buffer",
        open: (socket) => {
          clearTimeout(timer);
          socket.setNoDelay(true);
          resolve(socket);
        },
        data: (_socket, chunk) => events.data(chunk),
        drain: () => events.drain(),
        close: () => events.gone("the server closed the connection"),
        error: (_socket, error) => events.gone(String(error)),
      },
    }).catch((error: unknown) => {
      clearTimeout(timer);
      reject(error instanceof Error ? error : new Error(String(error)));
    });
  });
}

/** First in, first out, with cheap removal at the head. */
export interface Fifo<T> {
  push(item: T): void;
  shift(): T | undefined;
  takeAll(): readonly T[];
}

const COMPACT_AT = 1_024;

export function createFifo<T>(): Fifo<T> {
  let items: (T | undefined)[] = [];
  let head = 0;
  return {
    push: (item) => void items.push(item),
    shift: () => {
      if (head >= items.length) return undefined;
      const item = items[head];
      items[head++] = undefined;
      if (head > COMPACT_AT && head * 2 > items.length) {
        items = items.slice(head);
        head = 0;
      }
      return item;
    },
    takeAll: () => {
      const all = items.slice(head) as T[];
      items = [];
      head = 0;
      return all;
    },
  };
}

/** Requests whose answers come back in their order. */
export interface Exchange<T> {
  /** Sends, and waits for the next answer that nobody waits for yet. */
  ask(...bytes: readonly (Buffer | string)[]): Promise<T>;
  answered(answer: T): void;
  failed(error: Error): void;
  failAll(error: Error): void;
}

export function createExchange<T>(connection: () => Connection): Exchange<T> {
  const waiting = createFifo<Waiter<T>>();
  return {
    ask: (...bytes) =>
      new Promise((resolve, reject) => {
        if (connection().isClosed()) return reject(new Error("closed"));
        waiting.push({ resolve, reject });
        for (const part of bytes) connection().send(part);
      }),
    answered: (answer) => waiting.shift()?.resolve(answer),
    failed: (error) => waiting.shift()?.reject(error),
    failAll: (error) => waiting.takeAll().forEach((waiter) => waiter.reject(error)),
  };
}
