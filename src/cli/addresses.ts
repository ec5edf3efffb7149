// Which nodes does a client talk to? `--addr`, else RAFTQ_ADDR, else the one cluster running here, else the default port.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { clusterLayout, type Layout } from "../cluster/layout.ts";
import { processState } from "../cluster/processes.ts";
import { readClusterState, supervisorOf } from "../cluster/state.ts";
import { DEFAULTS } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { formatAddress, parseAddress } from "../wire/address.ts";

interface RunningCluster {
  readonly name: string;
  readonly layout: Layout;
  readonly addresses: readonly string[];
}

/** The clusters below `root` whose supervisor lives. */
function runningClusters(root: string): readonly RunningCluster[] {
  const running: RunningCluster[] = [];
  for (const name of directoriesOf(root)) {
    if (!/^[a-z0-9][a-z0-9-]*$/.test(name) || name === "nodes") continue;
    const layout = clusterLayout(root, name);
    const state = readClusterState(layout);
    const supervisor = state === null ? null : supervisorOf(state);
    if (state === null || supervisor === null || processState(supervisor) === "gone") continue;
    running.push({ name, layout, addresses: state.nodes.map(({ address }) => address) });
  }
  return running;
}

function directoriesOf(root: string): readonly string[] {
  try {
    return readdirSync(root, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
      .toSorted();
  } catch {
    // No `.raftq` here, or it cannot be read: then no cluster of ours runs under it.
    return [];
  }
}

/** `given` comes from --addr or RAFTQ_ADDR; `local`: the cluster under `.raftq/` that was found. `tell`: where the addresses come from, when nobody named them. */
export function resolveAddresses(
  given: readonly string[] | undefined,
  tell: (text: string) => void,
): { readonly addresses: readonly string[]; readonly local: Layout | null } {
  if (given !== undefined) {
    for (const address of given) parseAddress(address);
    return { addresses: given, local: null };
  }
  const running = runningClusters(join(process.cwd(), ".raftq"));
  const [only] = running;
  if (running.length > 1) {
    const lines = running.map(({ name, addresses }) => `  ${name}: --addr ${addresses.join(",")}`);
    throw new RaftqError("USAGE", "several clusters run under .raftq/: say which one with --addr.", null, lines);
  }
  if (only !== undefined) {
    tell(`cluster ${only.name} under .raftq/: ${only.addresses.join(",")}`);
    return { addresses: only.addresses, local: only.layout };
  }
  return { addresses: [formatAddress(DEFAULTS.host, DEFAULTS.port)], local: null };
}
