// The addresses of the nodes that a client talks to: `--addr`, else RAFTQ_ADDR, else the one cluster running here, else the default
// port. The default port is not used when the cluster of this directory is down: what listens there now is another program.
import { clusterLayout, type Layout } from "../cluster/layout.ts";
import { isSupervised } from "../cluster/leftovers.ts";
import { nameFlag } from "../cluster/plan.ts";
import { clustersUnder, readClusterState } from "../cluster/state.ts";
import { DEFAULTS } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { formatAddress, parseAddress } from "../wire/address.ts";
import { didYouMean } from "./conversions.ts";
import { nearest } from "./suggest.ts";

export interface Addresses {
  readonly addresses: readonly string[];
  /** The cluster of this directory that they are of; null: they were given, or are the default. */
  readonly local: Layout | null;
}

/**
 * `addr` comes from --addr or RAFTQ_ADDR, `name` from --name; `root` is where local clusters lie. `notify`: where the addresses come
 * from, when they were not given. Throws USAGE where several clusters run, CLUSTER_DOWN where none of those that are here does.
 */
export function resolveAddresses(
  given: { readonly addr?: readonly string[] | undefined; readonly name?: string | undefined },
  root: string,
  notify: (text: string) => void,
): Addresses {
  const { addr, name } = given;
  if (addr !== undefined) {
    for (const address of addr) parseAddress(address);
    return { addresses: addr, local: null };
  }
  const here = clustersUnder(root);
  const layouts = name === undefined ? here : [requireCluster(name, root, here)];
  const running = layouts.flatMap(whereItRuns);
  const [only] = running;
  if (running.length > 1) {
    const lines = running.map(({ local, addresses }) => `  --name ${local.name}: ${addresses.join(",")}`);
    throw new RaftqError("USAGE", "several clusters run under .raftq/: name one with --name.", null, lines);
  }
  if (only !== undefined) {
    notify(`cluster ${only.local.name} under .raftq/: ${only.addresses.join(",")}`);
    return only;
  }
  if (layouts.length > 0) throw allDown(layouts);
  return { addresses: [formatAddress(DEFAULTS.host, DEFAULTS.port)], local: null };
}

function requireCluster(name: string, root: string, here: readonly Layout[]): Layout {
  const wanted = clusterLayout(root, name);
  const names = here.map((layout) => layout.name);
  if (names.includes(wanted.name)) return wanted;
  const others =
    names.length === 0 ? ", and no other one" : `; there is ${names.join(", ")}.${didYouMean(nearest(name, names))}`;
  throw new RaftqError("CLUSTER_DOWN", `there is no cluster "${name}" in this directory${others}`);
}

/** None: its supervisor has ended. A state that cannot be read is refused: what runs there is not known. */
function whereItRuns(local: Layout): readonly (Addresses & { readonly local: Layout })[] {
  const state = readClusterState(local);
  if (state === null || !isSupervised(state)) return [];
  return [{ addresses: state.nodes.map(({ address }) => address), local }];
}

function allDown(layouts: readonly Layout[]): RaftqError {
  const up = (name: string): string => `raftq cluster up${nameFlag(name)}`;
  const [only, ...others] = layouts;
  if (only !== undefined && others.length === 0)
    return new RaftqError("CLUSTER_DOWN", `the cluster ${only.name} of this directory is down: ${up(only.name)}`);
  const lines = layouts.map(({ name }) => `  ${name}: ${up(name)}`);
  return new RaftqError("CLUSTER_DOWN", "all clusters of this directory are down", null, lines);
}
