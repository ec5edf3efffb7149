// Does every step keep Raft's promises? These watch all nodes from outside, after every callback, and trust none of them.
import { crc32 } from "../../src/lib/crc32.ts";
import { digestOf } from "../../src/queue/digest.ts";
import { apply, createQueue, type Queue } from "../../src/queue/queue.ts";
import { restore } from "../../src/queue/snapshot.ts";
import { checkCluster, checkDeep } from "../../src/raft/invariants.ts";
import { fieldsOf } from "../../src/raft/entry.ts";
import type { Raft } from "../../src/raft/raft.ts";
import type { Configuration, LogIndex, MemberId, Term } from "../../src/raft/types.ts";
import type { CommittedLog } from "./committed-log.ts";
import { createQuorums, type OnDisk } from "./quorums.ts";
import { checksumOf, partsOf } from "../kit/queue-log.ts";

/** One life of one node, as the oracles see it. */
export interface Observed {
  readonly name: string;
  readonly inspect: () => { readonly raft: Raft; readonly queue: Queue } | null;
  /** The index after which its state was spoiled by the world; null: it must be right, or is right again. */
  corruptedAt: LogIndex | null;
  readonly comparedAt: () => LogIndex;
}

/** What was seen of a life last time. */
interface Seen {
  readonly self: MemberId;
  term: Term;
  role: string;
  votedFor: MemberId | null;
  /** The configuration in force, and the newest snapshot's index. */
  configuration: { readonly configuration: Configuration; readonly index: LogIndex } | null;
  snapshotIndex: LogIndex;
  durableIndex: LogIndex;
  commitIndex: LogIndex;
  appliedIndex: LogIndex;
  lastIndex: LogIndex;
}

export interface Oracles {
  /** After every callback into this life. True when something has changed. */
  observe(life: Observed): boolean;
  /** The world has spoiled its state just now. */
  stateSpoiled(life: Observed, queue: Queue): void;
  /** Compares the whole logs of these lives with all others. */
  observeLogs(lives: readonly Observed[]): void;
  readonly highestTerm: Term;
}

/** At every so many indexes the members' own digests are compared, which cost little. */
const DIGEST_EVERY = 4;
/** Here the states themselves, byte by byte. */
const RECOMPUTE_EVERY = 32;

const isWhole = ({ appliedIndex }: Queue): boolean => appliedIndex % RECOMPUTE_EVERY === 0;
const comparable = (queue: Queue): number => (isWhole(queue) ? checksumOf(queue) : digestOf(queue));

