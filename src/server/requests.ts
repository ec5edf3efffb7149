// The turn takes the clients' requests: a leader proposes, reads or changes the membership; others name the leader. What a moment may decide
// is deferred to a later turn.
import { SERVER } from "../config.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { encodeOpen, isClientId, isResolve, needsNoDiskSpace } from "../queue/commands.ts";
import { acknowledges, isKnownClient, lookUp } from "../queue/queue.ts";
import { hasDiskSpace, votersWithDiskSpace } from "../raft/disk-space.ts";
import type { MembershipChange } from "../raft/effects.ts";
import type { LogIndex } from "../raft/types.ts";
import type { Connection } from "../wire/connection.ts";
import type { ClientMessage, Request } from "../wire/protocol.ts";
import { answer, answerQuery, completeWaiter, notLeading, type QueryMessage, refuse, withRetry } from "./answers.ts";
import { addClient, type ClientRequest, countRequest, keepSessionAlive, redirectIdleClients } from "./clients.ts";
import { addRequest, isFailure, requestChange, requestRead, requestTransfer, wake } from "./inbox.ts";
import { isVersionWanted, openProposed, proposeLeaderEntries } from "./leader-entries.ts";
import { admit, type ProposedRequests } from "./proposed-requests.ts";
import { isReadyLeader, propose, type Waiter } from "./proposals.ts";
import type { Replica } from "./replica.ts";
import { isWrite } from "./roles.ts";

const NOTHING = new Uint8Array(0);

type MessageOf<T extends ClientMessage["type"]> = Extract<ClientMessage, { readonly type: T }>;

/** Waits for an entry that has no number of its own: of a close, or of a number that was executed before. */
export interface UnnumberedRequest {
  readonly type: "unnumbered";
  readonly request: ClientRequest;
}

export interface OpenRequest {
  readonly type: "open";
  readonly request: ClientRequest;
}

export interface Requests {
  /** Until this node is ready to lead, or an election has ended. */
  deferred: ClientRequest[];
  isDeferredTimerSet: boolean;
  /** Log pages and large jobs that wait for the next turn, and those made in this one. */
  deferredQueries: { readonly request: ClientRequest; readonly message: QueryMessage }[];
  pagesMade: number;
  /** This node ends once the pending ones are answered: it takes no new one. */
  isDraining: boolean;
  /** As of this turn: raft learns of disk space by messages only. */
  hasSpace: boolean;
  readonly proposed: ProposedRequests;
}

export function createRequests(): Requests {
  return {
    deferred: [],
    isDeferredTimerSet: false,
    deferredQueries: [],
    pagesMade: 0,
    isDraining: false,
    hasSpace: true,
    proposed: new Map(),
  };
}

/** A connection with a client's hello. The result takes its messages; the answers go through `connection.send`, flushed once per turn. */
export function acceptClient(replica: Replica, connection: Connection): (message: ClientMessage) => void {
  const { clients, inbox, clock } = replica;
  const client = addClient(clients, connection);
  return (message) => {
    const bytes = message.type === "request" ? message.command.length : 0;
    const request = { client, arrivedAt: clock.now(), message, bytes };
    const overloaded = countRequest(clients, request);
    if (overloaded === null) return addRequest(inbox, request);
    wake(inbox);
    refuse(replica, request, failure("OVERLOADED", overloaded, { retryAfterMs: SERVER.retryAfterMs }));
  };
}

/** At the start of the turn, before raft's own timers. */
export function takeRequests(replica: Replica): void {
  const { requests, raft, clients, inbox } = replica;
  proposeLeaderEntries(replica);
  if (raft.role !== "leader" && raft.leader !== null) redirectIdleClients(clients, () => notLeading(replica));
  requests.pagesMade = 0;
  const queries = requests.deferredQueries;
  requests.deferredQueries = [];
  for (const { request, message } of queries) answerQuery(replica, request, message);
  const { deferred } = requests;
  const { requests: arrived } = inbox;
  if (arrived.length === 0 && deferred.length === 0) return;
  requests.hasSpace = hasDiskSpace(raft);
  requests.deferred = [];
  inbox.requests = [];
  for (const request of deferred) route(replica, request);
  for (const request of arrived) routeNew(replica, request);
}

/** Something is left that the next turn can do. */
export function wantsTurn(replica: Replica): boolean {
  const { deferredQueries, deferred } = replica.requests;
  return deferredQueries.length > 0 || (deferred.length > 0 && leadsNow(replica)) || isVersionWanted(replica);
}

