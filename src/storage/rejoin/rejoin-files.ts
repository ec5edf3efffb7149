// Reads and writes the two small files that outlive the data: `contacts`, where the other members are, and `rejoin`, how far a node that
// lost its data has come.
import { STORAGE } from "../../config.ts";
import { decodeOrNull, encode, list, nullable, placeIn, text, tuple, uint } from "../../lib/layout.ts";
import type { ClusterId, Incarnation, NodeId } from "../../raft/types.ts";
import type { Disk } from "../disk.ts";
import { clusterId, incarnation, nodeId } from "../fields.ts";
import type { Steps } from "../steps.ts";
import { readAtomicFile, removeAtomicFile, writeAtomicFile } from "./atomic-file.ts";
import { quarantineNumbers } from "./quarantine.ts";

/** Whom to ask when the log cannot be read, and which cluster it must be. Nothing else is ever concluded from it. */
export interface KnownMembers {
  readonly nodeId: NodeId;
  readonly clusterId: ClusterId;
  /** Of the other members, as of the newest configuration; none once this node was removed. */
  readonly addresses: readonly string[];
}

/**
 * asking: the data stay where they are. agreed: a majority has let the new incarnation in, so that the data may be moved away, and
 * are being moved. moved: there is nothing but what the new incarnation has begun.
 */
export type Stage = "asking" | "agreed" | "moved";

/** Kept from the moment before the node asks to be let in again until the fresh log that replaces the lost one is durable. */
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

export interface RejoinFiles {
  readonly rejoin: Rejoin | null;
  readonly knownMembers: KnownMembers | null;
  /** One of them exists, readable or not, or quarantined data do: this directory held data once, whatever is left of them. */
  readonly wasUsed: boolean;
}

const { formatVersion, maxKnownAddresses, maxReasonCharacters } = STORAGE;
export const REJOIN_PATH = "rejoin";
const REJOIN = { path: REJOIN_PATH, magic: "raftqrej" } as const;
const CONTACTS = { path: "contacts", magic: "raftqcon" } as const;
const STAGES = ["asking", "agreed", "moved"] as const satisfies readonly Stage[];
const MAX_ADDRESS_BYTES = 255 + 6;
const MAX_WHY_BYTES = 2_000;

const contactsLayout = tuple<KnownMembers>("contacts", {
  nodeId,
  clusterId,
  addresses: list(text(MAX_ADDRESS_BYTES), maxKnownAddresses),
});

const rejoinLayout = tuple<Rejoin>(
  "a rejoin record",
  {
    nodeId,
    incarnation,
    stage: placeIn(STAGES),
    clusterId: nullable(clusterId),
    quarantineNumber: uint(),
    why: text(MAX_WHY_BYTES),
  },
  {
    check: ({ clusterId, stage }) =>
      clusterId === null && stage !== "asking" ? `a rejoin that is ${stage} names its cluster` : null,
  },
);

/** Throws NEWER_FORMAT, OLDER_FORMAT. The content of an unreadable one is lost. */
export function readRejoinFiles(disk: Disk): RejoinFiles {
  const rejoin = readAtomicFile(disk, REJOIN, formatVersion);
  const contacts = readAtomicFile(disk, CONTACTS, formatVersion);
  return {
    rejoin: rejoin.state === "good" ? decodeOrNull(rejoinLayout, rejoin.fields) : null,
    knownMembers: contacts.state === "good" ? decodeOrNull(contactsLayout, contacts.fields) : null,
    wasUsed: rejoin.state !== "none" || contacts.state !== "none" || quarantineNumbers(disk).length > 0,
  };
}

export function writeKnownMembers(disk: Disk, knownMembers: KnownMembers): Steps {
  const fields = encode(contactsLayout, {
    ...knownMembers,
    addresses: knownMembers.addresses.slice(0, maxKnownAddresses),
  });
  return writeAtomicFile(disk, CONTACTS, fields, formatVersion);
}

export function writeRejoin(disk: Disk, rejoin: Rejoin): Steps {
  const fields = encode(rejoinLayout, { ...rejoin, why: rejoin.why.slice(0, maxReasonCharacters).toWellFormed() });
  return writeAtomicFile(disk, REJOIN, fields, formatVersion);
}

export const removeRejoin = (disk: Disk): Steps => removeAtomicFile(disk, REJOIN);
