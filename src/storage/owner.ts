// Finds out which node a directory belongs to. A node without an id takes that one; a node with another id is refused.
import { STORAGE } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import type { NodeId } from "../raft/types.ts";
import type { Disk } from "./disk.ts";
import { META_PATH, readMeta } from "./meta.ts";
import { readRejoinFiles, type RejoinFiles } from "./rejoin/rejoin-files.ts";
import { LOG_DIRECTORY } from "./wal/segment.ts";

export interface Owner {
  /** null: it belongs to no node, or cannot be read. */
  readonly nodeId: NodeId | null;
  /** Nothing of a node is here. */
  readonly isNew: boolean;
}

/**
 * Read before the directory is locked, opened or created. Changes nothing and throws nothing: what is wrong with it is reported when it is
 * opened.
 */
export function readOwner(disk: Disk): Owner {
  try {
    const rejoinFiles = readRejoinFiles(disk);
    const isNew = !rejoinFiles.wasUsed && disk.size(META_PATH) === null && disk.list(LOG_DIRECTORY).length === 0;
    return { nodeId: nodeIdOfMeta(disk) ?? recordedOwner(rejoinFiles), isNew };
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

/** By the files that outlive the data. */
function recordedOwner({ rejoin, knownMembers }: RejoinFiles): NodeId | null {
  return rejoin?.nodeId ?? knownMembers?.nodeId ?? null;
}

/** Where meta does not name the directory's node, these files do. Throws FOREIGN_DIRECTORY. */
export function requireRecordedOwner(rejoinFiles: RejoinFiles, nodeId: NodeId): void {
  requireOwner(recordedOwner(rejoinFiles) ?? nodeId, nodeId);
}

/** Throws FOREIGN_DIRECTORY. */
export function requireOwner(owner: NodeId, nodeId: NodeId): void {
  if (owner === nodeId) return;
  throw new RaftqError("FOREIGN_DIRECTORY", `the directory belongs to node ${owner}, not to ${nodeId}`);
}
