// Is a port free? Asked for all nodes before anything starts, so that nothing has to be stopped again.
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { CLUSTER } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { portOf } from "./plan.ts";

/**
 * Throws PORT_IN_USE naming every node whose port somebody else listens on. A process that is gone may still hold its port for a
 * moment: the system closes it when the last of its threads has ended, and one may be in a write to the disk.
 */
export async function requireFreePorts(
  nodes: readonly { readonly id: string; readonly address: string }[],
): Promise<void> {
  const deadline = performance.now() + CLUSTER.portPatienceMs;
  const problems: string[] = [];
  for (const node of nodes) {
    let code = await listenProblem(portOf(node));
    while (code === "EADDRINUSE" && performance.now() < deadline) {
      await sleep(CLUSTER.pollMs);
      code = await listenProblem(portOf(node));
    }
    if (code === "EADDRINUSE") problems.push(`port ${portOf(node)} for ${node.id} is in use`);
    else if (code !== null) problems.push(`port ${portOf(node)} for ${node.id} cannot be used (${code})`);
  }
  if (problems.length === 0) return;
  throw new RaftqError(
    "PORT_IN_USE",
    `${problems.join("; ")}; nothing was started (the ports of a local cluster begin at --base-port).`,
  );
}

function listenProblem(port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error) => resolve("code" in error ? String(error.code) : error.message));
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve(null)));
  });
}
