// Does a majority stand behind every leader, every commit and every change of members? Counted from outside, over what each member
// itself holds; a leader's own count is not believed.
import { encodeConfiguration } from "../../src/raft/configuration.ts";
import { fieldsOf } from "../../src/raft/entry.ts";
import type { Queue } from "../../src/queue/queue.ts";
import type { Raft } from "../../src/raft/raft.ts";
import {
  type Configuration,
  type HardState,
  type LogIndex,
  type Member,
  type MemberId,
  memberId,
  type Term,
} from "../../src/raft/types.ts";
import { equalBytes } from "./history.ts";
import type { CommittedLog } from "./committed-log.ts";

export interface Quorums {
  /** Before the others: what this member is and holds now. */
  saw(raft: Raft): void;
  /** A life that was not seen before: what must it still know? */
  began(raft: Raft): void;
  becameLeader(raft: Raft): void;
  /** Whatever happened: if it leads, all that it has counted was sent to this very leadership, and is true. */
  counted(raft: Raft): void;
  /** A leader's commit index moved; `before` is what was seen last of this leadership. */
  committed(raft: Raft, before: { readonly commitIndex: LogIndex; readonly configurationIndex: LogIndex }): void;
  /** A node's configuration or commit index moved; `before` is what was seen last of this life. */
  configured(raft: Raft, before: { readonly configuration: Configuration; readonly index: LogIndex } | null): void;
  /** A node with a right state has applied more. */
  applied(raft: Raft, queue: Queue): void;
  /** Its newest snapshot counts: what it stands for was reported by a majority, each by its own work. `lookAgain`: who is right by now? */
  snapshotCounts(raft: Raft, lookAgain: () => void): void;
}

type Leadership = NonNullable<Raft["leadership"]>;

interface Vote {
  readonly term: Term;
  readonly candidate: MemberId;
}

/** What a power cut would leave on a member's disk, whatever the member reports. */
export interface OnDisk {
  /** null: its disk is gone, or not readable now. */
  vote(member: MemberId): HardState | null;
  /** The entry, in its log or under a snapshot. */
  holds(member: MemberId, index: LogIndex, record: Uint8Array): boolean;
}

