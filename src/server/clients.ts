// What does a node answer to a client? Finds the session, or says who leads; then each request waits for its entry.
import { SERVER } from "../config.ts";
import { assert } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { encodeOpen, encodeTouch, isClientId, needsNoRoom } from "../queue/commands.ts";
import { findOpen, hasSession, isCheckpoint, lookUp } from "../queue/queue.ts";
import { hasRoom, votersWithRoom } from "../raft/room.ts";
import { nodeIdOf } from "../raft/types.ts";
import type { ClientMessage, Request, ServerMessage } from "../wire/protocol.ts";
import type { Connection } from "../wire/connection.ts";
import { createInFlight, type InFlightLimits, type Waiting } from "./in-flight.ts";
import { isFailure, type Outcome, type Replica } from "./replica.ts";
import { createUnderWay } from "./under-way.ts";
import { type NodeFacts, leaderAddressOf, logPageOf, statusOf } from "./status.ts";

const NOTHING = new Uint8Array(0);
const OVERLOADED_RETRY_MS = 10;
/** A change of leader restarts the interval, so several must fit into one expiry. */
const TOUCHES_PER_EXPIRY = 8;

export interface ClientLimits extends InFlightLimits {
  readonly maxLogPagesPerTurn: number;
  readonly maxSessionsPerConnection: number;
  /** A request waits this long for an election to end before it is answered NO_LEADER. */
  readonly noLeaderWaitMs: number;
  /** How often a leader makes a checkpoint while a member's disk is nearly full. */
  readonly lowDiskCheckpointMs: number;
}

/** One connection of a client: what it asked and is not answered yet. */
interface Visitor {
  readonly connection: Connection;
  /** Sessions that used this connection: while it lives they are not idle. */
  readonly sessions: Set<number>;
  readonly waiting: Waiting;
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
  /** Requests that wait for an answer, over all connections. */
  waiting(): number;
}

