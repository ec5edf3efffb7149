// The settings of a node from its flags and `RAFTQ_*` variables, or a refusal that shows what to type.
import { BlockList, isIP } from "node:net";
import { CLUSTER, DEFAULTS, QUEUE, RAFT, SERVER, STORAGE, timingProblem } from "../config.ts";
import { formatDuration, parseDuration } from "../lib/durations.ts";
import { RaftqError } from "../lib/errors.ts";
import { isNodeId } from "../raft/types.ts";
import type { LogLevel, NodeSettings } from "../server/types.ts";
import type { Owner } from "../storage/owner.ts";
import { formatAddress, parseAddress } from "../wire/address.ts";
import type { Arguments, Values } from "./arguments.ts";
import { choice, duration, integer, list } from "./conversions.ts";
import { CREDENTIAL_ARGUMENTS, type CredentialFiles, credentialFiles } from "./credentials.ts";

const defaultElection = `${formatDuration(DEFAULTS.electionMinMs)}-${formatDuration(DEFAULTS.electionMaxMs)}`;

/** Also passed on by `cluster up` to each of its nodes. */
export const TIMING_ARGUMENTS = {
  heartbeat: {
    type: "string",
    convert: duration,
    description: "How often the leader speaks to the others",
    environment: "RAFTQ_HEARTBEAT",
    valueHint: "duration",
    default: formatDuration(DEFAULTS.heartbeatMs),
  },
  election: {
    type: "string",
    description: "Silence of the leader after which a node stands for election: a random time in this range",
    environment: "RAFTQ_ELECTION",
    valueHint: "min-max",
    default: defaultElection,
  },
} as const satisfies Arguments;

/** Also passed on by `cluster up`. */
export const DISK_ARGUMENTS = {
  "allow-network-disk": {
    type: "boolean",
    description: "Accept data on a file system that other machines may use too, such as NFS",
    environment: "RAFTQ_ALLOW_NETWORK_DISK",
  },
} as const satisfies Arguments;

export const NODE_ARGUMENTS = {
  port: {
    type: "string",
    convert: integer(1, 65_535),
    description: "Port for clients and other nodes",
    environment: "RAFTQ_PORT",
    default: String(DEFAULTS.port),
  },
  host: {
    type: "string",
    description: "Address to bind",
    environment: "RAFTQ_HOST",
    default: DEFAULTS.host,
  },
  id: {
    type: "string",
    description: "Name of this node in its cluster (default: that of its directory, or n<port> for a new one)",
    environment: "RAFTQ_ID",
    valueHint: "n1",
  },
  data: {
    type: "string",
    description: "Directory of this node's data (default: .raftq/nodes/<port>)",
    environment: "RAFTQ_DATA",
    valueHint: "directory",
  },
  ...DISK_ARGUMENTS,
  join: {
    type: "string",
    convert: list,
    description: "Addresses of members to be let in by, or of all founders together with --expect",
    environment: "RAFTQ_JOIN",
    valueHint: "host:port,host:port",
  },
  expect: {
    type: "string",
    convert: integer(1, CLUSTER.maxNodes),
    description: "Found a new cluster of exactly this many nodes, those of --join; never join another one",
    environment: "RAFTQ_EXPECT",
    valueHint: "3",
  },
  advertise: {
    type: "string",
    description: "Where other nodes and clients reach this one (default: host:port)",
    environment: "RAFTQ_ADVERTISE",
    valueHint: "host:port",
  },
  ...TIMING_ARGUMENTS,
  ...CREDENTIAL_ARGUMENTS,
  insecure: {
    type: "boolean",
    description: "Allow a --host that other machines reach, without TLS and without a secret",
    environment: "RAFTQ_INSECURE",
  },
  "log-level": {
    type: "string",
    convert: choice("debug", "info", "warn", "error"),
    valueHint: "debug|info|warn|error",
    description: "Least severe lines to write to stderr",
    environment: "RAFTQ_LOG_LEVEL",
    default: "info",
  },
  "log-format": {
    type: "string",
    convert: choice("text", "json"),
    valueHint: "text|json",
    description: "Lines for people, or one JSON object each",
    environment: "RAFTQ_LOG_FORMAT",
    default: "text",
  },
} as const satisfies Arguments;

export interface NodeStart {
  readonly settings: NodeSettings;
  readonly dataDirectory: string;
  readonly allowNetworkDisk: boolean;
  readonly credentials: CredentialFiles | null;
  readonly logLevel: LogLevel;
  readonly logFormat: "text" | "json";
}

const usage = (message: string): RaftqError => new RaftqError("USAGE", message);

