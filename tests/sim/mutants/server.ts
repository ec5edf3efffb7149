// Which bugs of the turn, of comparing states and of the links between members are planted?
import type { Mutant } from "../mutants.ts";

export const SERVER_MUTANTS: readonly Mutant[] = [
  {
    name: "waiters-survive-leadership",
    what: "a request that waits for an index does not fail when the leadership is over, and gets the outcome of what another leader puts there",
    within: 20,
    edits: [
      {
        in: "loseLeadership",
        find: `[...proposals.byIndex.values()];
  proposals.byIndex.clear();`,
        replace: "[...proposals.byIndex.values()].slice(0, 0);",
      },
    ],
  },
  {
    name: "snapshot-unconfirmed",
    what: "a snapshot counts before a majority has reported its digest",
    within: 10,
    edits: [{ in: "server/snapshots/release", find: " || !pending.isConfirmed", replace: "" }],
  },
  {
    name: "diverged-goes-on",
    what: "a node whose state differs from the majority's goes on",
    within: 60,
    edits: [{ in: "compare", find: 'check.diverged ??= { code: "CORRUPT", message };', replace: "void message;" }],
  },
  {
    name: "link-to-any-incarnation",
    what: "a link to a member is used although another incarnation of its node answers there",
    within: 20,
    profile: "changingMembers",
    plan: { faults: { wipe: 400, damage: 400 } },
    edits: [
      {
        in: "peer-link/helloReceived",
        find: "clusterId !== ports.clusterId || memberId(node) !== link.id",
        replace: "clusterId !== ports.clusterId || node.id !== link.member.id",
      },
    ],
  },
  {
    name: "read-before-applied",
    what: "a new leader answers confirmed reads when its first entry has committed: before it has applied what earlier leaders acknowledged",
    within: 10,
    profile: "lateNews",
    plan: {
      roundMs: 1,
      settings: { maxAppliedPerTurn: 1, compactMinBytes: 1 << 20 },
      faults: { kill: 400 },
    },
    edits: [
      // Without this the rest does no harm: what this leader itself has acknowledged is applied.
      {
        in: "hasAppliedNoop",
        find: "ledFrom !== null && queue.appliedIndex",
        replace: "ledFrom !== null && raft.commitIndex",
      },
      { in: "answerReads", find: "index <= appliedIndex", replace: "index >= 0" },
      { in: "answerReads", find: "index > appliedIndex", replace: "index < 0" },
    ],
  },
  {
    name: "writes-in-dispute",
    what: "writes go on while no majority agrees on the state",
    within: 10,
    profile: "wrongStates",
    edits: [
      {
        in: "handleAsLeader",
        find: "dispute !== null && isWrite(message)",
        replace: "dispute !== null && isWrite(message) && message.frameId < 0",
      },
    ],
  },
];
