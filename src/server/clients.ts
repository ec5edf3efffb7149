// What does a node answer to a client? Finds the session, or says who leads; then each request waits for its entry.
import { SERVER } from "../config.ts";
import { assert } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { encodeOpen, isClientId, isSettle, needsNoRoom } from "../queue/commands.ts";
import type { QueueLimits } from "../queue/limits.ts";
import { acknowledges, isKnownClient, lookUp, peek } from "../queue/queue.ts";
import { decodeReply } from "../queue/replies.ts";
import { hasRoom, votersWithRoom } from "../raft/room.ts";
import { nodeIdOf } from "../raft/types.ts";
import type { ClientMessage, Request, ServerMessage } from "../wire/protocol.ts";
import type { Connection } from "../wire/connection.ts";
import { createInFlight, type InFlightLimits, type Waiting } from "./in-flight.ts";
import { createLeaderEntries, type LeaderEntryLimits } from "./leader-entries.ts";
import { isFailure, type Outcome, type Replica, type Waiter } from "./replica.ts";
import { createUnderWay } from "./under-way.ts";
import { isWrite } from "./roles.ts";
import { type NodeFacts, leaderAddressOf, logPageOf, statusOf, traceOf } from "./status.ts";
import type { LogEvent } from "./types.ts";

const NOTHING = new Uint8Array(0);
const OVERLOADED_RETRY_MS = 10;
const UNREAD = failure("OVERLOADED", "earlier answers on this connection wait to be read", {
  retryAfterMs: OVERLOADED_RETRY_MS,
});

export interface ClientLimits extends InFlightLimits, LeaderEntryLimits {
  readonly maxLogPagesPerTurn: number;
  readonly maxSessionsPerConnection: number;
  /** A request waits this long for an election to end before it is answered NO_LEADER. */
  readonly noLeaderWaitMs: number;
  /** Clients that a node sends to the leader in one turn although they ask nothing. */
  readonly maxSentOnPerTurn: number;
}

/** One connection of a client: what it asked and is not answered yet. */
interface Visitor {
  readonly connection: Connection;
  /** Sessions that used this connection: while it lives they are not idle. */
  readonly sessions: Set<number>;
  readonly waiting: Waiting;
  /** It sends no more (half-close): it is answered, then its connection is closed. */
  ended: boolean;
  gone: boolean;
}

interface Asked {
  readonly visitor: Visitor;
  readonly arrivedAt: number;
  readonly message: ClientMessage;
  readonly bytes: number;
}

export interface Clients {
  /** A connection said hello as a client; the answers go through `connection.send`, flushed once per turn. */
  accept(connection: Connection): (message: ClientMessage) => void;
  closed(connection: Connection): void;
  /** The client sends no more. True: its connection is closed once it has all answers. */
  ended(connection: Connection): boolean;
  /** Requests that wait for an answer, over all connections. */
  waiting(): number;
}

