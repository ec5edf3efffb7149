// How does a process behave that uses raftq's own client? `src/client` as it is, on a simulated machine, with a user who asks what the
// workload wants asked, takes each answer at once or a while later, and believes each final word: what was surely not executed never
// was, and what is unknown may have been.
import { CLIENT } from "../../src/config.ts";
import { type ErrorCode, ERRORS, type Failure } from "../../src/lib/errors.ts";
import type { Random } from "../../src/lib/random.ts";
import { type ClientEvent, type ClientSettings, createClient, type Outcome } from "../../src/client/client.ts";
import { fetchAnswer, type UnacknowledgedAnswer } from "../../src/client/unacknowledged.ts";
import { decodeCommand, encodeCommand, SESSION_NONCE_BYTES } from "../../src/queue/commands.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import { decodeReply, encodeReply } from "../../src/queue/replies.ts";
import type { Command, Reply } from "../../src/queue/types.ts";
import type { NodeId, Term } from "../../src/raft/types.ts";
import type { ClientPorts, ClientProcess, Identity } from "./client-process.ts";
import { equalBytes, isSettled, type NumberSpace, type Operation } from "./history.ts";
import type { ClientHabits } from "./plan.ts";
import { partsOf } from "./real-witness.ts";

/** How long a user may take to write an answer down. */
const TAKING_MAX_MS = 300;
const OPEN_AGAIN_MAX_MS = 300;
/** A client that has just connected shows its session to the node within this, or leaves it for another. */
const TIME_TO_ATTACH_MS = 600;
/** Every process sends all of a file: a longer one would only take longer. */
const FILE_LINES = 100;

type Ended = "killed" | "closed" | "fenced" | "expired" | "refused" | "gave up" | "stopped";