function leadsNow(replica: Replica): boolean {
  return isReadyLeader(replica) && replica.raft.transfer === null;
}

/** Without this, a node that stops would have pending requests for as long as its clients send. */
function routeNew(replica: Replica, request: ClientRequest): void {
  if (!replica.requests.isDraining || localQuery(request.message) !== null) return route(replica, request);
  refuse(replica, request, replica.raft.role === "leader" ? stopping(replica) : notLeading(replica));
}

function stopping({ self }: Replica): Failure {
  const message = `${self.id} is stopping, and takes no new requests`;
  return failure("NO_LEADER", message, { retryAfterMs: SERVER.retryAfterMs });
}

/** Answers now, or defers what a moment may decide: a leader that is not ready or hands over, an election under way. */
function route(replica: Replica, request: ClientRequest): void {
  const { raft, requests } = replica;
  const { message } = request;
  const query = localQuery(message);
  if (query !== null) return answerQuery(replica, request, query);
  if (leadsNow(replica)) return handleAsLeader(replica, request, message);
  // It becomes ready, or its handover ends: a turn follows then.
  if (raft.role === "leader") return void requests.deferred.push(request);
  if (!mayWait(replica, request)) return refuse(replica, request, notLeading(replica));
  requests.deferred.push(request);
  wakeForDeferred(replica);
}

/**
 * For an election under way, within limits; and, after a handover, until its caller has received "done": refused before that, it would
 * ask the next leader again.
 */
function mayWait({ raft, clock }: Replica, { arrivedAt }: ClientRequest): boolean {
  return raft.leader === null ? clock.now() < arrivedAt + SERVER.noLeaderWaitMs : raft.transfer !== null;
}

/** What a node answers whether it leads or not. */
function localQuery(message: ClientMessage): QueryMessage | null {
  if (message.type === "ping") return message;
  if (message.type === "status") return message.linearizable ? null : message;
  return message.type === "log" && message.local ? message : null;
}

/** One timer for all: they are looked at again in every turn anyway. */
function wakeForDeferred({ requests, clock, inbox }: Replica): void {
  if (requests.isDeferredTimerSet) return;
  requests.isDeferredTimerSet = true;
  clock.after(SERVER.noLeaderWaitMs, () => {
    requests.isDeferredTimerSet = false;
    wake(inbox);
  });
}

function handleAsLeader(replica: Replica, request: ClientRequest, message: ClientMessage): void {
  const { dispute } = replica.stateCheck;
  if (dispute !== null && isWrite(message)) return refuse(replica, request, dispute);
  switch (message.type) {
    case "request":
      return runCommand(replica, request, message);
    case "open":
      return open(replica, request, message);
    case "close":
      return close(replica, request, message);
    case "status":
    case "peek":
    case "log":
      return afterRead(replica, request, () => answerQuery(replica, request, message));
    case "trace":
    case "ping":
      return answerQuery(replica, request, message);
    case "join":
      return join(replica, request, message);
    case "remove":
      return change(replica, request, { type: "remove", ids: message.ids });
    case "readmit":
      return change(replica, request, { type: "readmit", id: message.id });
    case "transfer":
      return requestTransfer(replica.inbox, message.to, (result) => changed(replica, request, result));
  }
}

/** A numbered request: answered from its session if it was executed before, proposed if its number is the next. */
function runCommand(replica: Replica, request: ClientRequest, message: Request): void {
  const { queue } = replica.stateMachine;
  const { session, number, command, acknowledgedThrough, frameId } = message;
  if (session > queue.appliedIndex) return runCommandOfUnknownSession(replica, request, message);
  const found = lookUp(queue, session, number, command);
  // Not for a refused one: its number need not be a session at all, and the set would grow with every such number.
  if (found.type !== "refused") keepSessionAlive(request.client, session);
  switch (found.type) {
    case "answered":
      // A resolve may be there for its acknowledgedThrough alone, which counts only once it is in the log.
      if (isResolve(command)) return proposeCommand(replica, message, { type: "unnumbered", request });
      return answer(replica, request, { type: "reply", frameId, duplicate: true, reply: found.reply });
    case "refused":
      // The answer is no longer kept, and was never acknowledged: that it is now must be known.
      if (isResolve(command) && acknowledges(queue, session, acknowledgedThrough))
        return proposeCommand(replica, message, { type: "unnumbered", request });
      return refuse(replica, request, found.failure);
    case "next":
      return runNext(replica, request, message, found.lastNumber);
  }
}

