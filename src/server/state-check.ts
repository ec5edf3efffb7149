// Compares the members' states. Each reports its digests at the checkpoints to the leader. The digest of a majority is right: the
// leader passes it on, snapshots count only from then on, and a member whose own digest differs must stop.
import { SERVER } from "../config.ts";
import { type Failure, failure, type Refusal } from "../lib/errors.ts";
import type { Outgoing } from "../raft/effects.ts";
import { hasQuorum, isVoter } from "../raft/configuration.ts";
import type { Checkpoint, RaftMessage } from "../raft/messages.ts";
import type { Raft } from "../raft/raft.ts";
import { type Configuration, type LogIndex, type MemberId, nodeIdOf } from "../raft/types.ts";
import { MAX_LIST } from "../wire/fields.ts";
import type { LogEvent, StateMachine } from "./types.ts";

type DigestAt = Map<LogIndex, number>;

export interface StateCheck {
  readonly raft: Raft;
  readonly stateMachine: StateMachine;
  /** At this checkpoint this node's own digest is a majority's. */
  readonly onCompared: (checkpoint: Checkpoint) => void;
  readonly log: (line: LogEvent) => void;
  /** What this node's own apply came to. Nothing else shows what its state is: a received snapshot is another's work. */
  readonly own: DigestAt;
  readonly reported: Map<MemberId, DigestAt>;
  /** A majority's digests at checkpoints that this node has not come to. */
  readonly ahead: DigestAt;
  /** The newest checkpoint at which a majority agrees, and the newest one where this node's own digest was found to be a majority's. */
  agreed: Checkpoint | null;
  compared: Checkpoint | null;
  /** This node's state is not a majority's: why it must stop. */
  diverged: Refusal | null;
  /** The states up to here were replaced by the leader's snapshot: what they were is of no consequence any more. */
  replacedTo: LogIndex;
  /** States differ and no majority agrees: nothing new may be written. */
  dispute: Failure | null;
  /** Our leader knows what is right up to here. */
  leaderKnowsTo: LogIndex;
  /** Digests came since they were counted last; and for which configuration they were. */
  hasNews: boolean;
  countedFor: Configuration | null;
}

export type StateCheckPorts = Pick<StateCheck, "raft" | "stateMachine" | "onCompared" | "log">;

export function createStateCheck(ports: StateCheckPorts): StateCheck {
  return {
    ...ports,
    own: new Map(),
    reported: new Map(),
    ahead: new Map(),
    agreed: null,
    compared: null,
    diverged: null,
    replacedTo: 0,
    dispute: null,
    leaderKnowsTo: 0,
    hasNews: false,
    countedFor: null,
  };
}

/** This node's own apply came to a checkpoint. */
export function checkpointReached(check: StateCheck, { index, digest }: Checkpoint): void {
  remember(check.own, index, digest);
  check.hasNews = true;
  const right = check.ahead.get(index);
  for (const earlier of check.ahead.keys()) if (earlier <= index) check.ahead.delete(earlier);
  if (right !== undefined) compare(check, index, digest, right, "as the leader reports");
}

/** After raft has taken the message. What a majority has is learned from the present leader alone. */
export function digestsReceived(check: StateCheck, from: MemberId, message: RaftMessage): void {
  const { raft } = check;
  if (message.type === "Heartbeat") {
    if (raft.leader !== from || raft.currentTerm !== message.term) return;
    check.leaderKnowsTo = message.agreed?.index ?? 0;
    if (message.agreed !== undefined) learn(check, message.agreed, "as the leader reports");
  } else if (message.type === "HeartbeatReply" && message.checkpoints !== undefined) {
    const digests: DigestAt = check.reported.get(from) ?? new Map();
    check.reported.set(from, digests);
    for (const { index, digest } of message.checkpoints) remember(digests, index, digest);
    check.hasNews = true;
  }
}

/** The message, with the digests that this node reports in it. */
export function withDigests({ agreed, own, leaderKnowsTo }: StateCheck, outgoing: Outgoing): Outgoing {
  const { message } = outgoing;
  if (message.type === "Heartbeat" && agreed !== null) return { ...outgoing, message: { ...message, agreed } };
  if (message.type !== "HeartbeatReply") return outgoing;
  const checkpoints = newestAbove(own, leaderKnowsTo);
  return checkpoints.length === 0 ? outgoing : { ...outgoing, message: { ...message, checkpoints } };
}

/** Once per turn: why this node must stop, or null. */
export function judgeStates(check: StateCheck): Refusal | null {
  const { raft, dispute, hasNews, countedFor } = check;
  if (raft.role !== "leader") check.dispute = null;
  else if (hasNews || dispute !== null || countedFor !== raft.configuration) count(check);
  return check.diverged;
}

