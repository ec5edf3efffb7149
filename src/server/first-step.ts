// What a node does first with a directory that it can read, by its contents and by --join and --expect. Pure.
import type { Entry } from "../raft/entry.ts";
import type { ClusterId } from "../raft/types.ts";
import type { Recovered } from "../storage/types.ts";
import { rejoinAddresses } from "./rejoin.ts";
import type { NodeSettings } from "./types.ts";

export type FirstStep =
  /** It is a member. `others`: addresses to ask when its log is empty still. */
  | { readonly type: "resume"; readonly clusterId: ClusterId; readonly others: readonly string[] }
  /** Killed between the first entry and the cluster id: the id follows from the entry. */
  | { readonly type: "establish"; readonly entry: Entry }
  /** It asks these to be let in. `known`: the cluster that it was in. */
  | { readonly type: "join"; readonly addresses: readonly string[]; readonly known: ClusterId | null }
  /** With the other founders. */
  | { readonly type: "bootstrap" }
  | { readonly type: "foundAlone" }
  /** It held data of a cluster, and nothing shows of which: a directory that ever held data never founds. */
  | { readonly type: "unusable" };

export function firstStep(
  settings: Pick<NodeSettings, "join" | "expect" | "advertise">,
  { identity, entries, hadData, knownMembers }: Pick<Recovered, "identity" | "entries" | "hadData" | "knownMembers">,
): FirstStep {
  const { join, expect } = settings;
  const { clusterId } = identity;
  const [first] = entries;
  const others = rejoinAddresses(settings, knownMembers?.addresses ?? []);
  if (clusterId !== null) return { type: "resume", clusterId, others };
  if (first !== undefined && first.index === 1 && first.kind === "config") return { type: "establish", entry: first };
  if (hadData && others.length > 0) return { type: "join", addresses: others, known: knownMembers?.clusterId ?? null };
  if (join.length > 0 && expect === null) return { type: "join", addresses: join, known: null };
  if (hadData) return { type: "unusable" };
  return join.length > 0 || (expect ?? 1) > 1 ? { type: "bootstrap" } : { type: "foundAlone" };
}
