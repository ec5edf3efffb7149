// `raftq cluster add`, `remove` and `transfer`: change who belongs to the cluster, and who leads it.
import { setTimeout as sleep } from "node:timers/promises";
import { askSupervisor, type NodeFacts } from "../cluster/control.ts";
import { nodeDirectory } from "../cluster/layout.ts";
import { nameFlag, portOf } from "../cluster/plan.ts";
import { askStatus, askStatusAt, type ClusterStatus, type NodeAccess, serving } from "../cluster/status.ts";
import { unknownNode } from "../cluster/unknown-node.ts";
import { CLUSTER } from "../config.ts";
import { formatDuration } from "../lib/durations.ts";
import { ERRORS, EXIT, type ExitCode, type Failure, RaftqError } from "../lib/errors.ts";
import { command } from "./arguments.ts";
import {
  accessTo,
  ADDRESS,
  JSON_FLAG,
  type LocalCluster,
  NAME,
  NODE_NAME,
  runningCluster,
} from "./cluster-arguments.ts";
import { leaderOf } from "./cluster-nodes.ts";
import { deathNotice } from "./cluster-view.ts";
import { messages } from "./log.ts";
import { table } from "./table.ts";

type Running = LocalCluster & { readonly running: true };

export const addCommand = command({
  name: "raftq cluster add",
  description: "Start one more local node and make it a member: first it learns the log, then it votes",
  examples: ["raftq cluster add", "raftq cluster add n4 --addr 127.0.0.1:3000,127.0.0.1:3001"],
  args: {
    node: {
      type: "positional",
      required: false,
      description: "With --addr: the id of a node that was removed and may join again",
    },
    ...NAME,
    ...ADDRESS,
    ...JSON_FLAG,
  },
  run: (values) =>
    withAccess(values, async (access) => {
      const { node, name, addr, json } = values;
      if (addr !== undefined) return addRemote(await askStatusAt(addr, access), node ?? null, access, json);
      if (node === undefined) return addLocal(await runningCluster(name), access, json);
      throw new RaftqError(
        "USAGE",
        `a local node gets the next number: raftq cluster add${nameFlag(name)}. Name a node only with --addr.`,
      );
    }),
});

export const removeCommand = command({
  name: "raftq cluster remove",
  description: "Take a node out of the cluster, stop it, and keep its data",
  examples: ["raftq cluster remove n3"],
  args: { ...NODE_NAME, ...NAME, ...ADDRESS, ...JSON_FLAG },
  run: (values) =>
    withAccess(values, async (access) => {
      const { node, name, addr, json } = values;
      const cluster = addr === undefined ? await runningCluster(name) : null;
      const status = cluster === null ? await askStatusAt(addr ?? [], access) : await localStatus(cluster, access);
      const id = node === "leader" ? leaderOf(status) : node;
      requireMember(status, id, cluster);
      await removeMember(status, id, access);
      const isLocal = cluster?.facts.nodes.some((one) => one.id === id) === true;
      if (cluster !== null && isLocal) {
        const timeoutMs = CLUSTER.stopTimeoutMs + CLUSTER.controlTimeoutMs;
        await askSupervisor(cluster.layout.controlSocket, { command: "retire", node: id }, timeoutMs);
      }
      const then =
        cluster !== null && isLocal
          ? `It is stopped; its data stays in ${nodeDirectory(cluster.layout, id)}.`
          : "Its process still runs where it was started: stop it there.";
      return report(json, { node: id, removed: true, stopped: isLocal }, `Removed ${id} from the cluster. ${then}`);
    }),
});

export const transferCommand = command({
  name: "raftq cluster transfer",
  description: "Hand the leadership to another node, without a gap",
  examples: ["raftq cluster transfer n2"],
  args: {
    node: {
      type: "positional",
      required: false,
      description: "The new leader, such as n3 (default: whose log is farthest)",
    },
    ...NAME,
    ...ADDRESS,
    ...JSON_FLAG,
  },
  run: (values) =>
    withAccess(values, async (access) => {
      const { node, name, addr, json } = values;
      const cluster = addr === undefined ? await runningCluster(name) : null;
      const look = async (): Promise<ClusterStatus> =>
        cluster === null ? askStatusAt(addr ?? [], access) : localStatus(await runningCluster(name), access);
      const before = await look();
      const from = leaderOf(before);
      if (node === "leader") {
        const way = `raftq cluster transfer${cluster === null ? "" : nameFlag(name)}`;
        throw new RaftqError(
          "USAGE",
          `${from} is the leader: name the node that is to lead next, or none for the one whose log is farthest (${way}).`,
        );
      }
      if (node === from) return report(json, { from, leader: from }, `${from} leads already.`);
      if (node !== undefined) requireMember(before, node, cluster);
      refuse(await access.transfer(addressesOf(before), node ?? null));
      const leader = await waitForNewLeader(look, from);
      return report(json, { from, leader }, `${leader} leads now; ${from} handed over.`);
    }),
});

async function withAccess(
  values: Parameters<typeof accessTo>[0],
  run: (access: NodeAccess) => Promise<ExitCode>,
): Promise<ExitCode> {
  const access = accessTo(values);
  try {
    return await run(access);
  } finally {
    access.close();
  }
}

