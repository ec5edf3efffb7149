// How far has a node that lost its data come with its rejoin? One file records that, from the moment before it asks to be let in again
// until the fresh log that replaces the lost one is durable.
import { decodeOrNull, encode, nullable, placeIn, text, textOf, tuple, uint } from "../../lib/layout.ts";
import {
  type ClusterId,
  isClusterId,
  type Incarnation,
  isIncarnation,
  isNodeId,
  type NodeId,
} from "../../raft/types.ts";
import { readAtomicFile, removeAtomicFile, writeAtomicFile } from "./atomic-file.ts";
import type { Disk } from "../disk.ts";
import type { Steps } from "../steps.ts";

/**
 * asking: the data stay where they are. agreed: a majority has let the new incarnation in, so that the data may be moved away, and
 * are being moved. moved: there is nothing but what the new incarnation has begun.
 */
export type Stage = "asking" | "agreed" | "moved";

export interface Rejoin {
  readonly nodeId: NodeId;
  readonly incarnation: Incarnation;
  readonly stage: Stage;
  /** The cluster that it belongs to; null: unknown, which only asking can be. */
  readonly clusterId: ClusterId | null;
  /** The number of the directory that the data are moved to; 0 while asking. */
  readonly quarantineNumber: number;
  /** Why the data cannot be trusted, for people. */
  readonly why: string;
}

export const REJOIN_PATH = "rejoin";
const FILE = { path: REJOIN_PATH, magic: "raftqrej" } as const;
const STAGES = ["asking", "agreed", "moved"] as const satisfies readonly Stage[];
const MAX_ID_BYTES = 64;
const MAX_WHY_BYTES = 2_000;
const MAX_WHY_CHARACTERS = 500;

const layout = tuple<Rejoin>(
  "a rejoin record",
  {
    nodeId: textOf("node id", MAX_ID_BYTES, isNodeId),
    incarnation: textOf("incarnation", MAX_ID_BYTES, isIncarnation),
    stage: placeIn(STAGES),
    clusterId: nullable(textOf("cluster id", MAX_ID_BYTES, isClusterId)),
    quarantineNumber: uint(),
    why: text(MAX_WHY_BYTES),
  },
  {
    check: ({ clusterId, stage }) =>
      clusterId === null && stage !== "asking" ? `a rejoin that is ${stage} names its cluster` : null,
  },
);

/** Throws NEWER_FORMAT, OLDER_FORMAT. `exists` without `rejoin`: unreadable. Its content is lost, but this directory was in use. */
export function readRejoin(
  disk: Disk,
  formatVersion: number,
): { readonly exists: boolean; readonly rejoin: Rejoin | null } {
  const file = readAtomicFile(disk, FILE, formatVersion);
  switch (file.state) {
    case "none":
      return { exists: false, rejoin: null };
    case "bad":
      return { exists: true, rejoin: null };
    case "good":
      return { exists: true, rejoin: decodeOrNull(layout, file.fields) };
  }
}

export function writeRejoin(disk: Disk, rejoin: Rejoin, formatVersion: number): Steps {
  const fields = encode(layout, { ...rejoin, why: rejoin.why.slice(0, MAX_WHY_CHARACTERS).toWellFormed() });
  return writeAtomicFile(disk, FILE, fields, formatVersion);
}

export const removeRejoin = (disk: Disk): Steps => removeAtomicFile(disk, FILE);
