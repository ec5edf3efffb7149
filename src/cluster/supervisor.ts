// The supervisor owns the processes of a local cluster: it starts them, ends them, notices when one ends by itself, and records which
// processes are its own. It knows nothing of Raft: the nodes are asked who leads.
import { rmSync } from "node:fs";
import { CLUSTER } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { ensureNodeCertificate, nodeTlsFlags } from "./authority.ts";
import {
  type ClusterFacts,
  type ControlAnswer,
  type ControlRequest,
  listenControl,
  type NodeFacts,
  type NodeVerb,
} from "./control.ts";
import { type Layout, nodeDirectory, nodeLog } from "./layout.ts";
import { type DirectoryWatch, watchDirectory } from "./lost-directory.ts";
import { launchNode, type NodeEnd, type NodeProcess } from "./node-process.ts";
import { movable, nameFlag, planAdd, portOf } from "./plan.ts";
import { onFreePort, requireFreePorts } from "./ports.ts";
import { identify, type ProcessIdentity } from "./processes.ts";
import { type ClusterState, type NodeRecord, writeClusterState } from "./state.ts";
import { unknownNode } from "./unknown-node.ts";

export interface SupervisorSettings {
  readonly layout: Layout;
  /** What to start; its processes are not running. */
  readonly state: ClusterState;
  /** How this program is started again. */
  readonly program: readonly string[];
  /** `--heartbeat 50ms …`, given to each node. */
  readonly nodeFlags: readonly string[];
  /** A node ended that was not asked to. */
  readonly onNodeDied: (id: string, end: NodeEnd) => void;
}

export interface Supervisor {
  facts(): ClusterFacts;
  /** Stops all nodes gracefully, then gives up control socket and claim. Also the answer to `cluster down`. */
  stop(): Promise<void>;
  /** SIGKILL to all nodes. */
  stopNow(): Promise<void>;
  /** Resolves when everything is stopped, whatever asked for it; rejects when the cluster's directory was deleted. */
  readonly stopped: Promise<void>;
}

interface Supervised {
  /** Replaced when it gets another port. */
  record: NodeRecord;
  process: NodeProcess | null;
  /** How it ended, if it was not asked to. */
  ended: NodeEnd | null;
}

interface Supervision {
  readonly settings: SupervisorSettings;
  readonly directory: DirectoryWatch;
  readonly nodes: Supervised[];
  nextNumber: number;
  /** Resolves when no node is about to be started. */
  starting: Promise<unknown>;
  /** Set by the first stop: all nodes have ended when it resolves. */
  stopping: Promise<void> | null;
}

/** Starts all nodes and listens on the control socket. The caller holds the cluster's lock and has checked the ports. */
export async function startSupervisor(settings: SupervisorSettings): Promise<Supervisor> {
  const { state, layout } = settings;
  const nodes = state.nodes.map((record): Supervised => ({ record, process: null, ended: null }));
  for (const { id } of state.nodes) await ensureNodeCertificate(layout, id);
  const directory = watchDirectory(layout);
  const supervision: Supervision = {
    settings,
    directory,
    nodes,
    nextNumber: state.nextNumber,
    starting: Promise.resolve(),
    stopping: null,
  };
  const { promise: stopped, resolve: declareStopped, reject: declareBroken } = Promise.withResolvers<void>();

  const stop = (): Promise<void> => {
    if (supervision.stopping === null) {
      clearInterval(watching);
      supervision.stopping = stopNodes(supervision);
      const end = async (): Promise<void> => {
        // Before the stop is answered: from then on the directory may be deleted.
        const lost = directory.lost();
        directory.close();
        if (lost === null) return control.close();
        control.abandon();
        throw lost;
      };
      supervision.stopping.then(end).then(declareStopped, declareBroken);
    }
    return supervision.stopping;
  };
  const handle = (request: ControlRequest): Promise<ControlAnswer> => execute(supervision, request, stop);
  const control = await listenControl(layout.controlSocket, handle);
  for (const node of nodes) launch(supervision, node);
  remember(supervision);
  const watching = setInterval(() => {
    if (directory.lost() !== null) void stop();
  }, CLUSTER.directoryCheckMs);
  return {
    facts: () => facts(supervision),
    stop,
    stopNow: async () => {
      const stopping = stop();
      await Promise.all(nodes.map(async (node) => node.process?.kill()));
      await stopping;
    },
    stopped,
  };
}

async function execute(
  supervision: Supervision,
  request: ControlRequest,
  stop: () => Promise<void>,
): Promise<ControlAnswer> {
  const answer = (node: string | null, changed: boolean): ControlAnswer => ({
    cluster: facts(supervision),
    node,
    changed,
  });
  if (request.command === "describe") return answer(null, false);
  if (request.command === "down") {
    await stop();
    return answer(null, true);
  }
  if (supervision.stopping !== null) throw isStopping();
  if (request.command === "add") return answer(await inTurn(supervision, () => addNode(supervision)), true);
  const node = find(supervision, request.node);
  return answer(node.record.id, await changeNode(supervision, node, request.command));
}

/** Carries out the verb; false when the node is in that state already. */
async function changeNode(supervision: Supervision, node: Supervised, verb: NodeVerb): Promise<boolean> {
  switch (verb) {
    case "kill": {
      const wasUp = node.process !== null;
      await node.process?.kill();
      return wasUp;
    }
    case "start":
      return inTurn(supervision, () => startNode(supervision, node));
    case "pause":
      return signalNode(supervision, node, "SIGSTOP", "running");
    case "resume":
      return signalNode(supervision, node, "SIGCONT", "paused");
    case "retire":
      return retire(supervision, node);
  }
}

