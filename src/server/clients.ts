// How is a client's request answered? Looks up the session, or names the leader; then each request waits for its entry.
import { SERVER } from "../config.ts";
import { assert } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { encodeOpen, isClientId, isResolve, needsNoDiskSpace } from "../queue/commands.ts";
import type { QueueLimits } from "../queue/limits.ts";
import { acknowledges, isKnownClient, lookUp, peek } from "../queue/queue.ts";
import { decodeReply } from "../queue/replies.ts";
import { hasDiskSpace, votersWithDiskSpace } from "../raft/disk-space.ts";
import { nodeIdOf } from "../raft/types.ts";
import type { ClientMessage, Request, ServerMessage } from "../wire/protocol.ts";
import type { Connection } from "../wire/connection.ts";
import { createRequestLimiter, type RequestLimits, type PendingCount } from "./request-limits.ts";
import { createLeaderEntries, type LeaderEntryLimits } from "./leader-entries.ts";
import { isFailure, type EntryOutcome, type Replica, type Waiter } from "./replica.ts";
import { createPendingRequests } from "./pending-requests.ts";
import { isWrite } from "./roles.ts";
import { type StatusSources, leaderAddressOf, logPageOf, statusOf, traceOf } from "./status.ts";
import type { LogEvent } from "./types.ts";

const NOTHING = new Uint8Array(0);
const OVERLOADED_RETRY_MS = 10;
const UNREAD = failure("OVERLOADED", "earlier answers on this connection wait to be read", {
  retryAfterMs: OVERLOADED_RETRY_MS,
});

export interface ClientLimits extends RequestLimits, LeaderEntryLimits {
  readonly maxLogPagesPerTurn: number;
  readonly maxSessionsPerConnection: number;
  /** A request waits this long for an election to end before it is answered NO_LEADER. */
  readonly noLeaderWaitMs: number;
  /** Clients that a node sends to the leader in one turn although they ask nothing. */
  readonly maxRedirectsPerTurn: number;
}

/** One connection of a client, with its pending requests. */
interface ClientConnection {
  readonly connection: Connection;
  /** Sessions that used this connection: while it lives they are not idle. */
  readonly sessions: Set<number>;
  readonly pending: PendingCount;
  /** It sends no more (half-close): after its last answer the connection is closed. */
  ended: boolean;
  gone: boolean;
}

interface ClientRequest {
  readonly client: ClientConnection;
  readonly arrivedAt: number;
  readonly message: ClientMessage;
  readonly bytes: number;
}

export interface Clients {
  /** For a connection with a client's hello; the answers go through `connection.send`, flushed once per turn. */
  accept(connection: Connection): (message: ClientMessage) => void;
  closed(connection: Connection): void;
  /** The client sends no more. True: its connection is closed after its last answer. */
  ended(connection: Connection): boolean;
  /** Requests that wait for an answer, over all connections. */
  waiting(): number;
}

