// The flags of the commands of `raftq client`.
import { DEFAULTS } from "../config.ts";
import { formatDuration } from "../lib/durations.ts";
import type { Arguments, Values } from "./arguments.ts";
import { duration, integer, list } from "./conversions.ts";
import { CREDENTIAL_ARGUMENTS } from "./credentials.ts";

export const SHARED_ARGUMENTS = {
  id: {
    type: "string",
    valueHint: "c1",
    environment: "RAFTQ_ID",
    description: "Who is asking; without it, a new name each time",
  },
  addr: {
    type: "string",
    convert: list,
    valueHint: "host:port,host:port",
    alias: "a",
    environment: "RAFTQ_ADDR",
    description: "Nodes to ask; without it, the cluster that runs under .raftq/, or 127.0.0.1:3000 where there is none",
  },
  name: {
    type: "string",
    valueHint: "name",
    insteadOf: "addr",
    description: "Which cluster under .raftq/ to ask, where several run",
  },
  ...CREDENTIAL_ARGUMENTS,
  timeout: {
    type: "string",
    convert: duration,
    valueHint: "duration",
    default: formatDuration(DEFAULTS.clientTimeoutMs),
    description: "How long to wait for a leader or an answer; 0: ask once",
  },
  json: { type: "boolean", alias: "j", description: "One JSON object for each answer" },
  follow: {
    type: "boolean",
    default: true,
    description: "Ask the leader when another node names it",
    negativeDescription: "Print a redirect instead of following it",
  },
} as const satisfies Arguments;

export const PIPE_ARGUMENTS = {
  numbered: {
    type: "boolean",
    description:
      "In a pipe: the line number is the request number, so the same file may be sent again; another needs another --id",
  },
  resume: {
    type: "boolean",
    description: "With --numbered: send nothing unless the cluster still knows what was sent under this --id before",
  },
} as const satisfies Arguments;

const index = integer(1, Number.MAX_SAFE_INTEGER);
export const LOG_ARGUMENTS = {
  from: { type: "string", convert: index, valueHint: "index", description: "log: the first entry" },
  to: { type: "string", convert: index, valueHint: "index", description: "log: the last entry" },
  node: { type: "string", valueHint: "n2", description: "log: this node's own log" },
} as const satisfies Arguments;

/** What may stand before the verb, too. */
export const CLIENT_ARGUMENTS = { ...SHARED_ARGUMENTS, ...PIPE_ARGUMENTS, ...LOG_ARGUMENTS };

export type ClientValues = Values<typeof SHARED_ARGUMENTS> & Partial<Values<typeof PIPE_ARGUMENTS>>;
