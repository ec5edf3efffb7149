// `raftq cluster status`: shows who leads and how far the log of each node is, once or again and again.
import { setTimeout as sleep } from "node:timers/promises";
import { askStatus, askStatusAt, type ClusterStatus, type NodeAccess } from "../cluster/status.ts";
import { CLUSTER } from "../config.ts";
import { EXIT, type ExitCode } from "../lib/errors.ts";
import { command } from "./arguments.ts";
import {
  accessTo,
  ADDRESS,
  JSON_FLAG,
  type LocalCluster,
  localCluster,
  NAME,
  reportLeftovers,
} from "./cluster-arguments.ts";
import { deathNotice, recoveryNotices, statusTable } from "./cluster-view.ts";
import { asText, openLiveTable } from "./live-table.ts";
import { messages } from "./log.ts";

export const statusCommand = command({
  name: "raftq cluster status",
  description: "Show who leads, and how far each node's log is; exit code 3 when nobody leads",
  examples: ["raftq cluster status --watch"],
  args: {
    ...NAME,
    ...ADDRESS,
    watch: { type: "boolean", alias: "w", description: "Keep showing it until Ctrl-C" },
    ...JSON_FLAG,
  },
  run: async (values) => {
    const { name, addr, watch, json } = values;
    const access = accessTo(values);
    const look = (): Promise<Look> => (addr === undefined ? lookAtLocal(name, access) : lookAt(addr, access));
    try {
      return watch ? await watchStatus(look, json) : await showStatus(look, json);
    } finally {
      access.close();
    }
  },
});

/** A status, and what else is shown to a person. */
interface Look {
  readonly status: ClusterStatus;
  readonly notes: readonly string[];
}

async function showStatus(look: () => Promise<Look>, json: boolean): Promise<ExitCode> {
  const { status, notes } = await look();
  process.stdout.write(json ? `${JSON.stringify(status)}\n` : statusTable(status));
  if (!json) messages.info(...notes);
  return status.leader === null ? EXIT.unreachable : EXIT.ok;
}

async function watchStatus(look: () => Promise<Look>, json: boolean): Promise<ExitCode> {
  const live = openLiveTable();
  let shown = "";
  for (;;) {
    const { status, notes } = await look();
    const text = json ? `${JSON.stringify(status)}\n` : `${statusTable(status)}${asText(notes)}`;
    if (live.isShown && !json) live.show(text);
    else if (text !== shown) process.stdout.write(text);
    shown = text;
    await sleep(CLUSTER.watchMs);
  }
}

async function lookAtLocal(name: string, access: NodeAccess): Promise<Look> {
  const cluster: LocalCluster = await localCluster(name);
  reportLeftovers(cluster);
  const status = await askStatus(name, cluster.facts.nodes, access);
  const deaths = cluster.facts.nodes.flatMap(({ id, ended }) => (ended === null ? [] : deathNotice(id, ended)));
  return { status, notes: [...deaths, ...recoveryNotices(status)] };
}

async function lookAt(addresses: readonly string[], access: NodeAccess): Promise<Look> {
  const status = await askStatusAt(addresses, access);
  return { status, notes: recoveryNotices(status) };
}
