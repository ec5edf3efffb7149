// The state of a client, and what can be asked of it: whether it needs a connection, is owed an answer, takes requests.
import { type ErrorCode, type Failure, failure } from "../lib/errors.ts";
import type { NodeConnection } from "../wire/node-connection.ts";
import type { Batcher } from "./batch.ts";
import type { Pending, PendingAnswer, SilenceLimit, Timer } from "./deadlines.ts";
import type { LeaderSearch } from "./leader-search.ts";
import { type Pipeline, untaken } from "./pipeline.ts";
import type { Queries } from "./queries.ts";
import { isFinalFor } from "./retry-policy.ts";
import { type ClientSession, isLive } from "./session.ts";
import type { ClientEvent, ClientPorts, ClientSettings } from "./types.ts";

export interface ClientState {
  readonly ports: ClientPorts;
  readonly settings: ClientSettings;
  readonly onEvent: (event: ClientEvent) => void;
  phase: ClientPhase;

  connection: ClientConnection;
  readonly search: LeaderSearch;
  /** Milliseconds of the clock. */
  readonly startedAt: number;
  /** A node sent its hello, now or earlier. */
  wasReached: boolean;
  /** Why no node takes requests at present, if so: the outcome of a request that was surely never executed. */
  blockedBy: Failure | null;

  /** Requests of this round of the event loop that may share a number. */
  readonly batcher: Batcher;
  /** Requests that have a number, or will get one. */
  readonly pipeline: Pipeline;
  readonly session: ClientSession;
  /** Callers that wait for the session. */
  readonly openings: Pending<PendingAnswer<Failure | null>>;
  readonly queries: Queries;
  lastFrameId: number;
  /** Sending is planned for the end of this round of the event loop. */
  isSendPlanned: boolean;

  readonly silenceLimit: SilenceLimit;
  readonly timers: {
    /** Of the request that runs out first. */
    readonly deadline: Timer;
    /** Of a node that owes an answer. */
    readonly silence: Timer;
    /** Set: nothing is sent on the present connection. */
    readonly pause: Timer;
    /** Until what was taken is acknowledged by a request of its own. */
    readonly idle: Timer;
  };
}

export type ClientPhase =
  | { readonly type: "running" }
  /** Nothing new is taken; what was taken is acknowledged, and the session closed. */
  | { readonly type: "closing"; readonly done: () => void }
  | { readonly type: "closed" };

export type ClientConnection =
  /** No request waits for anything. */
  | { readonly type: "none" }
  | { readonly type: "searching" }
  | { readonly type: "connected"; readonly link: NodeConnection };

export const isClosed = ({ phase }: ClientState): boolean => phase.type === "closed";

export function linkOf({ connection }: ClientState): NodeConnection | null {
  return connection.type === "connected" ? connection.link : null;
}

/** Is there something to send or to wait for, or a session to be kept alive? */
export function needsConnection({ pipeline, queries, openings, session, phase }: ClientState): boolean {
  return (
    pipeline.waiting > 0 || queries.pending.size > 0 || openings.size > 0 || isLive(session) || phase.type === "closing"
  );
}

export function isAnswerOwed({ session, pipeline, queries }: ClientState): boolean {
  return (
    session.openFrame !== null ||
    session.acknowledgement !== null ||
    pipeline.frames.size() > 0 ||
    queries.sent.size > 0
  );
}

/** Why nothing new is taken; null: it is. */
export function refusal({ session, phase }: ClientState): Failure | null {
  if (session.state.type === "over") return session.state.failure;
  return phase.type === "running" ? null : failure("BAD_REQUEST", "this client was closed");
}

/** Milliseconds of the clock: when the time of a request that is made now is over. */
export function deadlineFromNow({ ports, settings }: ClientState): number {
  return ports.clock.now() + (asksOnce(settings) ? settings.limits.onceMs : settings.timeoutMs);
}

export const asksOnce = ({ timeoutMs }: ClientSettings): boolean => timeoutMs === 0;

export const isFinal = ({ settings }: ClientState, code: ErrorCode): boolean => isFinalFor(settings, code);

/** Is there something to report to the cluster before this client leaves? */
export function owesAcknowledgement({ settings, pipeline, session }: ClientState): boolean {
  if (pipeline.acknowledgedThrough <= session.confirmedThrough) return false;
  // A run that went well leaves its last answers, so that a file that is sent again can be compared with them.
  return !settings.numbered || untaken(pipeline) !== null;
}

/** When it leaves. */
export function closesSession({ settings, pipeline }: ClientState): boolean {
  return settings.closeOnLeave && untaken(pipeline) === null;
}

/** Does this client, which leaves, still have to send something? */
export function needsClosingMessage(client: ClientState): boolean {
  return isLive(client.session) && (closesSession(client) || owesAcknowledgement(client));
}
