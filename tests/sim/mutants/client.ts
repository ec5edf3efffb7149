// Which bugs of clients, and of how nodes keep their sessions, must be caught? Each with how many seeds the simulator may need.
import type { Mutant } from "../mutants.ts";

export const CLIENT_MUTANTS: readonly Mutant[] = [
  {
    name: "unclear-told-as-refused",
    what: "client: a lost connection leaves nothing unclear, so a time-out says that the request was surely not executed",
    within: 60,
    edits: [
      {
        file: "src/client/line.ts",
        find: "        slot.unclear = true;\n        slot.open = 0;",
        replace: "        slot.open = 0;",
      },
    ],
  },
  {
    name: "given-up-runs-later",
    what: "client: a number that was given up is sent again with its command, not as a settle",
    within: 60,
    edits: [
      {
        file: "src/client/line.ts",
        find: "    return settings.numbered && !isRefused ? slot.command : SETTLE;",
        replace: "    return !isRefused ? slot.command : SETTLE;",
      },
    ],
  },
  {
    name: "numbers-from-one-again",
    what: "client: a process that takes over begins with number 1",
    within: 30,
    edits: [
      {
        file: "src/client/line.ts",
        find: "      nextNumber = lastNumber + 1;\n      answeredUpTo = acknowledged;",
        replace: "      nextNumber = 1;\n      answeredUpTo = Math.min(0, lastNumber, acknowledged);",
      },
    ],
  },
  {
    name: "acknowledges-what-is-under-way",
    what: "client: every number below the one that is sent is acknowledged, answered or not",
    within: 20,
    edits: [
      {
        file: "src/client/line.ts",
        find: "      const acknowledged = Math.min(answeredUpTo, number - 1);",
        replace: "      const acknowledged = number - 1;",
      },
    ],
  },
  {
    name: "late-answer-dropped",
    what: "client: an answer that comes after the final word is acknowledged, and nobody gets it",
    within: 40,
    edits: [
      {
        file: "src/client/line.ts",
        find: "    if (!slot.taken) settings.onLate(outcome, takerOf(slot));",
        replace: "    take(slot);",
      },
    ],
  },
  {
    name: "fetched-is-taken",
    what: "client: an earlier process's answer is acknowledged as soon as it was fetched, before its user has it",
    within: 60,
    edits: [
      {
        file: "src/client/line.ts",
        find: `settings.acknowledges === "told" && (number === null || settings.numbered)`,
        replace: `settings.acknowledges === "told"`,
      },
    ],
  },
  {
    name: "taken-opens-no-window",
    what: "client: requests that wait behind answers which are not taken yet are not sent when those are",
    within: 120,
    edits: [
      {
        file: "src/client/acknowledging.ts",
        find: "      if (line.waiting() > 0) on.waiting();\n",
        replace: "",
      },
    ],
  },
  {
    name: "shared-dequeue-finds-nothing",
    what: "client: whoever shared a dequeue and got no job of its answer is told that the queue is empty",
    within: 80,
    edits: [
      {
        file: "src/client/gathering.ts",
        find: "  return waiting.slice(reply.jobs.length);",
        replace: `  for (const done of waiting.slice(reply.jobs.length)) done({ ...outcome, reply: { ...reply, jobs: [] } }, TOLD);
  return [];`,
      },
    ],
  },
  {
    name: "silent-client-not-shown",
    what: "client: one that asks nothing does not show its session to the next leader, which lets it expire",
    within: 120,
    edits: [
      {
        file: "src/client/client.ts",
        find: "    if (session.wasOpen && over === null && closing === null && !session.isAttached) sendOpen(link);",
        replace: "",
      },
    ],
  },
  {
    name: "seldom-touched",
    what: "a leader touches the sessions of its connections less often than they expire",
    within: 120,
    edits: [
      {
        file: "src/server/leader-entries.ts",
        find: "    if (now < touchedAt + interval) return;",
        replace: "    if (now < touchedAt + 1_000 * interval) return;",
      },
    ],
  },
  {
    name: "never-touched",
    what: "sessions are not kept alive by their connections",
    within: 120,
    edits: [
      {
        file: "src/server/leader-entries.ts",
        find: "    if (sessions.length === 0) return;",
        replace: "    if (sessions.length >= 0) return;",
      },
    ],
  },
];
