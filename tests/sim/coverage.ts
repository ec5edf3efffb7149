// Did it really happen? Events that a long run must have seen, or the simulator has grown tame: each named, counted, and taken from
// what nodes log, hold and answer.
import type { ErrorCode } from "../../src/lib/errors.ts";
import type { Raft } from "../../src/raft/raft.ts";
import {
  type Configuration,
  type LogIndex,
  type MemberId,
  nodeIdOf,
  memberId,
  type Term,
} from "../../src/raft/types.ts";

/** Lines that a node writes to its log. */
const LOGGED = [
  ["an election ended without a winner", /no majority in term/],
  ["a leader stepped down because no majority answered", /voters answered within/],
  ["a leader stepped down because its disk hung", /own disk has not answered/],
  ["a dead leader was noticed by its refused connections", /its address refuses connections/],
  ["leadership was handed over", /hands over/],
  ["a leader removed itself and stepped down", /removed from the cluster by entry/],
  ["a snapshot was installed", /installed the leader's snapshot/],
  ["a torn tail was cut", /torn tail of/],
  ["frames missing at the end of a log were noticed", /shows that frame \d+ was durable/],
  ["a node started from a snapshot and entries behind it", /recovered [1-9]\d* entries, snapshot at/],
  ["a founder found a cluster and joined it", /a cluster exists there already/],
  ["a wiped founder was found by its cluster", /of an existing cluster knows this address/],
  ["a node was let in as a learner", /as a learner$/],
  ["a voter learned of its own removal", /removed as a voter/],
  ["a wiped node had to wait before it was let in", /has not been silent for long enough/],
  ["writes stopped because no majority agreed about the state", /^writes stop:/],
  ["writes went on after a dispute about the state", /^writes go on:/],
  ["a disk older than its acknowledgements was found out", /the disk is older than what it promised/],
  ["a link that carried nothing any more was dialed again", /has not answered for/],
] as const;

/** What a client or the operator is refused with. */
const REFUSED = {
  NOT_LEADER: "a client was redirected",
  NO_LEADER: "a client met a node without a leader",
  OVERLOADED: "a client was refused while the leader was busy",
  OUT_OF_ORDER: "a number came before its turn",
  WINDOW_FULL: "a session's window was full",
  DISK_FULL: "a client was refused for lack of room",
  SESSIONS_FULL: "all sessions were in use",
  QUEUE_FULL: "an enqueue found the queue full",
  LEADER_CHANGED: "a leadership ended with requests under way",
  FORGOTTEN: "an acknowledged number was asked for again",
  CHANGE_IN_PROGRESS: "a change of members had to wait for another",
  NO_QUORUM_LEFT: "a removal that would leave no quorum was refused",
  TIMEOUT: "a transfer timed out",
} as const satisfies Partial<Record<ErrorCode, string>>;

/** What is seen in a node, or done to it. */
const SEEN = [
  "two candidates stood in one term",
  "a leader was deposed by a higher term",
  "entries were dropped for the leader's",
  "an entry of an old term was committed by one of the new",
  "a leader held entries that never committed",
  "a snapshot was installed over other entries",
  "a snapshot was installed while the log was being written",
  "a snapshot counted with one write of all entries behind it",
  "a node started with a slot of meta that was not synced",
  "a snapshot was taken of a log with uncommitted entries",
  "a configuration was rolled back",
  "a joint change was finished by another leader than began it",
  "several members changed in one step",
  "a wiped node took its own place again",
  "a group shrank to one voter",
  "a read waited for a round of heartbeats",
  "a leader had committed its first entry and not applied it yet",
  "reads were refused because the leadership ended",
  "a leader led again while replies of its earlier term were late",
  "requests of an earlier term arrived with the leader's next campaign",
  "another led while late replies kept a leader in office",
  "a leader that received nothing was followed by another",
  "a group whose states had no majority took nothing any more",
  "no machine was running",
  "a failing disk stopped a node",
  "a full disk had no space for entries",
  "a snapshot took the place of entries that had no space",
  "all client ids were in use",
  "a session was fenced with numbers in flight",
  "a session expired",
  "a dormant session was resumed",
  "an answer was forgotten while its session was dormant",
  "a retry was answered with the stored answer",
  "a queue was found empty",
  "a peek showed a job",
  "a peek found nothing",
  "hundreds of jobs came and went by one request each",
  "a part of a snapshot was sent in chunks",
  "a real client was redirected",
  "a real client's request ended unknown",
  "a real client's request was surely not executed",
  "a real client was answered after the final word",
  "a real client settled a number as void",
  "a real client fetched an earlier answer",
  "a real client's answer was forgotten",
  "a real client repeated an answered request",
  "a real client asked for an answer that it had acknowledged",
  "a real client was fenced with requests under way",
  "a real client went on with a dormant session",
  "a real client's session expired",
  "a silent real client's session was kept alive",
] as const;

export type CoveragePoint = (typeof LOGGED)[number][0] | (typeof REFUSED)[keyof typeof REFUSED] | (typeof SEEN)[number];

export const COVERAGE_POINTS: readonly CoveragePoint[] = [
  ...LOGGED.map(([point]) => point),
  ...Object.values(REFUSED),
  ...SEEN,
];

export interface Coverage {
  hit(point: CoveragePoint): void;
  /** A line of a node's log. */
  logged(text: string): void;
  refused(code: ErrorCode): void;
  /** After something about this node has changed. */
  saw(raft: Raft, appliedIndex: LogIndex): void;
  counts(): Readonly<Record<string, number>>;
}

interface Seen {
  readonly role: string;
  readonly term: Term;
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  readonly commitIndex: LogIndex;
  readonly snapshotIndex: LogIndex;
  readonly configuration: Configuration;
  readonly configurationIndex: LogIndex;
  readonly reads: number;
  readonly durableIndex: LogIndex;
  readonly hasNoSpace: boolean;
  readonly inflight: Raft["inflight"];
}

export function createCoverage(): Coverage {
  const counts = new Map<CoveragePoint, number>();
  const seenOf = new WeakMap<Raft, Seen>();
  const candidates = new Map<Term, Set<MemberId>>();
  /** Who led when a joint configuration first stood in a leader's log, by index. */
  const beganJoint = new Map<LogIndex, MemberId>();
  const hit = (point: CoveragePoint): void => void counts.set(point, (counts.get(point) ?? 0) + 1);

  function saw(raft: Raft, appliedIndex: LogIndex): void {
    const seen = seenOf.get(raft);
    seenOf.set(raft, {
      role: raft.role,
      term: raft.currentTerm,
      lastIndex: raft.lastIndex,
      lastTerm: raft.termAt(raft.lastIndex) ?? 0,
      commitIndex: raft.commitIndex,
      snapshotIndex: raft.snapshot?.index ?? 0,
      configuration: raft.configuration,
      configurationIndex: raft.configurationIndex,
      reads: raft.leadership?.readRounds.length ?? 0,
      durableIndex: raft.durableIndex,
      hasNoSpace: raft.noSpace !== null,
      inflight: raft.inflight,
    });
    if (seen === undefined) return;
    sawRole(raft, seen);
    const { noopIndex = Infinity } = raft.leadership ?? {};
    if (raft.commitIndex >= noopIndex && appliedIndex < noopIndex)
      hit("a leader had committed its first entry and not applied it yet");
    sawLinks(raft);
    sawLog(raft, seen);
    if (raft.configuration !== seen.configuration) sawConfiguration(raft, seen);
  }

  function sawRole(raft: Raft, seen: Seen): void {
    const { role, currentTerm, self } = raft;
    if (role === "candidate" && (seen.role !== role || seen.term !== currentTerm)) {
      const inTerm = candidates.get(currentTerm) ?? new Set();
      candidates.set(currentTerm, inTerm.add(self));
      if (inTerm.size === 2) hit("two candidates stood in one term");
    }
    if ((raft.leadership?.readRounds.length ?? 0) > 0) hit("a read waited for a round of heartbeats");
    if (seen.role !== "leader" || role === "leader") return;
    if (currentTerm > seen.term) hit("a leader was deposed by a higher term");
    if (seen.reads > 0) hit("reads were refused because the leadership ended");
  }

  function sawLinks({ progress }: Raft): void {
    for (const { snapshot } of progress.values())
      if ((snapshot?.nextOffset ?? 0) > 0) hit("a part of a snapshot was sent in chunks");
  }

  function sawLog(raft: Raft, seen: Seen): void {
    const snapshotIndex = raft.snapshot?.index ?? 0;
    if (raft.noSpace !== null && !seen.hasNoSpace) hit("a full disk had no space for entries");
    if (seen.hasNoSpace && snapshotIndex > seen.durableIndex && snapshotIndex <= seen.commitIndex)
      hit("a snapshot took the place of entries that had no space");
    const installed =
      snapshotIndex > seen.snapshotIndex && raft.lastIndex === snapshotIndex && raft.firstIndex > snapshotIndex;
    const replaced = installed && seen.commitIndex < snapshotIndex;
    if (replaced && seen.lastIndex > seen.commitIndex) hit("a snapshot was installed over other entries");
    // What is being written is older than the snapshot, or it would hold its frame.
    if (replaced && raft.inflight !== null && raft.inflight.snapshot === null)
      hit("a snapshot was installed while the log was being written");
    const { inflight, durableIndex } = raft;
    const counts =
      inflight !== seen.inflight && inflight?.snapshot?.reset === false ? inflight.snapshot.meta.index : null;
    if (counts === durableIndex && (inflight?.upTo ?? 0) > counts)
      hit("a snapshot counted with one write of all entries behind it");
    if (!installed && snapshotIndex > seen.snapshotIndex && raft.lastIndex > raft.commitIndex)
      hit("a snapshot was taken of a log with uncommitted entries");
    const stands = raft.termAt(seen.lastIndex) === seen.lastTerm || seen.lastIndex < raft.firstIndex;
    if (!installed && !stands) {
      hit("entries were dropped for the leader's");
      if (seen.role === "leader") hit("a leader held entries that never committed");
    }
    if (raft.role !== "leader" || raft.commitIndex === seen.commitIndex) return;
    if ((raft.termAt(seen.commitIndex + 1) ?? raft.currentTerm) < raft.currentTerm)
      hit("an entry of an old term was committed by one of the new");
  }

  function sawConfiguration(raft: Raft, seen: Seen): void {
    const { configuration, configurationIndex, role, self } = raft;
    if (configurationIndex < seen.configurationIndex) return hit("a configuration was rolled back");
    if (role !== "leader") return;
    if (configuration.outgoing.length > 0) {
      beganJoint.set(configurationIndex, self);
      const gone = configuration.outgoing.filter((old) => !holds(configuration, memberId(old)));
      const moved = Math.max(gone.length, configuration.voters.length - configuration.outgoing.length + gone.length);
      if (moved > 1) hit("several members changed in one step");
      if (gone.some((old) => configuration.voters.some((voter) => voter.id === nodeIdOf(memberId(old)))))
        hit("a wiped node took its own place again");
    } else if (seen.configuration.outgoing.length > 0) {
      if ((beganJoint.get(seen.configurationIndex) ?? self) !== self)
        hit("a joint change was finished by another leader than began it");
      if (configuration.voters.length === 1) hit("a group shrank to one voter");
    }
  }

  return {
    hit,
    logged: (text) => {
      for (const [point, pattern] of LOGGED) if (pattern.test(text)) hit(point);
    },
    refused: (code) => {
      if (code in REFUSED) hit(REFUSED[code as keyof typeof REFUSED]);
    },
    saw,
    counts: () => Object.fromEntries(counts),
  };
}

function holds({ voters }: Configuration, id: MemberId): boolean {
  return voters.some((voter) => memberId(voter) === id);
}