export function createQuorums(committedLog: CommittedLog, onDisk: OnDisk, fail: (what: string) => void): Quorums {
  /** The newest life of each member; a dead one keeps what it had confirmed. */
  const members = new Map<MemberId, Raft>();
  const votes = new Map<Term, Map<MemberId, MemberId>>();
  /** What each member acknowledged to each leadership, as far as it was looked at. */
  const acknowledged = new WeakMap<object, Map<MemberId, LogIndex>>();
  /** How far each member knows its log to be the leader's, in its newest term: what it may acknowledge there. */
  const verified = new Map<MemberId, { readonly term: Term; index: LogIndex }>();
  /** How far each member has come by its own work, with a right state; and where its present state came from. */
  const ownWork = new Map<MemberId, LogIndex>();
  const begunAt = new WeakMap<Queue, LogIndex>();
  /** Every configuration that any log held, by its index. */
  const configurations = new Map<LogIndex, Configuration[]>();
  /** A snapshot up to here may count. */
  let confirmed: LogIndex = 0;
  /** The newest vote of each member without which there would be no leader: it was surely given, so it must not be forgotten. */
  const proven = new Map<MemberId, Vote>();

  function saw(raft: Raft): void {
    const { self, currentTerm, votedFor } = raft;
    members.set(self, raft);
    if (raft.campaign?.transfer === true) tookOver(raft);
    if (votedFor === null) return;
    const inTerm = votes.get(currentTerm) ?? new Map<MemberId, MemberId>();
    if (inTerm.size === 0) votes.set(currentTerm, inTerm);
    inTerm.set(self, votedFor);
    const given = proven.get(self);
    if (given !== undefined && given.term === currentTerm && given.candidate !== votedFor)
      fail(`${self} voted for ${given.candidate} in term ${given.term}, and then for ${votedFor}`);
  }

  /**
   * A member that is asked to take over has everything that the leader has: it takes nothing new while it hands over.
   * What an earlier, given up transfer sent may come while the leader has begun another one, and sent nothing of it yet.
   */
  function tookOver({ self, currentTerm, lastIndex }: Raft): void {
    for (const giver of members.values()) {
      const leads = giver.role === "leader" && giver.currentTerm === currentTerm - 1;
      const handsOver = leads && giver.transfer?.to === self && giver.transfer.sent;
      // Except the end of a joint configuration.
      if (handsOver && giver.lastIndex > lastIndex && giver.configurationIndex <= lastIndex)
        fail(`${giver.self} handed over to ${self}, which has ${lastIndex} entries of ${giver.lastIndex}`);
    }
  }

  function began({ self, currentTerm, votedFor }: Raft): void {
    const given = proven.get(self);
    if (given === undefined || currentTerm > given.term) return;
    if (currentTerm < given.term) fail(`${self} forgot term ${given.term}, in which it voted`);
    else if (votedFor !== given.candidate) fail(`${self} forgot its vote for ${given.candidate} in term ${given.term}`);
  }

  function becameLeader(raft: Raft): void {
    const { self, currentTerm: term, configuration } = raft;
    const inTerm = votes.get(term) ?? new Map<MemberId, MemberId>();
    const given = [...inTerm].filter(([, candidate]) => candidate === self).map(([voter]) => voter);
    if (!hasMajorities(configuration, (id) => given.includes(id)))
      fail(`${self} leads term ${term} with the votes of ${given.join(" ")} only`);
    for (const voter of given) {
      const needed = voter !== self && !hasMajorities(configuration, (id) => id !== voter && given.includes(id));
      if (!needed || (proven.get(voter)?.term ?? 0) >= term) continue;
      proven.set(voter, { term, candidate: self });
      const left = onDisk.vote(voter);
      const kept = left === null || left.currentTerm > term || (left.currentTerm === term && left.votedFor === self);
      if (!kept) fail(`${voter} voted for ${self} in term ${term}, and a power cut would make it forget that`);
    }
  }

  function verifies({ self, currentTerm: term, verifiedIndex, commitIndex }: Raft): void {
    const index = Math.max(verifiedIndex, commitIndex);
    const known = verified.get(self);
    if (known === undefined || term > known.term) verified.set(self, { term, index });
    else if (term === known.term && index > known.index) known.index = index;
  }

  function counted(raft: Raft): void {
    verifies(raft);
    if (raft.leadership !== null) countedBy(raft, raft.leadership);
  }

  /** As long as a member is in the term of its acknowledgement, its log keeps what it acknowledged. */
  function countedBy({ self, currentTerm, progress, termAt, entryAt }: Raft, leadership: Leadership): void {
    const known = acknowledged.get(leadership) ?? new Map<MemberId, LogIndex>();
    acknowledged.set(leadership, known);
    for (const { id, matchIndex, readContext } of progress.values()) {
      if (readContext > leadership.readContext)
        fail(`${self} takes read ${readContext} for confirmed by ${id}, and has asked for ${leadership.readContext}`);
      if (matchIndex <= (known.get(id) ?? 0)) continue;
      known.set(id, matchIndex);
      const verifiedByMember = verified.get(id);
      const isAhead = verifiedByMember !== undefined && verifiedByMember.term > currentTerm;
      if (!isAhead && (verifiedByMember?.term !== currentTerm || verifiedByMember.index < matchIndex))
        fail(
          `${self} counts ${id} for index ${matchIndex}, which that one has not acknowledged in term ${currentTerm}`,
        );
      const member = members.get(id);
      const term = termAt(matchIndex);
      if (member === undefined || member.currentTerm !== currentTerm || term === undefined) continue;
      if (holdsDurably(member, matchIndex, term)) continue;
      // While the leader's snapshot takes the place of its log, a member vouches for less than its disk still holds (seed 7005085).
      const record = entryAt(matchIndex)?.record;
      if (record === undefined || !onDisk.holds(id, matchIndex, record))
        fail(`${self} counts ${id} for index ${matchIndex} of term ${term}, which that one does not hold durably`);
    }
  }

  function committed(
    raft: Raft,
    before: { readonly commitIndex: LogIndex; readonly configurationIndex: LogIndex },
  ): void {
    const { commitIndex: index, configurations } = raft;
    const term = raft.termAt(index);
    if (term === undefined) return;
    const holders = [...members].filter(([, other]) => holdsDurably(other, index, term)).map(([id]) => id);
    // What was in force when it counted: the configuration seen before or a later one, but not the end of a joint one that this
    // very step has committed.
    const enough = configurations.some(({ index: at, configuration }, place) => {
      if (at < before.configurationIndex) return false;
      const previous = configurations[place - 1];
      const endsJoint = at > before.configurationIndex && (previous?.configuration.outgoing.length ?? 0) > 0;
      if (endsJoint && (previous?.index ?? 0) > before.commitIndex) return false;
      return hasMajorities(configuration, (id) => holders.includes(id));
    });
    if (!enough)
      fail(`${raft.self} commits index ${index} of term ${term}, durable on ${holders.join(" ") || "nobody"} only`);
  }

  function configured(
    raft: Raft,
    before: { readonly configuration: Configuration; readonly index: LogIndex } | null,
  ): void {
    const { self, configuration, configurationIndex, commitIndex } = raft;
    const known = configurations.get(configurationIndex) ?? [];
    if (!known.includes(configuration)) configurations.set(configurationIndex, [...known, configuration]);
    const agreed = committedLog.configurations.findLast((entry) => entry.index <= commitIndex);
    if (agreed !== undefined && configurationIndex < agreed.index)
      fail(`${self} has committed ${commitIndex} and does not know the members that index ${agreed.index} says`);
    const committedHere = agreed?.index === configurationIndex ? agreed : null;
    if (committedHere !== null && !equalBytes(fieldsOf(committedHere).body, encodeConfiguration(configuration)))
      fail(`${self} has other members than the committed index ${configurationIndex} says`);
    if (raft.role !== "leader" || before === null || before.index === 0 || configurationIndex <= before.index) return;
    if (before.index > commitIndex)
      fail(`${self} changes the members at ${configurationIndex} before the change at ${before.index} is committed`);
    if (!mayFollow(before.configuration, configuration))
      fail(
        `${self}: the members at ${before.index} and at ${configurationIndex} have majorities without a common member`,
      );
  }

  function applied({ self, snapshot }: Raft, queue: Queue): void {
    const begun = begunAt.get(queue) ?? snapshot?.index ?? 0;
    begunAt.set(queue, begun);
    if (queue.appliedIndex > Math.max(begun, ownWork.get(self) ?? 0)) ownWork.set(self, queue.appliedIndex);
  }

  function snapshotCounts({ self, snapshot }: Raft, lookAgain: () => void): void {
    if (snapshot === null || snapshot.index <= confirmed) return;
    const { index } = snapshot;
    if (!mayCount(index)) lookAgain();
    if (mayCount(index)) confirmed = index;
    else {
      const holders = [...ownWork].filter(([, at]) => at >= index).map(([id]) => id);
      const own = holders.join(" ") || "nobody";
      fail(`${self}: the snapshot at ${index} counts, and only ${own} has come there by its own work`);
    }
  }

  function mayCount(index: LogIndex): boolean {
    // The leader that counted had all that was committed up to there, so what was in force there or came later.
    const floor = committedLog.configurations.findLast((entry) => entry.index <= index)?.index ?? 0;
    const candidates = [...configurations].filter(([at]) => at >= floor).flatMap(([, sets]) => sets);
    return candidates.some((set) => hasMajorities(set, (member) => (ownWork.get(member) ?? 0) >= index));
  }

  return { saw, began, becameLeader, counted, committed, configured, applied, snapshotCounts };
}

/** A snapshot that is being installed counts before it is durable, but not as durable. */
function holdsDurably(raft: Raft, index: LogIndex, term: Term): boolean {
  if (raft.durableIndex < index) return false;
  return (raft.snapshot !== null && raft.snapshot.index >= index) || raft.termAt(index) === term;
}

/** Counted here and not by the product's own function. */
function hasMajorities({ voters, outgoing }: Configuration, holds: (member: MemberId) => boolean): boolean {
  const has = (half: readonly Member[]): boolean =>
    half.length === 0 || 2 * half.filter((member) => holds(memberId(member))).length > half.length;
  return voters.length > 0 && has(voters) && has(outgoing);
}

/** Equal voters, or a step into or out of joint consensus: any two majorities have a member in common. */
function mayFollow(before: Configuration, after: Configuration): boolean {
  const same = (a: readonly Member[], b: readonly Member[]): boolean =>
    a.length === b.length && a.every((member) => b.some((other) => memberId(other) === memberId(member)));
  if (before.outgoing.length > 0) return after.outgoing.length === 0 && same(before.voters, after.voters);
  return same(before.voters, after.outgoing.length > 0 ? after.outgoing : after.voters);
}
