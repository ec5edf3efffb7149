// Which bugs of membership are planted? Each with who once shipped it, if anybody did.
import type { Mutant } from "../mutants.ts";

export const MEMBERSHIP_MUTANTS: readonly Mutant[] = [
  {
    name: "joint-needs-new-half-only",
    what: "in a joint configuration the old voters are not asked",
    within: 120,
    profile: "changingMembers",
    edits: [
      {
        in: "hasQuorum",
        find: " && (sets.outgoing.length === 0 || majoritySays(sets.outgoing, agrees))",
        replace: "",
      },
    ],
  },
  {
    name: "joint-commits-by-new-half",
    what: "in a joint configuration an entry commits by the new voters alone",
    within: 40,
    profile: "changingMembers",
    edits: [
      {
        in: "quorumValue",
        find: "sets.outgoing.length === 0 ? inVoters : Math.min(inVoters, majorityValue(sets.outgoing, valueOf))",
        replace: "inVoters",
      },
    ],
  },
  {
    name: "learner-counts",
    what: "learners count in the majority that commits",
    within: 60,
    edits: [
      {
        in: "quorumValue",
        find: "majorityValue(sets.voters, valueOf)",
        replace: "majorityValue([...sets.voters, ...sets.learners], valueOf)",
      },
    ],
  },
  {
    name: "leave-joint-early",
    what: "the joint configuration ends before it has committed (camunda#60086)",
    within: 20,
    edits: [
      { in: "driveMembership", find: "  if (state.configurationIndex > state.commitIndex) return;\n", replace: "" },
    ],
  },
  {
    name: "two-changes-at-once",
    what: "a change of members begins while another is not finished (the bug of 2015)",
    within: 90,
    profile: "changingMembers",
    edits: [{ in: "busyWith", find: " || state.configurationIndex > state.commitIndex", replace: "" }],
  },
  {
    name: "removed-at-once",
    what: "a removal takes effect without a joint configuration",
    within: 90,
    profile: "changingMembers",
    edits: [
      {
        in: "raft/remove",
        find: "outgoing = voters.length === configuration.voters.length ? [] : configuration.voters",
        replace: "outgoing: typeof voters = []",
      },
    ],
  },
  {
    name: "forget-configuration",
    what: "a restart forgets the configurations in its log (camunda#57386)",
    within: 10,
    edits: [{ in: "recoverConfigurations", find: "...found]", replace: "...found.slice(0, 0)]" }],
  },
  {
    name: "install-without-configuration",
    what: "an installed snapshot does not bring its configuration (scylladb#9551, openraft#1808)",
    within: 20,
    edits: [
      {
        in: "raft/install",
        find: `  state.configurations = [{ index: meta.configurationIndex, configuration: meta.configuration }];
  useLatestConfiguration(state);
`,
        replace: "",
      },
    ],
  },
  {
    name: "rollback-keeps-configuration",
    what: "a configuration stays in force although its entry was dropped (dissertation 4.1)",
    within: 100,
    profile: "changingMembers",
    edits: [
      {
        in: "truncate",
        find: `state.configurations.pop();
    rolledBack = true;`,
        replace: `rolledBack = false;
    break;`,
      },
    ],
  },
  {
    name: "wiped-node-keeps-its-name",
    what: "a node that lost its disk comes back as the voter it was (rethinkdb#5289, cockroach#756)",
    within: 20,
    edits: [{ in: "drawIncarnation", find: "random.below(0x1_0000)", replace: "(random.below(0x1_0000) * 0)" }],
  },
  {
    name: "snapshot-with-newest-configuration",
    what: "a snapshot is stored with the newest configuration, committed or not",
    within: 20,
    profile: "changingMembers",
    edits: [
      {
        in: "metaAt",
        find: "raft.configurations.findLast((configuration) => configuration.index <= appliedIndex)",
        replace:
          "raft.configurations.slice(-1).map((newest) => ({ ...newest, index: Math.min(newest.index, appliedIndex) }))[0]",
      },
    ],
  },
  {
    name: "removal-counts-unheard",
    what: "a new leader removes members before a majority of those that would be left has answered it",
    within: 20,
    profile: "changingMembers",
    plan: { nodes: 3, faults: { wipe: 300, membership: 400, transfer: 200, midChange: 0, kill: 0, partition: 0 } },
    edits: [{ in: "raft/remove", find: "contacted < majority(voters.length)", replace: "contacted < 0" }],
  },
];