/** `queueLimits`: what a new cluster starts with. `refused`: for the node's log. */
export function createClients(
  replica: Replica,
  sources: StatusSources,
  limits: ClientLimits,
  queueLimits: QueueLimits,
  log: (line: LogEvent) => void,
  refused: (text: string) => void,
): Clients {
  const connections = new Map<Connection, ClientConnection>();
  let arrived: ClientRequest[] = [];
  /** Until this node is ready to lead, or an election has ended. */
  let deferred: ClientRequest[] = [];
  let deferredTimer = false;
  /** Log pages and large jobs that wait for the next turn, and those made in this one. */
  let deferredPages: ClientRequest[] = [];
  let pages = 0;
  /** As of this turn: raft learns of disk space by messages only. */
  let hasSpace = true;
  const limiter = createRequestLimiter(limits);
  const pendingRequests = createPendingRequests<ClientRequest>(OVERLOADED_RETRY_MS, answerOutcome);
  const unflushed = new Set<Connection>();
  const { clock, needsCheckpoint } = sources;
  const leaderPorts = { clock, queueLimits, connectedSessions, needsCheckpoint, log };
  const leaderEntries = createLeaderEntries(replica, limits, leaderPorts);

  const release = ({ client, bytes }: ClientRequest): void => limiter.leave(client.pending, bytes);
  const answer = (request: ClientRequest, message: ServerMessage): void => {
    const { client } = request;
    release(request);
    if (client.gone) return;
    client.connection.send(message);
    unflushed.add(client.connection);
  };
  const refuse = (request: ClientRequest, why: Failure): void => {
    answer(request, { type: "failure", frameId: request.message.frameId, failure: why });
  };
  const notLeading = (): Failure => {
    const { raft } = replica;
    const leader = leaderAddressOf(raft);
    if (raft.leader !== null && raft.leader !== raft.self && leader !== null) {
      const message = `${sources.self.id} is not the leader; ${nodeIdOf(raft.leader)} at ${leader} is`;
      return failure("NOT_LEADER", message, { leader });
    }
    return failure("NO_LEADER", `${sources.self.id} knows no leader at present`, { retryAfterMs: OVERLOADED_RETRY_MS });
  };

  const diskFull = (consequence: string): Failure => {
    const { withSpace, voters } = votersWithDiskSpace(replica.raft);
    const message = `only ${withSpace} of ${voters} voters have disk space: ${consequence}`;
    return failure("DISK_FULL", message, { retryAfterMs: SERVER.diskFullRetryMs });
  };

  function answerOutcome(request: ClientRequest, outcome: EntryOutcome): void {
    const { frameId } = request.message;
    if (outcome.type === "failed") return refuse(request, withRetry(outcome.failure));
    const { reply, duplicate } = outcome.applied;
    assert(reply !== null, "a client's entry has a reply");
    answer(request, { type: "reply", frameId, duplicate, reply });
  }

  const waiterFor = (request: ClientRequest): Waiter => ({ complete: (outcome) => answerOutcome(request, outcome) });

  function runCommand(request: ClientRequest, message: Request): void {
    if (message.session > replica.appliedIndex()) return runCommandOfUnknownSession(request, message);
    const found = lookUp(replica.queue(), message.session, message.number, message.command);
    // Numbers that are no sessions could be any number of them.
    if (found.type !== "refused") keepAlive(request.client, message.session);
    switch (found.type) {
      case "answered":
        // A resolve may be there for its acknowledgedThrough alone, which counts only once it is in the log.
        if (isResolve(message.command)) return propose(message, waiterFor(request));
        return answer(request, { type: "reply", frameId: message.frameId, duplicate: true, reply: found.reply });
      case "refused":
        // The answer is no longer kept, and was never acknowledged: that it is now must be known.
        if (isResolve(message.command) && acknowledges(replica.queue(), message.session, message.acknowledgedThrough))
          return propose(message, waiterFor(request));
        return refuse(request, found.failure);
      case "next":
        return proposeNext(request, message, found.lastNumber);
    }
  }

  /**
   * A session is the index of its OPEN, and this node has not applied so far: nobody opened it, or the next leader did, which is
   * unknown here yet. An answer that it is over would end a client for good, so a majority is asked first.
   */
  function runCommandOfUnknownSession(request: ClientRequest, { session, number, command }: Request): void {
    replica.read((why) => {
      if (why !== null) return refuse(request, withRetry(why));
      const found = lookUp(replica.queue(), session, number, command);
      if (found.type === "refused") return refuse(request, found.failure);
      deferred.push(request);
      replica.wake();
    });
  }

  /** The sessions used last; more than the limit are kept alive by their own requests only. */
  function keepAlive({ sessions }: ClientConnection, session: number): void {
    if (sessions.has(session)) return;
    const [first] = sessions;
    if (first !== undefined && sessions.size >= limits.maxSessionsPerConnection) sessions.delete(first);
    sessions.add(session);
  }

  function proposeNext(request: ClientRequest, message: Request, lastNumber: number): void {
    const admission = pendingRequests.enter(request, message, lastNumber);
    if (admission.type === "refused") return refuse(request, admission.failure);
    if (admission.type === "waits") return;
    if (!hasSpace && !needsNoDiskSpace(message.command)) {
      const why = diskFull("enqueues are refused until space is freed there or jobs are taken out; dequeues pass");
      return admission.waiter.complete({ type: "failed", failure: why });
    }
    // A malformed command enters the log too: its refusal becomes the number's answer, and the numbers behind it can go on.
    propose(message, admission.waiter);
  }

  function propose({ session, number, acknowledgedThrough, command: body }: Request, waiter: Waiter): void {
    replica.propose({ kind: "command", session, number, acknowledgedThrough, body }, waiter);
  }

  function handleAsLeader(request: ClientRequest): void {
    const { message } = request;
    const dispute = replica.stateCheck.dispute();
    if (dispute !== null && isWrite(message)) return refuse(request, dispute);
    switch (message.type) {
      case "request":
        return runCommand(request, message);
      case "open": {
        if (!isClientId(message.clientId))
          return refuse(request, failure("BAD_REQUEST", "a client id is 1 to 64 printable characters"));
        if (!hasSpace && !isKnownClient(replica.queue(), message.clientId)) {
          const who =
            "no new client is let in until space is freed there; clients with a session, by their id, can dequeue";
          return refuse(request, diskFull(who));
        }
        return open(request, message);
      }
      case "close": {
        const { session, acknowledgedThrough } = message;
        const draft = { kind: "close", session, number: 0, acknowledgedThrough, body: NOTHING } as const;
        return replica.propose(draft, waiterFor(request));
      }
      case "status":
      case "peek":
      case "log":
        return replica.read((why) => (why === null ? show(request) : refuse(request, withRetry(why))));
      case "trace":
        return show(request);
      case "join":
        return join(request, message);
      case "remove":
        return replica.change({ type: "remove", ids: message.ids }, (result) => done(request, result));
      case "readmit":
        return replica.change({ type: "readmit", id: message.id }, (result) => done(request, result));
      case "transfer":
        return replica.transfer(message.to, (result) => done(request, result));
      case "ping":
        return show(request);
    }
  }

  function open(request: ClientRequest, message: Extract<ClientMessage, { readonly type: "open" }>): void {
    const ended = leaderEntries.openProposed();
    const draft = { kind: "open", session: 0, number: 0, acknowledgedThrough: 0, body: encodeOpen(message) } as const;
    replica.propose(draft, {
      complete: (outcome) => {
        ended();
        answerOutcome(request, outcome);
        if (outcome.type === "failed" || outcome.applied.reply === null) return;
        const reply = decodeReply(outcome.applied.reply);
        if (reply.type === "opened") keepAlive(request.client, reply.session);
      },
    });
  }

  function join(
    request: ClientRequest,
    { member, comesBack }: Extract<ClientMessage, { readonly type: "join" }>,
  ): void {
    // A node's certificate is no administrator's: after a removal it alone does not suffice.
    const byAdministrator = request.client.connection.who?.node === null;
    const change = (): void =>
      replica.change({ type: "join", member, comesBack, byAdministrator }, (result) => done(request, result));
    if (!comesBack && byAdministrator) return change();
    // A node that was let in by the next leader must not receive REMOVED from one that is not known to be deposed yet.
    replica.read((why) => (why === null ? change() : refuse(request, withRetry(why))));
  }

  function done(request: ClientRequest, result: number | Failure): void {
    if (isFailure(result)) {
      if (result.code === "REMOVED") refused(result.message);
      return refuse(request, withRetry(result));
    }
    answer(request, { type: "done", frameId: request.message.frameId, index: result, clusterId: sources.clusterId });
  }

  /** Adds to a refusal of raft where or when to try again. */
  function withRetry(why: Failure): Failure {
    if (why.code === "NOT_LEADER") return notLeading();
    if (why.code === "OVERLOADED") return { ...why, retryAfterMs: OVERLOADED_RETRY_MS };
    return why;
  }

  /** Making a page for a closed connection, or many pages at once, would delay everybody else. */
  function isTooMuchNow(request: ClientRequest, cost: number): boolean {
    if (request.client.gone) release(request);
    else if (pages >= limits.maxLogPagesPerTurn) deferredPages.push(request);
    else {
      pages += cost;
      return false;
    }
    return true;
  }

  /** Answers from this node's present state. */
  function show(request: ClientRequest): void {
    const { message } = request;
    const { frameId } = message;
    switch (message.type) {
      case "status":
        return answer(request, { type: "statusAnswer", frameId, status: statusOf(replica, sources) });
      case "peek": {
        // A job is shown as it would be taken: from a state that may be wrong neither.
        const dispute = replica.stateCheck.dispute();
        if (dispute !== null) return refuse(request, dispute);
        const queue = replica.queue();
        const job = peek(queue);
        const bytes = job?.payload.length ?? 0;
        if (bytes > SERVER.largePeekBytes) {
          if (isTooMuchNow(request, Math.ceil(bytes / sources.maxLogPageBytes))) return;
          if (request.client.connection.pending() > SERVER.maxUnreadPeekBytes) return refuse(request, UNREAD);
        }
        const peeked = { job, ready: queue.ready, appliedIndex: replica.appliedIndex() };
        return answer(request, { type: "peekAnswer", frameId, peeked });
      }
      case "log": {
        if (isTooMuchNow(request, 1)) return;
        const page = logPageOf(replica, sources, message.from, message.to);
        return answer(request, { type: "logAnswer", frameId, page });
      }
      case "trace": {
        const trace = traceOf(replica, sources, message.index);
        if (trace === null)
          return refuse(request, failure("FORGOTTEN", `the path of index ${message.index} is no longer known`));
        return answer(request, { type: "traceAnswer", frameId, trace });
      }
      case "ping":
        return answer(request, { type: "pong", frameId });
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

  /** Answers now, or defers what a moment may decide: a leader that is not ready or hands over, an election under way. */
  function route(request: ClientRequest): void {
    if (isLocal(request.message)) return show(request);
    const { raft } = replica;
    if (leadsNow()) handleAsLeader(request);
    else if (raft.role === "leader") deferred.push(request);
    else if (raft.leader === null ? isLate(request) : raft.transfer === null) refuse(request, notLeading());
    else {
      // After a handover its caller receives "done" first: refused before that, it would ask the next leader again.
      deferred.push(request);
      wakeForDeferred();
    }
  }

  const isLate = ({ arrivedAt }: ClientRequest): boolean => sources.clock.now() >= arrivedAt + limits.noLeaderWaitMs;

  /** One timer for all: they are looked at again in every turn anyway. */
  function wakeForDeferred(): void {
    if (deferredTimer) return;
    deferredTimer = true;
    sources.clock.after(limits.noLeaderWaitMs, () => {
      deferredTimer = false;
      replica.wake();
    });
  }

  function closeWhenAnswered(connection: Connection): void {
    const client = connections.get(connection);
    if (client?.ended === true && client.pending.requests === 0) connection.close(null);
  }

  const leadsNow = (): boolean => replica.isReadyLeader() && replica.raft.transfer === null;

  function connectedSessions(): ReadonlySet<number> {
    const sessions = new Set<number>();
    for (const client of connections.values()) for (const session of client.sessions) sessions.add(session);
    return sessions;
  }

  /**
   * A client without requests does not notice that this node leads no more, and the leader keeps only those sessions alive that are
   * connected to it. A few at a time: all of them will dial the leader.
   */
  function redirectIdleClients(): void {
    const { raft } = replica;
    if (raft.role === "leader" || raft.leader === null || connections.size === 0) return;
    let sent = 0;
    for (const { connection, sessions, pending } of connections.values()) {
      if (sessions.size === 0 || pending.requests > 0) continue;
      connection.close(notLeading());
      if (++sent === limits.maxRedirectsPerTurn) return;
    }
  }

  replica.setRequestSource({
    takeRequests: () => {
      leaderEntries.propose();
      redirectIdleClients();
      pages = 0;
      const late = deferredPages;
      deferredPages = [];
      for (const request of late) show(request);
      if (arrived.length === 0 && deferred.length === 0) return;
      hasSpace = hasDiskSpace(replica.raft);
      const earlier = deferred;
      const fresh = arrived;
      deferred = [];
      arrived = [];
      for (const request of earlier) route(request);
      for (const request of fresh) route(request);
    },
    leadershipChanged: () => {
      if (deferred.length > 0) replica.wake();
    },
    flush: () => {
      for (const connection of unflushed) {
        connection.flush();
        closeWhenAnswered(connection);
      }
      unflushed.clear();
      if (deferredPages.length > 0 || (deferred.length > 0 && leadsNow()) || leaderEntries.isVersionWanted())
        replica.wake();
    },
  });

  return {
    accept: (connection) => {
      const client: ClientConnection = {
        connection,
        sessions: new Set(),
        pending: { requests: 0, bytes: 0 },
        ended: false,
        gone: false,
      };
      connections.set(connection, client);
      return (message) => {
        const bytes = message.type === "request" ? message.command.length : 0;
        const why = limiter.enter(client.pending, bytes);
        const request = { client, arrivedAt: sources.clock.now(), message, bytes };
        replica.wake();
        if (why !== null) return refuse(request, failure("OVERLOADED", why, { retryAfterMs: OVERLOADED_RETRY_MS }));
        arrived.push(request);
      };
    },
    closed: (connection) => {
      const client = connections.get(connection);
      if (client !== undefined) client.gone = true;
      connections.delete(connection);
      unflushed.delete(connection);
    },
    ended: (connection) => {
      const client = connections.get(connection);
      if (client === undefined) return false;
      client.ended = true;
      closeWhenAnswered(connection);
      return true;
    },
    waiting: () => connections.values().reduce((sum, { pending }) => sum + pending.requests, 0),
  };
}
