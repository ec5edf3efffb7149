// The client of the queue: one client id, one session. It finds the leader, opens the session, sends its numbered requests in order,
// and sends them again, in order and with the same numbers, until each has its outcome. A request goes from `submit` into the batch of
// its round or at once into the pipeline (`push`), from there over the connection (`sendNow`), and its answer through `onMessage` back
// into the pipeline, which delivers the outcome. Queries and the session's own messages come behind.
// Callbacks only; time, chance and the network come through ports, so that it runs in the simulator as it is.
import { assert } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import { encodeCommand } from "../queue/commands.ts";
import type { Command } from "../queue/types.ts";
import type { NodeConnection } from "../wire/node-connection.ts";
import type { HelloAnswer, ServerMessage } from "../wire/protocol.ts";
import { addToBatch, createBatcher, flushBatch } from "./batch.ts";
import {
  acknowledge,
  failAll,
  failNumbered,
  finishClosing,
  leaveNode,
  onRoundOver,
  pause,
  retryAfter,
  sendSoon,
  watch,
} from "./connection.ts";
import { createSilenceLimit, createTimer, takeAll } from "./deadlines.ts";
import { createLeaderSearch, searchSucceeded } from "./leader-search.ts";
import {
  continueNumbers,
  createPipeline,
  onRequestRefused,
  onReply,
  pushRequest,
  repeatLast,
  resendRequests,
  untaken,
} from "./pipeline.ts";
import { addQuery, createQueries, type PendingQuery, removeQuery, resendQuery, takeSent } from "./queries.ts";
import { GO_ON, retryAction, type Verdict } from "./retry-policy.ts";
import {
  acknowledgementAnswered,
  answersLeft,
  becomeDormant,
  createSession,
  enter,
  mayResume,
  openAnswer,
  openPauseMs,
  refusalIn,
} from "./session.ts";
import {
  type ClientState,
  deadlineFromNow,
  isClosed,
  isFinal,
  needsClosingMessage,
  linkOf,
  owesAcknowledgement,
  refusal,
} from "./state.ts";
import type { Client, ClientEvent, ClientPorts, ClientSettings, Done, Query, QueryDone } from "./types.ts";

export type * from "./types.ts";

export function createClient(
  ports: ClientPorts,
  settings: ClientSettings,
  onEvent: (event: ClientEvent) => void,
): Client {
  const { clock } = ports;
  const { limits, follow } = settings;
  assert(!settings.batch || settings.acknowledge.when === "delivered", "batched requests are acknowledged together");
  const client: ClientState = {
    ports,
    settings,
    onEvent,
    phase: { type: "running" },
    connection: { type: "none" },
    search: createLeaderSearch(
      ports,
      settings.addresses,
      { ...limits, follow },
      {
        onFound: (link, redirectedBy) => onLeaderFound(client, link, redirectedBy),
        onRoundOver: (result) => onRoundOver(client, result),
      },
    ),
    startedAt: clock.now(),
    wasReached: false,
    blockedBy: null,
    batcher: createBatcher(limits, (command, done) => push(client, command, done, null)),
    pipeline: createPipeline(settings, {
      onLate: (outcome, taken) => onEvent({ type: "answeredLate", outcome, taken }),
      onTaken: () => onAnswerTaken(client),
    }),
    session: createSession(),
    openings: new Set(),
    queries: createQueries(),
    lastFrameId: 0,
    isSendPlanned: false,
    silenceLimit: createSilenceLimit(clock, limits),
    timers: {
      deadline: createTimer(clock),
      silence: createTimer(clock),
      pause: createTimer(clock),
      idle: createTimer(clock),
    },
  };
  return {
    submit: (command, done, number) => submit(client, command, done, number ?? null),
    again: (done) => again(client, done),
    ask: (query, done) => ask(client, query, done),
    open: (done) => open(client, done),
    numberAtOpen: () => client.session.numberAtOpen,
    unacknowledgedAtOpen: () => client.session.unacknowledgedAtOpen,
    untaken: () => untaken(client.pipeline),
    node: () => linkOf(client)?.hello ?? null,
    addresses: () => [...client.search.addresses],
    close: (done) => close(client, done),
  };
}

// ---- A request is given

function submit(client: ClientState, command: Command, done: Done, number: number | null): void {
  if (client.settings.batch && number === null && refusal(client) === null) addToBatch(client.batcher, command, done);
  else push(client, command, done, number);
  sendSoon(client);
}

