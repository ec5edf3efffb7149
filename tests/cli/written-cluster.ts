import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { clusterLayout } from "../../src/cluster/layout.ts";
import { identify } from "../../src/cluster/processes.ts";
import { createClusterDirectory } from "../../src/cluster/state.ts";

/** What `up` leaves in the directory `root`: with a supervisor that lives (this process), or with one that is gone. */
export function writeClusterIn(root: string, name: string, state: "runs" | "down", addresses: readonly string[]): void {
  const startTime = identify(process.pid)?.startTime ?? "";
  createClusterDirectory(clusterLayout(root, name));
  const nodes = addresses.map((address, at) => ({ id: `n${at + 1}`, address, pid: null, startTime: null }));
  const supervisor = { pid: process.pid, startTime: state === "runs" ? startTime : "0 0" };
  const content = { name, ...supervisor, founders: addresses, nextNumber: 9, purging: false, nodes };
  writeFileSync(join(root, name, "cluster.json"), JSON.stringify(content));
}
