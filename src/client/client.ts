// How does a program use the queue? One client id, one session: finds the leader, opens the session, sends its numbered
// requests in order, and sends them again, in order and with the same numbers, until each has its final word.
// Callbacks only; time, chance and the network come through ports, so that it runs in the simulator as it is.
import { assert } from "../lib/assert.ts";
import { type ErrorCode, type Failure, failure } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import { encodeCommand } from "../queue/commands.ts";
import type { Command } from "../queue/types.ts";
import type { HelloAnswer, ServerMessage } from "../wire/protocol.ts";
import { createAcknowledging } from "./acknowledging.ts";
import { type Asked, createAsking } from "./asking.ts";
import { createGathering } from "./gathering.ts";
import { createLine, type Done, type Line, type Verdict } from "./line.ts";
import type { Link } from "./link.ts";
import { isNobodyThere, noLeader, unfinishedSearch } from "./no-leader.ts";
import { createPatience } from "./patience.ts";
import { createSeeker, type Finding } from "./seek.ts";
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
import { createWaiters } from "./waiters.ts";
import { createWaiting, type Waiter } from "./waiting.ts";
import { isFinalFor, whatNext } from "./what-next.ts";

export type * from "./types.ts";

export function createClient(
  ports: ClientPorts,
  settings: ClientSettings,
  listen: (event: ClientEvent) => void,
): Client {
  const { clock } = ports;
  const { limits } = settings;
  assert(!settings.gather || settings.acknowledge.when === "told", "gathered requests are acknowledged together");
  const askOnce = settings.timeoutMs === 0;
  const isFinal = (code: ErrorCode): boolean => isFinalFor(settings, code);

  const line: Line = createLine({
    numbered: settings.numbered,
    acknowledges: settings.acknowledge.when,
    onLate: (outcome, taken) => listen({ type: "answeredLate", outcome, taken }),
    onTaken: () => acknowledging.taken(),
    ...limits,
    isFinal,
  });
  const patience = createPatience(clock, limits);
  const acknowledging = createAcknowledging(clock, settings, line, { idle, waiting: pump });
  const gathering = createGathering(limits, (command, done) => push(command, done, null));
  let link: Link | null = null;
  const session = createSession();
  const openings = createWaiting<Failure | null, Waiter<Failure | null>>();
  const asking = createAsking<QueryAnswer | Failure>();
  const waiters = createWaiters(line, openings, asking);
  let over: Failure | null = null;
  let closing: (() => void) | null = null;
  let closed = false;
  let isSeeking = false;
  let wasReached = false;
  const startedAt = clock.now();
  /** Why nothing is sent at present, if so: the final word for a request that was surely never executed. */
  let obstacle: Failure | null = null;
  let lastFrameId = 0;
  const [deadlineTimer, silenceTimer, pauseTimer] = [createTimer(clock), createTimer(clock), createTimer(clock)];
  let isPumpPlanned = false;

  const seeker = createSeeker(ports, settings.addresses, { ...limits, follow: settings.follow }, { found, roundOver });

  const deadlineOfNow = (): number => clock.now() + (askOnce ? limits.onceMs : settings.timeoutMs);
  const isWanted = (): boolean =>
    line.waiting() > 0 ||
    asking.count > 0 ||
    openings.count > 0 ||
    (session.wasOpen && over === null) ||
    closing !== null;

  // ---- Finding the leader

  function seek(preferred: string | null, avoided: string | null): void {
    if (isSeeking || closed) return;
    isSeeking = true;
    seeker.start(preferred, avoided);
  }

  function found(newLink: Link, redirectedBy: HelloAnswer | null): void {
    isSeeking = false;
    link = newLink;
    wasReached = true;
    obstacle = null;
    const { hello } = newLink;
    newLink.onMessage = (message) => heard(newLink, message);
    newLink.onBytes = () => {
      if (link === newLink) patience.quietFromNow();
    };
    newLink.onClosed = (why) => {
      if (link === newLink)
        dropLink(failure("CONNECTION_LOST", `the connection to ${hello.node.id} was lost: ${why}`), null);
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
    isSeeking = false;
    seeker.stop();
  }

  const isLongAgo = (): boolean => !wasReached && clock.now() - startedAt >= limits.unreachableMs;

  /** Leaves the present node: everything unanswered is sent again to the next one. */
  function dropLink(why: Failure, preferred: string | null): void {
    const left = link;
    if (left === null) return;
    link = null;
    left.close();
    line.connectionLost();
    connectionLost(session);
    acknowledging.connectionLost();
    asking.connectionLost();
    pauseTimer.cancel();
    obstacle = why.code === "CONNECTION_LOST" ? failure("UNREACHABLE", why.message) : why;
    listen({ type: "disconnected", why: why.message });
    if (closing !== null && !acknowledging.isOwed()) return finishClosing();
    if (isWanted()) seek(preferred, left.hello.node.address);
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
    if (link === null) return isWanted() ? seek(null, null) : undefined;
    if (pauseTimer.isSet) return;
    if (!owesAnswer()) patience.quietFromNow();
    if (closing !== null && line.waiting() === 0) {
      if (!isLeaving()) return finishClosing();
      if (session.id === null) sendOpen(link);
      else leave(link, session.id);
    }
    for (const asked of asking.takeUnsent()) {
      asking.sent(asked, ++lastFrameId);
      link.send({ ...asked.query, frameId: lastFrameId });
    }
    if (line.waiting() > 0 || openings.count > 0) sendNumbered(link);
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
    line.push(encodeCommand(command), deadlineOfNow(), done, number);
    watch();
  }

  // ---- Leaving

  const closesSession = (): boolean => settings.closeOnLeave && line.untaken() === null;
  const isLeaving = (): boolean => session.wasOpen && over === null && (closesSession() || acknowledging.isOwed());

  function leave(to: Link, from: number): void {
    if (!closesSession()) return acknowledge(to, from);
    if (session.closeFrame !== null) return;
    to.send(closeMessage(session, from, line.answeredUpTo(), ++lastFrameId));
  }

  function closeAnswered(message: ServerMessage): void {
    session.closeFrame = null;
    const why = refusalIn(message);
    // Dormant, so nothing was acknowledged; or closed by an earlier CLOSE whose answer was lost.
    if (why?.code === "SESSION_EXPIRED" && session.closes === 1 && !settings.generated) sessionLost(why);
    else if (message.type === "failure" && acknowledging.isOwed()) goOnAfter(message.failure, finishClosing);
    else finishClosing();
  }

  /** Asks another node, or this one again in a while, or gives up. */
  function goOnAfter(why: Failure, giveUp: (why: Failure) => void = endSession): void {
    switch (whatNext(why)) {
      case "leave":
        return dropLink(why, why.leader ?? null);
      case "pause":
        return pause(why.retryAfterMs);
      case "giveUp":
        return giveUp(why);
    }
  }

  function acknowledge(to: Link, from: number): void {
    const request = acknowledging.next(from, lastFrameId + 1);
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
    acknowledging.answered(message);
    if (closing === null) return;
    if (message.type === "failure" && acknowledging.isOwed()) goOnAfter(message.failure, finishClosing);
    else pump();
  }

  function sendNumbered(to: Link): void {
    if (over !== null) return;
    if (session.id === null) return sendOpen(to);
    for (let request = line.next(session.id, lastFrameId + 1); request !== null;) {
      lastFrameId++;
      session.isAttached = true;
      to.send(request);
      request = line.next(session.id, lastFrameId + 1);
    }
  }

  function sendOpen(to: Link): void {
    if (session.openFrame === null) to.send(openMessage(session, settings, ++lastFrameId));
  }

  function pause(retryAfterMs: number | undefined): void {
    pauseTimer.set(retryAfterMs ?? ports.random.between(limits.retryMinMs, 2 * limits.retryMinMs), pump);
  }

  // ---- Answers

  function heard(from: Link, message: ServerMessage): void {
    if (link !== from) return;
    patience.answered();
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
    if (frameId === acknowledging.frameId) return acknowledged(message);
    if (message.type === "reply") return obey(line.replied(frameId, message.reply, message.duplicate));
    const asked = asking.answered(frameId);
    if (asked !== undefined) return answered(asked, message);
    if (message.type === "failure") obey(line.refused(frameId, message.failure));
  }

  function obey(verdict: Verdict): void {
    switch (verdict.type) {
      case "goOn":
        obstacle = null;
        seeker.succeeded();
        if (line.waiting() > 0 || closing !== null) pump();
        return;
      case "pause":
        return pause(verdict.retryAfterMs);
      case "leave":
        return dropLink(verdict.failure, verdict.failure.leader ?? null);
      case "over":
        return sessionLost(verdict.failure);
    }
  }

  /** Others may have needed its place while it was idle; its numbers and answers are kept for a while. */
  function sessionLost(why: Failure): void {
    if (why.code !== "SESSION_EXPIRED") return endSession(why);
    session.id = null;
    line.connectionLost();
    pump();
  }

  function opened(message: ServerMessage): void {
    const answer = openAnswer(session, message);
    if ("failure" in answer) return openRefused(answer.failure);
    if (enter(session, answer)) {
      const left = acknowledging.opened(answer.lastNumber, answer.answeredUpTo);
      if (left !== null) return endSession(left);
    }
    for (const opening of openings.takeAll()) opening.done(null);
    obey({ type: "goOn" });
  }

  /** An OPEN may be repeated at will: its nonce makes it one. */
  function openRefused(why: Failure): void {
    if (mayResume(session, why)) return pump();
    const next = whatNext(why);
    if (next !== "giveUp" && line.waiting() === 0 && openings.count === 0 && closing === null) return attachLater(why);
    obstacle = why;
    if (isFinal(why.code)) return failEverything(why);
    if (next === "pause") return pause(why.retryAfterMs ?? openPauseMs(session, limits, ports.random));
    goOnAfter(why, endSession);
  }

  /** Nobody waits for it: another node is asked at once, this one not again soon. */
  function attachLater(why: Failure): void {
    if (isFinal(why.code)) return;
    if (whatNext(why) === "leave") return dropLink(why, why.leader ?? null);
    clock.after(limits.attachRetryMs, () => {
      session.isAttached = false;
      pump();
    });
  }

  function answered(asked: Asked<QueryAnswer | Failure>, message: ServerMessage): void {
    if (message.type === "reply" || message.type === "pong")
      throw new Malformed(`"${asked.query.type}" was answered with "${message.type}"`);
    if (message.type === "failure" && mayAskAgain(message.failure)) {
      asking.again(asked);
      return goOnAfter(message.failure);
    }
    asking.remove(asked);
    seeker.succeeded();
    obstacle = null;
    asked.done(message.type === "failure" ? message.failure : message);
  }

  const mayAskAgain = (why: Failure): boolean =>
    !isFinal(why.code) && why.code !== "CHANGE_IN_PROGRESS" && whatNext(why) !== "giveUp";
  // ---- Final words

  function endSession(why: Failure): void {
    gathering.flush();
    over = why;
    listen({ type: "sessionOver", failure: why });
    waiters.failNumbered(why);
    if (closing !== null) finishClosing();
  }

  function failEverything(why: Failure): void {
    gathering.flush();
    waiters.failAll(why);
  }

  // ---- Time

  /** One timer for the request that runs out first, one for a node that owes an answer. */
  function watch(): void {
    const next = deadlineTimer.isSet || closed ? Infinity : waiters.nextDeadline();
    if (next !== Infinity) deadlineTimer.set(Math.max(0, next - clock.now()), deadlinePassed);
    if (!silenceTimer.isSet && link !== null && owesAnswer())
      silenceTimer.set(patience.left(line.bytesUnderWay()), silenceOver);
  }

  const owesAnswer = (): boolean =>
    session.openFrame !== null || acknowledging.frameId !== null || line.underWay() > 0 || asking.underWay > 0;

  function deadlinePassed(): void {
    const met = obstacle ?? (link === null ? unfinishedSearch(seeker.soFar()) : null);
    waiters.expire(clock.now(), met, failure("TIMEOUT", "no answer in time", { applied: "no" }));
    watch();
  }

  function silenceOver(): void {
    if (link === null || !owesAnswer()) return;
    if (patience.left(line.bytesUnderWay()) > 0) return watch();
    patience.exhausted();
    const { node } = link.hello;
    dropLink(failure("CONNECTION_LOST", `${node.id} owes an answer and is silent`), null);
  }

  function finishClosing(): void {
    const done = closing;
    if (closed || done === null) return;
    closed = true;
    closing = null;
    seeker.stop();
    for (const timer of [deadlineTimer, silenceTimer, pauseTimer]) timer.cancel();
    acknowledging.stop();
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
      if (over !== null || !line.again(deadlineOfNow(), done)) return false;
      if (link !== null) dropLink(failure("CONNECTION_LOST", "asking another node"), null);
      pump();
      watch();
      return true;
    },
    ask: (query, done) => {
      asking.add({ query, deadline: deadlineOfNow(), done, frameId: null });
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
    unacknowledgedAtOpen: () => acknowledging.left(),
    untaken: () => line.untaken(),
    node: () => link?.hello ?? null,
    addresses: () => seeker.addresses(),
    close: (done) => {
      if (closed || closing !== null) return done();
      failEverything(failure("BAD_REQUEST", "this client was closed"));
      closing = done;
      if (!isLeaving() || (link === null && !acknowledging.isOwed())) return finishClosing();
      clock.after(limits.silenceMs, finishClosing);
      pump();
    },
  };
}