function push(client: ClientState, command: Command, done: Done, number: number | null): void {
  const why = refusal(client);
  if (why !== null) return done({ ok: false, number, failure: why }, () => {});
  pushRequest(client.pipeline, encodeCommand(command), deadlineFromNow(client), done, number);
  watch(client);
}

function again(client: ClientState, done: Done): boolean {
  flushBatch(client.batcher);
  if (client.session.state.type === "over" || !repeatLast(client.pipeline, deadlineFromNow(client), done)) return false;
  leaveNode(client, failure("CONNECTION_LOST", "asking another node"), null);
  sendSoon(client);
  watch(client);
  return true;
}

// ---- It is sent, when there is a leader: `sendNow`

function onLeaderFound(client: ClientState, link: NodeConnection, redirectedBy: HelloAnswer | null): void {
  const { hello } = link;
  client.connection = { type: "connected", link };
  client.wasReached = true;
  client.blockedBy = null;
  link.onMessage = (message) => onMessage(client, link, message);
  link.onBytes = () => {
    if (linkOf(client) === link) client.silenceLimit.restart();
  };
  link.onClosed = ({ message }) => {
    const why = `the connection to ${hello.node.id} was lost: ${message}`;
    if (linkOf(client) === link) leaveNode(client, failure("CONNECTION_LOST", why), null);
  };
  if (redirectedBy !== null) {
    const { id: to, address } = hello.node;
    client.onEvent({ type: "redirected", from: redirectedBy.node.id, to, address });
  }
  client.onEvent({ type: "connected", node: hello });
  sendSoon(client);
}

// ---- It is answered; the pipeline delivers its outcome

function onMessage(client: ClientState, link: NodeConnection, message: ServerMessage): void {
  if (linkOf(client) !== link) return;
  client.silenceLimit.answered();
  try {
    receive(client, message);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    const why = `${link.hello.node.id} answered what this version does not understand: ${error.message}`;
    leaveNode(client, failure("VERSION", why), null);
  }
}

/** Throws Malformed. */
function receive(client: ClientState, message: ServerMessage): void {
  const { session, pipeline } = client;
  const { frameId } = message;
  if (frameId === session.openFrame) return onOpenAnswer(client, message);
  if (frameId === session.closeFrame) return onCloseAnswer(client, message);
  if (frameId === session.acknowledgement?.frameId) return onAcknowledgementAnswer(client, message);
  if (message.type === "reply") return follow(client, onReply(pipeline, frameId, message.reply, message.duplicate));
  const query = takeSent(client.queries, frameId);
  if (query !== undefined) return onQueryAnswer(client, query, message);
  if (message.type === "failure") follow(client, onRequestRefused(pipeline, frameId, message.failure));
}

function follow(client: ClientState, verdict: Verdict): void {
  switch (verdict.type) {
    case "goOn":
      client.blockedBy = null;
      searchSucceeded(client.search);
      if (client.pipeline.waiting > 0 || client.phase.type === "closing") sendSoon(client);
      return;
    case "pause":
      return pause(client, verdict.retryAfterMs);
    case "leave":
      return leaveNode(client, verdict.failure, verdict.failure.leader ?? null);
    case "over":
      return onSessionLost(client, verdict.failure);
  }
}

// ---- Queries

function ask(client: ClientState, query: Query, done: QueryDone): void {
  addQuery(client.queries, { query, deadline: deadlineFromNow(client), done, frameId: null });
  sendSoon(client);
  watch(client);
}

function onQueryAnswer(client: ClientState, pending: PendingQuery, message: ServerMessage): void {
  if (message.type === "reply" || message.type === "pong")
    throw new Malformed(`"${pending.query.type}" was answered with "${message.type}"`);
  if (message.type === "failure" && mayAskAgain(client, message.failure)) {
    resendQuery(client.queries, pending);
    return retryAfter(client, message.failure, endSession);
  }
  removeQuery(client.queries, pending);
  searchSucceeded(client.search);
  client.blockedBy = null;
  pending.done(message.type === "failure" ? message.failure : message);
}

function mayAskAgain(client: ClientState, why: Failure): boolean {
  return !isFinal(client, why.code) && why.code !== "CHANGE_IN_PROGRESS" && retryAction(why) !== "giveUp";
}

// ---- The session: opened, renewed, over

function open(client: ClientState, done: (failure: Failure | null) => void): void {
  const { state } = client.session;
  if (state.type === "open") return done(null);
  if (state.type === "over") return done(state.failure);
  client.openings.add({ deadline: deadlineFromNow(client), done });
  sendSoon(client);
  watch(client);
}

