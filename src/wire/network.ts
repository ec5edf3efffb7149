// What does raftq need of a network? Ordered byte streams; the real one is `tcp.ts`, the simulated one lives in the tests.

export interface ByteStream {
  /** For people and limits: `127.0.0.1:51234`. */
  readonly remote: string;
  /** Queues all of `bytes` (they must not change afterwards). The number of bytes not yet taken by the system is `pending()`. */
  write(bytes: Uint8Array): void;
  pending(): number;
  /** Ends the stream now; `onClose` follows. */
  close(): void;
  /** The three callbacks are set once, before the first event. `data` is a view that is valid only during the call. */
  onData: (data: Uint8Array) => void;
  /** The stream ended, for whatever reason; called once. */
  onClose: (why: string) => void;
  onDrain: () => void;
}

export interface Listener {
  /** The port that was bound (useful when 0 was asked for). */
  readonly port: number;
  close(): void;
}

export type DialResult =
  | { readonly ok: true; readonly stream: ByteStream }
  | { readonly ok: false; readonly refused: boolean; readonly why: string };

export interface Network {
  /** Throws or answers RaftqError PORT_IN_USE through `ready`. */
  listen(
    host: string,
    port: number,
    accept: (stream: ByteStream) => void,
    ready: (error: Error | null, listener: Listener | null) => void,
  ): void;
  /** `refused`: the system said at once that nobody listens there (as opposed to silence). */
  dial(address: string, timeoutMs: number, done: (result: DialResult) => void): void;
}
