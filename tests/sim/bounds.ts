// Does everything that grows stay under its stated limit? What is on its way to a member, what waits for a majority or for the disk,
// sessions and their answers, bytes that wait in a connection; and, once all is quiet, the log in memory and on disk.
import { QUEUE, RAFT, STORAGE, WIRE } from "../../src/config.ts";
import type { Queue } from "../../src/queue/queue.ts";
import { memoryOf, type Session, type Sessions } from "../../src/queue/sessions.ts";
import { JOB_BYTES } from "../../src/queue/types.ts";
import type { Raft } from "../../src/raft/raft.ts";
import type { SharedSettings } from "./plan.ts";
import type { SimDisk } from "../kit/simulated-disk.ts";

/** What a machine has been through. */
export interface Wear {
  readonly starts: number;
  /** An operation of its disk failed, and the process lives on since its state was found to be wrong as well. */
  readonly mayHaveFailed: boolean;
}

export interface Bounds {
  /** Cheap enough to be asked often; looks once in a while. */
  observe(who: string, inside: { readonly raft: Raft; readonly queue: Queue }): void;
  /** Nothing has been asked of the node for a while: what is too much all the same. */
  tooMuchAtRest(who: string, raft: Raft, disk: SimDisk, wear: Wear): readonly string[];
  /** The most that ever waited in one connection. */
  observeConnections(mostWaitingBytes: number): void;
}

/** One in so many calls looks. */
const LOOK_EVERY = 16;
/** One message, or one entry, may go beyond a limit in bytes: the limit is asked before it is made. */
const LARGEST_RECORD_BYTES = WIRE.maxClientFrameBytes;
/** Answers and votes of one member that wait for the disk at once, besides what a window of appends brings. */
const WAITING_PER_MEMBER = 64;
/** Meta, the segment being written, the one ahead of it, and a part of a snapshot. */
const OPEN_FILES = 4;
/** How far the log may outgrow its limit while a snapshot is sent (server/snapshots.ts). */
const PATIENCE = 4;
/** The entry that makes a limit overrun is kept too; those of the simulated clients are seldom larger. */
const LAST_ENTRY_BYTES = 64 * 1024;
/** The checkpoint that is being reported, and the one on its way. */
const CHECKPOINTS = 2;
/**
 * Segments besides those that hold live entries: the one being written, the one ahead of it, the floor's own, and those whose files
 * are used again. Every start begins one more, and leaves the rest of the last one empty.
 */
const SPARE_SEGMENTS = 3 + STORAGE.maxRecycledSegments;

