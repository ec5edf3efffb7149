// What can be done with a directory whose data cannot be trusted? Nothing is written over them: a note makes the node's next
// incarnation durable; once a majority has let that one in, the data are moved away and a fresh directory begins in their place.
import { STORAGE } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import type { ClusterId, NodeId } from "../raft/types.ts";
import { type Contacts, readContacts } from "./contacts.ts";
import { type Disk, type Done, isNoSpace } from "./disk.ts";
import { readMeta } from "./meta.ts";
import { readRejoin, type Rejoin, writeRejoin } from "./rejoin.ts";
import { asideNumbers, removeAsides, setAside, sparingAsides } from "./set-aside.ts";
import type { Damaged, Opened, OpenStorage } from "./types.ts";

const { formatVersion } = STORAGE;

/** What lies beside the data, and outlives them. */
export interface Notes {
  readonly rejoin: Rejoin | null;
  readonly contacts: Contacts | null;
  /** There is one at all, readable or not: then this directory held data once, whatever is left of them. */
  readonly any: boolean;
}

/** Throws NEWER_FORMAT, OLDER_FORMAT. */
export function readNotes(disk: Disk): Notes {
  const { rejoin, exists } = readRejoin(disk, formatVersion);
  const known = readContacts(disk, formatVersion);
  const any = exists || known.exists || asideNumbers(disk).length > 0;
  return { rejoin, contacts: known.contacts, any };
}

/** When meta cannot say whose directory this is, the notes do. Throws FOREIGN_DIRECTORY. */
export function requireOwner({ rejoin, contacts }: Notes, nodeId: NodeId): void {
  const owner = rejoin?.nodeId ?? contacts?.nodeId ?? nodeId;
  if (owner !== nodeId) throw foreign(owner, nodeId);
}

export function foreign(owner: NodeId, nodeId: NodeId): RaftqError {
  return new RaftqError("FOREIGN_DIRECTORY", `the directory belongs to node ${owner}, not to ${nodeId}`);
}

/** `open`: the directory is looked at anew. It stays locked meanwhile. */
export function createDamaged(
  disk: Disk,
  settings: OpenStorage,
  notes: Notes,
  why: string,
  open: (done: (opened: Opened) => void) => void,
): Damaged {
  const earlier = notes.rejoin?.stage === "asking" ? notes.rejoin : null;
  const incarnation = earlier?.incarnation ?? settings.newIncarnation;
  const clusterId = clusterOf(disk, notes);
  const asking: Rejoin = { nodeId: settings.nodeId, incarnation, stage: "asking", clusterId, asideNumber: 0, why };
  return {
    incarnation,
    clusterId,
    addresses: notes.contacts?.addresses ?? [],
    declare: (done) => {
      if (earlier === null) note(disk, asking, (error) => done(error === null ? null : noteFailed(error)));
      else settings.after(0, () => done(null));
    },
    replace: (cluster, done) => {
      const asideNumber = (asideNumbers(disk).at(-1) ?? 0) + 1;
      const agreed: Rejoin = { ...asking, stage: "agreed", clusterId: cluster, asideNumber };
      note(disk, agreed, (error) => {
        if (error === null) return open(done);
        disk.unlock();
        done({ ok: false, error: noteFailed(error), damaged: null });
      });
    },
    release: () => disk.unlock(),
  };
}

function note(disk: Disk, rejoin: Rejoin, done: Done): void {
  sparingAsides(disk, (next) => writeRejoin(disk, rejoin, formatVersion, next), done);
}

/** Lack of space is no failure of the disk: the data are as they were, and the next start goes on from there. */
function noteFailed(error: Error): RaftqError {
  if (!isNoSpace(error)) return new RaftqError("DISK_FAILED", `the disk failed: ${error.message}`, error);
  return new RaftqError("DISK_FULL", `the disk is too full to come back from damaged data: ${error.message}`, error);
}

/** What is known for sure; null: nothing readable names it. */
function clusterOf(disk: Disk, { rejoin, contacts }: Notes): ClusterId | null {
  const noted = rejoin?.clusterId ?? contacts?.clusterId ?? null;
  try {
    return readMeta(disk, formatVersion)?.meta.clusterId ?? noted;
  } catch (error) {
    if (error instanceof RaftqError && error.code === "CORRUPT") return noted;
    throw error;
  }
}

/** The majority has agreed, perhaps before a crash: the data go, and only then the note says that they are gone. */
export function moveAside(disk: Disk, rejoin: Rejoin, done: Done): void {
  const set = (next: Done): void => setAside(disk, rejoin.asideNumber, next);
  sparingAsides(disk, set, (error) => {
    if (error !== null) return done(error);
    note(disk, { ...rejoin, stage: "moved" }, (failed) => {
      if (failed !== null) return done(failed);
      // Room for what is to come. Whoever put files of his own in there keeps them.
      removeAsides(disk, 1, () => done(null));
    });
  });
}
