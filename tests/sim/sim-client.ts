// How does the hand-written client behave? It opens a session, numbers its requests, and sends the same number again, anywhere, until it
// knows. Everything it asks and every answer goes into the history.
import { encodeCommand } from "../../src/queue/commands.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import type { Reply } from "../../src/queue/types.ts";
import { type ErrorCode, ERRORS, type Failure } from "../../src/lib/errors.ts";
import type { ServerMessage } from "../../src/wire/protocol.ts";
import type { ClientPorts, ClientProcess, Identity } from "./client-process.ts";
import { type Call, equalBytes, type History, isRecorded, isSettled, type Operation } from "./history.ts";
import type { ClientHabits } from "./plan.ts";
import type { Question } from "./sim-caller.ts";

const LEADERS_REFUSALS: ReadonlySet<ErrorCode> = new Set([
  "OUT_OF_ORDER",
  "WINDOW_FULL",
  "OVERLOADED",
  "DISK_FULL",
  "SESSIONS_FULL",
  "DIVERGED",
]);

/** Nearly as many as a request may be about. */
const MANY_JOBS = 500;

type Ended = "fenced" | "expired" | "killed" | "closed";

export function startClient(identity: Identity, habits: ClientHabits, ports: ClientPorts): ClientProcess {
  const { random, history, trace, coverage, caller, fail } = ports;
  const nonce = new Uint8Array(Array.from({ length: 16 }, () => random.below(256)));
  const lag = random.below(habits.answeredLag + 1);
  let lagging = lag > 0;
  let session: number | null = null;
  /** Its session was open once: it may go on with it under another id. */
  let wasOpen = false;
  let isResuming = false;
  let nextNumber = 1;
  let ended: Ended | null = null;
  let target = pickAddress();
  /** Under way in this process: its own numbers, and those it clears up for an earlier process. */
  const open = new Map<number, Operation>();
  const answered = new Set<number>();
  let answeredTo = 0;

  function pickAddress(): string {
    const addresses = ports.addresses();
    return addresses[random.below(addresses.length)]!;
  }
  const end = (why: Ended): void => {
    if (ended !== null) return;
    ended = why;
    trace.event(identity.id, `process ended: ${why}`);
    caller.close();
    if (why === "fenced" && open.size > 0) coverage.hit("a session was fenced with numbers in flight");
    if (why !== "expired") return;
    coverage.hit("a session expired");
    for (const operation of open.values()) operation.fate = "unclear";
  };
  const later = (ms: number, run: () => void): void =>
    ports.after(ms, () => {
      if (ended === null) run();
    });
  const ask = (address: string, question: Question, answer: (message: ServerMessage | null) => void): void =>
    caller.ask(address, question, habits.attemptTimeoutMs, (message) => {
      if (ended === null) answer(message);
    });
  /** Where to try next, and after how long: `run` gets the address. */
  const elsewhere = (asked: string, why: Failure | null, run: (address: string) => void): void => {
    if (ended !== null) return;
    if (why !== null) coverage.refused(why.code);
    const stray = random.chance(10) ? pickAddress() : null;
    const follow = why?.leader !== undefined && stray === null;
    // Refusals that only a leader gives are no reason to leave it. And an attempt that fails elsewhere proves nothing about the
    // node that the others go to: many under way would keep a process from ever staying with a leader.
    const stay = target !== asked || (why !== null && LEADERS_REFUSALS.has(why.code));
    if (follow && why?.leader !== undefined) target = why.leader;
    else if (!stay) target = pickAddress();
    later(follow ? 0 : (why?.retryAfterMs ?? 1) + random.below(20), () => run(stray ?? target));
  };

  function openSession(address = target): void {
    let movedOn = false;
    const open = { type: "open", group: 0, generated: identity.generated, resume: isResuming } as const;
    ask(address, { ...open, clientId: identity.id, nonce }, (message) => {
      if (movedOn) return;
      movedOn = true;
      if (message === null) return elsewhere(address, null, openSession);
      if (message.type === "failure") return elsewhere(address, notFinal("open", message.failure), openSession);
      if (message.type !== "reply") return fail(`${identity.id}: an open was answered by ${message.type}`);
      const reply = decodeReply(message.reply);
      if (reply.type === "refused") return openRefused(reply.code, reply.message);
      if (reply.type !== "opened") return fail(`${identity.id}: an open was answered by ${reply.type}`);
      if (session !== null) return;
      ports.onAnswer(reply);
      if (wasOpen) resume(reply.session, reply.lastNumber);
      else takeOver(reply.session, reply.lastNumber);
    });
  }

  /** Others needed its place while it was idle: the same process goes on, and all that it waits for is asked again. */
  function resume(opened: number, lastNumber: number): void {
    trace.event(identity.id, `goes on as session ${opened}, last number ${lastNumber}`);
    session = opened;
    isResuming = false;
    coverage.hit("a dormant session was resumed");
    const lost = identity.operations.find((operation) => isSettled(operation) && operation.number > lastNumber);
    if (lost !== undefined) return fail(`${nameOf(lost)} was answered, and its resumed session does not know it`);
    for (const operation of open.values()) attempt(operation, target);
  }

  /** The session is not open any more; what was under way in it waits until it is resumed. */
  function lostSession(): void {
    if (isResuming) return end("expired");
    session = null;
    isResuming = true;
    openSession();
  }

  function openRefused(code: ErrorCode, why: string): void {
    if (code === "SESSION_FENCED") return end("fenced");
    coverage.refused(code);
    if (code === "SESSIONS_FULL" && why.includes("client ids")) coverage.hit("all client ids were in use");
    if (code === "SESSIONS_FULL") return later(50 + random.below(200), () => openSession());
    if (code === "SESSION_EXPIRED" && session === null) return lostSession();
    if (code === "SESSION_EXPIRED") return;
    fail(`${identity.id}: open refused with ${code}: ${why}`);
  }

  /** The answer to OPEN is the truth about earlier numbers: up to `lastNumber` executed, none behind it, ever. */
  function takeOver(opened: number, lastNumber: number): void {
    trace.event(identity.id, `opened session ${opened}, last number ${lastNumber}`);
    session = opened;
    wasOpen = true;
    isResuming = false;
    nextNumber = lastNumber + 1;
    // Another process may have opened a later session meanwhile: this late answer knows nothing of its numbers.
    const earlier = identity.operations.filter((operation) => operation.session < opened);
    const known = identity.openings.filter((opening) => opening.session < opened);
    const forgotten =
      earlier.some((operation) => isSettled(operation) && operation.number > lastNumber) ||
      known.some((opening) => opening.lastNumber > lastNumber);
    if (forgotten) startAfresh();
    identity.openings.push({ session: opened, lastNumber });
    answeredTo = identity.acknowledgedUpTo;
    for (const operation of identity.operations) {
      if (operation.session >= opened) continue;
      giveUpIfFenced(operation);
      askAgainIfKept(operation);
      if (operation.fate === "pending") open.set(operation.number, operation);
      else if (isSettled(operation)) markAnswered(operation.number);
    }
    for (const operation of open.values()) attempt(operation, target);
  }

  /** What the next OPEN after an operation's session did not count will never be executed. */
  function giveUpIfFenced(operation: Operation): void {
    if (operation.fate !== "pending") return;
    const fence = fenceOf(operation);
    if (fence === undefined || operation.number <= fence.lastNumber) return;
    operation.fate = ports.sessionsExpire ? "unclear" : "never";
  }

  /** Its process got the answer that the session is gone, and yet the numbers live on: it was fenced so long ago that no node remembers. */
  function askAgainIfKept(operation: Operation): void {
    if (operation.fate === "unclear" && operation.number <= (fenceOf(operation)?.lastNumber ?? 0))
      operation.fate = "pending";
  }

  /** The opening that fenced the session of this operation. */
  function fenceOf(operation: Operation): Identity["openings"][number] | undefined {
    const later = identity.openings.filter((opening) => opening.session > operation.session);
    return later.toSorted((a, b) => a.session - b.session)[0];
  }

  /**
   * The cluster knows fewer numbers than this client: its session expired meanwhile, or was closed by another process before this
   * one's OPEN arrived. What was unclear stays so.
   */
  function startAfresh(): void {
    if (!ports.sessionsExpire && !identity.hasLeft)
      return fail(`${identity.id}: session ${session} has forgotten numbers that were answered`);
    for (const operation of identity.operations) if (operation.fate === "pending") operation.fate = "unclear";
    identity.operations.length = 0;
    identity.openings.length = 0;
    identity.acknowledgedUpTo = 0;
  }

  function markAnswered(number: number): void {
    answered.add(number);
    while (answered.delete(answeredTo + 1)) answeredTo++;
  }

  function questionFor(operation: Operation, asked: number): Question {
    const acknowledgedThrough = Math.max(0, answeredTo - (lagging ? lag : 0));
    identity.acknowledgedUpTo = Math.max(identity.acknowledgedUpTo, acknowledgedThrough);
    const { number, command } = operation;
    return { type: "request", group: 0, session: asked, number, acknowledgedThrough, command };
  }

  function attempt(operation: Operation, address: string): void {
    if (session === null) return;
    const asked = session;
    let movedOn = false;
    ask(address, questionFor(operation, asked), (message) => {
      const again = (next: string): void => {
        // One that a later process has fenced off goes on too, until the cluster itself refuses it.
        if (isSettled(operation)) learnedElsewhere(operation);
        else attempt(operation, next);
      };
      // After a time-out the same number is under way elsewhere; of a late answer only a definite one counts.
      if (movedOn && message?.type !== "reply") return;
      if (message?.type !== "reply") movedOn = true;
      if (message === null) return elsewhere(address, null, again);
      if (message.type === "failure") return attemptFailed(operation, address, asked, message.failure, again);
      if (message.type !== "reply") return fail(`${nameOf(operation)} was answered by ${message.type}`);
      // The message is a view of the connection's buffer; what is kept needs bytes of its own.
      const bytes = message.reply.slice();
      const reply = decodeReply(bytes);
      if (isRecorded(reply)) return definite(operation, reply, bytes, message.duplicate);
      if (reply.type !== "refused" || movedOn) return;
      movedOn = true;
      const why: Failure = { code: reply.code, applied: "no", message: reply.message };
      attemptFailed(operation, address, asked, why, again);
    });
  }

  /** Another process of this client got the answer meanwhile, and shares what it knows. */
  function learnedElsewhere(operation: Operation): void {
    if (!open.delete(operation.number)) return;
    markAnswered(operation.number);
  }

  function attemptFailed(
    operation: Operation,
    address: string,
    asked: number,
    why: Failure,
    again: (address: string) => void,
  ): void {
    if (why.code === "SESSION_FENCED") return end("fenced");
    // One that was sent in an earlier session of this process: everything was sent again since.
    if (why.code === "SESSION_EXPIRED" && asked !== session) return;
    if (why.code === "SESSION_EXPIRED") return lostSession();
    if (why.code === "WINDOW_FULL") lagging = false;
    if (isSettled(operation)) {
      learnedElsewhere(operation);
      return mustBeForgotten(operation, why);
    }
    if (why.code === "FORGOTTEN" && ports.answersForgotten) return answerForgotten(operation);
    elsewhere(address, notFinal(nameOf(operation), why), again);
  }

  /** It was executed, and nobody knows any more what came of it. */
  function answerForgotten(operation: Operation): void {
    coverage.hit("an answer was forgotten while its session was dormant");
    operation.fate = "unclear";
    if (open.delete(operation.number)) markAnswered(operation.number);
  }

  /** FORGOTTEN is the only final word on a number that was answered, and only after the client had acknowledged it. */
  function mustBeForgotten(operation: Operation, why: Failure): void {
    const kind = ERRORS[why.code].class;
    if (kind === "retry" || kind === "redirect" || kind === "unknown") return;
    const isAcknowledged = operation.number <= identity.acknowledgedUpTo;
    if (why.code === "FORGOTTEN" && isAcknowledged) return coverage.refused(why.code);
    if (why.code === "FORGOTTEN" && ports.answersForgotten)
      return coverage.hit("an answer was forgotten while its session was dormant");
    fail(`${nameOf(operation)} was answered before, and then refused with ${why.code}: ${why.message}`);
  }

  function notFinal(what: string, why: Failure): Failure {
    const kind = ERRORS[why.code].class;
    if (kind === "final" || kind === "fatal" || kind === "local")
      fail(`${what} was refused with ${why.code}: ${why.message}`);
    return why;
  }

  function definite(operation: Operation, reply: Reply, bytes: Uint8Array, duplicate: boolean): void {
    open.delete(operation.number);
    markAnswered(operation.number);
    if (operation.replyBytes !== null) {
      if (!equalBytes(operation.replyBytes, bytes)) {
        fail(
          `${nameOf(operation)} got two different answers: ${JSON.stringify(operation.reply)} and ${JSON.stringify(reply)}`,
        );
      }
      return;
    }
    if (operation.fate !== "pending")
      return fail(`${nameOf(operation)} was ${operation.fate} and is answered all the same`);
    if (!mayAnswer(operation.call, reply)) return fail(`${nameOf(operation)} was answered by ${wordFor(reply)}`);
    history.answer(operation, reply, bytes);
    if (reply.type === "refused") coverage.refused(reply.code);
    if (duplicate) coverage.hit("a retry was answered with the stored answer");
    if (reply.type === "dequeued" && reply.jobs.length === 0) coverage.hit("a queue was found empty");
    if (reply.type === "dequeued" && reply.jobs.length > MANY_JOBS)
      coverage.hit("hundreds of jobs came and went by one request each");
    trace.event(identity.id, `#${operation.number} ${describe(operation, history)}${duplicate ? " (duplicate)" : ""}`);
    ports.onAnswer(reply);
  }

  const nameOf = (operation: Operation): string =>
    `${identity.id} session ${session} #${operation.number} (${operation.call.type}, first sent in session ${operation.session})`;

  trace.event(identity.id, "process started");
  openSession();
  return {
    identity,
    submit: (call, asked) => {
      if (session === null || ended !== null) return;
      const command = encodeCommand(asked);
      const operation = history.begin({ client: identity.id, session, number: nextNumber++, call, command });
      identity.operations.push(operation);
      giveUpIfFenced(operation);
      open.set(operation.number, operation);
      const addresses = ports.addresses();
      const three = addresses.length > 1 && random.chance(habits.threeAtOncePercent);
      attempt(operation, target);
      if (!three) return;
      for (let extra = 0; extra < 2; extra++) attempt(operation, pickAddress());
    },
    read: () => ports.reads.ask(),
    repeatOld: () => {
      const old = identity.operations[random.below(Math.max(1, identity.operations.length))];
      if (session !== null && ended === null && old !== undefined && isSettled(old)) attempt(old, pickAddress());
    },
    pending: () => open.size,
    ready: () =>
      session !== null && ended === null && [...open.values()].every((operation) => operation.session === session),
    over: () => ended !== null,
    sleep: () => caller.hangUp(),
    kill: () => end("killed"),
    close: () => {
      if (session !== null && ended === null) {
        identity.hasLeft ||= identity.generated;
        identity.acknowledgedUpTo = Math.max(identity.acknowledgedUpTo, answeredTo);
        const close = { type: "close", group: 0, session, acknowledgedThrough: answeredTo } as const;
        caller.ask(target, close, habits.attemptTimeoutMs, () => {});
      }
      end("closed");
    },
  };
}

function mayAnswer(call: Call, reply: Reply): boolean {
  if (reply.type === "refused") return call.type === "enqueue" && reply.code === "QUEUE_FULL";
  return reply.type === (call.type === "enqueue" ? "enqueued" : "dequeued");
}

const wordFor = (reply: Reply): string => (reply.type === "refused" ? reply.code : reply.type);

function describe(operation: Operation, history: History): string {
  const { call, reply } = operation;
  if (reply?.type === "dequeued") {
    const values = reply.jobs.map((job) => history.valueOf(job.payload));
    return `dequeue = ${values.length === 0 ? "empty" : values.join(" ")} at ${reply.index}`;
  }
  const values = call.type === "enqueue" ? call.values.join(" ") : "";
  return reply === null ? `enqueue ${values}` : `enqueue ${values} ${wordFor(reply)} at ${reply.index}`;
}
