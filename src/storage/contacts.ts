// Who else is in this node's cluster? Kept beside the log for the day when the log cannot be read: whom to ask, and which cluster
// it must be. Nothing else is ever concluded from it.
import { createReader, createWriter, Malformed } from "../lib/msgpack.ts";
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
const FIELDS = 3;
const MAX_ID_BYTES = 64;
const MAX_ADDRESSES = 64;
const MAX_ADDRESS_BYTES = 255 + 6;

/** Throws NEWER_FORMAT. null: none, or unreadable; `exists` all the same: then this directory was in use. */
export function readContacts(
  disk: Disk,
  formatVersion: number,
): { readonly exists: boolean; readonly contacts: Contacts | null } {
  const note = readNote(disk, FILE, formatVersion);
  return { exists: note.state !== "none", contacts: note.state === "good" ? decode(note.fields) : null };
}

function decode(fields: Uint8Array): Contacts | null {
  try {
    const reader = createReader(fields);
    reader.array(FIELDS, FIELDS);
    const nodeId = reader.text(MAX_ID_BYTES);
    const clusterId = reader.text(MAX_ID_BYTES);
    const addresses: string[] = [];
    for (let left = reader.array(0, MAX_ADDRESSES); left > 0; left--) addresses.push(reader.text(MAX_ADDRESS_BYTES));
    reader.end();
    return isNodeId(nodeId) && isClusterId(clusterId) ? { nodeId, clusterId, addresses } : null;
  } catch (error) {
    if (error instanceof Malformed) return null;
    throw error;
  }
}

export function writeContacts(disk: Disk, contacts: Contacts, formatVersion: number, done: Done): void {
  const writer = createWriter().array(FIELDS).text(contacts.nodeId).text(contacts.clusterId);
  const addresses = contacts.addresses.slice(0, MAX_ADDRESSES);
  writer.array(addresses.length);
  for (const address of addresses) writer.text(address);
  writeNote(disk, FILE, writer.finish(), formatVersion, done);
}
