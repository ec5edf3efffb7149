// The Network port: ordered byte streams. The real one is `tcp.ts`, the simulated one is in the tests.
import type { NodeId } from "../raft/types.ts";
import type { AccessRole } from "./protocol.ts";
import type { SharedSecrets } from "./secret.ts";

/** The proven identity of a side: a node has its id, all others only a role. */
export interface Identity {
  readonly node: NodeId | null;
  readonly role: AccessRole;
}

/** What is known of the other side before its hello, and what it still has to prove. */
export type Trust =
  | { readonly type: "everybody" }
  | { readonly type: "secret"; readonly secrets: SharedSecrets }
  /** `handshakeMs`: what it took to learn this; it counts into the time for the hello. */
  | { readonly type: "certificate"; readonly identity: Identity; readonly handshakeMs: number }
  /** Its certificate is not good enough: it gets the reason, and nothing is read. */
  | { readonly type: "unauthenticated"; readonly why: string };

export const EVERYBODY: Trust = { type: "everybody" };

export interface ByteStream {
  /** For people and limits: `127.0.0.1:51234`. */
  readonly remote: string;
  readonly trust: Trust;
  /** Queues all of `bytes`. Their memory belongs to the stream from now on: the caller does not use it any more. */
  write(bytes: Uint8Array): void;
  /** What the system has not taken yet, in bytes of memory. */
  unsentBytes(): number;
  /** Ends the stream now; `onClose` follows. */
  close(): void;
  /** The three callbacks are set once, before the first event. `data` is a view that is valid only during the call. */
  onData: (data: Uint8Array) => void;
  /** The stream ended, for any reason; called once. */
  onClose: (why: string) => void;
  /** The other side sends no more, and may still read: true keeps the stream open until `close`. Without it, or with false, it ends. */
  onEnd?: () => boolean;
  onDrain: () => void;
}

export interface Listener {
  /** The port that was bound (useful when 0 was asked for). */
  readonly port: number;
  close(): void;
}

export type DialResult =
  | { readonly ok: true; readonly stream: ByteStream }
  /** `unauthorised`: the two sides do not accept each other's credentials; dialing again without a change fails again. */
  | { readonly ok: false; readonly refused: boolean; readonly why: string; readonly unauthorised?: boolean };

export interface Network {
  /** Throws or answers RaftqError PORT_IN_USE through `ready`. */
  listen(
    host: string,
    port: number,
    accept: (stream: ByteStream) => void,
    ready: (error: Error | null, listener: Listener | null) => void,
  ): void;
  /** `refused`: the system reported at once that nothing listens there (as opposed to silence). */
  dial(address: string, timeoutMs: number, done: (result: DialResult) => void): void;
}
