// Whose directory is this? Read before it is locked, opened or created: a node that is given no id takes the one that is there.
import { STORAGE } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import type { NodeId } from "../raft/types.ts";
import { readRejoinFiles } from "./rejoin/damaged.ts";
import type { Disk } from "./disk.ts";
import { META_PATH, readMeta } from "./meta.ts";
import { LOG_DIRECTORY } from "./wal/segment.ts";

export interface Owner {
  /** null: nobody's, or it cannot be read. */
  readonly nodeId: NodeId | null;
  /** Nothing of a node is here. */
  readonly isNew: boolean;
}

/** Changes nothing and throws nothing: what is wrong with the directory is reported when it is opened. */
export function readOwner(disk: Disk): Owner {
  try {
    const { rejoin, knownMembers, wasUsed } = readRejoinFiles(disk);
    const recorded = rejoin?.nodeId ?? knownMembers?.nodeId ?? null;
    const isNew = !wasUsed && disk.size(META_PATH) === null && disk.list(LOG_DIRECTORY).length === 0;
    return { nodeId: nodeIdOfMeta(disk) ?? recorded, isNew };
  } catch {
    return { nodeId: null, isNew: false };
  }
}

function nodeIdOfMeta(disk: Disk): NodeId | null {
  try {
    return readMeta(disk, STORAGE.formatVersion)?.meta.nodeId ?? null;
  } catch (error) {
    if (error instanceof RaftqError && error.code === "CORRUPT") return null;
    throw error;
  }
}
