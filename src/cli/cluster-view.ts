// Shows a cluster on a terminal. Pure: a status in, lines out.
import type { TlsFiles } from "../cluster/layout.ts";
import type { NodeEnd } from "../cluster/node-process.ts";
import type { ClusterStatus, NodeLine } from "../cluster/status.ts";
import { escapeText } from "./escape.ts";
import { table } from "./table.ts";

/** What `cluster up` shows: which processes there are. */
export function processTable(status: ClusterStatus): string {
  const rows = status.nodes.map((node) => [node.id, node.address, node.pid, shownState(node)]);
  return `${table([["NODE", "ADDRESS", "PID", "STATE"], ...rows])}\n`;
}

/** What `cluster status` shows: where the log of each node stands. */
export function statusTable(status: ClusterStatus): string {
  const head = ["NODE", "ADDRESS", "PID", "STATE", "TERM", "COMMIT", "APPLIED", "LAST", "SNAPSHOT", ""];
  const rows = status.nodes.map((node) => [
    node.id,
    node.address,
    node.pid,
    shownState(node),
    node.term,
    node.commitIndex,
    node.appliedIndex,
    node.lastIndex,
    node.snapshotIndex,
    notesOn(node, status),
  ]);
  return `${headline(status)}\n${table([head, ...rows])}\n`;
}

/** What the numbers do not show. */
function notesOn({ id, state, diskLow }: NodeLine, { leader, members }: ClusterStatus): string {
  const answers = state === "follower" || state === "candidate" || state === "learner";
  const isCutOff = answers && leader !== null && members.some((member) => member.id === id && !member.reachable);
  return [...(diskLow === true ? ["disk low"] : []), ...(isCutOff ? [`does not answer ${leader}`] : [])].join(", ");
}

export function headline(status: ClusterStatus): string {
  const name = status.name === null ? "cluster" : `cluster "${status.name}"`;
  const id = status.clusterId === null ? "" : ` ${status.clusterId}`;
  if (status.nodes.every((node) => node.state === "down")) return `${name}${id} is down`;
  const leader = status.leader === null ? "no leader" : `leader ${status.leader}`;
  return `${name}${id}: ${leader}, term ${status.term}`;
}

/** The line that makes clients in this shell find the cluster. */
export function exportLine(addresses: readonly string[], tls: TlsFiles | null): string {
  const files = tls === null ? "" : ` RAFTQ_TLS_CERT=${tls.cert} RAFTQ_TLS_KEY=${tls.key} RAFTQ_TLS_CA=${tls.ca}`;
  return `export RAFTQ_ADDR=${addresses.join(",")}${files}`;
}

/** What to do with a cluster that has just come up. `raftq`: how this program is called here. */
export function nextSteps(
  raftq: string,
  name: string,
  addresses: readonly string[],
  tls: TlsFiles | null = null,
): string {
  const flag = name === "default" ? "" : ` --name ${name}`;
  const steps = [
    [`  ${raftq} client enqueue 42${flag}`, "then dequeue; without a command: the shell"],
    [`  ${raftq} cluster kill leader${flag}`, "nothing that was acknowledged is lost"],
    [`  ${raftq} cluster status --watch${flag}`, "who leads, and how far each log is"],
    [`  ${raftq} cluster down${flag}`, "stops all nodes, keeps their data"],
  ];
  return `Try, in another terminal:\n${table(steps)}\n${exportLine(addresses, tls)}\n`;
}

/** Why a node is down that was not stopped by a command. */
export function deathNotice(id: string, end: NodeEnd): readonly string[] {
  const how = end.signal === null ? `exit code ${end.code ?? "unknown"}` : `signal ${end.signal}`;
  const log = end.lastLines.length === 0 ? "It wrote nothing to its log." : "Its last lines:";
  const ended = `${id} ended by itself at ${new Date(end.at).toISOString()} (${how}). ${log}`;
  return [ended, ...end.lastLines.map((line) => `  ${escapeText(line)}`)];
}

/** Why nodes do not serve although they run; nothing when all do. */
export function recoveryNotices(status: ClusterStatus): readonly string[] {
  return status.nodes.flatMap(({ why }) => (why === undefined ? [] : [escapeText(why)]));
}

const shownState = (node: NodeLine): string => (node.state === "leader" ? "leader *" : node.state);