export function startRealClient(identity: Identity, habits: ClientHabits, ports: ClientPorts): ClientProcess {
  const { random, history, trace, coverage, reads, fail } = ports;
  const { witness, limits, termAt, leads, keeps, now } = ports.real;
  const { id } = identity;
  const settings = drawSettings(identity, habits, limits, ports.addresses(), random);
  const { numbered, acknowledge, nonce } = settings;
  const space: NumberSpace = identity.file ?? { client: id, batches: settings.batch, operations: [] };
  const machine = ports.real.newMachine();
  /** Until its final word. */
  const awaited = new Set<Operation>();
  let ended: Ended | null = null;
  let isReady = false;
  let lastEnded: Operation | null = null;
  /** Operations of the file that this process has sent. */
  let sent = 0;
  let isStopped = false;
  /** `term`: since the node led in this one, this connection keeps the session alive. */
  let link: { readonly node: NodeId; term: Term | null } | null = null;
  let usedAt = now();
  let afterSilence: Operation | null = null;

  witness.process(nonce, space);
  const client = createClient(
    { network: machine.network, clock: machine.clock, random: random.fork() },
    settings,
    onEvent,
  );

  function connected(node: NodeId): void {
    const made: typeof link = { node, term: null };
    link = made;
    ports.after(TIME_TO_ATTACH_MS, () => {
      if (link === made && witness.isNewest(id, nonce)) made.term = keeps(node, id);
    });
  }

  function onEvent(event: ClientEvent): void {
    switch (event.type) {
      case "connected":
        return connected(event.node.node.id);
      case "redirected":
        return coverage.hit("a real client was redirected");
      case "disconnected":
        link = null;
        return;
      case "answeredLate":
        return answeredLate(event.outcome, event.taken);
      case "sessionOver":
        return sessionOver(event.failure);
    }
  }

  // ---- The end

  function end(why: Ended): void {
    if (ended !== null) return;
    ended = why;
    trace.event(id, `process ended: ${why}`);
    if (why === "killed") return machine.end();
    // Not inside its own call: the final words come first.
    ports.after(0, () => machine.enter(() => client.close(machine.end)));
  }

  function sessionOver(why: Failure): void {
    const { code } = why;
    if (code === "SESSION_FENCED") {
      if (witness.isNewest(id, nonce)) fail(`${id} was fenced, and nobody opened its session later`);
      if (awaited.size > 0) coverage.hit("a real client was fenced with requests under way");
      return end("fenced");
    }
    if (code === "SESSION_EXPIRED") {
      expectExpiry();
      return end("expired");
    }
    if (code !== "ANSWERS_LEFT" || acknowledge.earlier !== "refused")
      fail(`the session of ${id} ended with ${code}: ${why.message}`);
    identity.answersLeft = true;
    end("refused");
  }

  /** A connected session is kept alive, however silent its client is. */
  function expectExpiry(): void {
    coverage.hit("a real client's session expired");
    if (!ports.sessionsExpire && !identity.hasLeft) return fail(`the session of ${id} expired where none does`);
    if (link === null || link.term === null || !leads(link.node, link.term)) return;
    if (!witness.isNewest(id, nonce) || witness.lacksPlace(nonce)) return;
    fail(
      `the session of ${id} expired, although it was connected to ${link.node} which led term ${link.term} all the time`,
    );
  }

  // ---- The session

  function open(): void {
    client.open((why) => {
      if (ended !== null) return;
      if (why === null) return opened();
      // A process that was not ended yet has opened it, before this OPEN came.
      if (why.code === "SESSION_FENCED") return sessionOver(why);
      expectRetryable("an open", why);
      if (random.chance(50)) return end("gave up");
      machine.clock.after(random.below(OPEN_AGAIN_MAX_MS), () => {
        if (ended === null) open();
      });
    });
  }

  function opened(): void {
    trace.event(id, `opened, last number ${client.numberAtOpen()}`);
    usedAt = now();
    const left = numbered ? null : client.unacknowledgedAtOpen();
    if (left === null) return settled();
    const takesEach = random.chance(50);
    const fetched: UnacknowledgedAnswer[] = [];
    const fetch = (number: number): void => {
      if (number > left.last) {
        for (const answer of fetched) takeEarlier(answer);
        return settled();
      }
      fetchAnswer(client, number, (answer) => {
        if (ended !== null) return;
        if (!("outcome" in answer)) {
          expectRetryable(`to fetch number ${number}`, answer);
          return end("gave up");
        }
        toldEarlier(answer);
        if (takesEach) takeEarlier(answer);
        else fetched.push(answer);
        fetch(number + 1);
      });
    };
    fetch(left.first);
  }

  /** What earlier processes left behind has its truth in the log, and nothing more will come of it. */
  function settled(): void {
    isReady = true;
    if (numbered) return sendFile();
    for (const operation of identity.operations)
      if (operation.space !== space && operation.fate === "pending") operation.fate = "unclear";
  }

  function toldEarlier({ number, outcome }: UnacknowledgedAnswer): void {
    if (outcome.ok) {
      if (outcome.reply.type !== "void") coverage.hit("a real client fetched an earlier answer");
      return reportNumber(number, outcome.reply);
    }
    const { code } = outcome.failure;
    if (code === "FORGOTTEN") return reportForgotten(number);
    if (isRecorded(code)) return toldRefused(number);
    expectRetryable(`to fetch number ${number}`, outcome.failure);
  }

  /** That is the number's answer: what an earlier process asked for with it was surely not executed. */
  function toldRefused(number: number): void {
    for (const operation of identity.operations)
      if (operation.number === number && operation.fate === "pending") operation.fate = "refused";
  }

  function reportForgotten(number: number): void {
    if (!ports.answersForgotten) fail(`${id} #${number} is forgotten, and nobody has had its answer`);
    coverage.hit("a real client's answer was forgotten");
    witness.forgotten(id, number);
  }

  function reportNumber(number: number, reply: Reply): void {
    witness.reported(id, number, decodeReply(encodeReply(reply)));
    ports.onAnswer(reply);
  }

  function takeEarlier({ outcome, taken }: UnacknowledgedAnswer): void {
    if (outcome.ok) witness.taken(outcome.reply.index);
    taken();
  }

  // ---- Requests and their final words

  function send(operation: Operation, command: Command): void {
    awaited.add(operation);
    usedAt = now();
    client.submit(command, finalWordOn(operation), numbered ? operation.number : undefined);
  }

  /** Every process sends the whole file; those of its numbers that were executed before are not executed again. */
  function sendFile(): void {
    while (isReady && !isStopped && sent < space.operations.length && awaited.size < settings.limits.window) {
      const operation = space.operations[sent++];
      if (operation !== undefined) send(operation, decodeCommand(operation.command, limits));
    }
    if (isStopped && awaited.size === 0) end("stopped");
  }

  function finalWordOn(operation: Operation): (outcome: Outcome, taken: () => void) => void {
    return (outcome, taken) => {
      awaited.delete(operation);
      lastEnded = operation;
      usedAt = now();
      if (outcome.ok) answered(operation, outcome.number, outcome.reply, outcome.duplicate);
      else refused(operation, outcome.number, outcome.failure);
      takeSoon(outcome, taken);
      if (numbered) sendFile();
    };
  }

  function answered(operation: Operation, number: number, reply: Reply, duplicate: boolean): void {
    if (!numbered) operation.number = number;
    if (operation.replyBytes !== null) coverage.hit("a real client repeated an answered request");
    if (operation.fate === "never" || operation.fate === "refused")
      fail(`${nameOf(operation)} was surely not executed, and is answered all the same`);
    const fits = operation.call.type === "enqueue" ? reply.type === "enqueued" : reply.type === "dequeued";
    if (!fits) return fail(`${nameOf(operation)} was answered by ${reply.type}`);
    answer(operation, reply);
    ports.onAnswer(reply);
    if (link !== null && !duplicate) link.term = termAt(reply.index);
    if (operation === afterSilence) coverage.hit("a silent real client's session was kept alive");
  }

  function answer(operation: Operation, reply: Reply): void {
    const bytes = encodeReply(reply);
    if (operation.replyBytes !== null) {
      if (!equalBytes(operation.replyBytes, bytes)) fail(`${nameOf(operation)} got two different answers`);
      return;
    }
    history.answer(operation, decodeReply(bytes), bytes);
    trace.event(id, `${nameOf(operation)} = ${reply.type} at ${reply.index}`);
  }

  function refused(operation: Operation, number: number | null, why: Failure): void {
    trace.event(id, `${nameOf(operation)} failed with ${why.code}, applied: ${why.applied}`);
    if (why.code === "FORGOTTEN" && number !== null) return answerForgotten(operation, number);
    const isAnswer = isRecorded(why.code);
    if (!isAnswer && why.code !== "SESSION_FENCED" && why.code !== "SESSION_EXPIRED" && !isLeaving(why))
      expectRetryable(nameOf(operation), why);
    // The same line of the file may be executed by the next run.
    if (numbered && !isAnswer) isStopped = true;
    if (operation.fate === "answered") return;
    if (why.applied === "unknown") {
      coverage.hit("a real client's request ended unknown");
      if (!numbered && number !== null) operation.number = number;
    } else if (!numbered || isAnswer) {
      coverage.hit("a real client's request was surely not executed");
      operation.fate = isAnswer ? "refused" : "never";
    }
  }

  const isLeaving = ({ code }: Failure): boolean => code === "BAD_REQUEST" && ended !== null;

  /** Only an answer that somebody has had, or that nobody fetched for long, is no longer kept. */
  function answerForgotten(operation: Operation, number: number): void {
    if (isSettled(operation)) {
      // An earlier process was given it, and died before its user had it.
      if (ports.answersForgotten) witness.forgotten(id, number);
      return coverage.hit("a real client asked for an answer that it had acknowledged");
    }
    reportForgotten(number);
    operation.fate = "unclear";
    if (!numbered) operation.number = number;
  }

  /** The final word was "unknown", or came from an earlier process; this is what became of the number. */
  function answeredLate(outcome: Outcome, taken: () => void): void {
    if (!outcome.ok) return fail(`${id} was told late of a failure`);
    const { number, reply } = outcome;
    coverage.hit("a real client was answered after the final word");
    reportNumber(number, reply);
    takeSoon(outcome, taken);
    // Of an earlier process, which this one had given up to fetch.
    if (!numbered && number <= client.numberAtOpen()) return;
    // A request that was repeated may have its answer already.
    const owners = space.operations.filter((one) => one.number === number && one.fate !== "never");
    const parts = partsOf(reply, owners);
    if (parts === null || owners.length === 0)
      return fail(`${id} was told late that #${number} was executed, which fits none of its requests`);
    for (const [at, operation] of owners.entries()) {
      const part = parts[at];
      if (part === null || part === undefined) operation.fate = "never";
      else answer(operation, part);
    }
  }

  function takeSoon(outcome: Outcome, taken: () => void): void {
    const take = (): void => {
      if (outcome.ok) witness.taken(outcome.reply.index);
      taken();
    };
    if (acknowledge.when === "delivered" || random.chance(60)) take();
    else machine.clock.after(random.below(TAKING_MAX_MS), take);
  }

  /** Another word would mean that this client, or the node that it asked, has done something wrong. */
  function expectRetryable(what: string, why: Failure): void {
    coverage.refused(why.code);
    const kind = ERRORS[why.code].class;
    if (kind === "final" || kind === "fatal" || (kind === "local" && why.code !== "UNREACHABLE"))
      fail(`${id}: ${what} was refused with ${why.code}: ${why.message}`);
  }

  const nameOf = ({ call, number }: Operation): string => `${id} #${number === 0 ? "?" : number} (${call.type})`;
  const isOpen = (): boolean => isReady && ended === null && !machine.isSuspended();

  trace.event(id, `process started, with ${describe(settings)}`);
  machine.enter(open);
  return {
    identity,
    submit: (call, command) => {
      if (!isOpen() || (numbered && space.operations.length >= FILE_LINES)) return;
      const isSilent = now() - usedAt > limits.sessionExpiryMs && link !== null && link.term !== null;
      const number = numbered ? space.operations.length + 1 : 0;
      const operation = history.beginIn(space, { number, call, command: encodeCommand(command) });
      if (isSilent) afterSilence = operation;
      if (!numbered) identity.operations.push(operation);
      machine.enter(() => (numbered ? sendFile() : send(operation, command)));
    },
    read: () => {
      if (!isOpen()) return;
      const ask: Parameters<typeof reads.askThrough>[1] = (question, onMessage) =>
        machine.enter(() =>
          client.ask(question, (message) => {
            if ("type" in message && message.type !== "failure") onMessage(message);
          }),
        );
      reads.askThrough(id, ask);
    },
    repeatOld: () => {
      const operation = lastEnded;
      if (!isOpen() || numbered || settings.batch || awaited.size > 0 || operation === null) return;
      machine.enter(() => {
        if (!client.again(finalWordOn(operation))) return;
        awaited.add(operation);
        if (operation.fate !== "never") return;
        operation.fate = "pending";
        // It never had a number, so it gets the next one.
        if (operation.number === 0)
          space.operations.push(...space.operations.splice(space.operations.indexOf(operation), 1));
      });
    },
    pending: () => awaited.size,
    ready: isOpen,
    over: () => ended !== null,
    sleep: (ms) => machine.suspend(ms),
    kill: () => end("killed"),
    close: () => {
      if (ended === null) identity.hasLeft ||= settings.generated && settings.closeOnLeave;
      end("closed");
    },
  };
}