export function createOracles(committedLog: CommittedLog, onDisk: OnDisk, fail: (what: string) => void): Oracles {
  const lives = new Map<Observed, Seen>();
  const leaders = new Map<Term, string>();
  /** The term of the member that was the first to commit an index. */
  const committedIn = new Map<LogIndex, Term>();
  const records = new Map<LogIndex, Map<Term, number>>();
  const digests = new Map<LogIndex, { readonly digest: number; readonly who: string }>();
  /** Copies of states, as they were when they were spoiled; and the digests of those that the entries behind them led to a right one. */
  const spoiled = new Map<Observed, Queue>();
  const rightLater = new Map<LogIndex, Set<number>>();
  const quorums = createQuorums(committedLog, onDisk, fail);
  let highestTerm: Term = 0;

  function observe(life: Observed): boolean {
    const inside = life.inspect();
    if (inside === null) return false;
    const { raft, queue } = inside;
    quorums.counted(raft);
    const last = lives.get(life);
    // A node that has set its data aside is somebody new in the same process.
    const known = last?.self === raft.self ? last : undefined;
    const seen = known ?? firstSight(life, raft.self);
    if (
      known !== undefined &&
      seen.term === raft.currentTerm &&
      seen.role === raft.role &&
      seen.votedFor === raft.votedFor &&
      seen.commitIndex === raft.commitIndex &&
      seen.appliedIndex === queue.appliedIndex &&
      seen.lastIndex === raft.lastIndex &&
      seen.durableIndex === raft.durableIndex &&
      seen.configuration?.configuration === raft.configuration
    ) {
      return false;
    }
    quorums.saw(raft);
    if (known === undefined) quorums.began(raft);
    onlyForward(life.name, seen, raft, queue);
    if (raft.role === "leader" && (seen.role !== "leader" || seen.term !== raft.currentTerm))
      becameLeader(life.name, raft);
    if (raft.commitIndex > seen.commitIndex) committed(life.name, seen, raft);
    if (life.corruptedAt !== null) foundOut(life, life.corruptedAt);
    else if (queue.appliedIndex > seen.appliedIndex && queue.appliedIndex % DIGEST_EVERY === 0)
      applied(life.name, queue);
    const configured = seen.configuration?.configuration !== raft.configuration;
    if (configured || raft.commitIndex > seen.commitIndex) {
      const sameLeadership = seen.role === "leader" && seen.term === raft.currentTerm;
      quorums.configured(raft, sameLeadership ? seen.configuration : null);
    }
    const snapshotIndex = raft.snapshot?.index ?? 0;
    if (life.corruptedAt === null) quorums.applied(raft, queue);
    if (known === undefined || snapshotIndex > seen.snapshotIndex) {
      deep(life.name, raft);
      quorums.snapshotCounts(raft, () => {
        for (const other of lives.keys()) if (other.corruptedAt !== null) lookAgain(other);
      });
    }
    seen.term = raft.currentTerm;
    seen.role = raft.role;
    seen.votedFor = raft.votedFor;
    seen.commitIndex = raft.commitIndex;
    seen.appliedIndex = queue.appliedIndex;
    seen.lastIndex = raft.lastIndex;
    seen.durableIndex = raft.durableIndex;
    seen.snapshotIndex = snapshotIndex;
    if (configured) seen.configuration = { configuration: raft.configuration, index: raft.configurationIndex };
    highestTerm = Math.max(highestTerm, raft.currentTerm);
    return true;
  }

  function deep(who: string, raft: Raft): void {
    try {
      checkDeep(raft);
    } catch (error) {
      fail(`${who}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  function firstSight(life: Observed, self: MemberId): Seen {
    const seen: Seen = {
      self,
      term: 0,
      role: "",
      votedFor: null,
      configuration: null,
      snapshotIndex: 0,
      durableIndex: 0,
      commitIndex: 0,
      appliedIndex: 0,
      lastIndex: 0,
    };
    lives.set(life, seen);
    return seen;
  }

  function onlyForward(who: string, seen: Seen, raft: Raft, queue: Queue): void {
    if (raft.currentTerm < seen.term) fail(`${who}: currentTerm fell from ${seen.term} to ${raft.currentTerm}`);
    if (raft.commitIndex < seen.commitIndex)
      fail(`${who}: commitIndex fell from ${seen.commitIndex} to ${raft.commitIndex}`);
    if (queue.appliedIndex < seen.appliedIndex)
      fail(`${who}: appliedIndex fell from ${seen.appliedIndex} to ${queue.appliedIndex}`);
    if (queue.appliedIndex > raft.commitIndex)
      fail(`${who}: applied ${queue.appliedIndex}, committed only ${raft.commitIndex}`);
    if (raft.commitIndex > raft.lastIndex) fail(`${who}: committed ${raft.commitIndex}, has only ${raft.lastIndex}`);
    const leadsOn = seen.role === "leader" && raft.role === "leader" && seen.term === raft.currentTerm;
    if (leadsOn && raft.commitIndex > seen.commitIndex && raft.termAt(raft.commitIndex) !== raft.currentTerm)
      fail(`${who} leads term ${raft.currentTerm} and commits up to index ${raft.commitIndex} of another term`);
    if (
      raft.lastIndex < seen.lastIndex &&
      seen.role === "leader" &&
      raft.role === "leader" &&
      seen.term === raft.currentTerm
    ) {
      fail(`${who}: a leader's log became shorter, from ${seen.lastIndex} to ${raft.lastIndex}`);
    }
  }

  function becameLeader(who: string, raft: Raft): void {
    const other = leaders.get(raft.currentTerm);
    if (other !== undefined && other !== raft.self)
      fail(`term ${raft.currentTerm} has two leaders: ${other} and ${raft.self}`);
    leaders.set(raft.currentTerm, raft.self);
    quorums.becameLeader(raft);
    const needed = committedBefore(raft.currentTerm);
    if (raft.lastIndex < needed)
      fail(`${who} leads term ${raft.currentTerm} with ${raft.lastIndex} entries; ${needed} are committed`);
    for (let index = raft.firstIndex; index <= Math.min(raft.lastIndex, needed); index++) {
      const entry = raft.entryAt(index);
      const agreed = committedLog.at(index)?.entry;
      if (entry === undefined || agreed === undefined || entry.term === agreed.term) continue;
      fail(
        `${who} leads term ${raft.currentTerm} with term ${entry.term} at index ${index}, where term ${agreed.term} is committed`,
      );
      return;
    }
  }

  /** Leader Completeness: one whose votes come late may lack what a later term has committed. */
  function committedBefore(term: Term): LogIndex {
    let index = committedLog.lastIndex;
    while ((committedIn.get(index) ?? 0) >= term) index--;
    return index;
  }

  function committed(who: string, seen: Seen, raft: Raft): void {
    for (let index = Math.max(seen.commitIndex + 1, raft.firstIndex); index <= raft.commitIndex; index++) {
      const entry = raft.entryAt(index);
      if (entry === undefined) continue; // Behind a snapshot: the digest below covers it.
      const problem = committedLog.commit(who, entry);
      if (problem !== null) fail(problem);
      if (!committedIn.has(index)) committedIn.set(index, raft.currentTerm);
    }
    if (raft.role !== "leader") return;
    const { commitIndex, configuration, role, term } = seen;
    const configurationIndex = role === "leader" && term === raft.currentTerm ? (configuration?.index ?? 0) : 0;
    quorums.committed(raft, { commitIndex, configurationIndex });
  }

  function applied(who: string, queue: Queue): void {
    const digest = comparable(queue);
    // Restoring holds what was computed step by step against what is computed anew, and throws where they differ.
    if (isWhole(queue)) restore(partsOf(queue));
    const first = digests.get(queue.appliedIndex);
    if (first?.digest === digest || rightLater.get(queue.appliedIndex)?.has(digest) === true) return;
    if (first === undefined) digests.set(queue.appliedIndex, { digest, who });
    else fail(`${who} and ${first.who} differ in their state at index ${queue.appliedIndex}`);
  }

  /**
   * A snapshot of a state that was wrong counts once a majority confirms a later checkpoint: the entries between lead from it to a right
   * state, here and wherever it is restored. So the states between, which this life went through, may be seen again.
   */
  function spoiledLedToRight(life: Observed, index: LogIndex): void {
    const queue = spoiled.get(life);
    if (queue === undefined) return;
    spoiled.delete(life);
    for (let at = queue.appliedIndex + 1; at <= index; at++) {
      const entry = committedLog.at(at)?.entry;
      if (entry === undefined) return;
      apply(queue, fieldsOf(entry));
      if (at % DIGEST_EVERY === 0) rightLater.set(at, (rightLater.get(at) ?? new Set()).add(comparable(queue)));
    }
  }

  /** A wrong state may be anything but approved. */
  function foundOut(life: Observed, corruptedAt: LogIndex): void {
    const found = life.comparedAt();
    if (found <= corruptedAt) return;
    lookAgain(life);
    if (life.corruptedAt !== null)
      fail(`${life.name} was found to be right at index ${found}, but is wrong since ${corruptedAt}`);
  }

  /** What was wrong may be gone, as an answer that was acknowledged since. */
  function lookAgain(life: Observed): void {
    const inside = life.inspect();
    if (inside === null) return;
    const { raft, queue } = inside;
    if (checksumOf(queue) !== checksumOf(replayed(queue.appliedIndex))) return;
    life.corruptedAt = null;
    spoiledLedToRight(life, queue.appliedIndex);
    quorums.applied(raft, queue);
  }

  /** The queue that the log gives, up to there. */
  function replayed(index: LogIndex): Queue {
    const queue = createQueue();
    for (let at = 1; at <= index; at++) {
      const entry = committedLog.at(at)?.entry;
      if (entry !== undefined) apply(queue, fieldsOf(entry));
    }
    return queue;
  }

  function observeLogs(observed: readonly Observed[]): void {
    const rafts = observed.flatMap((life) => life.inspect()?.raft ?? []);
    try {
      checkCluster(rafts);
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error));
    }
    for (const life of observed) observeLog(life);
  }

  function observeLog(life: Observed): void {
    const inside = life.inspect();
    if (inside === null) return;
    const { raft } = inside;
    deep(life.name, raft);
    for (let index = raft.firstIndex; index <= raft.lastIndex; index++) {
      const entry = raft.entryAt(index);
      if (entry === undefined) continue;
      const terms = records.get(index) ?? new Map<Term, number>();
      if (terms.size === 0) records.set(index, terms);
      const checksum = crc32(entry.record);
      const known = terms.get(entry.term);
      if (known === undefined) terms.set(entry.term, checksum);
      else if (known !== checksum)
        fail(`${life.name} holds another record than others at index ${index} of term ${entry.term}`);
    }
  }

  return {
    observe,
    stateSpoiled: (life, queue) => {
      // Without a version there is no snapshot yet.
      if (queue.version > 0) spoiled.set(life, restore(partsOf(queue)));
    },
    observeLogs,
    get highestTerm() {
      return highestTerm;
    },
  };
}
