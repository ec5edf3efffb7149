// One follower as the leader sees it: the paper's nextIndex and matchIndex, and how much may be on its way.
import type { RaftState } from "./state.ts";
import type { LogIndex, MemberId, SnapshotMeta } from "./types.ts";

/**
 * probe: the point of agreement is unknown, one AppendEntries at a time. replicate: it is known, AppendEntries are pipelined.
 * snapshot: the follower needs entries that are compacted, one part at a time.
 */
export type ProgressState = "probe" | "replicate" | "snapshot";

export interface Progress {
  readonly id: MemberId;
  state: ProgressState;
  matchIndex: LogIndex;
  nextIndex: LogIndex;
  /** probe: one message is out. */
  probing: boolean;
  /** replicate: the last index and the bytes of each message that is out, oldest first. */
  readonly inflightLast: LogIndex[];
  readonly inflightBytes: number[];
  inflightTotalBytes: number;
  /** When the oldest thing that is out was sent or last moved on. */
  sentAt: number;
  snapshot: SnapshotTransfer | null;
  /** Monotonic milliseconds of its last message, or of this leadership's start. */
  lastContact: number;
  /** A message came from it this turn; the tick turns this into `lastContact`. */
  contacted: boolean;
  /** The highest read context it has confirmed. */
  readContext: number;
  diskLow: boolean;
  /** It forgot what it had acknowledged: it gets StaleDisk, and is not counted any more. */
  stale: boolean;
  /** Learners: the round of catching up (dissertation section 4.2.1). */
  round: { target: LogIndex; startedAt: number } | null;
}

export interface SnapshotTransfer {
  readonly meta: SnapshotMeta;
  nextPart: number;
  nextOffset: number;
  /** The chunk is out and not answered. */
  sent: boolean;
}

export function newProgress(id: MemberId, nextIndex: LogIndex, now: number): Progress {
  return {
    id,
    state: "probe",
    matchIndex: 0,
    nextIndex,
    probing: false,
    inflightLast: [],
    inflightBytes: [],
    inflightTotalBytes: 0,
    sentAt: now,
    snapshot: null,
    lastContact: now,
    contacted: false,
    readContext: 0,
    diskLow: false,
    stale: false,
    round: null,
  };
}

export function clearInflight(progress: Progress): void {
  progress.inflightLast.length = 0;
  progress.inflightBytes.length = 0;
  progress.inflightTotalBytes = 0;
  progress.probing = false;
}

export function becomeProbe(progress: Progress, nextIndex: LogIndex): void {
  clearInflight(progress);
  progress.state = "probe";
  progress.nextIndex = nextIndex;
  progress.snapshot = null;
}

export function becomeReplicate(progress: Progress): void {
  clearInflight(progress);
  progress.state = "replicate";
  progress.nextIndex = progress.matchIndex + 1;
  progress.snapshot = null;
}

export function becomeSnapshot(progress: Progress, meta: SnapshotMeta): void {
  clearInflight(progress);
  progress.state = "snapshot";
  progress.snapshot = { meta, nextPart: 0, nextOffset: 0, sent: false };
}

/** What was on the link is lost: look again for the point of agreement, never below what was acknowledged. */
export function loseLink(progress: Progress): void {
  if (progress.snapshot !== null) {
    progress.snapshot.sent = false;
    return;
  }
  becomeProbe(progress, progress.state === "replicate" ? progress.matchIndex + 1 : progress.nextIndex);
}

export function sentAppend(progress: Progress, last: LogIndex, bytes: number): void {
  progress.inflightLast.push(last);
  progress.inflightBytes.push(bytes);
  progress.inflightTotalBytes += bytes;
}

/** Everything up to `index` has arrived. */
export function freeInflight(progress: Progress, index: LogIndex): void {
  for (;;) {
    const last = progress.inflightLast[0];
    if (last === undefined || last > index) return;
    progress.inflightLast.shift();
    progress.inflightTotalBytes -= progress.inflightBytes.shift() ?? 0;
  }
}

/** Each message becomes a write of its own there: smaller ones cost its disk more than they save a slow link. */
const MIN_MESSAGE_BYTES = 16 * 1_024;

/** How long a message to that member may be: what our link to it carries in a second, as far as that is known. */
export function bytesPerMessage({ linkRates }: RaftState, member: MemberId): number {
  return Math.max(MIN_MESSAGE_BYTES, linkRates.get(member) ?? Number.POSITIVE_INFINITY);
}
