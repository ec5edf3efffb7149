// Are two states equal? One number for the whole replicated state. It follows what the state says, not how it lies in memory or
// came to be, and is kept up to date by every change, so that asking for it costs next to nothing.
import { finish, mix, mixBytes, mixText } from "../lib/hash.ts";
import type { Queue } from "./queue.ts";
import type { Answer, Session, Sessions } from "./sessions.ts";

/** So that a job and a session of equal numbers differ. */
const TAG = { state: 1, job: 2, session: 3, answer: 4 } as const;

/** 32 bits, unsigned. */
export function digestOf({ limits, version, appliedIndex, time, jobs, sessions }: Queue): number {
  let hash = mix(mix(mix(TAG.state, version), appliedIndex), time);
  hash = mix(mix(mix(hash, jobs.nextId), jobs.count), jobs.bytes);
  hash = mix(mix(hash, jobs.digest), sessions.present.size);
  hash = mix(hash, sumOfSessions(sessions));
  hash = mix(mix(mix(hash, limits.maxSessions), limits.sessionExpiryMs), limits.maxReplies);
  hash = mix(mix(mix(hash, limits.maxReplyBytes), limits.noncesRemembered), limits.maxPayloadBytes);
  hash = mix(mix(mix(hash, limits.maxJobsPerCommand), limits.checkpointEntries), limits.checkpointBytes);
  hash = mix(mix(hash, limits.maxReadyBytes), limits.maxAnswerBytes);
  return finish(hash) >>> 0;
}

/** What one waiting job adds to the sum of the jobs; its id says where it stands among them. */
export function digestOfJob(id: number, encoding: number, source: Uint8Array, start: number, end: number): number {
  return finish(mixBytes(mix(mix(TAG.job, id), encoding), source, start, end));
}

/** Only sessions that were used since the last time are looked at anew. */
function sumOfSessions(sessions: Sessions): number {
  let sum = 0;
  for (const session of sessions.present.values()) {
    session.digest ??= digestOfSession(session);
    sum = (sum + session.digest) | 0;
  }
  return sum;
}

function digestOfSession(session: Session): number {
  let hash = mix(mixText(TAG.session, session.clientId), session.id);
  hash = mix(mix(mix(hash, session.numberAtOpen), session.lastNumber), session.answeredUpTo);
  hash = mix(mix(hash, session.usedAt), session.openings.length);
  for (const opening of session.openings) hash = mix(mixBytes(hash, opening.nonce), opening.session);
  for (const answer of session.answers) {
    answer.digest ??= digestOfAnswer(answer);
    hash = mix(hash, answer.digest);
  }
  return finish(hash);
}

function digestOfAnswer({ commandBytes, commandCrc, reply }: Answer): number {
  return finish(mixBytes(mix(mix(TAG.answer, commandBytes), commandCrc), reply));
}
