// The commands of `raftq client`; flags before the verb count as those behind it.
import { QUEUE } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { type Command, command } from "./arguments.ts";
import { integer } from "./conversions.ts";
import { enqueueOf, runClient } from "./client.ts";
import { LOG_ARGUMENTS, PIPE_ARGUMENTS, SHARED_ARGUMENTS } from "./client-arguments.ts";

export const CLIENT_VERBS: Readonly<Record<string, Command>> = {
  shell: command({
    name: "raftq client",
    description: "Without a verb: a shell on a terminal, else one command a line from a pipe",
    examples: ["raftq client --id c1", "seq 1 9 | sed 's/.*/enqueue(&)/' | raftq client --id c1"],
    args: { ...SHARED_ARGUMENTS, ...PIPE_ARGUMENTS },
    run: (values) => runClient(values, null),
  }),
  enqueue: command({
    name: "raftq client enqueue",
    description: "Add a job, or several by one request",
    examples: ["raftq client enqueue 42", "raftq client enqueue '1, 2, 3'", `raftq client enqueue '{"any":"JSON"}'`],
    args: {
      value: {
        type: "positional",
        required: true,
        description: "An integer or any JSON, or several between commas",
      },
      ...SHARED_ARGUMENTS,
    },
    run: (values) => runClient(values, enqueueOf(values.value)),
  }),
  dequeue: command({
    name: "raftq client dequeue",
    description: "Take the oldest job, or the oldest few; exit code 4 when there is none",
    examples: ["raftq client dequeue", "raftq client dequeue 10 --json"],
    args: {
      count: {
        type: "positional",
        required: false,
        convert: integer(1, QUEUE.maxJobsPerCommand),
        description: "Up to how many; without it, one, shown by itself",
      },
      ...SHARED_ARGUMENTS,
    },
    run: (values) => runClient(values, { type: "dequeue", max: values.count ?? null }),
  }),
  peek: command({
    name: "raftq client peek",
    description: "Show the oldest job and leave it there; exit code 4 when there is none",
    examples: ["raftq client peek"],
    args: SHARED_ARGUMENTS,
    run: (values) => runClient(values, { type: "peek" }),
  }),
  retry: command({
    name: "raftq client retry",
    description: "Print the answers again that another process with this --id could not write",
    examples: ["raftq client retry --id c1"],
    args: SHARED_ARGUMENTS,
    run: (values) => {
      if (values.id !== undefined) return runClient(values, { type: "retry" });
      throw new RaftqError("USAGE", "retry prints the answers that another process left, and needs its --id.");
    },
  }),
  log: command({
    name: "raftq client log",
    description: "Show the replicated log, the leader's or one node's own",
    examples: ["raftq client log --from 3 --to 9", "raftq client log --node n2"],
    args: { ...SHARED_ARGUMENTS, ...LOG_ARGUMENTS },
    run: (values) => {
      const range = { from: values.from ?? null, to: values.to ?? null, node: values.node ?? null };
      return runClient(values, { type: "log", range });
    },
  }),
  status: command({
    name: "raftq client status",
    description: "Show the cluster as its leader sees it",
    examples: ["raftq client status --json"],
    args: SHARED_ARGUMENTS,
    run: (values) => runClient(values, { type: "status" }),
  }),
};