export function createBounds(settings: SharedSettings, fail: (what: string) => void): Bounds {
  const { queueLimits, maxInflightMessages, maxAppendBytes, maxUncommittedBytes } = settings;
  const largestMessage = maxAppendBytes + LARGEST_RECORD_BYTES;
  let calls = 0;

  function atMost(who: string, what: string, found: number, limit: number): void {
    if (found > limit) fail(excess(who, what, found, limit));
  }

  function observeRaft(who: string, raft: Raft): void {
    const { progress, waiting, snapshotsToPersist } = raft;
    for (const { id, inflightLast, inflightBytes, inflightTotalBytes } of progress.values()) {
      atMost(who, `messages on their way to ${id}`, inflightLast.length, maxInflightMessages);
      atMost(who, `bytes on their way to ${id}`, inflightTotalBytes, RAFT.maxInflightBytes + largestMessage);
      const sum = inflightBytes.reduce((bytes, one) => bytes + one, 0);
      if (sum !== inflightTotalBytes) fail(`${who}: ${sum} bytes are on their way to ${id}, not ${inflightTotalBytes}`);
    }
    atMost(who, "uncommitted bytes", ownUncommittedBytes(raft), maxUncommittedBytes + LARGEST_RECORD_BYTES);
    const members = progress.size + 1;
    const mostWaiting = Math.max(members, 10) * (maxInflightMessages + WAITING_PER_MEMBER);
    atMost(who, "messages that wait for the disk", waiting.length, mostWaiting);
    atMost(who, "snapshots that wait to count", snapshotsToPersist.length, 2);
  }

  function observeSessions(who: string, { sessions }: Queue): void {
    const { live, dormant, idOf, fenced, schedule } = sessions;
    const known = live.size + dormant.size;
    atMost(who, "live sessions", live.size, queueLimits.maxSessions);
    atMost(who, "client ids", known, queueLimits.maxClientIds);
    if (idOf.size !== live.size) fail(`${who}: ${live.size} live sessions of ${idOf.size} client ids`);
    if (schedule.heap.length !== known) fail(`${who}: ${schedule.heap.length} due times of ${known} sessions`);
    atMost(who, "fenced sessions", fenced.size, known * QUEUE.noncesRemembered);
    for (const { clientId, answers, answerBytes, openings, lastNumber, acknowledgedThrough } of [
      ...live.values(),
      ...dormant.values(),
    ]) {
      const sum = answers.reduce((bytes, { reply }) => bytes + reply.length, 0);
      if (sum !== answerBytes) fail(`${who}: the answers of ${clientId} have ${sum} bytes, not ${answerBytes}`);
      atMost(who, `answers kept for ${clientId}`, answers.length, queueLimits.maxReplies);
      atMost(who, `bytes of answers for ${clientId}`, answerBytes, queueLimits.maxReplyBytes + LARGEST_RECORD_BYTES);
      atMost(who, `nonces kept for ${clientId}`, openings.length, QUEUE.noncesRemembered);
      const mayBeFewer = queueLimits.dormantAnswersMs < QUEUE.dormantAnswersMs;
      if (
        answers.length > lastNumber - acknowledgedThrough ||
        (!mayBeFewer && answers.length < lastNumber - acknowledgedThrough)
      )
        fail(
          `${who}: ${answers.length} answers for numbers ${acknowledgedThrough + 1} to ${lastNumber} of ${clientId}`,
        );
    }
  }

  /** Kept step by step, and of the kind that no digest shows: what is never given back is missing for ever. */
  function observeAnswerMemory(who: string, { live, dormant, answerMemory, dormantAnswerMemory }: Sessions): void {
    const memoryOfAll = (sessions: Iterable<Session>): number =>
      [...sessions].reduce((bytes, session) => bytes + memoryOf(session), 0);
    const ofDormant = memoryOfAll(dormant.values());
    const ofAll = memoryOfAll(live.values()) + ofDormant;
    if (ofAll !== answerMemory) fail(`${who}: the answers of all sessions take ${ofAll} bytes, not ${answerMemory}`);
    if (ofDormant !== dormantAnswerMemory)
      fail(`${who}: the answers of dormant sessions take ${ofDormant} bytes, not ${dormantAnswerMemory}`);
    atMost(who, "memory of dormant sessions' answers", ofDormant, queueLimits.maxAnswerBytes);
  }

  return {
    observe: (who, { raft, queue }) => {
      if (calls++ % LOOK_EVERY > 0) return;
      observeRaft(who, raft);
      observeSessions(who, queue);
      observeAnswerMemory(who, queue.sessions);
      atMost(who, "memory of waiting jobs", queue.readyBytes + queue.ready * JOB_BYTES, queueLimits.maxReadyBytes);
    },
    tooMuchAtRest: (who, raft, disk, { starts, mayHaveFailed }) => {
      const found: string[] = [];
      const atMost = (what: string, bytes: number, limit: number): void => {
        if (bytes > limit) found.push(excess(who, what, bytes, limit));
      };
      const bytesUnder = (folder: string): number =>
        disk
          .files()
          .filter((path) => path.startsWith(folder))
          .reduce((sum, path) => sum + (disk.cached(path)?.length ?? 0), 0);
      // After a failure nothing is waited for, so nothing can be closed.
      atMost("open files", disk.openFiles(), mayHaveFailed ? 2 * OPEN_FILES : OPEN_FILES);
      const limit = PATIENCE * Math.max(settings.compactMinBytes, settings.compactFactor * bytesUnder("g0/snapshot"));
      const inMemory = raft.log.entries.reduce((sum, { record }) => sum + record.length, 0);
      // Nothing is dropped before a majority has reported the digest of a checkpoint behind it.
      const largest = raft.log.entries.reduce((most, { record }) => Math.max(most, record.length), 0);
      const unreported = CHECKPOINTS * queueLimits.checkpointEntries * largest;
      const kept = settings.keepLogBytes + limit + unreported + LAST_ENTRY_BYTES;
      atMost("bytes of the log in memory", inMemory, kept);
      // Each entry may have a frame of its own.
      const frames = inMemory + raft.log.entries.length * 2 * STORAGE.blockBytes;
      const onDisk = frames + limit + (SPARE_SEGMENTS + starts) * settings.segmentBytes;
      atMost("bytes of the log on disk", bytesUnder("g0/log"), onDisk);
      return found;
    },
    observeConnections: (mostWaitingBytes) =>
      atMost("network", "bytes that wait in a connection", mostWaitingBytes, WIRE.maxPeerSendBytes + largestMessage),
  };
}

/** Without what a leader found in its log: it may not know yet how much of that is committed. */
function ownUncommittedBytes({ leadership, commitIndex, lastIndex, entryAt }: Raft): number {
  if (leadership === null) return 0;
  let bytes = 0;
  for (let index = Math.max(commitIndex + 1, leadership.noopIndex); index <= lastIndex; index++)
    bytes += entryAt(index)?.record.length ?? 0;
  return bytes;
}

function excess(who: string, what: string, found: number, limit: number): string {
  return `${who}: ${what}: ${found}, and ${limit} is the limit`;
}