/**
 * A session is the index of its OPEN, and this node has not applied so far: nobody opened it, or the next leader did, which is
 * unknown here yet. An answer that it is over would end a client for good, so a majority is asked first.
 */
function runCommandOfUnknownSession(replica: Replica, request: ClientRequest, message: Request): void {
  const { session, number, command } = message;
  afterRead(replica, request, () => {
    const found = lookUp(replica.stateMachine.queue, session, number, command);
    if (found.type === "refused") return refuse(replica, request, found.failure);
    replica.requests.deferred.push(request);
    wake(replica.inbox);
  });
}

/** A malformed command enters the log too: its refusal becomes the number's answer, and the numbers behind it can go on. */
function runNext(replica: Replica, request: ClientRequest, message: Request, lastNumber: number): void {
  const { requests } = replica;
  const admission = admit(requests.proposed, request, message, lastNumber);
  switch (admission.type) {
    case "refused":
      return refuse(replica, request, admission.failure);
    case "wait":
      return;
    case "propose":
      if (requests.hasSpace || needsNoDiskSpace(message.command))
        return proposeCommand(replica, message, admission.proposed);
      return completeWaiter(replica, admission.proposed, {
        type: "failed",
        failure: diskFull(
          replica,
          "enqueues are refused until space is freed there or jobs are taken out; dequeues pass",
        ),
      });
  }
}

function proposeCommand(
  replica: Replica,
  { session, number, acknowledgedThrough, command: body }: Request,
  waiter: Waiter,
): void {
  propose(replica, { kind: "command", session, number, acknowledgedThrough, body }, waiter);
}

function open(replica: Replica, request: ClientRequest, message: MessageOf<"open">): void {
  if (!isClientId(message.clientId))
    return refuse(replica, request, failure("BAD_REQUEST", "a client id is 1 to 64 printable characters"));
  if (!replica.requests.hasSpace && !isKnownClient(replica.stateMachine.queue, message.clientId)) {
    const who = "no new client is let in until space is freed there; clients with a session, by their id, can dequeue";
    return refuse(replica, request, diskFull(replica, who));
  }
  openProposed(replica);
  const draft = { kind: "open", session: 0, number: 0, acknowledgedThrough: 0, body: encodeOpen(message) } as const;
  propose(replica, draft, { type: "open", request });
}

function close(replica: Replica, request: ClientRequest, { session, acknowledgedThrough }: MessageOf<"close">): void {
  const draft = { kind: "close", session, number: 0, acknowledgedThrough, body: NOTHING } as const;
  propose(replica, draft, { type: "unnumbered", request });
}

function diskFull({ raft }: Replica, consequence: string): Failure {
  const { withSpace, voters } = votersWithDiskSpace(raft);
  const message = `only ${withSpace} of ${voters} voters have disk space: ${consequence}`;
  return failure("DISK_FULL", message, { retryAfterMs: SERVER.diskFullRetryMs });
}

/** `run` once the applied state shows everything that was acknowledged before now. */
function afterRead(replica: Replica, request: ClientRequest, run: () => void): void {
  requestRead(replica.inbox, (why) => (why === null ? run() : refuse(replica, request, withRetry(replica, why))));
}

function join(replica: Replica, request: ClientRequest, { member, comesBack }: MessageOf<"join">): void {
  // A node's certificate is no administrator's: after a removal it alone does not suffice.
  const byAdministrator = request.client.connection.who?.node === null;
  const run = (): void => change(replica, request, { type: "join", member, comesBack, byAdministrator });
  if (!comesBack && byAdministrator) return run();
  // A node that was let in by the next leader must not receive REMOVED from one that is not known to be deposed yet.
  afterRead(replica, request, run);
}

function change(replica: Replica, request: ClientRequest, wanted: MembershipChange): void {
  requestChange(replica.inbox, wanted, (result) => changed(replica, request, result));
}

/** The configuration, or the leader, is another one from `result` on; or why not. */
function changed(replica: Replica, request: ClientRequest, result: LogIndex | Failure): void {
  if (!isFailure(result)) {
    const { frameId } = request.message;
    return answer(replica, request, { type: "done", frameId, index: result, clusterId: replica.clusterId });
  }
  if (result.code === "REMOVED") replica.logRefusal(result.message);
  refuse(replica, request, withRetry(replica, result));
}
