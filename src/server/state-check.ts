// Do the members' states agree? Each reports its digests at the checkpoints to the leader. The digest of a majority is right: the
// leader passes it on, snapshots count only from then on, and a member whose own digest differs must stop.
import { type Failure, failure } from "../lib/errors.ts";
import type { Outgoing, RaftRefusal } from "../raft/effects.ts";
import { hasQuorum, isVoter } from "../raft/configuration.ts";
import type { Checkpoint, RaftMessage } from "../raft/messages.ts";
import type { Raft } from "../raft/raft.ts";
import { type LogIndex, type MemberId, nodeIdOf } from "../raft/types.ts";
import { MAX_LIST } from "../wire/fields.ts";

/** Digests are remembered for so many checkpoints, of every member. */
const REMEMBERED = 1_024;
const DISPUTE_RETRY_MS = 100;

type DigestAt = Map<LogIndex, number>;

export interface StateCheck {
  /** This node's own apply came to a checkpoint. Nothing else shows what its state is: a received snapshot is another's work. */
  reached(checkpoint: Checkpoint): void;
  /** After raft has taken the message. What a majority has is learned from the present leader alone. */
  received(from: MemberId, message: RaftMessage): void;
  /** What this node's own apply came to at that checkpoint, if it did. */
  ownAt(index: LogIndex): number | null;
  /** The message, with the digests that this node reports in it. */
  withDigests(outgoing: Outgoing): Outgoing;
  /** The leader's snapshot has taken the place of the state: what that was before is of no consequence any more. */
  replaced(index: LogIndex): void;
  /** Once per turn: why this node must stop, or null. */
  judge(): RaftRefusal | null;
  /** The newest checkpoint where this node's state was found to be a majority's. */
  compared(): Checkpoint | null;
  /** States differ and no majority agrees: nothing new may be written. */
  dispute(): Failure | null;
}

/** `onCompared`: at this checkpoint this node's own digest is a majority's. `report`: for the node's log. */
export function createStateCheck(
  raft: Raft,
  appliedIndex: () => LogIndex,
  onCompared: (checkpoint: Checkpoint) => void,
  report: (level: "info" | "error", text: string) => void,
): StateCheck {
  const own: DigestAt = new Map();
  const reported = new Map<MemberId, DigestAt>();
  /** A majority's digests at checkpoints that this node has not come to. */
  const ahead: DigestAt = new Map();
  let agreed: Checkpoint | null = null;
  let compared: Checkpoint | null = null;
  let diverged: RaftRefusal | null = null;
  /** Up to here this node's states are gone. */
  let replacedTo: LogIndex = 0;
  let dispute: Failure | null = null;
  /** Our leader knows what is right up to here. */
  let leaderKnowsTo: LogIndex = 0;
  let news = false;
  let countedFor: unknown = null;

  function learn(checkpoint: Checkpoint, source: string): void {
    const { index, digest } = checkpoint;
    if (agreed === null || index > agreed.index) agreed = checkpoint;
    const ours = own.get(index);
    if (ours !== undefined) compare(index, ours, digest, source);
    else if (index > appliedIndex()) remember(ahead, index, digest);
  }

  function compare(index: LogIndex, ours: number, right: number, source: string): void {
    if (ours !== right && index <= replacedTo) {
      own.delete(index);
      const was = `was wrong at index ${index}, by its digest ${hex(ours)}: a majority has ${hex(right)} (${source})`;
      report(
        "error",
        `the state of this node ${was}; a snapshot has taken its place since. Its memory or disk may be bad`,
      );
    } else if (ours !== right) {
      const message = `the state of this node is wrong at index ${index}: its digest is ${hex(ours)}, a majority has ${hex(right)} (${source}); its data are not used again`;
      diverged ??= { code: "CORRUPT", message };
    } else if (index > (compared?.index ?? 0)) {
      compared = { index, digest: ours };
      onCompared(compared);
    }
  }

  /** Leader: the voters' digests, from the newest checkpoint down to one where a majority agrees. */
  function count(): void {
    news = false;
    countedFor = raft.configuration;
    const before = dispute;
    dispute = null;
    const digestOf = (id: MemberId, index: LogIndex): number | undefined =>
      (id === raft.self ? own : reported.get(id))?.get(index);
    const open = new Set<LogIndex>();
    for (const digests of [own, ...reported.values()])
      for (const index of digests.keys()) if (index > (agreed?.index ?? 0)) open.add(index);
    for (const index of [...open].sort((a, b) => b - a)) {
      const tally = tallyAt(raft, (id) => digestOf(id, index));
      const right = [...tally.keys()].find((digest) => hasQuorum(raft.members, (id) => digestOf(id, index) === digest));
      if (right !== undefined) {
        learn({ index, digest: right }, namesOf(tally.get(right)));
        break;
      }
      if (tally.size > 1) dispute ??= disputeOf(index, tally);
    }
    if (dispute !== null && before === null) report("error", `writes stop: ${dispute.message}`);
    if (dispute === null && before !== null) report("info", "writes go on: a majority agrees about the state again");
  }

  return {
    reached: ({ index, digest }) => {
      remember(own, index, digest);
      news = true;
      const right = ahead.get(index);
      for (const earlier of ahead.keys()) if (earlier <= index) ahead.delete(earlier);
      if (right !== undefined) compare(index, digest, right, "as the leader reports");
    },
    received: (from, message) => {
      if (message.type === "Heartbeat") {
        if (raft.leader !== from || raft.currentTerm !== message.term) return;
        leaderKnowsTo = message.agreed?.index ?? 0;
        if (message.agreed !== undefined) learn(message.agreed, "as the leader reports");
      } else if (message.type === "HeartbeatReply" && message.checkpoints !== undefined) {
        const digests: DigestAt = reported.get(from) ?? new Map();
        reported.set(from, digests);
        for (const { index, digest } of message.checkpoints) remember(digests, index, digest);
        news = true;
      }
    },
    ownAt: (index) => own.get(index) ?? null,
    withDigests: (outgoing) => {
      const { message } = outgoing;
      if (message.type === "Heartbeat" && agreed !== null) return { ...outgoing, message: { ...message, agreed } };
      if (message.type !== "HeartbeatReply") return outgoing;
      const checkpoints = newestAbove(own, leaderKnowsTo);
      return checkpoints.length === 0 ? outgoing : { ...outgoing, message: { ...message, checkpoints } };
    },
    replaced: (index) => {
      replacedTo = index;
    },
    judge: () => {
      if (raft.role !== "leader") dispute = null;
      else if (news || dispute !== null || countedFor !== raft.configuration) count();
      return diverged;
    },
    compared: () => compared,
    dispute: () => dispute,
  };
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
  return failure("DIVERGED", message, { retryAfterMs: DISPUTE_RETRY_MS });
}

function namesOf(members: readonly MemberId[] = []): string {
  return members.map(nodeIdOf).join(", ");
}

/** The oldest ones are forgotten. */
function remember(digests: DigestAt, index: LogIndex, digest: number): void {
  digests.set(index, digest);
  if (digests.size > REMEMBERED) digests.delete(Math.min(...digests.keys()));
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
