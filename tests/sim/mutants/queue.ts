// Which bugs of sessions and queues did others ship? Each with who did, and how many seeds the simulator may need to catch it.
import type { Mutant } from "../mutants.ts";

export const QUEUE_MUTANTS: readonly Mutant[] = [
  {
    name: "snapshot-without-sessions",
    what: "a snapshot holds the jobs and forgets the sessions",
    within: 10,
    edits: [
      {
        file: "src/queue/snapshot.ts",
        find: "  const sessions = freezeSessions(queue.sessions);",
        replace: "  const sessions: readonly Session[] = [];",
      },
    ],
  },
  {
    name: "execute-out-of-order",
    what: "a session executes a number although the one before it has not come",
    within: 70,
    edits: [
      {
        file: "src/queue/sessions.ts",
        find: "  if (number === lastNumber + 1) return NEXT;",
        replace: "  if (number > lastNumber) return NEXT;",
      },
    ],
  },
  {
    name: "drop-unacknowledged-replies",
    what: "the answer to the last number only is kept for a retry",
    within: 10,
    edits: [
      {
        file: "src/queue/sessions.ts",
        find: "  session.lastNumber++;",
        replace: `  session.lastNumber++;
  session.answers.length = 0;
  session.answeredUpTo = session.lastNumber - 1;`,
      },
    ],
  },
  {
    name: "duplicates-in-leaders-memory",
    what: "a number that was executed is executed again when it comes to another leader (redpanda#3039)",
    within: 10,
    edits: [
      {
        file: "src/queue/queue.ts",
        find: `    case "answered":
      return { index: entry.index, reply: standing.reply, duplicate: true };
    case "refused":
      return refuse(entry, standing.refusal);
    case "ahead"`,
        replace: `    case "answered":
      return { index: entry.index, reply: encodeReply(executeBytes(queue, entry)), duplicate: true };
    case "refused":
      return refuse(entry, standing.refusal);
    case "ahead"`,
      },
      {
        file: "src/queue/queue.ts",
        find: `      return { type: "answered", reply: standing.reply };
    case "next":
    case "ahead":`,
        replace: `    case "next":
    case "ahead":`,
      },
      {
        file: "src/server/under-way.ts",
        find: "      if (number !== expected) {",
        replace: "      if (number > expected) {",
      },
    ],
  },
  {
    name: "no-fencing",
    what: "an older process of a client id goes on beside the newer one",
    within: 10,
    edits: [
      {
        file: "src/queue/session-lifecycle.ts",
        find: `  remove(sessions, found);
  const nonce`,
        replace: `  remove(sessions, found);
  if (found.dormantAt === null) sessions.live.set(found.id, { ...found });
  const nonce`,
      },
    ],
  },
  {
    name: "dequeue-drops-what-does-not-fit",
    what: "a job that does not fit the answer any more is gone all the same",
    within: 40,
    edits: [
      {
        file: "src/queue/queue.ts",
        find: `    if (job === null || (jobs.length > 0 && job.payload.length > room)) break;
    drop(queue.jobs, job);`,
        replace: `    if (job === null) break;
    drop(queue.jobs, job);
    if (jobs.length > 0 && job.payload.length > room) break;`,
      },
    ],
  },
  {
    name: "peek-without-a-round",
    what: "a leader shows the oldest job that it knows of, and does not ask whether it still leads",
    within: 100,
    edits: [
      {
        file: "src/server/clients.ts",
        find: `      case "peek":
      case "log":
        return replica.read(`,
        replace: `      case "peek":
        return show(asked);
      case "log":
        return replica.read(`,
      },
    ],
  },
  {
    name: "numbers-forgotten-by-open",
    what: "a client that opens again starts with number 1, and its retries run twice",
    within: 10,
    edits: [
      {
        file: "src/queue/session-lifecycle.ts",
        find: `    answers: found.answers.slice(),
`,
        replace: `    lastNumber: found.answeredUpTo,
    answers: [],
    answerBytes: 0,
`,
      },
    ],
  },
  {
    name: "dormant-without-answers",
    what: "a session that becomes dormant loses the answers that were not acknowledged",
    within: 60,
    edits: [
      {
        file: "src/queue/session-lifecycle.ts",
        find: "{ ...session, dormantAt: time, generation",
        replace: "{ ...session, dormantAt: time, answers: [], answerBytes: 0, generation",
      },
    ],
  },
  {
    name: "resumed-by-a-fenced-process",
    what: "a process that was fenced goes on with the session that its successor has left",
    within: 300,
    edits: [
      {
        file: "src/queue/session-lifecycle.ts",
        find: "  if (!isNewest && (open.resume || found.openings",
        replace: "  if (!isNewest && !open.resume && (found.openings",
      },
    ],
  },
  {
    name: "acknowledged-too-much",
    what: "an acknowledgement of some answers drops all of them (Raft section 6.3)",
    within: 10,
    edits: [
      {
        file: "src/queue/sessions.ts",
        find: "  const until = Math.min(answeredUpTo, session.lastNumber);",
        replace: "  const until = answeredUpTo > session.answeredUpTo ? session.lastNumber : session.answeredUpTo;",
      },
    ],
  },
];
