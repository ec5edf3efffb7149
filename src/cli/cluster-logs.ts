// `raftq cluster logs`: shows one node's log or all, once or as it comes.
import { closeSync, existsSync, fstatSync, openSync, readSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { nodeLog } from "../cluster/layout.ts";
import { CLUSTER } from "../config.ts";
import { unknownNode } from "../cluster/unknown-node.ts";
import { EXIT } from "../lib/errors.ts";
import { command } from "./arguments.ts";
import { JSON_FLAG, localCluster, NAME, reportLeftovers } from "./cluster-arguments.ts";
import { escapeText } from "./escape.ts";

export const logsCommand = command({
  name: "raftq cluster logs",
  description: "Show what the nodes wrote to their logs",
  examples: ["raftq cluster logs n3 --follow"],
  args: {
    node: {
      type: "positional",
      required: false,
      description: "A node such as n3 (default: all, each line with its node)",
    },
    ...NAME,
    ...JSON_FLAG,
    follow: { type: "boolean", alias: "f", description: "Go on with what comes, until Ctrl-C" },
  },
  run: async ({ node, name, follow, json }) => {
    const cluster = await localCluster(name);
    reportLeftovers(cluster);
    const known = cluster.facts.nodes.map(({ id }) => id);
    const ids = node === undefined ? known : [node];
    // A removed node is no member any more, but its log is still there.
    if (
      node !== undefined &&
      !known.includes(node) &&
      !(/^n\d+$/.test(node) && existsSync(nodeLog(cluster.layout, node)))
    ) {
      throw unknownNode(cluster.layout, node, known);
    }
    const show = (id: string, line: string): string => {
      if (json) return escapeText(JSON.stringify({ node: id, line }));
      return `${node === undefined ? `${id.padEnd(3)} ` : ""}${escapeText(line)}`;
    };
    const readers = ids.map((id) => openReader(nodeLog(cluster.layout, id), (line) => show(id, line)));
    do {
      for (const read of readers) process.stdout.write(read());
      if (follow) await sleep(CLUSTER.pollMs);
    } while (follow);
    return EXIT.ok;
  },
});

/** Each call answers the whole lines that came since the last one. A log that was rotated is begun anew. */
function openReader(file: string, show: (line: string) => string): () => string {
  let at = 0;
  return () => {
    if (!existsSync(file)) return "";
    const log = openSync(file, "r");
    const { size } = fstatSync(log);
    if (size < at) at = 0;
    const bytes = new Uint8Array(size - at);
    const length = readSync(log, bytes, 0, bytes.length, at);
    closeSync(log);
    const end = bytes.subarray(0, length).lastIndexOf(0x0a) + 1;
    at += end;
    const lines = new TextDecoder().decode(bytes.subarray(0, end)).split("\n").slice(0, -1);
    return lines.map((line) => `${show(line)}\n`).join("");
  };
}
