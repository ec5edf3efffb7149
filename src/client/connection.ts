// The connection of a client to the leader: found, used to send, watched and left; and how everything that waits fails when there is
// none.
import { type Failure, failure } from "../lib/errors.ts";
import type { NodeConnection } from "../wire/node-connection.ts";
import { flushBatch } from "./batch.ts";
import { firstDeadline, takeAll, takeExpired } from "./deadlines.ts";
import { partialResult, type RoundResult, startSearch, stopSearch } from "./leader-search.ts";
import { isNobodyThere, noLeader } from "./no-leader.ts";
import { expireRequests, failRequests, nextDeadline, nextRequest, resendRequests } from "./pipeline.ts";
import { markSent, resendQueries, takeAllQueries, takeExpiredQueries, takeUnsent } from "./queries.ts";
import { retryAction } from "./retry-policy.ts";
import { acknowledgeMessage, closeMessage, detach, isLive, openMessage } from "./session.ts";
import {
  asksOnce,
  type ClientState,
  closesSession,
  isAnswerOwed,
  isClosed,
  needsClosingMessage,
  linkOf,
  needsConnection,
  owesAcknowledgement,
} from "./state.ts";

export function findLeader(client: ClientState, preferred: string | null, avoided: string | null): void {
  if (client.connection.type === "searching" || isClosed(client)) return;
  client.connection = { type: "searching" };
  startSearch(client.search, preferred, avoided);
}

export function onRoundOver(client: ClientState, result: RoundResult): void {
  const why = noLeader(result);
  client.blockedBy = why;
  if (result.reached) client.wasReached = true;
  const isHopeless = !result.reached && (result.fatal !== null || (isUnreachable(client) && isNobodyThere(result)));
  if (asksOnce(client.settings) || isHopeless) failAll(client, why);
  if (needsConnection(client)) return;
  client.connection = { type: "none" };
  stopSearch(client.search);
}

/** No node was ever reached, for so long that the addresses are probably wrong. */
function isUnreachable({ ports, settings, wasReached, startedAt }: ClientState): boolean {
  return !wasReached && ports.clock.now() - startedAt >= settings.limits.unreachableMs;
}

/** Leaves the present node: everything unanswered is sent again to the next one. */
export function leaveNode(client: ClientState, why: Failure, preferred: string | null): void {
  const link = linkOf(client);
  if (link === null) return;
  client.connection = { type: "none" };
  link.close();
  resendRequests(client.pipeline);
  detach(client.session);
  resendQueries(client.queries);
  client.timers.pause.cancel();
  client.blockedBy = why.code === "CONNECTION_LOST" ? failure("UNREACHABLE", why.message) : why;
  client.onEvent({ type: "disconnected", why: why.message });
  if (client.phase.type === "closing" && !owesAcknowledgement(client)) return finishClosing(client);
  if (needsConnection(client)) findLeader(client, preferred, link.hello.node.address);
}

// ---- Sending

/** Sends what may be sent, once per round of the event loop. */
export function sendSoon(client: ClientState): void {
  if (client.isSendPlanned || isClosed(client)) return;
  client.isSendPlanned = true;
  client.ports.clock.soon(() => sendNow(client));
}

function sendNow(client: ClientState): void {
  const { session, openings, pipeline, silenceLimit } = client;
  client.isSendPlanned = false;
  if (isClosed(client)) return;
  flushBatch(client.batcher);
  const link = linkOf(client);
  if (link === null) return needsConnection(client) ? findLeader(client, null, null) : undefined;
  if (client.timers.pause.isSet) return;
  if (!isAnswerOwed(client)) silenceLimit.restart();
  if (client.phase.type === "closing" && pipeline.waiting === 0) {
    if (!needsClosingMessage(client)) return finishClosing(client);
    sendClosingMessage(client, link);
  }
  sendQueries(client, link);
  if (pipeline.waiting > 0 || openings.size > 0) sendRequests(client, link);
  if (isLive(session) && client.phase.type === "running" && !session.isAttached) sendOpen(client, link);
  link.flush();
  watch(client);
}

function sendRequests(client: ClientState, link: NodeConnection): void {
  const { session, pipeline } = client;
  const { state } = session;
  if (state.type === "over") return;
  if (state.type !== "open") return sendOpen(client, link);
  for (
    let request = nextRequest(pipeline, state.id, client.lastFrameId + 1);
    request !== null;
    request = nextRequest(pipeline, state.id, client.lastFrameId + 1)
  ) {
    client.lastFrameId++;
    session.isAttached = true;
    link.send(request);
  }
}