/** `ownerOf`: looks into the data directory. Throws RaftqError USAGE for flags that cannot work together. */
export function nodeStart(values: Values<typeof NODE_ARGUMENTS>, ownerOf: (dataDirectory: string) => Owner): NodeStart {
  const { port } = values;
  const dataDirectory = values.data ?? `.raftq/nodes/${port}`;
  const owner = ownerOf(dataDirectory);
  // A port may change; a given --id is checked when the directory is opened.
  const id = values.id ?? owner.nodeId ?? `n${port}`;
  if (!isNodeId(id)) {
    throw usage(
      `--id "${id}" is no node id: use 1 to 32 small letters, digits and "-", and start with a letter or digit.`,
    );
  }
  const host = values.host.replace(/^\[(.*)\]$/, "$1");
  const credentials = credentialFiles(values);
  if (credentials === null && !values.insecure) requireLoopback(host);
  const advertise = advertised(values.advertise, host, port);
  const join = unique((values.join ?? []).map((text) => dialable(text, "--join")));
  const expect = values.expect ?? null;
  // What is in use resumes; if it turns out that it never founded, the node reports that then.
  if (expect !== null && owner.isNew) requireFounders(expect, join, advertise);
  const election = parseElection(values.election);
  const problem = timingProblem(values.heartbeat, election.min, election.max);
  if (problem !== null) throw usage(`${problem}.`);
  const settings: NodeSettings = {
    id,
    host,
    port,
    advertise,
    join,
    expect,
    heartbeatMs: values.heartbeat,
    electionMinMs: election.min,
    electionMaxMs: election.max,
    segmentBytes: STORAGE.segmentBytes,
    compactMinBytes: STORAGE.compactMinBytes,
    compactFactor: STORAGE.compactFactor,
    keepLogBytes: RAFT.keepLogBytes,
    maxAppendBytes: RAFT.maxAppendBytes,
    maxInflightMessages: RAFT.maxInflightMessages,
    maxUncommittedBytes: RAFT.maxUncommittedBytes,
    queueLimits: QUEUE,
    maxConnections: SERVER.maxConnections,
    maxBufferedBytes: SERVER.maxBufferedBytes,
    maxAppliedPerTurn: SERVER.maxAppliedPerTurn,
  };
  return {
    settings,
    dataDirectory,
    allowNetworkDisk: values["allow-network-disk"],
    credentials,
    logLevel: values["log-level"],
    logFormat: values["log-format"],
  };
}

/** `300ms-600ms`. */
export function parseElection(text: string): { readonly min: number; readonly max: number } {
  const [low, high, ...more] = text.split("-").map(parseDuration);
  if (low === undefined || high === undefined || more.length > 0) {
    throw usage(`--election is a range of two durations such as ${defaultElection}, not "${text}".`);
  }
  return { min: low, max: high };
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");
const EVERY_ADDRESS = new BlockList();
EVERY_ADDRESS.addAddress("0.0.0.0", "ipv4");
EVERY_ADDRESS.addAddress("::", "ipv6");

/** Is `host` an address in `list`, however it is written? */
function isIn(list: BlockList, host: string): boolean {
  const version = isIP(host);
  return version !== 0 && list.check(host, version === 4 ? "ipv4" : "ipv6");
}

function requireLoopback(host: string): void {
  if (host === "localhost" || isIn(LOOPBACK, host)) return;
  throw usage(
    `--host ${host} lets other machines in. Give --tls-cert, --tls-key and --tls-ca; or --secret-file, on a network that nobody else can write to; or --insecure, if everybody who reaches this network may read and change the queue; or bind ${DEFAULTS.host}.`,
  );
}

function advertised(given: string | undefined, host: string, port: number): string {
  if (given !== undefined) return dialable(given, "--advertise");
  if (isIn(EVERY_ADDRESS, host)) {
    throw usage(
      `--host ${host} is every address of this machine: set with --advertise host:port where others reach this node.`,
    );
  }
  return address(formatAddress(host, port));
}

function requireFounders(expect: number, join: readonly string[], advertise: string): void {
  const founders = unique([...join, advertise]);
  if (founders.length === expect) return;
  throw usage(
    `--expect ${expect} needs the addresses of all ${expect} founders in --join; with this node they are ${founders.length}: ${founders.join(", ")}.`,
  );
}

/** Throws RaftqError USAGE for an address that a node can only bind. */
function dialable(text: string, flag: string): string {
  if (!isIn(EVERY_ADDRESS, parseAddress(text).host)) return address(text);
  throw usage(
    `${flag} ${text} stands for every address of a machine: nobody can dial it. Give the one at which others reach ${flag === "--join" ? "that node" : "this node"}.`,
  );
}

/** One way to write each address, so that the founders' sets can be compared. */
function address(text: string): string {
  const { host, port } = parseAddress(text);
  return formatAddress(host.toLowerCase(), port);
}

const unique = (texts: readonly string[]): readonly string[] => [...new Set(texts)];
