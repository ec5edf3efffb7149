// Makes a node's state wrong, as a bug in `apply` would leave it: whole, consistent in itself, and not what the log gives. What lies
// in memory as other bytes than were computed is another matter: no digest shows it before somebody reads it.
import { drop, first, push } from "../../src/queue/jobs.ts";
import type { Queue } from "../../src/queue/queue.ts";
import { closeSession } from "../../src/queue/session-lifecycle.ts";
import { acknowledge, writable } from "../../src/queue/sessions.ts";
import { ENCODING } from "../../src/queue/types.ts";
import type { Random } from "../../src/lib/random.ts";

export interface CorruptedState {
  readonly what: string;
  /** A leader's answers could show it. */
  readonly isShown: boolean;
}

/** Null: there is nothing of that kind now. */
type Kind = (queue: Queue, chance: Random) => string | null;

const HOUR_MS = 3_600_000;

/** Something that no answer shows, and that no other node's wrong state has in common. */
function corruptUsedSeq({ sessions }: Queue, chance: Random): string {
  const by = chance.between(1, 1_000_000);
  sessions.usedSeq += by;
  return `sessions were used ${by} times more`;
}

const corruptTime: Kind = (queue, chance) => {
  const hours = chance.between(1, 24);
  Object.assign(queue, { time: queue.time + hours * HOUR_MS });
  return `it is ${hours} hours later`;
};

const corruptJobs: Kind = ({ jobs }) => {
  const job = first(jobs);
  if (job === null) push(jobs, ENCODING.bytes, Uint8Array.of(0));
  else drop(jobs, job);
  return job === null ? "a job waits that nobody enqueued" : `job ${job.id} is gone`;
};

const corruptAnswers: Kind = ({ sessions }, chance) => {
  const answered = [...sessions.live.values()].filter(({ answers }) => answers.length > 0);
  const found = pick(answered, chance);
  if (found === null) return null;
  const session = writable(sessions, found);
  const at = chance.below(session.answers.length);
  const answer = session.answers[at]!;
  const reply = answer.reply.slice();
  const last = reply.length - 1;
  reply[last] = (reply[last] ?? 0) ^ 1;
  session.answers[at] = { ...answer, reply, digest: null };
  return `${session.clientId} would get another answer to number ${session.lastNumber - session.answers.length + at + 1}`;
};

const corruptSessions: Kind = ({ sessions, time, limits }, chance) => {
  const found = pick([...sessions.live.values()], chance);
  if (found === null) return null;
  const session = writable(sessions, found);
  acknowledge(sessions, session, session.lastNumber);
  closeSession(sessions, session, time, limits);
  return `the session of ${session.clientId} is closed`;
};

/** Answers twice, since most of them are soon acknowledged, and then nothing is wrong any more. */
const SHOWN: readonly Kind[] = [corruptTime, corruptJobs, corruptAnswers, corruptAnswers, corruptSessions];

/** `leads`: what it answers must stay right. `isUnlike`: no other state may be wrong in the same way. */
export function corruptState(queue: Queue, leads: boolean, isUnlike: boolean, chance: Random): CorruptedState {
  const kind = leads ? null : pick([...SHOWN, corruptUsedSeq], chance);
  const what = kind === null || kind === corruptUsedSeq ? null : kind(queue, chance);
  if (what === null) return { what: corruptUsedSeq(queue, chance), isShown: false };
  return { what: isUnlike ? `${what}, ${corruptUsedSeq(queue, chance)}` : what, isShown: true };
}

function pick<T>(among: readonly T[], chance: Random): T | null {
  return among[chance.below(Math.max(1, among.length))] ?? null;
}
