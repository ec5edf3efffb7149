// Which bugs of membership did others ship? Each with who did, and how many seeds the simulator may need to catch it.
import type { Mutant } from "../mutants.ts";

export const MEMBERSHIP_MUTANTS: readonly Mutant[] = [
  {
    name: "joint-needs-new-half-only",
    what: "in a joint configuration the old voters are not asked",
    within: 120,
    edits: [
      {
        file: "src/raft/configuration.ts",
        find: "  return majoritySays(sets.voters, saysYes) && (sets.outgoing.length === 0 || majoritySays(sets.outgoing, saysYes));",
        replace: "  return majoritySays(sets.voters, saysYes);",
      },
    ],
  },
  {
    name: "joint-commits-by-new-half",
    what: "in a joint configuration an entry commits by the new voters alone",
    within: 40,
    edits: [
      {
        file: "src/raft/configuration.ts",
        find: "  return sets.outgoing.length === 0 ? inVoters : Math.min(inVoters, majorityValue(sets.outgoing, valueOf));",
        replace: "  return inVoters;",
      },
    ],
  },
  {
    name: "learner-counts",
    what: "learners count in the majority that commits",
    within: 40,
    edits: [
      {
        file: "src/raft/configuration.ts",
        find: "  const inVoters = majorityValue(sets.voters, valueOf);",
        replace: "  const inVoters = majorityValue([...sets.voters, ...sets.learners], valueOf);",
      },
    ],
  },
  {
    name: "leave-joint-early",
    what: "the joint configuration ends before it has committed (camunda#60086)",
    within: 20,
    edits: [
      {
        file: "src/raft/membership.ts",
        find: `  if (state.configurationIndex > state.commitIndex) return;
  if (isJoint(state.members)) {`,
        replace: "  if (isJoint(state.members)) {",
      },
    ],
  },
  {
    name: "two-changes-at-once",
    what: "a change of members begins while another is not finished (the bug of 2015)",
    within: 90,
    edits: [
      {
        file: "src/raft/membership.ts",
        find: "  if (isJoint(state.members) || state.configurationIndex > state.commitIndex) {",
        replace: "  if (isJoint(state.members)) {",
      },
    ],
  },
  {
    name: "removed-at-once",
    what: "a removal takes effect without a joint configuration",
    within: 90,
    edits: [
      {
        file: "src/raft/membership.ts",
        find: "  const outgoing = voters.length === configuration.voters.length ? [] : configuration.voters;",
        replace: "  const outgoing: typeof voters = [];",
      },
    ],
  },
  {
    name: "forget-configuration",
    what: "a restart forgets the configurations in its log (camunda#57386)",
    within: 10,
    edits: [
      {
        file: "src/raft/recovery.ts",
        find: "  return [first, ...found];",
        replace: "  return [first, ...found.slice(0, 0)];",
      },
    ],
  },
  {
    name: "install-without-configuration",
    what: "an installed snapshot does not bring its configuration (scylladb#9551, openraft#1808)",
    within: 20,
    edits: [
      {
        file: "src/raft/snapshot.ts",
        find: `  state.configurations = [{ index: meta.configurationIndex, configuration: meta.configuration }];
  useLatestConfiguration(state);
`,
        replace: "",
      },
      {
        file: "src/raft/snapshot.ts",
        find: "import { commitTo, useLatestConfiguration } from",
        replace: "import { commitTo } from",
      },
    ],
  },
  {
    name: "rollback-keeps-configuration",
    what: "a configuration stays in force although its entry was dropped (dissertation 4.1)",
    within: 100,
    edits: [
      {
        file: "src/raft/append.ts",
        find: `    state.configurations.pop();
    rolledBack = true;`,
        replace: `    rolledBack = false;
    break;`,
      },
    ],
  },
  {
    name: "wiped-node-keeps-its-name",
    what: "a node that lost its disk comes back as the voter it was (rethinkdb#5289, cockroach#756)",
    within: 20,
    edits: [
      {
        file: "src/server/node.ts",
        find: "random.below(0x1_0000).toString(16)",
        replace: "(random.below(0x1_0000) * 0).toString(16)",
      },
    ],
  },
];
