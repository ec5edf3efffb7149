// Answers requests: each once, when its entry has an outcome, its read is confirmed or it is refused. Answers leave at the end of the turn.
import { SERVER } from "../config.ts";
import { assert } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { peek } from "../queue/queue.ts";
import { decodeReply } from "../queue/replies.ts";
import { nodeIdOf } from "../raft/types.ts";
import type { ClientMessage, ServerMessage } from "../wire/protocol.ts";
import { type ClientRequest, keepSessionAlive, releaseRequest } from "./clients.ts";
import { leaderEntryEnded } from "./leader-entries.ts";
import { removeProposed } from "./proposed-requests.ts";
import type { EntryOutcome, Waiter } from "./proposals.ts";
import type { Replica } from "./replica.ts";
import { leaderAddressOf } from "./members.ts";
import { logPageOf, statusOf, traceOf } from "./status.ts";

/** The entry that `waiter` waits for has an outcome. */
export function completeWaiter(replica: Replica, waiter: Waiter, outcome: EntryOutcome): void {
  const { requests, leaderEntries } = replica;
  switch (waiter.type) {
    case "numbered":
      removeProposed(requests.proposed, waiter, outcome.type === "applied");
      answerOutcome(replica, waiter.request, outcome);
      for (const retry of waiter.retries ?? []) answerOutcome(replica, retry, outcome);
      return;
    case "unnumbered":
      return answerOutcome(replica, waiter.request, outcome);
    case "open":
      leaderEntries.opensProposed--;
      answerOutcome(replica, waiter.request, outcome);
      return keepOpenedAlive(waiter.request, outcome);
    case "leaderEntry":
      return leaderEntryEnded(leaderEntries, waiter, outcome);
  }
}

function answerOutcome(replica: Replica, request: ClientRequest, outcome: EntryOutcome): void {
  const { frameId } = request.message;
  if (outcome.type === "failed") return refuse(replica, request, withRetry(replica, outcome.failure));
  const { reply, duplicate } = outcome.applied;
  assert(reply !== null, "a client's entry has a reply");
  answer(replica, request, { type: "reply", frameId, duplicate, reply });
}

function keepOpenedAlive({ client }: ClientRequest, outcome: EntryOutcome): void {
  if (outcome.type === "failed" || outcome.applied.reply === null) return;
  const reply = decodeReply(outcome.applied.reply);
  if (reply.type === "opened") keepSessionAlive(client, reply.session);
}

export function refuse(replica: Replica, request: ClientRequest, why: Failure): void {
  answer(replica, request, { type: "failure", frameId: request.message.frameId, failure: why });
}

export function answer({ clients }: Replica, request: ClientRequest, message: ServerMessage): void {
  const { client } = request;
  releaseRequest(clients, request);
  if (client.isClosed) return;
  client.connection.send(message);
  clients.unflushed.add(client.connection);
}

/** Adds to a refusal of raft where or when to try again. */
export function withRetry(replica: Replica, why: Failure): Failure {
  if (why.code === "NOT_LEADER") return notLeading(replica);
  if (why.code === "OVERLOADED") return { ...why, retryAfterMs: SERVER.retryAfterMs };
  return why;
}

/** Names the leader, if this node knows one. */
export function notLeading({ raft, self }: Replica): Failure {
  const leader = leaderAddressOf(raft);
  if (raft.leader !== null && raft.leader !== raft.self && leader !== null) {
    const message = `${self.id} is not the leader; ${nodeIdOf(raft.leader)} at ${leader} is`;
    return failure("NOT_LEADER", message, { leader });
  }
  return failure("NO_LEADER", `${self.id} knows no leader at present`, { retryAfterMs: SERVER.retryAfterMs });
}

export type QueryMessage = Extract<ClientMessage, { readonly type: "status" | "peek" | "log" | "trace" | "ping" }>;

const UNREAD = failure("OVERLOADED", "earlier answers on this connection wait to be read", {
  retryAfterMs: SERVER.retryAfterMs,
});

export function answerQuery(replica: Replica, request: ClientRequest, message: QueryMessage): void {
  const { frameId } = message;
  switch (message.type) {
    case "status":
      return answer(replica, request, { type: "statusAnswer", frameId, status: statusOf(replica) });
    case "peek":
      return answerPeek(replica, request, message);
    case "log": {
      if (isTooMuchNow(replica, request, message, 1)) return;
      const page = logPageOf(replica, message.from, message.to);
      return answer(replica, request, { type: "logAnswer", frameId, page });
    }
    case "trace": {
      const trace = traceOf(replica, message.index);
      if (trace !== null) return answer(replica, request, { type: "traceAnswer", frameId, trace });
      return refuse(replica, request, failure("FORGOTTEN", `the path of index ${message.index} is no longer known`));
    }
    case "ping":
      return answer(replica, request, { type: "pong", frameId });
  }
}

function answerPeek(replica: Replica, request: ClientRequest, message: QueryMessage): void {
  const { queue } = replica.stateMachine;
  // A job is shown as it would be taken: from a state that may be wrong neither.
  const { dispute } = replica.stateCheck;
  if (dispute !== null) return refuse(replica, request, dispute);
  const job = peek(queue);
  const bytes = job?.payload.length ?? 0;
  if (bytes > SERVER.largePeekBytes) {
    if (isTooMuchNow(replica, request, message, Math.ceil(bytes / SERVER.maxLogPageBytes))) return;
    if (request.client.connection.unsentBytes() > SERVER.maxUnreadPeekBytes) return refuse(replica, request, UNREAD);
  }
  const peeked = { job, ready: queue.ready, appliedIndex: queue.appliedIndex };
  answer(replica, request, { type: "peekAnswer", frameId: message.frameId, peeked });
}

/** Making a page for a closed connection, or many pages at once, would delay all other clients: it waits for the next turn. */
function isTooMuchNow(
  { clients, requests }: Replica,
  request: ClientRequest,
  message: QueryMessage,
  pages: number,
): boolean {
  if (request.client.isClosed) releaseRequest(clients, request);
  else if (requests.pagesMade >= SERVER.maxLogPagesPerTurn) requests.deferredQueries.push({ request, message });
  else {
    requests.pagesMade += pages;
    return false;
  }
  return true;
}
