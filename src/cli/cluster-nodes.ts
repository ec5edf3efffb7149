// `raftq cluster kill`, `start`, `pause` and `resume`: do to a local process what can happen to a machine.
import { setTimeout as sleep } from "node:timers/promises";
import { askSupervisor, type ControlAnswer, type NodeVerb } from "../cluster/control.ts";
import { localCredentials } from "./credentials.ts";
import { openNodeAccess } from "./node-access.ts";
import { nameFlag } from "../cluster/plan.ts";
import { movedNodes } from "../cluster/ports.ts";
import { shownProgram } from "../cluster/program.ts";
import { askStatus, type ClusterStatus, type Majority, majorityWithout, type NodeAccess } from "../cluster/status.ts";
import { CLUSTER } from "../config.ts";
import { formatDuration } from "../lib/durations.ts";
import { EXIT, type ExitCode, RaftqError } from "../lib/errors.ts";
import { type Command, command } from "./arguments.ts";
import { JSON_FLAG, type LocalCluster, movedNotices, NAME, NODE_NAME, runningCluster } from "./cluster-arguments.ts";
import { messages } from "./log.ts";

type Verb = Exclude<NodeVerb, "retire">;
type Running = LocalCluster & { readonly running: true };

export const killCommand = nodeCommand(
  "kill",
  "End a node at once (kill -9): the crash that nothing acknowledged may be lost in",
  ["raftq cluster kill leader", "raftq cluster kill n3"],
);
export const startCommand = nodeCommand("start", "Start a node that is down", ["raftq cluster start n3"]);
export const pauseCommand = nodeCommand(
  "pause",
  "Stop a node's process without ending it (SIGSTOP): a machine that hangs",
  ["raftq cluster pause leader"],
);
export const resumeCommand = nodeCommand("resume", "Let a paused node go on", ["raftq cluster resume n3"]);

function nodeCommand(verb: Verb, description: string, examples: readonly string[]): Command {
  return command({
    name: `raftq cluster ${verb}`,
    description,
    examples,
    args: { ...NODE_NAME, ...NAME, ...JSON_FLAG },
    run: async ({ node, name, json }) => {
      const cluster = await runningCluster(name);
      const access = openNodeAccess(localCredentials(cluster.layout, "admin"));
      try {
        return await changeNode(cluster, verb, node, access, json);
      } finally {
        access.close();
      }
    },
  });
}

export interface NodeChange {
  readonly node: string;
  readonly verb: Verb;
  readonly changed: boolean;
  /** It was the leader that was killed or paused. */
  readonly led: boolean;
  /** Who is left of a cluster of which a node was killed or paused; null: no node named its members. */
  readonly majority: Majority | null;
  /** How long no node served, and which one leads now: when the leader was killed or paused. */
  readonly unservedMs: number | null;
  readonly leader: string | null;
}

async function changeNode(
  cluster: Running,
  verb: Verb,
  wanted: string,
  access: NodeAccess,
  json: boolean,
): Promise<ExitCode> {
  const { layout, facts } = cluster;
  const before = await askStatus(facts.name, facts.nodes, access);
  const node = wanted === "leader" ? leaderOf(before) : wanted;
  const ends = verb === "kill" || verb === "pause";
  const led = ends && node === before.leader;
  const timeoutMs = CLUSTER.controlTimeoutMs;
  const begun = performance.now();
  const answer = await askSupervisor(layout.controlSocket, { command: verb, node }, timeoutMs);
  messages.info(...movedNotices(movedNodes(facts.nodes, answer.cluster.nodes)));
  const majority = ends ? majorityWithout(node, before) : null;
  const waits = led && answer.changed && !isLost(majority);
  const outage = waits ? await waitForServer(answer, node, begun, access) : null;
  const result: NodeChange = {
    node,
    verb,
    changed: answer.changed,
    led,
    majority,
    unservedMs: outage?.ms ?? null,
    leader: outage?.leader ?? null,
  };
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else process.stdout.write(`${reportOf(result, nameFlag(facts.name))}\n`);
  return led && answer.changed && outage === null ? EXIT.unreachable : EXIT.ok;
}

/** The node that leads now; throws when none does. */
export function leaderOf(status: ClusterStatus): string {
  if (status.leader !== null) return status.leader;
  throw new RaftqError("NO_LEADER", "no node leads now.");
}

interface Outage {
  readonly ms: number;
  readonly leader: string;
}

/** Asks all other nodes for a linearizable read, again and again, until one answers it. */
async function waitForServer(
  answer: ControlAnswer,
  ended: string,
  begun: number,
  access: NodeAccess,
): Promise<Outage | null> {
  const others = answer.cluster.nodes.filter((node) => node.id !== ended && node.process === "running");
  const deadline = begun + CLUSTER.leaderTimeoutMs;
  let outage: Outage | null = null;
  const probe = async (id: string, address: string): Promise<void> => {
    while (outage === null && performance.now() < deadline) {
      if (await access.serves(address)) outage ??= { ms: Math.round(performance.now() - begun), leader: id };
      else await sleep(CLUSTER.probeMs);
    }
  };
  // The first probe that returns has found a leader; a node that owes an answer does not prolong the wait.
  if (others.length > 0) await Promise.race(others.map(({ id, address }) => probe(id, address)));
  return outage;
}

const isLost = (majority: Majority | null): majority is Majority =>
  majority !== null && majority.left < majority.needed;

export function reportOf(result: NodeChange, flag: string): string {
  const { node, verb, changed } = result;
  const raftq = shownProgram();
  switch (verb) {
    case "kill": {
      if (!changed) return `${node} is down already.`;
      const start = `${raftq} cluster start ${node}${flag}`;
      return `Killed ${node}. ${lossText(result, ["one is", "are"], "started", start) ?? `${outageText(result)}Start it again: ${start}`}`;
    }
    case "pause": {
      if (!changed) return `${node} is paused already.`;
      const resume = `${raftq} cluster resume ${node}${flag}`;
      return `Paused ${node}. ${lossText(result, ["one goes", "go"], "on", resume) ?? `${outageText(result)}Let it go on: ${resume}`}`;
    }
    case "start":
      return changed ? `Started ${node}.` : `${node} runs already.`;
    case "resume":
      return changed ? `${node} goes on.` : `${node} was not paused.`;
  }
}

/** Null: a majority is left. */
function lossText(
  { led, majority }: NodeChange,
  [one, many]: readonly [string, string],
  back: string,
  command: string,
): string | null {
  if (!isLost(majority)) return null;
  const { voters, left, needed } = majority;
  const lacking = needed - left;
  const missing = lacking === 1 ? `${one} ${back}` : `${lacking} ${many} ${back}`;
  const are = left === 1 ? "is" : "are";
  return `${led ? "It led. " : ""}${left} of ${voters} members ${are} left, ${needed} needed: no leader until ${missing}: ${command}`;
}

function outageText({ led, unservedMs, leader }: NodeChange): string {
  if (!led) return "";
  if (unservedMs === null)
    return `It led, and nobody else leads after ${formatDuration(CLUSTER.leaderTimeoutMs)}: is a majority up? `;
  return `It led; ${leader} leads now. For ${formatDuration(unservedMs)} nobody could be served. `;
}
