// The inbox of the turn: what sockets, the disk, timers and callers have brought since the last one. The first of it asks for a turn at
// the end of this round of the event loop.
import type { Clock } from "../lib/clock.ts";
import type { Failure } from "../lib/errors.ts";
import type { Input, Link, MembershipChange, Token } from "../raft/effects.ts";
import type { RaftMessage } from "../raft/messages.ts";
import type { Raft } from "../raft/raft.ts";
import type { LogIndex, MemberId, NodeId } from "../raft/types.ts";
import type { ClientRequest } from "./clients.ts";

type Finished<T> = (result: T) => void;
export type ChangeFinished = Finished<LogIndex | Failure>;
/** Null: the applied state shows everything that was acknowledged before the read was asked. */
export type ReadFinished = Finished<Failure | null>;

/** Tells the two results of a change apart: an index, or a failure. */
export function isFailure(result: LogIndex | Failure): result is Failure {
  return typeof result !== "number";
}

export interface Inbox {
  readonly clock: Clock;
  readonly takeTurn: () => void;
  isTurnPlanned: boolean;
  /** No more turns. */
  isHalted: boolean;
  /** For raft. */
  inputs: Input[];
  /** From clients. */
  requests: ClientRequest[];
  /** Bytes per second that our links to these members carried; and members of which bytes of an incomplete message were received. */
  readonly linkRates: Map<MemberId, number>;
  readonly receivedFrom: Set<MemberId>;
  nextToken: Token;
  readonly changes: Map<Token, ChangeFinished>;
  /** To raft all reads that come between two turns are one. */
  readonly reads: Map<Token, readonly ReadFinished[]>;
  /** Those that the next turn takes; null: none so far. */
  newReads: ReadFinished[] | null;
}

export function createInbox(clock: Clock, takeTurn: () => void): Inbox {
  return {
    clock,
    takeTurn,
    isTurnPlanned: false,
    isHalted: false,
    inputs: [],
    requests: [],
    linkRates: new Map(),
    receivedFrom: new Set(),
    nextToken: 1,
    changes: new Map(),
    reads: new Map(),
    newReads: null,
  };
}

/** Asks for a turn. */
export function wake(inbox: Inbox): void {
  if (inbox.isTurnPlanned || inbox.isHalted) return;
  inbox.isTurnPlanned = true;
  inbox.clock.soon(inbox.takeTurn);
}

export function addInput(inbox: Inbox, input: Input): void {
  inbox.inputs.push(input);
  wake(inbox);
}

export function addMessage(inbox: Inbox, raft: Raft, from: MemberId, link: Link, message: RaftMessage): void {
  inbox.inputs.push({ type: "message", from, link, message });
  if (!canWait(raft, from, message)) wake(inbox);
}

/**
 * Late acknowledgements of what has committed already change nothing urgent: they take no turn of their own, and an idle leader
 * processes them at its next heartbeat.
 */
function canWait(raft: Raft, from: MemberId, message: RaftMessage): boolean {
  if (message.type !== "AppendEntriesReply" || !message.success || message.term !== raft.currentTerm) return false;
  const progress = raft.progress.get(from);
  if (progress === undefined || progress.state !== "replicate" || progress.diskLow !== message.diskLow) return false;
  if (raft.transfer !== null || raft.configuration.learners.length > 0) return false;
  const hasAll = progress.nextIndex > raft.lastIndex;
  return hasAll && message.matchIndex <= raft.commitIndex && raft.configurationIndex <= message.matchIndex;
}

/** That member acknowledged bulk on our link to it. No reason to take a turn. */
export function addLinkRate({ linkRates }: Inbox, member: MemberId, bytesPerSecond: number): void {
  linkRates.set(member, bytesPerSecond);
}

/** Bytes of an incomplete message of that member were received. No reason to take a turn. */
export function addBytesReceived({ receivedFrom }: Inbox, member: MemberId): void {
  receivedFrom.add(member);
}

/** A client's. Those that are too many are refused at once instead. */
export function addRequest(inbox: Inbox, request: ClientRequest): void {
  inbox.requests.push(request);
  wake(inbox);
}

export function requestRead(inbox: Inbox, finished: ReadFinished): void {
  if (inbox.newReads !== null) return void inbox.newReads.push(finished);
  const token = inbox.nextToken++;
  inbox.newReads = [finished];
  inbox.reads.set(token, inbox.newReads);
  addInput(inbox, { type: "read", token });
}

export function requestChange(inbox: Inbox, change: MembershipChange, finished: ChangeFinished): void {
  const token = inbox.nextToken++;
  inbox.changes.set(token, finished);
  addInput(inbox, { type: "change", token, change });
}

/** `to`: null lets raft choose. */
export function requestTransfer(inbox: Inbox, to: NodeId | null, finished: ChangeFinished): void {
  const token = inbox.nextToken++;
  inbox.changes.set(token, finished);
  addInput(inbox, { type: "transfer", token, to });
}
