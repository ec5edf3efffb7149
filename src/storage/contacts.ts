// Who else is in this node's cluster? Kept beside the log for the day when the log cannot be read: whom to ask, and which cluster
// it must be. Nothing else is ever concluded from it.
import { decodeOrNull, encode, list, text, textOf, tuple } from "../lib/layout.ts";
import { type ClusterId, isClusterId, isNodeId, type NodeId } from "../raft/types.ts";
import type { Disk, Done } from "./disk.ts";
import { readNote, writeNote } from "./note.ts";

export interface Contacts {
  readonly nodeId: NodeId;
  readonly clusterId: ClusterId;
  /** Of the other members, as of the newest configuration; none once this node was removed. */
  readonly addresses: readonly string[];
}

const FILE = { path: "contacts", magic: "raftqcon" } as const;
const MAX_ID_BYTES = 64;
const MAX_ADDRESSES = 64;
const MAX_ADDRESS_BYTES = 255 + 6;

const layout = tuple<Contacts>("contacts", {
  nodeId: textOf("node id", MAX_ID_BYTES, isNodeId),
  clusterId: textOf("cluster id", MAX_ID_BYTES, isClusterId),
  addresses: list(text(MAX_ADDRESS_BYTES), MAX_ADDRESSES),
});

/** Throws NEWER_FORMAT, OLDER_FORMAT. null: none, or unreadable; `exists` all the same: then this directory was in use. */
export function readContacts(
  disk: Disk,
  formatVersion: number,
): { readonly exists: boolean; readonly contacts: Contacts | null } {
  const note = readNote(disk, FILE, formatVersion);
  return { exists: note.state !== "none", contacts: note.state === "good" ? decodeOrNull(layout, note.fields) : null };
}

export function writeContacts(disk: Disk, contacts: Contacts, formatVersion: number, done: Done): void {
  const fields = encode(layout, { ...contacts, addresses: contacts.addresses.slice(0, MAX_ADDRESSES) });
  writeNote(disk, FILE, fields, formatVersion, done);
}