async function retire(supervision: Supervision, node: Supervised): Promise<boolean> {
  await node.process?.stop(CLUSTER.stopTimeoutMs);
  const at = supervision.nodes.indexOf(node);
  if (at < 0) return false;
  supervision.nodes.splice(at, 1);
  remember(supervision);
  return true;
}

const isStopping = (): RaftqError => new RaftqError("UNREACHABLE", "this cluster is stopping");

async function startNode(supervision: Supervision, node: Supervised): Promise<boolean> {
  if (node.process !== null) return false;
  const record = await startable(supervision, node);
  await ensureNodeCertificate(supervision.settings.layout, record.id);
  if (supervision.stopping !== null) return false;
  node.record = record;
  launch(supervision, node);
  remember(supervision);
  return true;
}

/** Where it can listen; throws PORT_IN_USE when that is not where the others look for it, and they could not log the change. */
async function startable({ nodes }: Supervision, node: Supervised): Promise<NodeRecord> {
  const others = nodes.filter((other) => other !== node).map(({ record }) => record);
  if (movable(nodes.length) > 0) return onFreePort(node.record, others);
  await requireFreePorts([node.record]);
  return node.record;
}

/** Starts of nodes, one after the other: two terminals never get the same number or port. */
function inTurn<T>(supervision: Supervision, work: () => Promise<T>): Promise<T> {
  const done = supervision.starting.then(work);
  supervision.starting = done.catch(() => {});
  return done;
}

function signalNode(
  { settings }: Supervision,
  node: Supervised,
  signal: "SIGSTOP" | "SIGCONT",
  from: "running" | "paused",
): boolean {
  if (node.process === null) {
    const { id } = node.record;
    const start = `raftq cluster start ${id}${nameFlag(settings.layout.name)}`;
    throw new RaftqError("USAGE", `${id} is down. Start it: ${start}.`);
  }
  if (node.process.state() !== from) return false;
  node.process.signal(signal);
  return true;
}

async function addNode(supervision: Supervision): Promise<string> {
  const { settings, nodes, nextNumber } = supervision;
  const records = nodes.map((node) => node.record);
  const record = await onFreePort(planAdd({ ...settings.state, nextNumber, nodes: records }), records);
  await ensureNodeCertificate(settings.layout, record.id);
  if (supervision.stopping !== null) throw isStopping();
  supervision.nextNumber++;
  const node: Supervised = { record, process: null, ended: null };
  nodes.push(node);
  launch(supervision, node);
  remember(supervision);
  return record.id;
}

function launch(supervision: Supervision, node: Supervised): void {
  const { settings, nodes } = supervision;
  const { id } = node.record;
  node.ended = null;
  node.process = launchNode({
    program: settings.program,
    arguments: nodeArguments(
      settings,
      node.record,
      nodes.map((other) => other.record.address),
    ),
    logFile: nodeLog(settings.layout, id),
    onEnd: (end, expected) => {
      node.process = null;
      if (supervision.stopping === null) remember(supervision);
      if (expected) return;
      node.ended = end;
      settings.onNodeDied(id, end);
    },
  });
}

async function stopNodes(supervision: Supervision): Promise<void> {
  await Promise.all(supervision.nodes.map(async (node) => node.process?.stop(CLUSTER.stopTimeoutMs)));
  // In this order: where a supervisor is named, its socket exists too.
  remember(supervision, null);
  if (supervision.directory.lost() === null) rmSync(supervision.settings.layout.controlSocket, { force: true });
}

/** Writes cluster.json, unless the directory is lost; `supervisor` null means that this cluster is down. */
function remember(supervision: Supervision, supervisor: ProcessIdentity | null = identify(process.pid)): void {
  const { settings, nodes, nextNumber, directory } = supervision;
  if (directory.lost() !== null) return;
  const state: ClusterState = {
    ...settings.state,
    pid: supervisor?.pid ?? null,
    startTime: supervisor?.startTime ?? null,
    nextNumber,
    nodes: nodes.map(({ record: { id, address }, process: node }) => ({
      id,
      address,
      pid: node?.identity.pid ?? null,
      startTime: node?.identity.startTime ?? null,
    })),
  };
  try {
    writeClusterState(settings.layout, state);
  } catch (error) {
    if (directory.lost() === null) throw error;
  }
}

function find(supervision: Supervision, id: string): Supervised {
  const node = supervision.nodes.find((candidate) => candidate.record.id === id);
  if (node !== undefined) return node;
  const known = supervision.nodes.map((candidate) => candidate.record.id);
  throw unknownNode(supervision.settings.layout, id, known);
}

function facts(supervision: Supervision): ClusterFacts {
  return { name: supervision.settings.layout.name, pid: process.pid, nodes: supervision.nodes.map(nodeFacts) };
}

function nodeFacts(node: Supervised): NodeFacts {
  const { id, address } = node.record;
  const state = node.process?.state() ?? "gone";
  const process = state === "gone" ? "down" : state;
  return {
    id,
    address,
    pid: process === "down" ? null : (node.process?.identity.pid ?? null),
    process,
    ended: node.ended,
  };
}

function nodeArguments(
  settings: SupervisorSettings,
  record: NodeRecord,
  members: readonly string[],
): readonly string[] {
  const { founders } = settings.state;
  const isFounder = founders.includes(record.address);
  const join = isFounder ? founders : members.filter((address) => address !== record.address);
  const words = ["node", "--id", record.id, "--port", String(portOf(record))];
  words.push("--data", nodeDirectory(settings.layout, record.id));
  if (join.length > 0) words.push("--join", join.join(","));
  if (isFounder) words.push("--expect", String(founders.length));
  return [...words, ...nodeTlsFlags(settings.layout, record.id), ...settings.nodeFlags];
}
