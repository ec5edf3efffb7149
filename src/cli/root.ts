// The three commands of raftq. Their lines in the help are here, so that `raftq --help` loads nothing else.
import type { Command } from "./arguments.ts";

const node: Command = {
  meta: {
    name: "raftq node",
    description: "Run one node: alone it founds a cluster, with --join it asks to be let in, with data it resumes",
    examples: ["raftq node --port 3000", "raftq node --port 3001 --join 127.0.0.1:3000"],
  },
  args: () => import("./node-settings.ts").then(({ NODE_ARGUMENTS }) => NODE_ARGUMENTS),
  run: (context) => import("./node.ts").then(({ runNodeCommand }) => runNodeCommand(context)),
};

const client: Command = {
  meta: {
    name: "raftq client",
    description:
      "Enqueue and dequeue: a shell on a terminal, one command a line in a pipe, or one command given as words",
    examples: ["raftq client --id c1", "raftq client enqueue 42", "raftq client dequeue --addr 127.0.0.1:3000"],
  },
  args: () => import("./client-arguments.ts").then(({ CLIENT_ARGUMENTS }) => CLIENT_ARGUMENTS),
  subCommands: () => import("./client-verbs.ts").then(({ CLIENT_VERBS }) => CLIENT_VERBS),
  default: "shell",
};

const cluster: Command = {
  meta: {
    name: "raftq cluster",
    description: "Run a cluster of local nodes: start, watch, kill, grow and shrink it",
    examples: ["raftq cluster up 5", "raftq cluster status --watch", "raftq cluster kill leader", "raftq cluster down"],
  },
  subCommands: () => import("./cluster.ts").then(({ CLUSTER_VERBS }) => CLUSTER_VERBS),
};

export const root: Command = {
  meta: { name: "raftq", description: "A work queue replicated by Raft that does not lose what it acknowledged" },
  subCommands: { node, client, cluster },
};