/** Leader: the voters' digests, from the newest checkpoint down to one where a majority agrees. */
function count(check: StateCheck): void {
  const { raft, own, reported, dispute: before } = check;
  check.hasNews = false;
  check.countedFor = raft.configuration;
  check.dispute = null;
  const digestOf = (id: MemberId, index: LogIndex): number | undefined =>
    (id === raft.self ? own : reported.get(id))?.get(index);
  for (const index of openCheckpoints(check)) {
    const tally = tallyAt(raft, (id) => digestOf(id, index));
    const right = [...tally.keys()].find((digest) => hasQuorum(raft.members, (id) => digestOf(id, index) === digest));
    if (right !== undefined) {
      learn(check, { index, digest: right }, namesOf(tally.get(right)));
      break;
    }
    if (tally.size > 1) check.dispute ??= disputeOf(index, tally);
  }
  const { dispute } = check;
  if (dispute !== null && before === null) report(check, "error", `writes stop: ${dispute.message}`);
  if (dispute === null && before !== null)
    report(check, "info", "writes go on: a majority agrees about the state again");
}

/** Those behind the newest one that a majority agrees on, newest first. */
function openCheckpoints({ own, reported, agreed }: StateCheck): readonly LogIndex[] {
  const open = new Set<LogIndex>();
  for (const digests of [own, ...reported.values()])
    for (const index of digests.keys()) if (index > (agreed?.index ?? 0)) open.add(index);
  return [...open].sort((a, b) => b - a);
}

/** A majority has this digest at this checkpoint. */
function learn(check: StateCheck, checkpoint: Checkpoint, source: string): void {
  const { index, digest } = checkpoint;
  if (check.agreed === null || index > check.agreed.index) check.agreed = checkpoint;
  const ours = check.own.get(index);
  if (ours !== undefined) compare(check, index, ours, digest, source);
  else if (index > check.stateMachine.queue.appliedIndex) remember(check.ahead, index, digest);
}

function compare(check: StateCheck, index: LogIndex, ours: number, right: number, source: string): void {
  if (ours !== right && index <= check.replacedTo) {
    check.own.delete(index);
    const was = `was wrong at index ${index}, by its digest ${hex(ours)}: a majority has ${hex(right)} (${source})`;
    const since = "a snapshot has taken its place since. Its memory or disk may be bad";
    report(check, "error", `the state of this node ${was}; ${since}`);
  } else if (ours !== right) {
    const message = `the state of this node is wrong at index ${index}: its digest is ${hex(ours)}, a majority has ${hex(right)} (${source}); its data are not used again`;
    check.diverged ??= { code: "CORRUPT", message };
  } else if (index > (check.compared?.index ?? 0)) {
    check.compared = { index, digest: ours };
    check.onCompared(check.compared);
  }
}

function report({ log }: StateCheck, level: "info" | "error", text: string): void {
  log({ level, event: "digest", text });
}

type Tally = ReadonlyMap<number, readonly MemberId[]>;

/** Which voters gave which digest. */
function tallyAt(raft: Raft, digestOf: (id: MemberId) => number | undefined): Tally {
  const tally = new Map<number, MemberId[]>();
  for (const id of raft.members.all) {
    const digest = isVoter(raft.members, id) ? digestOf(id) : undefined;
    if (digest === undefined) continue;
    const same = tally.get(digest);
    if (same === undefined) tally.set(digest, [id]);
    else same.push(id);
  }
  return tally;
}

function disputeOf(index: LogIndex, tally: Tally): Failure {
  const each = [...tally].map(([digest, members]) => `${hex(digest)} on ${namesOf(members)}`).join(", ");
  const message = `the members' states differ at index ${index} and no majority agrees: ${each}`;
  return failure("DIVERGED", message, { retryAfterMs: SERVER.disputeRetryMs });
}

function namesOf(members: readonly MemberId[] = []): string {
  return members.map(nodeIdOf).join(", ");
}

/** The oldest ones are forgotten. */
function remember(digests: DigestAt, index: LogIndex, digest: number): void {
  digests.set(index, digest);
  if (digests.size > SERVER.rememberedCheckpoints) digests.delete(Math.min(...digests.keys()));
}

/** In the order in which they were reached. */
function newestAbove(digests: DigestAt, floor: LogIndex): readonly Checkpoint[] {
  const above: Checkpoint[] = [];
  for (const [index, digest] of digests) if (index > floor) above.push({ index, digest });
  return above.slice(-MAX_LIST);
}

/** As people see it. */
export function hex(digest: number): string {
  return digest.toString(16).padStart(8, "0");
}
