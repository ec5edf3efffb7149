// How does a program use the queue? One client id, one session: finds the leader, opens the session, sends its numbered
// requests in order, and sends them again, in order and with the same numbers, until each has its outcome.
// Callbacks only; time, chance and the network come through ports, so that it runs in the simulator as it is.
import { assert } from "../lib/assert.ts";
import { type ErrorCode, type Failure, failure } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import { encodeCommand } from "../queue/commands.ts";
import type { Command } from "../queue/types.ts";
import type { HelloAnswer, ServerMessage } from "../wire/protocol.ts";
import { createAcknowledgements } from "./acknowledgements.ts";
import { type PendingQuery, createQueries } from "./queries.ts";
import { createGathering } from "./gathering.ts";
import { createPipeline, type Done, type Pipeline, type Verdict } from "./pipeline.ts";
import type { NodeConnection } from "../wire/node-connection.ts";
import { isNobodyThere, noLeader, unfinishedSearch } from "./no-leader.ts";
import { createSilenceLimit } from "./silence-limit.ts";
import { createLeaderSearch, type Finding } from "./leader-search.ts";
import {
  closeMessage,
  connectionLost,
  createSession,
  enter,
  mayResume,
  openAnswer,
  openMessage,
  openPauseMs,
  refusalIn,
} from "./session.ts";
import type { Client, ClientEvent, ClientPorts, ClientSettings, QueryAnswer } from "./types.ts";
import { createTimer } from "./timer.ts";
import { createDeadlines } from "./deadlines.ts";
import { createDeadlineQueue, type PendingAnswer } from "./deadline-queue.ts";
import { isFinalFor, retryAction } from "./retry-policy.ts";

export type * from "./types.ts";

