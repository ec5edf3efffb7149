// What does a client do that breaks the rules of sessions, in messages that are all well-formed? Numbers out of order, two commands
// under one number, nonces of long ago, sessions that never were, acknowledgements of what was never answered. It may harm itself;
// whatever of it comes into the log is judged like everything else.
import { QUEUE } from "../../src/config.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import { type Command, ENCODING, type Reply } from "../../src/queue/types.ts";
import { fieldsOf } from "../../src/raft/entry.ts";
import type { ClientPorts } from "./client-process.ts";
import { type Call, equalBytes, type History, type Operation } from "./history.ts";
import type { CommittedLog } from "./committed-log.ts";
import { OPEN } from "../kit/messages.ts";

interface Opening {
  readonly nonce: Uint8Array;
  session: number | null;
}

export interface Hostile {
  /** Asks nothing any more. */
  cease(): void;
}

const TIMEOUT_MS = 500;
const THINK_MAX_MS = 60;
const NONCES_KEPT = 12;
const FAR_AHEAD = 1_000_000;
const LARGEST_NUMBER = Number.MAX_SAFE_INTEGER;

export function startHostile(id: string, ports: ClientPorts): Hostile {
  const { random, history, caller, addresses, after, fail, sessionsExpire, trace } = ports;
  /** The newest ones, and which session each of them began, as far as it is known. */
  const openings: Opening[] = [];
  let nonces = 0;
  /** The sessions that they began, as far as they were answered. */
  const begun = new Set<number>();
  let session: number | null = null;
  let next = 1;
  let ceased = false;
  let target = anyAddress();

  function anyAddress(): string {
    const all = addresses();
    return all[random.below(all.length)]!;
  }

  /** The cluster remembers so many nonces of one client id, the last ones that came into the log: not the last ones drawn. */
  function mayBeForgotten({ session: began }: Opening): boolean {
    if (began === null) return true;
    const later = [...begun].filter((other) => other > began).length;
    return later + Math.max(0, nonces - begun.size) >= QUEUE.noncesRemembered;
  }

  function open(opening: Opening, isOld: boolean): void {
    caller.ask(target, { ...OPEN, clientId: id, nonce: opening.nonce }, TIMEOUT_MS, (message) => {
      if (message?.type !== "reply") return moveOn(message?.type === "failure" ? message.failure.leader : undefined);
      const reply = decodeReply(message.reply);
      if (reply.type !== "opened") return;
      // A leader that does not know yet that it is deposed may repeat what it answered to this very process.
      if (isOld && session !== null && reply.session < session) return;
      if (isOld && !sessionsExpire && !mayBeForgotten(opening))
        fail(`${id}: a nonce of an earlier process opened session ${reply.session} again`);
      trace.event(id, `opened session ${reply.session}, last number ${reply.lastNumber}`);
      ports.onAnswer(reply);
      begun.add(reply.session);
      opening.session = reply.session;
      session = reply.session;
      next = reply.lastNumber + 1;
    });
  }

  function openAnew(): void {
    const nonce = new Uint8Array(Array.from({ length: 16 }, () => random.below(256)));
    const opening = { nonce, session: null };
    openings.push(opening);
    nonces++;
    if (openings.length > NONCES_KEPT) openings.shift();
    open(opening, false);
  }

  function moveOn(leader: string | undefined): void {
    target = leader ?? anyAddress();
  }

  function drawCall(): { readonly call: Call; readonly command: Uint8Array } {
    const queue = "default";
    if (random.chance(60)) {
      const { value, payload } = history.newPayload(random.below(50));
      const command: Command = { type: "enqueue", queue, jobs: [{ encoding: ENCODING.bytes, payload }] };
      return { call: { type: "enqueue", values: [value] }, command: encodeCommand(command) };
    }
    const max = random.between(1, 3);
    const command: Command = {
      type: "dequeue",
      queues: [queue],
      max,
      maxBytes: random.between(1, 100_000),
      leaseMs: 0,
      waitMs: 0,
    };
    return { call: { type: "dequeue", max }, command: encodeCommand(command) };
  }

  function send(number: number, acknowledgedThrough: number, to: string): void {
    if (session === null) return;
    const { call, command } = drawCall();
    const operation = history.begin({ client: id, session, number, call, command });
    ask(session, number, acknowledgedThrough, command, to, (reply, bytes) => definite(operation, reply, bytes));
  }

  /** Bytes that are no command, or one that only clears up: the log may hold them, the history does not. */
  function sendOdd(number: number, command: Uint8Array): void {
    if (session !== null) ask(session, number, 0, command, target, () => {});
  }

  function ask(
    ofSession: number,
    number: number,
    acknowledgedThrough: number,
    command: Uint8Array,
    to: string,
    answered: (reply: Reply, bytes: Uint8Array) => void,
  ): void {
    const question = { type: "request", group: 0, session: ofSession, number, acknowledgedThrough, command } as const;
    caller.ask(to, question, TIMEOUT_MS, (message) => {
      if (message?.type === "failure") {
        const { code, leader } = message.failure;
        if (code === "SESSION_EXPIRED" || code === "SESSION_FENCED") session = null;
        return moveOn(leader);
      }
      if (message?.type !== "reply") return moveOn(undefined);
      const bytes = message.reply.slice();
      const reply = decodeReply(bytes);
      if (reply.type === "refused" && reply.code.startsWith("SESSION_")) session = null;
      if (number === next && ofSession === session) next++;
      answered(reply, bytes);
    });
  }

  function definite(operation: Operation, reply: Reply, bytes: Uint8Array): void {
    if (reply.type === "refused") return;
    if (operation.replyBytes !== null) {
      if (!equalBytes(operation.replyBytes, bytes)) fail(`${id} #${operation.number} got two different answers`);
      return;
    }
    history.answer(operation, reply, bytes);
    ports.onAnswer(reply);
  }

  function act(): void {
    if (session === null) return openAnew();
    const old = random.between(1, Math.max(1, next - 1));
    switch (random.below(11)) {
      case 0:
        return openAnew();
      case 1: {
        const known = openings.flatMap((opening) => opening.session ?? []);
        const newest = Math.max(0, ...known);
        const earlier = openings.filter((opening) => opening.session !== null && opening.session < newest);
        const chosen = earlier[random.below(Math.max(1, earlier.length))];
        return chosen === undefined ? openAnew() : open(chosen, true);
      }
      case 2:
        return send(next + random.between(1, 5), 0, target);
      case 3:
        send(next, 0, target);
        return send(next, 0, random.chance(50) ? target : anyAddress());
      case 4:
        return send(old, 0, target);
      case 5:
        return send(next, next + random.below(FAR_AHEAD), target);
      case 6:
        return sendOdd(random.chance(50) ? next : old, encodeCommand({ type: "resolve" }));
      case 7:
        return sendOdd(next, Uint8Array.of(...Array.from({ length: random.below(20) }, () => random.below(256))));
      case 8:
        return send(random.chance(50) ? LARGEST_NUMBER : 0, 0, target);
      case 9: {
        const { command } = drawCall();
        return ask(session + FAR_AHEAD, 1, 0, command, target, (reply) => {
          if (reply.type !== "refused") fail(`${id}: a session that never was executed a command`);
        });
      }
      default:
        // Several at once, in whatever order they arrive.
        for (const number of [next + 2, next, next + 1]) send(number, 0, target);
    }
  }

  const live = (): void => {
    if (ceased) return caller.close();
    act();
    after(1 + random.below(THINK_MAX_MS), live);
  };
  live();
  return {
    cease: () => {
      ceased = true;
    },
  };
}

/** Of all that was sent under one number the log holds one at most: what is not that one never happened. */
export function settleHostile(history: History, committedLog: CommittedLog): void {
  const executed = new Map<string, Uint8Array>();
  for (let index = 1; index <= committedLog.lastIndex; index++) {
    const { entry, reply } = committedLog.at(index) ?? {};
    if (entry?.kind !== "command" || reply === null || reply === undefined) continue;
    const { session, number, body } = fieldsOf(entry);
    if (reply.type !== "refused" && reply.index === index) executed.set(`${session}#${number}`, body);
  }
  for (const operation of history.operations) {
    if (!operation.client.startsWith(HOSTILE) || operation.fate !== "pending") continue;
    const body = executed.get(`${operation.session}#${operation.number}`);
    if (body === undefined || !equalBytes(body, operation.command)) operation.fate = "never";
  }
}

/** How the ids of hostile clients begin. */
export const HOSTILE = "h";
