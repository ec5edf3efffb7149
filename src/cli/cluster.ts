// Which commands does `raftq cluster` have? These, each in the file of its kind.
import type { CommandDef } from "citty";
import { addCommand, removeCommand, transferCommand } from "./cluster-members.ts";
import { killCommand, pauseCommand, resumeCommand, startCommand } from "./cluster-nodes.ts";
import { downCommand } from "./cluster-down.ts";
import { logsCommand } from "./cluster-logs.ts";
import { statusCommand } from "./cluster-status.ts";
import { upCommand } from "./cluster-up.ts";

export const clusterCommand: CommandDef = {
  meta: { name: "cluster", description: "Run a cluster of local nodes: start, watch, kill, grow and shrink it" },
  subCommands: {
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
  },
};
