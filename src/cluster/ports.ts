// Finds free ports. Checked for all nodes before anything starts, so that nothing has to be stopped again.
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { CLUSTER } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { atPort, MAX_PORT, portOf } from "./plan.ts";
import type { NodeRecord } from "./state.ts";

/** A node that got another port, because another program listens on its own. */
export interface MovedNode {
  readonly id: string;
  readonly from: string;
  readonly to: string;
}

type Addressed = Pick<NodeRecord, "id" | "address">;

/**
 * Throws PORT_IN_USE naming every node whose port cannot be listened on. `mayMove`: these nodes can begin at another port, so one is
 * named where all of them would find theirs free.
 */
export async function requireFreePorts(nodes: readonly NodeRecord[], mayMove = false): Promise<void> {
  const problems: string[] = [];
  for (const node of nodes) {
    const code = await lastingProblem(portOf(node));
    if (code === "EADDRINUSE") problems.push(`port ${portOf(node)} for ${node.id} is in use`);
    else if (code !== null) problems.push(`port ${portOf(node)} for ${node.id} cannot be used (${code})`);
  }
  if (problems.length === 0) return;
  const [first] = nodes;
  const base = mayMove && first !== undefined ? await freeBase(portOf(first), nodes.length) : null;
  throw portsInUse(problems, base);
}

/** The first of `count` ports in a row that are free now; null: not found in a few tries. */
async function freeBase(taken: number, count: number): Promise<number | null> {
  for (let tries = 1; tries <= CLUSTER.baseTries; tries++) {
    const base = taken + tries * CLUSTER.baseStep;
    if (base + count - 1 > MAX_PORT) return null;
    const row = Array.from({ length: count }, (_, at) => listenProblem(base + at));
    if ((await Promise.all(row)).every((problem) => problem === null)) return base;
  }
  return null;
}

/** The node as it was, or on the next port that is free and that none of `others` has. */
export async function onFreePort(node: NodeRecord, others: readonly NodeRecord[]): Promise<NodeRecord> {
  const reserved = new Set(others.map(portOf));
  if (!reserved.has(portOf(node)) && (await lastingProblem(portOf(node))) === null) return node;
  for (let port = portOf(node) + 1; port <= MAX_PORT; port++) {
    if (!reserved.has(port) && (await listenProblem(port)) === null) return atPort(node, port);
  }
  throw portsInUse([`port ${portOf(node)} for ${node.id} is in use, and so is every port above it`], null);
}

/** Which nodes have another address than before. */
export function movedNodes(before: readonly Addressed[], after: readonly Addressed[]): readonly MovedNode[] {
  return before.flatMap(({ id, address: from }) => {
    const to = after.find((node) => node.id === id)?.address ?? from;
    return to === from ? [] : [{ id, from, to }];
  });
}

function portsInUse(problems: readonly string[], freeBasePort: number | null): RaftqError {
  const others = freeBasePort === null ? "" : `; others are free: --base-port ${freeBasePort}`;
  return new RaftqError("PORT_IN_USE", `${problems.join("; ")}; nothing was started${others}`);
}

/**
 * A process that has ended may still hold its port for a moment: the system closes it when the last of its threads has ended,
 * and one may be in a write to the disk.
 */
async function lastingProblem(port: number): Promise<string | null> {
  const deadline = performance.now() + CLUSTER.portPatienceMs;
  let code = await listenProblem(port);
  while (code === "EADDRINUSE" && performance.now() < deadline) {
    await sleep(CLUSTER.pollMs);
    code = await listenProblem(port);
  }
  return code;
}

function listenProblem(port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error) => resolve("code" in error ? String(error.code) : error.message));
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve(null)));
  });
}