export function createClient(
  ports: ClientPorts,
  settings: ClientSettings,
  listen: (event: ClientEvent) => void,
): Client {
  const { clock } = ports;
  const { limits } = settings;
  assert(!settings.gather || settings.acknowledge.when === "delivered", "gathered requests are acknowledged together");
  const askOnce = settings.timeoutMs === 0;
  const isFinal = (code: ErrorCode): boolean => isFinalFor(settings, code);
  const pipeline: Pipeline = createPipeline({
    numbered: settings.numbered,
    acknowledges: settings.acknowledge.when,
    onLate: (outcome, taken) => listen({ type: "answeredLate", outcome, taken }),
    onTaken: () => acks.taken(),
    ...limits,
    isFinal,
  });
  const silenceLimit = createSilenceLimit(clock, limits);
  const acks = createAcknowledgements(clock, settings, pipeline, { idle, waiting: pump });
  const gathering = createGathering(limits, (command, done) => push(command, done, null));
  let link: NodeConnection | null = null;
  const session = createSession();
  const openings = createDeadlineQueue<Failure | null, PendingAnswer<Failure | null>>();
  const queries = createQueries<QueryAnswer | Failure>();
  const deadlines = createDeadlines(pipeline, openings, queries);
  let over: Failure | null = null;
  let closing: (() => void) | null = null;
  let closed = false;
  let isSearching = false;
  let wasReached = false;
  const startedAt = clock.now();
  /** Why nothing is sent at present, if so: the outcome of a request that was surely never executed. */
  let obstacle: Failure | null = null;
  let lastFrameId = 0;
  const [deadlineTimer, silenceTimer, pauseTimer] = [createTimer(clock), createTimer(clock), createTimer(clock)];
  let isPumpPlanned = false;
  const searchSettings = { ...limits, follow: settings.follow };
  const search = createLeaderSearch(ports, settings.addresses, searchSettings, { found, roundOver });

  const deadlineOfNow = (): number => clock.now() + (askOnce ? limits.onceMs : settings.timeoutMs);
  const isWanted = (): boolean =>
    pipeline.waiting() > 0 ||
    queries.count > 0 ||
    openings.count > 0 ||
    (session.wasOpen && over === null) ||
    closing !== null;

  // ---- Finding the leader

  function searchLeader(preferred: string | null, avoided: string | null): void {
    if (isSearching || closed) return;
    isSearching = true;
    search.start(preferred, avoided);
  }

  function found(newLink: NodeConnection, redirectedBy: HelloAnswer | null): void {
    isSearching = false;
    link = newLink;
    wasReached = true;
    obstacle = null;
    const { hello } = newLink;
    newLink.onMessage = (message) => received(newLink, message);
    newLink.onBytes = () => {
      if (link === newLink) silenceLimit.quietFromNow();
    };
    newLink.onClosed = (why) => {
      if (link === newLink)
        dropLink(failure("CONNECTION_LOST", `the connection to ${hello.node.id} was lost: ${why.message}`), null);
    };
    if (redirectedBy !== null) {
      listen({ type: "redirected", from: redirectedBy.node.id, to: hello.node.id, address: hello.node.address });
    }
    listen({ type: "connected", node: hello });
    pump();
  }

  function roundOver(finding: Finding): void {
    obstacle = noLeader(finding);
    if (finding.reached) wasReached = true;
    const isHopeless = !finding.reached && (finding.fatal !== null || (isLongAgo() && isNobodyThere(finding)));
    if (askOnce || isHopeless) failEverything(obstacle);
    if (isWanted()) return;
    isSearching = false;
    search.stop();
  }

  const isLongAgo = (): boolean => !wasReached && clock.now() - startedAt >= limits.unreachableMs;

  /** Leaves the present node: everything unanswered is sent again to the next one. */
  function dropLink(why: Failure, preferred: string | null): void {
    const left = link;
    if (left === null) return;
    link = null;
    left.close();
    pipeline.connectionLost();
    connectionLost(session);
    acks.connectionLost();
    queries.connectionLost();
    pauseTimer.cancel();
    obstacle = why.code === "CONNECTION_LOST" ? failure("UNREACHABLE", why.message) : why;
    listen({ type: "disconnected", why: why.message });
    if (closing !== null && !acks.isOwed()) return finishClosing();
    if (isWanted()) searchLeader(preferred, left.hello.node.address);
  }

  // ---- Sending

  /** Sends what may be sent, once per round of the event loop. */
  function pump(): void {
    if (isPumpPlanned || closed) return;
    isPumpPlanned = true;
    clock.soon(pumpNow);
  }

  function pumpNow(): void {
    isPumpPlanned = false;
    if (closed) return;
    gathering.flush();
    if (link === null) return isWanted() ? searchLeader(null, null) : undefined;
    if (pauseTimer.isSet) return;
    if (!owesAnswer()) silenceLimit.quietFromNow();
    if (closing !== null && pipeline.waiting() === 0) {
      if (!isLeaving()) return finishClosing();
      if (session.id === null) sendOpen(link);
      else leave(link, session.id);
    }
    for (const pending of queries.takeUnsent()) {
      queries.sent(pending, ++lastFrameId);
      link.send({ ...pending.query, frameId: lastFrameId });
    }
    if (pipeline.waiting() > 0 || openings.count > 0) sendNumbered(link);
    if (session.wasOpen && over === null && closing === null && !session.isAttached) sendOpen(link);
    link.flush();
    watch();
  }

  /** Why nothing new is taken. */
  const refusal = (): Failure | null =>
    over ?? (closing !== null || closed ? failure("BAD_REQUEST", "this client was closed") : null);

  function push(command: Command, done: Done, number: number | null): void {
    const why = refusal();
    if (why !== null) return done({ ok: false, number, failure: why }, () => {});
    pipeline.push(encodeCommand(command), deadlineOfNow(), done, number);
    watch();
  }

  // ---- Leaving

  const closesSession = (): boolean => settings.closeOnLeave && pipeline.untaken() === null;
  const isLeaving = (): boolean => session.wasOpen && over === null && (closesSession() || acks.isOwed());

  function leave(to: NodeConnection, from: number): void {
    if (!closesSession()) return acknowledge(to, from);
    if (session.closeFrame !== null) return;
    to.send(closeMessage(session, from, pipeline.acknowledgedThrough(), ++lastFrameId));
  }

  function closeAnswered(message: ServerMessage): void {
    session.closeFrame = null;
    const why = refusalIn(message);
    // Dormant, so nothing was acknowledged; or closed by an earlier CLOSE whose answer was lost.
    if (why?.code === "SESSION_EXPIRED" && session.closes === 1 && !settings.generated) sessionLost(why);
    else if (message.type === "failure" && acks.isOwed()) goOnAfter(message.failure, finishClosing);
    else finishClosing();
  }

  /** Asks another node, or this one again in a while, or gives up. */
  function goOnAfter(why: Failure, giveUp: (why: Failure) => void = endSession): void {
    switch (retryAction(why)) {
      case "leave":
        return dropLink(why, why.leader ?? null);
      case "pause":
        return pause(why.retryAfterMs);
      case "giveUp":
        return giveUp(why);
    }
  }

  function acknowledge(to: NodeConnection, from: number): void {
    const request = acks.next(from, lastFrameId + 1);
    if (request === null) return;
    lastFrameId++;
    to.send(request);
  }

  function idle(): void {
    if (closed || closing !== null || over !== null || link === null || session.id === null || pauseTimer.isSet) return;
    acknowledge(link, session.id);
    link.flush();
    watch();
  }

  function acknowledged(message: ServerMessage): void {
    acks.answered(message);
    if (closing === null) return;
    if (message.type === "failure" && acks.isOwed()) goOnAfter(message.failure, finishClosing);
    else pump();
  }

  function sendNumbered(to: NodeConnection): void {
    if (over !== null) return;
    if (session.id === null) return sendOpen(to);
    for (let request = pipeline.next(session.id, lastFrameId + 1); request !== null;) {
      lastFrameId++;
      session.isAttached = true;
      to.send(request);
      request = pipeline.next(session.id, lastFrameId + 1);
    }
  }

  function sendOpen(to: NodeConnection): void {
    if (session.openFrame === null) to.send(openMessage(session, settings, ++lastFrameId));
  }

  function pause(retryAfterMs: number | undefined): void {
    pauseTimer.set(retryAfterMs ?? ports.random.between(limits.retryMinMs, 2 * limits.retryMinMs), pump);
  }

  // ---- Answers

  function received(from: NodeConnection, message: ServerMessage): void {
    if (link !== from) return;
    silenceLimit.answered();
    try {
      take(message);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      dropLink(
        failure("VERSION", `${from.hello.node.id} answered what this version does not understand: ${error.message}`),
        null,
      );
    }
  }

  function take(message: ServerMessage): void {
    const { frameId } = message;
    if (frameId === session.openFrame) return opened(message);
    if (frameId === session.closeFrame) return closeAnswered(message);
    if (frameId === acks.frameId) return acknowledged(message);
    if (message.type === "reply") return obey(pipeline.replied(frameId, message.reply, message.duplicate));
    const pending = queries.answered(frameId);
    if (pending !== undefined) return answered(pending, message);
    if (message.type === "failure") obey(pipeline.refused(frameId, message.failure));
  }

  function obey(verdict: Verdict): void {
    switch (verdict.type) {
      case "goOn":
        obstacle = null;
        search.succeeded();
        if (pipeline.waiting() > 0 || closing !== null) pump();
        return;
      case "pause":
        return pause(verdict.retryAfterMs);
      case "leave":
        return dropLink(verdict.failure, verdict.failure.leader ?? null);
      case "over":
        return sessionLost(verdict.failure);
    }
  }

  /** It became dormant while it was idle; its numbers and answers are kept for a while. */
  function sessionLost(why: Failure): void {
    if (why.code !== "SESSION_EXPIRED") return endSession(why);
    session.id = null;
    pipeline.connectionLost();
    pump();
  }

  function opened(message: ServerMessage): void {
    const answer = openAnswer(session, message);
    if ("failure" in answer) return openRefused(answer.failure);
    if (enter(session, answer)) {
      const left = acks.opened(answer.lastNumber, answer.acknowledgedThrough);
      if (left !== null) return endSession(left);
    }
    for (const opening of openings.takeAll()) opening.done(null);
    obey({ type: "goOn" });
  }

  /** An OPEN may be repeated at will: its nonce makes it one. */
  function openRefused(why: Failure): void {
    if (mayResume(session, why)) return pump();
    const next = retryAction(why);
    if (next !== "giveUp" && pipeline.waiting() === 0 && openings.count === 0 && closing === null)
      return attachLater(why);
    obstacle = why;
    if (isFinal(why.code)) return failEverything(why);
    if (next === "pause") return pause(why.retryAfterMs ?? openPauseMs(session, limits, ports.random));
    goOnAfter(why, endSession);
  }

  /** No request waits for it: another node is asked at once, this one not again soon. */
  function attachLater(why: Failure): void {
    if (isFinal(why.code)) return;
    if (retryAction(why) === "leave") return dropLink(why, why.leader ?? null);
    clock.after(limits.attachRetryMs, () => {
      session.isAttached = false;
      pump();
    });
  }

  function answered(pending: PendingQuery<QueryAnswer | Failure>, message: ServerMessage): void {
    if (message.type === "reply" || message.type === "pong")
      throw new Malformed(`"${pending.query.type}" was answered with "${message.type}"`);
    if (message.type === "failure" && mayAskAgain(message.failure)) {
      queries.again(pending);
      return goOnAfter(message.failure);
    }
    queries.remove(pending);
    search.succeeded();
    obstacle = null;
    pending.done(message.type === "failure" ? message.failure : message);
  }

  const mayAskAgain = (why: Failure): boolean =>
    !isFinal(why.code) && why.code !== "CHANGE_IN_PROGRESS" && retryAction(why) !== "giveUp";
  // ---- Outcomes

  function endSession(why: Failure): void {
    gathering.flush();
    over = why;
    listen({ type: "sessionOver", failure: why });
    deadlines.failNumbered(why);
    if (closing !== null) finishClosing();
  }

  function failEverything(why: Failure): void {
    gathering.flush();
    deadlines.failAll(why);
  }

  // ---- Time

  /** One timer for the request that runs out first, one for a node that owes an answer. */
  function watch(): void {
    const next = deadlineTimer.isSet || closed ? Infinity : deadlines.nextDeadline();
    if (next !== Infinity) deadlineTimer.set(Math.max(0, next - clock.now()), deadlinePassed);
    if (!silenceTimer.isSet && link !== null && owesAnswer())
      silenceTimer.set(silenceLimit.left(pipeline.bytesInFlight()), silenceOver);
  }

  const owesAnswer = (): boolean =>
    session.openFrame !== null || acks.frameId !== null || pipeline.inFlight() > 0 || queries.inFlight > 0;

  function deadlinePassed(): void {
    const met = obstacle ?? (link === null ? unfinishedSearch(search.soFar()) : null);
    deadlines.expire(clock.now(), met, failure("TIMEOUT", "no answer in time", { applied: "no" }));
    watch();
  }

  function silenceOver(): void {
    if (link === null || !owesAnswer()) return;
    if (silenceLimit.left(pipeline.bytesInFlight()) > 0) return watch();
    silenceLimit.exhausted();
    const { node } = link.hello;
    dropLink(failure("CONNECTION_LOST", `${node.id} owes an answer and is silent`), null);
  }

  function finishClosing(): void {
    const done = closing;
    if (closed || done === null) return;
    closed = true;
    closing = null;
    search.stop();
    for (const timer of [deadlineTimer, silenceTimer, pauseTimer]) timer.cancel();
    acks.stop();
    link?.close();
    link = null;
    done();
  }

  return {
    submit: (command, done, number) => {
      if (settings.gather && number === undefined && refusal() === null) gathering.submit(command, done);
      else push(command, done, number ?? null);
      pump();
    },
    again: (done) => {
      gathering.flush();
      if (over !== null || !pipeline.again(deadlineOfNow(), done)) return false;
      if (link !== null) dropLink(failure("CONNECTION_LOST", "asking another node"), null);
      pump();
      watch();
      return true;
    },
    ask: (query, done) => {
      queries.add({ query, deadline: deadlineOfNow(), done, frameId: null });
      pump();
      watch();
    },
    open: (done) => {
      if (session.id !== null || over !== null) return done(over);
      openings.add({ deadline: deadlineOfNow(), done });
      pump();
      watch();
    },
    numberAtOpen: () => session.numberAtOpen,
    unacknowledgedAtOpen: () => acks.left(),
    untaken: () => pipeline.untaken(),
    node: () => link?.hello ?? null,
    addresses: () => search.addresses(),
    close: (done) => {
      if (closed || closing !== null) return done();
      failEverything(failure("BAD_REQUEST", "this client was closed"));
      closing = done;
      if (!isLeaving() || (link === null && !acks.isOwed())) return finishClosing();
      clock.after(limits.silenceMs, finishClosing);
      pump();
    },
  };
}
