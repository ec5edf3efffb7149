// Which bugs of sessions and queues are planted? Each with who once shipped it, if anybody did.
import type { Mutant } from "../mutants.ts";

export const QUEUE_MUTANTS: readonly Mutant[] = [
  {
    name: "snapshot-without-sessions",
    what: "a snapshot holds the jobs and forgets the sessions",
    within: 10,
    edits: [
      { in: "freeze", find: "sessions = freezeSessions(queue.sessions)", replace: "sessions: readonly Session[] = []" },
    ],
  },
  {
    name: "execute-out-of-order",
    what: "a session executes a number although the one before it has not come",
    within: 70,
    profile: "handovers",
    edits: [{ in: "queue/standingOf", find: "number === lastNumber + 1", replace: "number > lastNumber" }],
  },
  {
    name: "drop-unacknowledged-replies",
    what: "the answer to the last number only is kept for a retry",
    within: 10,
    edits: [
      {
        in: "queue/record",
        find: "session.lastNumber++;",
        replace: `session.lastNumber++;
  session.answers.length = 0;
  session.acknowledgedThrough = session.lastNumber - 1;`,
      },
    ],
  },
  {
    name: "duplicates-in-leaders-memory",
    what: "a number that was executed is executed again when it comes to another leader (redpanda#3039)",
    within: 10,
    edits: [
      { in: "applyCommand", find: "standing.reply,", replace: "encodeReply(executeBytes(queue, entry))," },
      {
        in: "lookUp",
        find: `      return { type: "answered", reply: standing.reply };
`,
        replace: "",
      },
      { in: "proposed-requests/admit", find: "number !== expected", replace: "number > expected" },
    ],
  },
  {
    name: "no-fencing",
    what: "an older process of a client id goes on beside the newer one",
    within: 10,
    edits: [
      {
        in: "succeed",
        find: "remove(sessions, found);",
        replace: `remove(sessions, found);
  if (found.dormantAt === null) sessions.live.set(found.id, { ...found });`,
      },
    ],
  },
  {
    name: "dequeue-drops-what-does-not-fit",
    what: "a job that does not fit the answer any more is gone all the same",
    within: 40,
    profile: "slowLinks",
    edits: [
      {
        in: "queue/dequeue",
        find: `if (job === null || (jobs.length > 0 && job.payload.length > bytesLeft)) break;
    drop(queue.jobs, job);`,
        replace: `if (job === null) break;
    drop(queue.jobs, job);
    if (jobs.length > 0 && job.payload.length > bytesLeft) break;`,
      },
    ],
  },
  {
    name: "peek-without-a-round",
    what: "a leader shows the oldest job that it knows of, and does not ask whether it still leads",
    within: 100,
    profile: "lateNews",
    edits: [
      {
        in: "handleAsLeader",
        find: `    case "peek":
`,
        replace: `    case "peek":
      return answerQuery(replica, request, message);
`,
      },
    ],
  },
  {
    name: "numbers-forgotten-by-open",
    what: "a client that opens again starts with number 1, and its retries run twice",
    within: 10,
    edits: [
      {
        in: "succeed",
        find: "answers: found.answers.slice(),",
        replace: `lastNumber: found.acknowledgedThrough,
    answers: [],
    answerBytes: 0,`,
      },
    ],
  },
  {
    name: "dormant-without-answers",
    what: "a session that becomes dormant loses the answers that were not acknowledged",
    within: 60,
    profile: "fewPlaces",
    edits: [{ in: "makeDormant", find: "...session,", replace: "...session, answers: [], answerBytes: 0," }],
  },
  {
    name: "resumed-by-a-fenced-process",
    what: "a process that was fenced goes on with the session that its successor has left",
    within: 20,
    profile: "fewPlaces",
    edits: [
      {
        in: "queue/openSession",
        find: "(open.resume || found.openings.some(",
        replace: "!open.resume && (found.openings.some(",
      },
    ],
  },
  {
    name: "acknowledged-too-much",
    what: "an acknowledgement of some answers drops all of them (Raft section 6.3)",
    within: 10,
    edits: [
      {
        in: "queue/acknowledge",
        find: "Math.min(acknowledgedThrough, session.lastNumber)",
        replace: "acknowledgedThrough > session.acknowledgedThrough ? session.lastNumber : session.acknowledgedThrough",
      },
    ],
  },
  {
    name: "acknowledged-one-more",
    what: "an acknowledgement drops one answer more than it names",
    within: 10,
    edits: [
      {
        in: "queue/acknowledge",
        find: "Math.min(acknowledgedThrough, session.lastNumber)",
        replace: "Math.min(acknowledgedThrough + 1, session.lastNumber)",
      },
    ],
  },
  {
    name: "open-ignores-nonce",
    what: "an OPEN of a client id gets the session of the process before, which is not fenced",
    within: 30,
    edits: [
      {
        in: "queue/openSession",
        find: 'must(found.openings.at(-1), "the newest opening of a client id").nonce === nonce',
        replace: "true",
      },
    ],
  },
  {
    name: "put-off-from-now",
    what: "the due time of a session that was used meanwhile is counted from now: a node that restored a snapshot forgets it earlier",
    within: 20,
    profile: "fewPlaces",
    edits: [
      { in: "moveFirstDue", find: "due.dueAt === dueAt", replace: "due.dueAt >= dueAt" },
      {
        in: "moveFirstDue",
        find: "setDue(sessions, session, limits);",
        replace: `setDue(sessions, session, limits);
    session.due.dueAt = time + limits.sessionExpiryMs;
    schedule(sessions.schedule, session.due);`,
      },
    ],
  },
  {
    name: "answers-shared-with-snapshot",
    what: "a session that is copied on write shares the list of its answers with the snapshot under way",
    within: 10,
    edits: [{ in: "writable", find: "session.answers.slice()", replace: "session.answers" }],
  },
  {
    name: "use-keeps-place",
    what: "a session that is used keeps its place in the order of last use: another one than the least used becomes dormant",
    within: 10,
    edits: [
      {
        in: "queue/use",
        find: `  sessions.live.delete(session.id);
`,
        replace: "",
      },
    ],
  },
  {
    name: "answer-memory-leak",
    what: "a session that ends does not give back the memory of its answers",
    within: 10,
    profile: "fewPlaces",
    edits: [
      {
        in: "queue/remove",
        find: `  sessions.answerMemory -= memoryOf(session);
`,
        replace: "",
      },
    ],
  },
  {
    name: "digest-without-answers",
    what: "the digest that members compare does not cover the stored answers",
    within: 30,
    profile: "wrongStates",
    edits: [
      {
        in: "digestOfSession",
        find: `    hash = mix(hash, answer.digest);
`,
        replace: "",
      },
    ],
  },
];