/** `queueLimits`: what a new cluster starts with. `refused`: for the node's log. */
export function createClients(
  replica: Replica,
  facts: NodeFacts,
  limits: ClientLimits,
  queueLimits: QueueLimits,
  log: (line: LogEvent) => void,
  refused: (text: string) => void,
): Clients {
  const visitors = new Map<Connection, Visitor>();
  let requests: Asked[] = [];
  /** Requests that wait for this node to be ready to lead, or for an election to end. */
  let parked: Asked[] = [];
  let parkedTimer = false;
  /** Log pages and large jobs that wait for the next turn, and those made in this one. */
  let laterPages: Asked[] = [];
  let pages = 0;
  /** As of this turn: raft learns of room by messages only. */
  let isRoom = true;
  const inFlight = createInFlight(limits);
  const underWay = createUnderWay<Asked>(OVERLOADED_RETRY_MS, settleOutcome);
  const touched = new Set<Connection>();
  const { clock, needsCheckpoint } = facts;
  const leaderEntries = createLeaderEntries(replica, limits, {
    clock,
    queueLimits,
    connectedSessions,
    needsCheckpoint,
    log,
  });

  const release = ({ visitor, bytes }: Asked): void => inFlight.leave(visitor.waiting, bytes);
  const answer = (asked: Asked, message: ServerMessage): void => {
    const { visitor } = asked;
    release(asked);
    if (visitor.gone) return;
    visitor.connection.send(message);
    touched.add(visitor.connection);
  };
  const refuse = (asked: Asked, why: Failure): void => {
    answer(asked, { type: "failure", frameId: asked.message.frameId, failure: why });
  };
  const notLeading = (): Failure => {
    const { raft } = replica;
    const leader = leaderAddressOf(raft);
    if (raft.leader !== null && raft.leader !== raft.self && leader !== null) {
      const message = `${facts.self.id} is not the leader; ${nodeIdOf(raft.leader)} at ${leader} is`;
      return failure("NOT_LEADER", message, { leader });
    }
    return failure("NO_LEADER", `${facts.self.id} knows no leader at present`, { retryAfterMs: OVERLOADED_RETRY_MS });
  };

  const diskFull = (consequence: string): Failure => {
    const { room, voters } = votersWithRoom(replica.raft);
    const message = `only ${room} of ${voters} voters have room on their disks: ${consequence}`;
    return failure("DISK_FULL", message, { retryAfterMs: SERVER.diskFullRetryMs });
  };

  function settleOutcome(asked: Asked, outcome: Outcome): void {
    const { frameId } = asked.message;
    if (outcome.type === "failed") return refuse(asked, withRetry(outcome.failure));
    const { reply, duplicate } = outcome.applied;
    assert(reply !== null, "a client's entry has a reply");
    answer(asked, { type: "reply", frameId, duplicate, reply });
  }

  const waiterFor = (asked: Asked): Waiter => ({ settle: (outcome) => settleOutcome(asked, outcome) });

  function request(asked: Asked, message: Request): void {
    if (message.session > replica.appliedIndex()) return requestOfUnknown(asked, message);
    const found = lookUp(replica.queue(), message.session, message.number, message.command);
    // Numbers that are no sessions could be any number of them.
    if (found.type !== "refused") keepAlive(asked.visitor, message.session);
    switch (found.type) {
      case "answered":
        // A settle may be there for its answeredUpTo alone, which counts only once it is in the log.
        if (isSettle(message.command)) return propose(message, waiterFor(asked));
        return answer(asked, { type: "reply", frameId: message.frameId, duplicate: true, reply: found.reply });
      case "refused":
        // The answer is no longer kept, and was never acknowledged: that it is now must be known.
        if (isSettle(message.command) && acknowledges(replica.queue(), message.session, message.answeredUpTo))
          return propose(message, waiterFor(asked));
        return refuse(asked, found.failure);
      case "next":
        return proposeNext(asked, message, found.lastNumber);
    }
  }

  /**
   * A session is the index of its OPEN, and this node has not applied so far: nobody opened it, or the next leader did, which this
   * one has not heard of yet. To say that it is over would end a client for good, so a majority is asked first.
   */
  function requestOfUnknown(asked: Asked, { session, number, command }: Request): void {
    replica.read((why) => {
      if (why !== null) return refuse(asked, withRetry(why));
      const found = lookUp(replica.queue(), session, number, command);
      if (found.type === "refused") return refuse(asked, found.failure);
      parked.push(asked);
      replica.wake();
    });
  }

  /** The sessions used last; more than the limit are kept alive by their own requests only. */
  function keepAlive({ sessions }: Visitor, session: number): void {
    if (sessions.has(session)) return;
    const [first] = sessions;
    if (first !== undefined && sessions.size >= limits.maxSessionsPerConnection) sessions.delete(first);
    sessions.add(session);
  }

  function proposeNext(asked: Asked, message: Request, lastNumber: number): void {
    const place = underWay.enter(asked, message, lastNumber);
    if (place.type === "refused") return refuse(asked, place.failure);
    if (place.type === "waits") return;
    if (!isRoom && !needsNoRoom(message.command)) {
      const why = diskFull("enqueues are refused until space is freed there or jobs are taken out; dequeues pass");
      return place.waiter.settle({ type: "failed", failure: why });
    }
    // A malformed command enters the log too: its refusal becomes the number's answer, and the numbers behind it can go on.
    propose(message, place.waiter);
  }

  function propose({ session, number, answeredUpTo, command: body }: Request, waiter: Waiter): void {
    replica.propose({ kind: "command", session, number, answeredUpTo, body }, waiter);
  }

  function whileLeading(asked: Asked): void {
    const { message } = asked;
    const dispute = replica.digests.dispute();
    if (dispute !== null && isWrite(message)) return refuse(asked, dispute);
    switch (message.type) {
      case "request":
        return request(asked, message);
      case "open": {
        if (!isClientId(message.clientId))
          return refuse(asked, failure("BAD_REQUEST", "a client id is 1 to 64 printable characters"));
        if (!isRoom && !isKnownClient(replica.queue(), message.clientId)) {
          const who =
            "no new client is let in until space is freed there; clients with a session, by their id, can dequeue";
          return refuse(asked, diskFull(who));
        }
        return open(asked, message);
      }
      case "close": {
        const { session, answeredUpTo } = message;
        const draft = { kind: "close", session, number: 0, answeredUpTo, body: NOTHING } as const;
        return replica.propose(draft, waiterFor(asked));
      }
      case "status":
      case "peek":
      case "log":
        return replica.read((why) => (why === null ? show(asked) : refuse(asked, withRetry(why))));
      case "trace":
        return show(asked);
      case "join":
        return join(asked, message);
      case "remove":
        return replica.change({ type: "remove", ids: message.ids }, (result) => done(asked, result));
      case "readmit":
        return replica.change({ type: "readmit", id: message.id }, (result) => done(asked, result));
      case "transfer":
        return replica.transfer(message.to, (result) => done(asked, result));
      case "ping":
        return show(asked);
    }
  }

  function open(asked: Asked, message: Extract<ClientMessage, { readonly type: "open" }>): void {
    const ended = leaderEntries.openProposed();
    const draft = { kind: "open", session: 0, number: 0, answeredUpTo: 0, body: encodeOpen(message) } as const;
    replica.propose(draft, {
      settle: (outcome) => {
        ended();
        settleOutcome(asked, outcome);
        if (outcome.type === "failed" || outcome.applied.reply === null) return;
        const reply = decodeReply(outcome.applied.reply);
        if (reply.type === "opened") keepAlive(asked.visitor, reply.session);
      },
    });
  }

  function join(asked: Asked, { member, comesBack }: Extract<ClientMessage, { readonly type: "join" }>): void {
    // A node's certificate is no administrator's: after a removal it alone does not suffice.
    const byAdministrator = asked.visitor.connection.who?.node === null;
    const change = (): void =>
      replica.change({ type: "join", member, comesBack, byAdministrator }, (result) => done(asked, result));
    if (!comesBack && byAdministrator) return change();
    // Somebody who was let in by the next leader must not hear REMOVED from one that is not known to be deposed yet.
    replica.read((why) => (why === null ? change() : refuse(asked, withRetry(why))));
  }

  function done(asked: Asked, result: number | Failure): void {
    if (isFailure(result)) {
      if (result.code === "REMOVED") refused(result.message);
      return refuse(asked, withRetry(result));
    }
    answer(asked, { type: "done", frameId: asked.message.frameId, index: result, clusterId: facts.clusterId });
  }

  /** What a refusal of raft leaves open: who to ask instead. */
  function withRetry(why: Failure): Failure {
    if (why.code === "NOT_LEADER") return notLeading();
    if (why.code === "OVERLOADED") return { ...why, retryAfterMs: OVERLOADED_RETRY_MS };
    return why;
  }

  /** Making a page for nobody, or many at once, would hold up everybody else. */
  function isTooMuchNow(asked: Asked, cost: number): boolean {
    if (asked.visitor.gone) release(asked);
    else if (pages >= limits.maxLogPagesPerTurn) laterPages.push(asked);
    else {
      pages += cost;
      return false;
    }
    return true;
  }

  /** Answers from this node's present state. */
  function show(asked: Asked): void {
    const { message } = asked;
    const { frameId } = message;
    switch (message.type) {
      case "status":
        return answer(asked, { type: "statusAnswer", frameId, status: statusOf(replica, facts) });
      case "peek": {
        // A job is shown as it would be taken: from a state that may be wrong neither.
        const dispute = replica.digests.dispute();
        if (dispute !== null) return refuse(asked, dispute);
        const queue = replica.queue();
        const job = peek(queue);
        const bytes = job?.payload.length ?? 0;
        if (bytes > SERVER.largePeekBytes) {
          if (isTooMuchNow(asked, Math.ceil(bytes / facts.maxLogPageBytes))) return;
          if (asked.visitor.connection.pending() > SERVER.maxUnreadPeekBytes) return refuse(asked, UNREAD);
        }
        const peeked = { job, ready: queue.ready, appliedIndex: replica.appliedIndex() };
        return answer(asked, { type: "peekAnswer", frameId, peeked });
      }
      case "log": {
        if (isTooMuchNow(asked, 1)) return;
        const page = logPageOf(replica, facts, message.from, message.to);
        return answer(asked, { type: "logAnswer", frameId, page });
      }
      case "trace": {
        const trace = traceOf(replica, facts, message.index);
        if (trace === null)
          return refuse(asked, failure("FORGOTTEN", `the path of index ${message.index} is no longer known`));
        return answer(asked, { type: "traceAnswer", frameId, trace });
      }
      case "ping":
        return answer(asked, { type: "pong", frameId });
      case "request":
      case "open":
      case "close":
      case "join":
      case "remove":
      case "readmit":
      case "transfer":
        throw new Error(`a ${message.type} is not answered from the present state`);
    }
  }

  const isLocal = (message: ClientMessage): boolean =>
    message.type === "ping" ||
    (message.type === "status" && !message.linearizable) ||
    (message.type === "log" && message.local);

  /** Answers now, or parks what a moment may decide: a leader that is not ready or hands over, an election under way. */
  function route(asked: Asked): void {
    if (isLocal(asked.message)) return show(asked);
    const { raft } = replica;
    if (leadsNow()) whileLeading(asked);
    else if (raft.role === "leader") parked.push(asked);
    else if (raft.leader === null ? isLate(asked) : raft.transfer === null) refuse(asked, notLeading());
    else {
      // After a handover whoever asked for it hears first that it is done: refused before, it would ask the next leader again.
      parked.push(asked);
      wakeForParked();
    }
  }

  const isLate = ({ arrivedAt }: Asked): boolean => facts.clock.now() >= arrivedAt + limits.noLeaderWaitMs;

  /** One timer for all: they are looked at again in every turn anyway. */
  function wakeForParked(): void {
    if (parkedTimer) return;
    parkedTimer = true;
    facts.clock.after(limits.noLeaderWaitMs, () => {
      parkedTimer = false;
      replica.wake();
    });
  }

  function closeWhenAnswered(connection: Connection): void {
    const visitor = visitors.get(connection);
    if (visitor?.ended === true && visitor.waiting.requests === 0) connection.close(null);
  }

  const leadsNow = (): boolean => replica.isReadyLeader() && replica.raft.transfer === null;

  function connectedSessions(): ReadonlySet<number> {
    const sessions = new Set<number>();
    for (const visitor of visitors.values()) for (const session of visitor.sessions) sessions.add(session);
    return sessions;
  }

  /**
   * Who asks nothing does not notice that this node leads no more, and the leader keeps only those sessions alive that are connected
   * to it. A few at a time: all of them will dial the leader.
   */
  function sendOn(): void {
    const { raft } = replica;
    if (raft.role === "leader" || raft.leader === null || visitors.size === 0) return;
    let sent = 0;
    for (const { connection, sessions, waiting } of visitors.values()) {
      if (sessions.size === 0 || waiting.requests > 0) continue;
      connection.close(notLeading());
      if (++sent === limits.maxSentOnPerTurn) return;
    }
  }

  replica.setDoorway({
    takeRequests: () => {
      leaderEntries.propose();
      sendOn();
      pages = 0;
      const late = laterPages;
      laterPages = [];
      for (const asked of late) show(asked);
      if (requests.length === 0 && parked.length === 0) return;
      isRoom = hasRoom(replica.raft);
      // Those that were parked came first.
      const earlier = parked;
      const fresh = requests;
      parked = [];
      requests = [];
      for (const asked of earlier) route(asked);
      for (const asked of fresh) route(asked);
    },
    leadershipChanged: () => {
      if (parked.length > 0) replica.wake();
    },
    flush: () => {
      for (const connection of touched) {
        connection.flush();
        closeWhenAnswered(connection);
      }
      touched.clear();
      if (laterPages.length > 0 || (parked.length > 0 && leadsNow()) || leaderEntries.isVersionWanted()) replica.wake();
    },
  });

  return {
    accept: (connection) => {
      const visitor: Visitor = {
        connection,
        sessions: new Set(),
        waiting: { requests: 0, bytes: 0 },
        ended: false,
        gone: false,
      };
      visitors.set(connection, visitor);
      return (message) => {
        const bytes = message.type === "request" ? message.command.length : 0;
        const why = inFlight.enter(visitor.waiting, bytes);
        const asked = { visitor, arrivedAt: facts.clock.now(), message, bytes };
        replica.wake();
        if (why !== null) return refuse(asked, failure("OVERLOADED", why, { retryAfterMs: OVERLOADED_RETRY_MS }));
        requests.push(asked);
      };
    },
    closed: (connection) => {
      const visitor = visitors.get(connection);
      if (visitor !== undefined) visitor.gone = true;
      visitors.delete(connection);
      touched.delete(connection);
    },
    ended: (connection) => {
      const visitor = visitors.get(connection);
      if (visitor === undefined) return false;
      visitor.ended = true;
      closeWhenAnswered(connection);
      return true;
    },
    waiting: () => visitors.values().reduce((sum, { waiting }) => sum + waiting.requests, 0),
  };
}