function report(json: boolean, data: object, text: string): ExitCode {
  process.stdout.write(`${json ? JSON.stringify(data) : text}\n`);
  return EXIT.ok;
}

async function addLocal(cluster: Running, access: NodeAccess, json: boolean): Promise<ExitCode> {
  const { layout, facts } = cluster;
  // Without a leader it cannot be let in: reported now rather than after it has waited.
  leaderOf(await askStatus(facts.name, facts.nodes, access));
  const { node } = await askSupervisor(layout.controlSocket, { command: "add" }, CLUSTER.controlTimeoutMs);
  if (node === null) throw new RaftqError("VERSION", "the supervisor did not name the node that it added.");
  if (!json) messages.info(`Started ${node}; it copies the log before it votes …`);
  const added = await waitForVoter(cluster, node, access);
  const text = `${node} at ${added.address} is a voting member.\n${table([
    ["NODE", "ADDRESS", "PID"],
    [node, added.address, added.pid],
  ])}`;
  return report(json, { node, address: added.address, pid: added.pid, role: "voter" }, text);
}

async function waitForVoter(cluster: Running, id: string, access: NodeAccess): Promise<NodeFacts> {
  const { layout } = cluster;
  const deadline = performance.now() + CLUSTER.joinTimeoutMs;
  while (performance.now() < deadline) {
    const { cluster: facts } = await askSupervisor(
      layout.controlSocket,
      { command: "describe" },
      CLUSTER.controlTimeoutMs,
    );
    const node = facts.nodes.find((one) => one.id === id);
    if (node === undefined) throw new RaftqError("UNKNOWN_NODE", `${id} was removed while it joined.`);
    if (node.ended !== null) {
      const [ended = "", ...lastLines] = deathNotice(id, node.ended);
      throw new RaftqError("UNREACHABLE", ended, null, lastLines);
    }
    const status = await askStatus(facts.name, facts.nodes, access);
    const leader = status.nodes.find((one) => one.id === status.leader);
    const members = leader === undefined ? [] : (serving(await access.status(leader.address))?.members ?? []);
    if (members.some((member) => member.id === id && member.role === "voter")) return node;
    await sleep(CLUSTER.pollMs);
  }
  throw new RaftqError(
    "TIMEOUT",
    `${id} runs, but is no voter after ${formatDuration(CLUSTER.joinTimeoutMs)}: see \`raftq cluster logs ${id}${nameFlag(cluster.facts.name)}\`.`,
  );
}

/** What to type where the node is to run. `readmitted`: an id that was removed, and that the members refuse until now. */
async function addRemote(
  status: ClusterStatus,
  readmitted: string | null,
  access: NodeAccess,
  json: boolean,
): Promise<ExitCode> {
  if (readmitted !== null) refuse(await access.readmit(addressesOf(status), readmitted));
  const port = Math.max(...status.nodes.map(portOf)) + 1;
  const id = readmitted ?? nextId(status);
  const line = `raftq node --port ${port} --id ${id} --join ${addressesOf(status).join(",")}`;
  return report(json, { id, port, line }, line);
}

/** The next number after those of the members. */
function nextId(status: ClusterStatus): string {
  const numbers = status.nodes.map((node) => Number(/^n(\d+)$/.exec(node.id)?.[1] ?? 0));
  return `n${Math.max(...numbers) + 1}`;
}

function requireMember(status: ClusterStatus, id: string, local: LocalCluster | null): void {
  const known = status.nodes.map((node) => node.id);
  if (!known.includes(id)) throw unknownNode(local?.layout ?? null, id, known);
}

/** Repeats what may be repeated: removing a node twice removes it once. */
async function removeMember(status: ClusterStatus, id: string, access: NodeAccess): Promise<void> {
  const deadline = performance.now() + CLUSTER.membershipTimeoutMs;
  for (;;) {
    const failure = await access.remove(addressesOf(status), id);
    // Not a member any more: an earlier attempt, here or elsewhere, went through.
    if (failure === null || failure.code === "UNKNOWN_NODE") return;
    const errorClass = ERRORS[failure.code].class;
    const again = errorClass === "unknown" || errorClass === "retry" || errorClass === "redirect";
    if (!again || performance.now() >= deadline) refuse(failure);
    await sleep(CLUSTER.pollMs);
  }
}

function refuse(failure: Failure | null): void {
  if (failure !== null) throw new RaftqError(failure.code, failure.message);
}

async function waitForNewLeader(look: () => Promise<ClusterStatus>, from: string): Promise<string> {
  const deadline = performance.now() + CLUSTER.leaderTimeoutMs;
  while (performance.now() < deadline) {
    const { leader } = await look();
    if (leader !== null && leader !== from) return leader;
    await sleep(CLUSTER.pollMs);
  }
  throw new RaftqError(
    "NO_LEADER",
    `${from} handed over, but no other leader was seen within ${formatDuration(CLUSTER.leaderTimeoutMs)}.`,
  );
}

const localStatus = ({ facts }: Running, access: NodeAccess): Promise<ClusterStatus> =>
  askStatus(facts.name, facts.nodes, access);

const addressesOf = (status: ClusterStatus): readonly string[] => status.nodes.map((node) => node.address);
