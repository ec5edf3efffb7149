// Why there is no node of this name: there never was one, or it was removed and only its data are left.
import { existsSync } from "node:fs";
import { RaftqError } from "../lib/errors.ts";
import { type Layout, nodeDirectory } from "./layout.ts";
import { nameFlag } from "./plan.ts";

/** `layout`: of a local cluster, whose removed nodes leave their data there; null: a cluster that `up` did not start. */
export function unknownNode(layout: Layout | null, id: string, known: readonly string[]): RaftqError {
  const has = `it has ${known.join(", ")}.`;
  if (layout === null) return new RaftqError("UNKNOWN_NODE", `the cluster has no node "${id}"; ${has}`);
  const cluster = `cluster "${layout.name}"`;
  if (!/^n[1-9]\d*$/.test(id) || !existsSync(nodeDirectory(layout, id)))
    return new RaftqError("UNKNOWN_NODE", `${cluster} has no node "${id}"; ${has}`);
  const removed = `${id} was removed from ${cluster}; its data stay in ${nodeDirectory(layout, id)}`;
  const add = `\`raftq cluster add${nameFlag(layout.name)}\` starts a new node`;
  return new RaftqError("UNKNOWN_NODE", `${removed}. ${add}; ${has}`);
}