function onOpenAnswer(client: ClientState, message: ServerMessage): void {
  const { session, settings, pipeline } = client;
  const answer = openAnswer(session, message);
  if ("failure" in answer) return onOpenRefused(client, answer.failure);
  if (enter(session, answer)) {
    continueNumbers(pipeline, answer.lastNumber, answer.acknowledgedThrough);
    const left = session.unacknowledgedAtOpen;
    if (left !== null && settings.acknowledge.earlier === "refused")
      return endSession(client, answersLeft(settings.clientId, left));
  }
  for (const opening of takeAll(client.openings)) opening.done(null);
  follow(client, GO_ON);
}

/** An OPEN may be repeated at will: its nonce makes it one. */
function onOpenRefused(client: ClientState, why: Failure): void {
  const { session, settings, pipeline, openings, ports } = client;
  if (mayResume(session, why)) return sendSoon(client);
  const action = retryAction(why);
  const isAwaited = pipeline.waiting > 0 || openings.size > 0 || client.phase.type === "closing";
  if (action !== "giveUp" && !isAwaited) return attachLater(client, why);
  client.blockedBy = why;
  if (isFinal(client, why.code)) return failAll(client, why);
  if (action === "pause") return pause(client, why.retryAfterMs ?? openPauseMs(session, settings.limits, ports.random));
  retryAfter(client, why, endSession);
}

/** No request waits for it: another node is asked at once, this one not again soon. */
function attachLater(client: ClientState, why: Failure): void {
  if (isFinal(client, why.code)) return;
  if (retryAction(why) === "leave") return leaveNode(client, why, why.leader ?? null);
  client.ports.clock.after(client.settings.limits.attachRetryMs, () => {
    client.session.isAttached = false;
    sendSoon(client);
  });
}

/** It is over, or became dormant while it was idle: its numbers and answers are kept for a while. */
function onSessionLost(client: ClientState, why: Failure): void {
  if (why.code !== "SESSION_EXPIRED") return endSession(client, why);
  becomeDormant(client.session);
  resendRequests(client.pipeline);
  sendSoon(client);
}

function endSession(client: ClientState, why: Failure): void {
  flushBatch(client.batcher);
  client.session.state = { type: "over", failure: why };
  client.onEvent({ type: "sessionOver", failure: why });
  failNumbered(client, why);
  finishClosing(client);
}

// ---- Taken answers are acknowledged, with the next request or by one of their own

function onAnswerTaken(client: ClientState): void {
  const { settings, timers, pipeline } = client;
  if (settings.acknowledge.whenIdle) timers.idle.set(settings.limits.idleMs, () => onIdle(client));
  if (pipeline.waiting > 0) sendSoon(client);
}

/** A while after an answer was taken. */
function onIdle(client: ClientState): void {
  const { session, pipeline, timers, settings } = client;
  if (pipeline.acknowledgedThrough <= session.confirmedThrough) return;
  if (pipeline.waiting > 0) return timers.idle.set(settings.limits.idleMs, () => onIdle(client));
  const link = linkOf(client);
  if (client.phase.type !== "running" || link === null || session.state.type !== "open" || timers.pause.isSet) return;
  acknowledge(client, link, session.state.id);
  link.flush();
  watch(client);
}

function onAcknowledgementAnswer(client: ClientState, message: ServerMessage): void {
  acknowledgementAnswered(client.session, message);
  if (client.phase.type !== "closing") return;
  if (message.type === "failure" && owesAcknowledgement(client)) retryAfter(client, message.failure, finishClosing);
  else sendSoon(client);
}

// ---- Leaving

function close(client: ClientState, done: () => void): void {
  if (client.phase.type !== "running") return done();
  failAll(client, failure("BAD_REQUEST", "this client was closed"));
  // Closed by one of those that failed: only that one's `done` is called.
  if (isClosed(client)) return;
  client.phase = { type: "closing", done };
  if (!needsClosingMessage(client) || (linkOf(client) === null && !owesAcknowledgement(client)))
    return finishClosing(client);
  client.ports.clock.after(client.settings.limits.silenceMs, () => finishClosing(client));
  sendSoon(client);
}

function onCloseAnswer(client: ClientState, message: ServerMessage): void {
  const { session, settings } = client;
  session.closeFrame = null;
  const why = refusalIn(message);
  // Dormant, so nothing was acknowledged; or closed by an earlier CLOSE whose answer was lost.
  if (why?.code === "SESSION_EXPIRED" && session.closes === 1 && !settings.generated) onSessionLost(client, why);
  else if (message.type === "failure" && owesAcknowledgement(client))
    retryAfter(client, message.failure, finishClosing);
  else finishClosing(client);
}