function sendQueries(client: ClientState, link: NodeConnection): void {
  for (const pending of takeUnsent(client.queries)) {
    const frameId = ++client.lastFrameId;
    markSent(client.queries, pending, frameId);
    link.send({ ...pending.query, frameId });
  }
}

function sendOpen(client: ClientState, link: NodeConnection): void {
  const { session, settings } = client;
  if (session.openFrame === null) link.send(openMessage(session, settings, ++client.lastFrameId));
}

/** The session is closed; or, where it stays, what was taken is acknowledged. */
function sendClosingMessage(client: ClientState, link: NodeConnection): void {
  const { session, pipeline } = client;
  const { state } = session;
  if (state.type !== "open") return sendOpen(client, link);
  if (!closesSession(client)) return acknowledge(client, link, state.id);
  if (session.closeFrame !== null) return;
  link.send(closeMessage(session, state.id, pipeline.acknowledgedThrough, ++client.lastFrameId));
}

export function acknowledge(client: ClientState, link: NodeConnection, session: number): void {
  const { acknowledgedThrough } = client.pipeline;
  const request = acknowledgeMessage(client.session, session, acknowledgedThrough, client.lastFrameId + 1);
  if (request === null) return;
  client.lastFrameId++;
  link.send(request);
}

export function pause(client: ClientState, retryAfterMs: number | undefined): void {
  const { retryMinMs } = client.settings.limits;
  const ms = retryAfterMs ?? client.ports.random.between(retryMinMs, 2 * retryMinMs);
  client.timers.pause.set(ms, () => sendSoon(client));
}

/** Asks another node, or this one again in a while, or gives up. */
export function retryAfter(
  client: ClientState,
  why: Failure,
  giveUp: (client: ClientState, why: Failure) => void,
): void {
  switch (retryAction(why)) {
    case "leave":
      return leaveNode(client, why, why.leader ?? null);
    case "pause":
      return pause(client, why.retryAfterMs);
    case "giveUp":
      return giveUp(client, why);
  }
}

// ---- Time

/** Sets one timer for the request that runs out first, one for a node that owes an answer. */
export function watch(client: ClientState): void {
  const { timers, queries, openings, pipeline, silenceLimit } = client;
  if (!timers.deadline.isSet && !isClosed(client)) {
    const next = Math.min(nextDeadline(pipeline), firstDeadline(openings), firstDeadline(queries.pending));
    const now = client.ports.clock.now();
    if (next !== Infinity) timers.deadline.set(Math.max(0, next - now), () => onDeadline(client));
  }
  if (!timers.silence.isSet && client.connection.type === "connected" && isAnswerOwed(client))
    timers.silence.set(silenceLimit.remainingMs(pipeline.bytesInFlight), () => onSilence(client));
}

function onDeadline(client: ClientState): void {
  const partial = client.connection.type === "connected" ? null : partialResult(client.search);
  const cause = client.blockedBy ?? (partial === null ? null : noLeader(partial));
  const now = client.ports.clock.now();
  expireRequests(client.pipeline, now, cause);
  const why = cause ?? failure("TIMEOUT", "no answer in time", { applied: "no" });
  for (const opening of takeExpired(client.openings, now)) opening.done(why);
  for (const query of takeExpiredQueries(client.queries, now)) query.done(why);
  watch(client);
}

function onSilence(client: ClientState): void {
  const { silenceLimit, pipeline } = client;
  const link = linkOf(client);
  if (link === null || !isAnswerOwed(client)) return;
  if (silenceLimit.remainingMs(pipeline.bytesInFlight) > 0) return watch(client);
  silenceLimit.exceeded();
  leaveNode(client, failure("CONNECTION_LOST", `${link.hello.node.id} owes an answer and is silent`), null);
}

// ---- The end

/** Everything that waits fails. */
export function failAll(client: ClientState, why: Failure): void {
  flushBatch(client.batcher);
  failNumbered(client, why);
  for (const query of takeAllQueries(client.queries)) query.done(why);
}

/** What needs the session fails: all but queries. */
export function failNumbered({ pipeline, openings }: ClientState, why: Failure): void {
  failRequests(pipeline, why);
  for (const opening of takeAll(openings)) opening.done(why);
}

export function finishClosing(client: ClientState): void {
  const { phase, timers } = client;
  if (phase.type !== "closing") return;
  client.phase = { type: "closed" };
  stopSearch(client.search);
  for (const timer of [timers.deadline, timers.silence, timers.pause, timers.idle]) timer.cancel();
  linkOf(client)?.close();
  client.connection = { type: "none" };
  phase.done();
}
