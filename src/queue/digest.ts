// One number for the whole replicated state, by which members compare theirs. It follows the content of the state, not its layout in memory
// or how it came to be, and is kept up to date by every change, so that asking for it costs next to nothing.
import { finish, mix, mixBytes, mixText } from "../lib/hash.ts";
import { encode } from "../lib/layout.ts";
import { limitsLayout } from "./limits.ts";
import type { Queue } from "./queue.ts";
import type { Answer, Session, Sessions } from "./sessions.ts";

/** So that a job and a session of equal numbers differ. */
const TAG = { state: 1, job: 2, session: 3, answer: 4 } as const;

/** 32 bits, unsigned. */
export function digestOf({ limits, version, appliedIndex, time, jobs, sessions }: Queue): number {
  let hash = mix(mix(mix(TAG.state, version), appliedIndex), time);
  hash = mix(mix(mix(hash, jobs.nextId), jobs.count), jobs.bytes);
  hash = mix(mix(mix(hash, jobs.digest), sessions.live.size), sessions.dormant.size);
  hash = mix(mix(hash, sumOfSessions(sessions)), sessions.usedSeq);
  hash = mixBytes(hash, encode(limitsLayout, limits));
  return finish(hash) >>> 0;
}

/** What one waiting job adds to the sum of the jobs; its id gives its position among them. */
export function digestOfJob(id: number, encoding: number, source: Uint8Array, start: number, end: number): number {
  return finish(mixBytes(mix(mix(TAG.job, id), encoding), source, start, end));
}

/** Only sessions that were used since the last time are looked at anew. */
function sumOfSessions(sessions: Sessions): number {
  let sum = sessions.dormantDigest;
  for (const session of sessions.live.values()) {
    session.digest ??= digestOfSession(session);
    sum = (sum + session.digest) | 0;
  }
  return sum;
}

/** What one session adds to the sum of the sessions. */
export function digestOfSession(session: Session): number {
  let hash = mix(mixText(TAG.session, session.clientId), session.id);
  hash = mix(mix(mix(hash, session.generated ? 1 : 0), session.lastNumber), session.acknowledgedThrough);
  // 0: it is live. Its time is not: that of the first entry is.
  hash = mix(mix(mix(hash, session.usedAt), session.usedSeq), session.dormantAt === null ? 0 : session.dormantAt + 1);
  hash = mix(mix(hash, session.openings.length), session.answers.length);
  for (const opening of session.openings) hash = mix(mixText(hash, opening.nonce), opening.session);
  for (const answer of session.answers) {
    answer.digest ??= digestOfAnswer(answer);
    hash = mix(hash, answer.digest);
  }
  return finish(hash);
}

function digestOfAnswer({ commandBytes, commandCrc, reply }: Answer): number {
  return finish(mixBytes(mix(mix(TAG.answer, commandBytes), commandCrc), reply));
}
