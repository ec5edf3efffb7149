// The commands of `raftq cluster`, each in the file of its kind.
import type { Command } from "./arguments.ts";
import { addCommand, removeCommand, transferCommand } from "./cluster-members.ts";
import { killCommand, pauseCommand, resumeCommand, startCommand } from "./cluster-nodes.ts";
import { downCommand } from "./cluster-down.ts";
import { logsCommand } from "./cluster-logs.ts";
import { statusCommand } from "./cluster-status.ts";
import { upCommand } from "./cluster-up.ts";

export const CLUSTER_VERBS: Readonly<Record<string, Command>> = {
  up: upCommand,
  status: statusCommand,
  down: downCommand,
  kill: killCommand,
  start: startCommand,
  pause: pauseCommand,
  resume: resumeCommand,
  add: addCommand,
  remove: removeCommand,
  transfer: transferCommand,
  logs: logsCommand,
};