/** The refusals that these requests may have for an answer, which every retry of the number gets. */
function isRecorded(code: ErrorCode): boolean {
  return code === "QUEUE_FULL" || code === "TOO_LARGE";
}

function drawSettings(
  { id, generated, file, answersLeft }: Identity,
  habits: ClientHabits,
  { maxReplies, sessionExpiryMs }: QueueLimits,
  addresses: readonly string[],
  random: Random,
): ClientSettings {
  const numbered = file !== null;
  const batch = !numbered && random.chance(40);
  const when = numbered || (!batch && random.chance(60)) ? "taken" : "delivered";
  const pick = <T>(...choices: readonly [T, ...T[]]): T => choices[random.below(choices.length)] ?? choices[0];
  const known = addresses.filter(() => random.chance(50));
  return {
    // The others are learned.
    addresses: known.length === 0 || random.chance(50) ? addresses : known,
    clientId: id,
    nonce: Uint8Array.from({ length: SESSION_NONCE_BYTES }, () => random.below(256)),
    timeoutMs: pick(0, 50, 200, 200, 1_000, 1_000, 5_000, 5_000),
    follow: true,
    numbered,
    batch,
    acknowledge: {
      when,
      earlier: numbered || answersLeft || random.chance(70) ? "fetched" : "refused",
      whenIdle: when === "taken" && random.chance(50),
    },
    generated,
    closeOnLeave: !numbered && random.chance(70),
    limits: {
      ...CLIENT.limits,
      // A client never fills its session's window.
      window: Math.min(habits.window, maxReplies - 1),
      maxBatchJobs: pick(2, 8, CLIENT.limits.maxBatchJobs),
      maxBatchBytes: pick(200, CLIENT.limits.maxBatchBytes),
      // Early enough that a client id is not forgotten.
      attachRetryMs: Math.min(CLIENT.limits.attachRetryMs, sessionExpiryMs / 8),
    },
  };
}

function describe({ numbered, batch, acknowledge, timeoutMs }: ClientSettings): string {
  const how = numbered ? "a file" : batch ? "requests that travel together" : "requests one by one";
  return `${how}, answers acknowledged when ${acknowledge.when}, earlier ones ${acknowledge.earlier}, timeout ${timeoutMs}ms`;
}
