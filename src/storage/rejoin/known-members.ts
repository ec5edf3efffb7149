// Which other members does this node know? Their addresses and the cluster's id are kept beside the log, in `contacts`, in case the
// log cannot be read: whom to ask then, and which cluster it must be. Nothing else is ever concluded from it.
import { decodeOrNull, encode, list, text, textOf, tuple } from "../../lib/layout.ts";
import { type ClusterId, isClusterId, isNodeId, type NodeId } from "../../raft/types.ts";
import { readAtomicFile, writeAtomicFile } from "./atomic-file.ts";
import type { Disk } from "../disk.ts";
import type { Steps } from "../steps.ts";

export interface KnownMembers {
  readonly nodeId: NodeId;
  readonly clusterId: ClusterId;
  /** Of the other members, as of the newest configuration; none once this node was removed. */
  readonly addresses: readonly string[];
}

const FILE = { path: "contacts", magic: "raftqcon" } as const;
const MAX_ID_BYTES = 64;
const MAX_ADDRESSES = 64;
const MAX_ADDRESS_BYTES = 255 + 6;

const layout = tuple<KnownMembers>("contacts", {
  nodeId: textOf("node id", MAX_ID_BYTES, isNodeId),
  clusterId: textOf("cluster id", MAX_ID_BYTES, isClusterId),
  addresses: list(text(MAX_ADDRESS_BYTES), MAX_ADDRESSES),
});

/** Throws NEWER_FORMAT, OLDER_FORMAT. null: none, or unreadable; `exists` all the same: then this directory was in use. */
export function readKnownMembers(
  disk: Disk,
  formatVersion: number,
): { readonly exists: boolean; readonly knownMembers: KnownMembers | null } {
  const file = readAtomicFile(disk, FILE, formatVersion);
  return {
    exists: file.state !== "none",
    knownMembers: file.state === "good" ? decodeOrNull(layout, file.fields) : null,
  };
}

export function writeKnownMembers(disk: Disk, knownMembers: KnownMembers, formatVersion: number): Steps {
  const fields = encode(layout, { ...knownMembers, addresses: knownMembers.addresses.slice(0, MAX_ADDRESSES) });
  return writeAtomicFile(disk, FILE, fields, formatVersion);
}
