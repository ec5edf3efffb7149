// The limits that `apply` depends on. They are replicated: a version entry brings them, snapshots carry them, no node has its own.
import { tuple, uint } from "../lib/layout.ts";

export interface QueueLimits {
  /** Client ids whose session is live. */
  readonly maxSessions: number;
  /** Client ids that are remembered, live and dormant together. */
  readonly maxClientIds: number;
  /** A client id that was not used for so long is forgotten. */
  readonly sessionExpiryMs: number;
  /** The same for a dormant one that was generated: only its process knows it. */
  readonly generatedExpiryMs: number;
  /** When live sessions are full, one that was not used for so long may become dormant. */
  readonly dormantAfterMs: number;
  /** So long a dormant session keeps the answers that were not acknowledged. */
  readonly dormantAnswersMs: number;
  /** Replies kept above acknowledgedThrough, per session. */
  readonly maxReplies: number;
  readonly maxReplyBytes: number;
  readonly noncesRemembered: number;
  readonly maxPayloadBytes: number;
  readonly maxJobsPerCommand: number;
  /** The members compare their states at every index that this divides, and after so many bytes of commands. */
  readonly checkpointEntries: number;
  readonly checkpointBytes: number;
  /** Memory of the jobs that wait: each counts as its payload and JOB_BYTES. */
  readonly maxReadyBytes: number;
  /** Memory of the answers of all sessions, and of all dormant ones: each counts as its reply and ANSWER_BYTES. */
  readonly maxAnswerBytes: number;
}

const ANY = Number.MAX_SAFE_INTEGER;
/** Without any of them nothing could ever be executed, or a state would come about that cannot be written. */
const limit = uint(ANY, 1);

export const limitsLayout = tuple<QueueLimits>("limits", {
  maxSessions: limit,
  maxClientIds: limit,
  sessionExpiryMs: limit,
  generatedExpiryMs: limit,
  dormantAfterMs: limit,
  dormantAnswersMs: limit,
  maxReplies: limit,
  maxReplyBytes: limit,
  noncesRemembered: limit,
  maxPayloadBytes: limit,
  maxJobsPerCommand: limit,
  checkpointEntries: limit,
  checkpointBytes: limit,
  maxReadyBytes: limit,
  maxAnswerBytes: limit,
});

/** Before the first version entry: no session can be opened, and no state is compared. */
export const NO_LIMITS: QueueLimits = {
  maxSessions: 0,
  maxClientIds: 0,
  sessionExpiryMs: ANY,
  generatedExpiryMs: ANY,
  dormantAfterMs: ANY,
  dormantAnswersMs: ANY,
  maxReplies: 0,
  maxReplyBytes: 0,
  noncesRemembered: 1,
  maxPayloadBytes: 0,
  maxJobsPerCommand: 0,
  checkpointEntries: ANY,
  checkpointBytes: ANY,
  maxReadyBytes: 0,
  maxAnswerBytes: 0,
};
