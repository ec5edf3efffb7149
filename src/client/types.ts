// The client interface: what a client needs, offers and reports.
import type { Clock } from "../lib/clock.ts";
import type { Failure } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import type { Command, Reply } from "../queue/types.ts";
import type { Network } from "../wire/network.ts";
import type { AccessRole, ClientMessage, HelloAnswer, ServerMessage } from "../wire/protocol.ts";

export { SESSION_NONCE_BYTES } from "../queue/commands.ts";

export interface ClientPorts {
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  /** What this side wants to do; without it: produce and consume. */
  readonly role?: AccessRole;
}

export interface ClientSettings {
  readonly addresses: readonly string[];
  readonly clientId: string;
  /** SESSION_NONCE_BYTES, drawn once per process: the same nonce again is the same session. */
  readonly nonce: Uint8Array;
  /** How long a request may wait for its outcome; 0: ask once. */
  readonly timeoutMs: number;
  /** false: use the first node that answers, whatever its role, and take its answer as final. */
  readonly follow: boolean;
  /**
   * The caller numbers its requests itself (`submit` with a number), from 1 on, in every run alike: what was given up is still to be done,
   * by this run or the next.
   */
  readonly numbered: boolean;
  /** Enqueues, or dequeues, of one round of the event loop may share a number: each still gets its own answer. */
  readonly batch: boolean;
  readonly acknowledge: Acknowledge;
  /** No other process will ever use this id. */
  readonly generated: boolean;
  /** Leaving closes the session when all answers were taken: other clients may need the slot. */
  readonly closeOnLeave: boolean;
  readonly limits: ClientLimits;
}

/** When a client acknowledges an answer to the cluster, which need not keep it any more. */
export interface Acknowledge {
  /**
   * When its `done` was called, or when the `taken` that its `done` got was. Then an answer that comes after the outcome has an owner
   * too: the event `answeredLate`.
   */
  readonly when: "delivered" | "taken";
  /**
   * Answers that an earlier process of this id has not acknowledged are fetched before anything else is asked (`unacknowledged.ts`), or this
   * one refuses to work until they are.
   */
  readonly earlier: "fetched" | "refused";
  /** Only "taken": also the answer to the last number, as soon as nothing is under way; else it is kept until this client leaves. */
  readonly whenIdle: boolean;
}

/** `config.ts` CLIENT.limits fits. */
export interface ClientLimits {
  readonly window: number;
  readonly windowBytes: number;
  readonly maxBatchJobs: number;
  readonly maxBatchBytes: number;
  readonly dialTimeoutMs: number;
  readonly staggerMs: number;
  readonly maxRedirects: number;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  readonly retryFactor: number;
  readonly silenceMs: number;
  readonly slowBytesPerMs: number;
  readonly maxSilenceFactor: number;
  readonly unreachableMs: number;
  readonly onceMs: number;
  readonly idleMs: number;
  readonly openRetryMaxMs: number;
  readonly attachRetryMs: number;
}

/** The outcome of one request. `number` is null when it never got one: no session was open. */
export type Outcome =
  | { readonly ok: true; readonly number: number; readonly reply: Reply; readonly duplicate: boolean }
  | { readonly ok: false; readonly number: number | null; readonly failure: Failure };

/** `taken` is called when the user has the outcome; before that, the answer is not acknowledged (see `Acknowledge.when`). */
export type Done = (outcome: Outcome, taken: () => void) => void;

/** Numbers from the first to the last one. */
export interface Numbers {
  readonly first: number;
  readonly last: number;
}

export type ClientEvent =
  | { readonly type: "connected"; readonly node: HelloAnswer }
  /** `from` named `to` as the leader, and it answers. */
  | { readonly type: "redirected"; readonly from: string; readonly to: string; readonly address: string }
  | { readonly type: "disconnected"; readonly why: string }
  /** The answer to a number that was given up comes after its outcome. `taken` as in `Done`. */
  | { readonly type: "answeredLate"; readonly outcome: Outcome; readonly taken: () => void }
  /** Fenced or expired: no request of this client can succeed any more. */
  | { readonly type: "sessionOver"; readonly failure: Failure };

export type QueryMessage = Extract<
  ClientMessage,
  { readonly type: "status" | "peek" | "log" | "trace" | "join" | "remove" | "readmit" | "transfer" }
>;
type WithoutFrame<M> = M extends QueryMessage ? Omit<M, "frameId"> : never;
/** What has no number, without the frame id, which the client gives. */
export type Query = WithoutFrame<QueryMessage>;
export type QueryAnswer = Exclude<ServerMessage, { readonly type: "reply" | "pong" }>;
export type QueryDone = (answer: QueryAnswer | Failure) => void;

export interface Client {
  /** Gives `command` the next number (or `number`) and sends it; `done` gets the outcome. */
  submit(command: Command, done: Done, number?: number): void;
  /** Sends the last number again, first through another node. False when there is nothing to repeat. */
  again(done: Done): boolean;
  /** Asks the leader something that has no number; sent again until it is answered or its time is over. */
  ask(query: Query, done: QueryDone): void;
  /** Opens the session now rather than with the first request. Null: it is open. */
  open(done: (failure: Failure | null) => void): void;
  /** The last number of the client id when this session was opened; 0 before that. */
  numberAtOpen(): number;
  /** The numbers whose answers were not acknowledged when this session was opened; null: none, or it is not open. */
  unacknowledgedAtOpen(): Numbers | null;
  /** Numbers of this process that may have been executed and whose answers were not taken; null: none. */
  untaken(): Numbers | null;
  /** The node that this client uses at present. */
  node(): HelloAnswer | null;
  /** All addresses given or learned. */
  addresses(): readonly string[];
  /** Leaves; what has no outcome yet gets it now, and what was taken is acknowledged. */
  close(done: () => void): void;
}