export function createClients(replica: Replica, facts: NodeFacts, limits: ClientLimits): Clients {
  const visitors = new Map<Connection, Visitor>();
  let requests: Asked[] = [];
  /** Requests that wait for this node to be ready to lead, or for an election to end. */
  let parked: Asked[] = [];
  let parkedTimer = false;
  /** Log pages that wait for the next turn, and those made in this one. */
  let laterPages: Asked[] = [];
  let pages = 0;
  const inFlight = createInFlight(limits);
  const underWay = createUnderWay<Asked>(OVERLOADED_RETRY_MS, settleOutcome);
  const touched = new Set<Connection>();
  const touchIntervalMs = replica.queue().limits.sessionExpiryMs / TOUCHES_PER_EXPIRY;
  let nextCheckpointAt = 0;
  let nextTouchAt = facts.clock.now() + touchIntervalMs;

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

  function request(asked: Asked, message: Request): void {
    const found = lookUp(replica.queue(), message.session, message.number, message.command);
    // Numbers that are no sessions could be any number of them.
    if (found.type !== "refused") keepAlive(asked.visitor, message.session);
    switch (found.type) {
      case "answered":
        return answer(asked, { type: "reply", frameId: message.frameId, duplicate: true, reply: found.reply });
      case "refused":
        return refuse(asked, found.failure);
      case "next":
        return proposeNext(asked, message, found.lastNumber);
    }
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
    if (!hasRoom(replica.raft) && !needsNoRoom(message.command)) {
      const why = diskFull("enqueues are refused until space is freed there or jobs are taken out; dequeues pass");
      return place.waiter.settle({ type: "failed", failure: why });
    }
    // A malformed command enters the log too: its refusal becomes the number's answer, and the numbers behind it can go on.
    const { session, number, answeredUpTo, command: body } = message;
    replica.propose({ kind: "command", session, number, answeredUpTo, body }, place.waiter);
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
        const known = findOpen(replica.queue(), message.clientId, message.nonce);
        if (known !== null)
          return answer(asked, { type: "reply", frameId: message.frameId, duplicate: true, reply: known });
        if (!hasRoom(replica.raft) && !hasSession(replica.queue(), message.clientId)) {
          const who =
            "no new client is let in until space is freed there; clients with a session, by their id, can dequeue";
          return refuse(asked, diskFull(who));
        }
        const body = encodeOpen({ clientId: message.clientId, nonce: message.nonce });
        const draft = { kind: "open", session: 0, number: 0, answeredUpTo: 0, body } as const;
        return replica.propose(draft, { settle: (outcome) => settleOutcome(asked, outcome) });
      }
      case "close": {
        const draft = { kind: "close", session: message.session, number: 0, answeredUpTo: 0, body: NOTHING } as const;
        return replica.propose(draft, { settle: (outcome) => settleOutcome(asked, outcome) });
      }
      case "status":
      case "log":
        return replica.read((why) => (why === null ? show(asked) : refuse(asked, withRetry(why))));
      case "trace":
        return show(asked);
      case "join":
        return replica.change({ type: "join", member: message.member }, (result) => done(asked, result));
      case "remove":
        return replica.change({ type: "remove", ids: message.ids }, (result) => done(asked, result));
      case "transfer":
        return replica.transfer(message.to, (result) => done(asked, result));
      case "ping":
        return show(asked);
    }
  }

  function done(asked: Asked, result: number | Failure): void {
    if (isFailure(result)) return refuse(asked, withRetry(result));
    answer(asked, { type: "done", frameId: asked.message.frameId, index: result, clusterId: facts.clusterId });
  }

  /** What a refusal of raft leaves open: who to ask instead. */
  function withRetry(why: Failure): Failure {
    if (why.code === "NOT_LEADER") return notLeading();
    if (why.code === "OVERLOADED") return { ...why, retryAfterMs: OVERLOADED_RETRY_MS };
    return why;
  }

  /** Answers from this node's present state. */
  function show(asked: Asked): void {
    const { visitor, message } = asked;
    const { frameId } = message;
    switch (message.type) {
      case "status":
        return answer(asked, { type: "statusAnswer", frameId, status: statusOf(replica, facts) });
      case "log": {
        // Making a page for nobody, or many at once, would hold up everybody else.
        if (visitor.gone) return release(asked);
        if (pages >= limits.maxLogPagesPerTurn) return void laterPages.push(asked);
        pages++;
        const page = logPageOf(replica, facts, message.from, message.to);
        return answer(asked, { type: "logAnswer", frameId, page });
      }
      case "trace": {
        const times = replica.traces.timesOf(message.index);
        if (times === null)
          return refuse(asked, failure("FORGOTTEN", `the path of index ${message.index} is no longer known`));
        const durable = times.durable.map(({ member, microseconds }) => ({ id: nodeIdOf(member), microseconds }));
        const { raft } = replica;
        const { committedMicroseconds } = times;
        const voters = raft.configuration.voters.length;
        const trace = {
          index: message.index,
          term: raft.currentTerm,
          leader: facts.self.id,
          durable,
          committedMicroseconds,
          voters,
        };
        return answer(asked, { type: "traceAnswer", frameId, trace });
      }
      case "ping":
        return answer(asked, { type: "pong", frameId });
      case "request":
      case "open":
      case "close":
      case "join":
      case "remove":
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
    if (raft.role === "leader") {
      if (leadsNow()) whileLeading(asked);
      else parked.push(asked);
    } else if (raft.leader !== null || facts.clock.now() >= asked.arrivedAt + limits.noLeaderWaitMs) {
      refuse(asked, notLeading());
    } else {
      parked.push(asked);
      wakeForParked();
    }
  }

  /** One timer for all: they are looked at again in every turn anyway. */
  function wakeForParked(): void {
    if (parkedTimer) return;
    parkedTimer = true;
    facts.clock.after(limits.noLeaderWaitMs, () => {
      parkedTimer = false;
      replica.wake();
    });
  }

  const leadsNow = (): boolean => replica.isReadyLeader() && replica.raft.transfer === null;

  /** Sessions that are connected but silent are kept alive by one entry for all (DESIGN section 7). */
  function touchSessions(): void {
    const now = facts.clock.now();
    if (!replica.isReadyLeader() || now < nextTouchAt) return;
    nextTouchAt = now + touchIntervalMs;
    const sessions = new Set<number>();
    for (const visitor of visitors.values()) for (const session of visitor.sessions) sessions.add(session);
    if (sessions.size === 0) return;
    const body = encodeTouch([...sessions]);
    replica.propose({ kind: "touch", session: 0, number: 0, answeredUpTo: 0, body }, { settle: () => {} });
  }

  /** A disk that has little room is helped by a snapshot, which stands for a checkpoint: it need not wait for the next one. */
  function makeCheckpoint(): void {
    const { raft } = replica;
    const now = facts.clock.now();
    const isLow = facts.isTight() || raft.progress.values().some(({ diskLow }) => diskLow);
    if (!isLow || !replica.isReadyLeader() || isCheckpoint(replica.queue()) || now < nextCheckpointAt) return;
    nextCheckpointAt = now + limits.lowDiskCheckpointMs;
    const draft = { kind: "tick", session: 0, number: 0, answeredUpTo: 0, body: NOTHING } as const;
    replica.propose(draft, { settle: () => {} });
  }

  replica.setDoorway({
    takeRequests: () => {
      touchSessions();
      makeCheckpoint();
      pages = 0;
      const late = laterPages;
      laterPages = [];
      for (const asked of late) show(asked);
      if (requests.length === 0 && parked.length === 0) return;
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
      for (const connection of touched) connection.flush();
      touched.clear();
      if (laterPages.length > 0 || (parked.length > 0 && leadsNow())) replica.wake();
    },
  });

  return {
    accept: (connection) => {
      const visitor: Visitor = { connection, sessions: new Set(), waiting: { requests: 0, bytes: 0 }, gone: false };
      visitors.set(connection, visitor);
      return (message) => {
        const bytes = message.type === "request" ? message.command.length : 0;
        const why = inFlight.enter(visitor.waiting, bytes);
        const asked = { visitor, arrivedAt: facts.clock.now(), message: why === null ? kept(message) : message, bytes };
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
    waiting: () => {
      let sum = 0;
      for (const visitor of visitors.values()) sum += visitor.waiting.requests;
      return sum;
    },
  };
}

/** Would enter the log, or may be answered by what once entered it. */
function isWrite({ type }: ClientMessage): boolean {
  return type === "request" || type === "open" || type === "close";
}

/** A decoded message's bytes are views of the connection's buffer; it waits for the turn, so it needs its own. */
function kept(message: ClientMessage): ClientMessage {
  if (message.type === "request") return { ...message, command: message.command.slice() };
  if (message.type === "open") return { ...message, nonce: message.nonce.slice() };
  return message;
}
