// Which bugs of clients, and of how nodes keep their sessions, must be caught? Each with how many seeds the simulator may need.
import type { Mutant } from "../mutants.ts";

export const CLIENT_MUTANTS: readonly Mutant[] = [
  {
    name: "unclear-told-as-refused",
    what: "client: a lost connection leaves nothing unclear, so a time-out reports that the request was surely not executed",
    within: 60,
    edits: [{ in: "pipeline/resendRequests", find: "slot.unclear = true;", replace: "" }],
  },
  {
    name: "given-up-runs-later",
    what: "client: a number that was given up is sent again with its command, not as a resolve",
    within: 70,
    edits: [{ in: "commandOf", find: "settings.numbered && !isRefused", replace: "!isRefused" }],
  },
  {
    name: "numbers-from-one-again",
    what: "client: a process that takes over begins with number 1",
    within: 30,
    edits: [
      {
        in: "pipeline/continueNumbers",
        find: "pipeline.nextNumber = lastNumber + 1;\n  pipeline.acknowledgedThrough = acknowledged;",
        replace: "pipeline.nextNumber = 1;\n  pipeline.acknowledgedThrough = Math.min(0, lastNumber, acknowledged);",
      },
    ],
  },
  {
    name: "acknowledges-what-is-under-way",
    what: "client: every number below the one that is sent is acknowledged, answered or not",
    within: 30,
    edits: [
      { in: "pipeline/nextRequest", find: "Math.min(pipeline.acknowledgedThrough, number - 1)", replace: "number - 1" },
    ],
  },
  {
    name: "late-answer-dropped",
    what: "client: an answer that comes after the final word is acknowledged, and nobody gets it",
    within: 40,
    edits: [
      {
        in: "pipeline/answeredLate",
        find: "if (!slot.taken) pipeline.on.onLate(outcome, takerOf(pipeline, slot));",
        replace: "take(pipeline, slot);",
      },
    ],
  },
  {
    name: "fetched-is-taken",
    what: "client: an earlier process's answer is acknowledged as soon as it was fetched, before its user has it",
    within: 70,
    edits: [{ in: "pipeline/pushRequest", find: " && (number === null || settings.numbered)", replace: "" }],
  },
  {
    name: "taken-opens-no-window",
    what: "client: requests that wait behind answers which are not taken yet are not sent when those are",
    within: 120,
    edits: [{ in: "client/onAnswerTaken", find: "if (pipeline.waiting > 0) sendSoon(client);", replace: "" }],
  },
  {
    name: "shared-dequeue-finds-nothing",
    what: "client: a request that shared a dequeue and got no job of its answer ends with an empty queue",
    within: 80,
    edits: [
      {
        in: "shareDequeued",
        find: "return waiting.slice(reply.jobs.length);",
        replace: `for (const done of waiting.slice(reply.jobs.length)) done({ ...outcome, reply: { ...reply, jobs: [] } }, DELIVERED);
  return [];`,
      },
    ],
  },
  {
    name: "silent-client-not-shown",
    what: "client: one that asks nothing does not show its session to the next leader, which lets it expire",
    within: 120,
    profile: "silentClients",
    edits: [
      {
        in: "client/sendNow",
        find: 'if (isLive(session) && client.phase.type === "running" && !session.isAttached) sendOpen(client, link);',
        replace: "",
      },
    ],
  },
  {
    name: "seldom-touched",
    what: "a leader touches the sessions of its connections less often than they expire",
    within: 120,
    profile: "silentClients",
    edits: [{ in: "touchSessions", find: "now < before + interval", replace: "now < before + 1_000 * interval" }],
  },
  {
    name: "never-touched",
    what: "sessions are not kept alive by their connections",
    within: 120,
    profile: "silentClients",
    edits: [{ in: "touchSessions", find: "sessions.length === 0", replace: "sessions.length >= 0" }],
  },
];
