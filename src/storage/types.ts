// What storage promises to the turn: once open, it has recovered everything; then it takes one persist at a time.
import type { RaftqError } from "../lib/errors.ts";
import type { Persist } from "../raft/effects.ts";
import type { Entry } from "../raft/entry.ts";
import type { ClusterId, HardState, Incarnation, LogIndex, NodeId, SnapshotMeta } from "../raft/types.ts";
import type { KnownMembers } from "./rejoin/rejoin-files.ts";

export interface Identity {
  readonly nodeId: NodeId;
  readonly incarnation: Incarnation;
  /** null: fresh, never part of a cluster. */
  readonly clusterId: ClusterId | null;
}

export interface Recovered {
  readonly identity: Identity;
  readonly hardState: HardState;
  /** The newest snapshot that counts. */
  readonly snapshot: SnapshotMeta | null;
  /** The log, in order and without gaps. With a snapshot it may begin below snapshot.index + 1 (a kept tail), never above it. */
  readonly entries: readonly Entry[];
  /** The directory held data of a cluster before (so this node never bootstraps). */
  readonly hadData: boolean;
  /** Which cluster it last was in, and the members' addresses then: whom to ask when the log does not name them. */
  readonly knownMembers: KnownMembers | null;
  /** For the log line at start: "12 entries, torn tail of 512 bytes cut". */
  readonly summary: string;
}

/** Gives the parts of a snapshot one after the other, each at most STORAGE.maxPartBytes long; null after the last. */
export interface SnapshotSource {
  nextPart(): Uint8Array | null;
}

/** What InstallSnapshot brought. */
export interface ReceivedPart {
  readonly meta: SnapshotMeta;
  readonly manifest: Uint8Array;
  readonly part: number;
  readonly parts: number;
  /** Where in the part `bytes` begin: a slow link brings it in chunks. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** What of a persist had no space. The rest of it is durable. */
export interface Unwritten {
  /** Entries from here on; null: none. */
  readonly entriesFrom: LogIndex | null;
  readonly snapshot: boolean;
}

export interface Storage {
  readonly recovered: Recovered;

  /**
   * Bootstrap or join: the cluster id becomes durable, once. A founder persists the index-1 configuration first, so that a crash
   * between the two leaves a log from which the cluster id follows.
   */
  setCluster(clusterId: ClusterId, done: () => void): void;

  /**
   * Hard state first, then a snapshot frame, then the entries in as few batch frames as fit a segment, each one durable write. One call at a
   * time. On a full disk it does not wait: `unwritten` names what had no space. The hard state needs none.
   */
  persist(batch: Persist, done: (unwritten: Unwritten | null) => void): void;
  /**
   * After a persist without space: calls back, once, from a later event, when there may be some: the next persist finds out. A snapshot may
   * find no space while entries wait for it: both are called.
   */
  whenSpace(callback: () => void): void;

  /**
   * Makes parts, manifest and directory durable, one after the other, beside the persists. It counts only after a persist that
   * names it. `done(false)`: there was no space for it, and nothing of it is left.
   */
  saveSnapshot(meta: SnapshotMeta, source: SnapshotSource, done: (isSaved: boolean) => void): void;

  /**
   * Stores one received part, or keeps a chunk of it until the part is whole. The beginning of part 0 (or another meta) starts afresh
   * and drops what an earlier sender left. A part that does not match the manifest is refused: `done(nextPart, nextOffset)` names
   * which part is wanted next, and from where in it; `parts` when all and the manifest are durable.
   * Without the space for it, all parts are dropped and nothing is answered: the sender comes again. Throws RaftqError VERSION, and
   * nothing is written, when it is of a newer format.
   */
  storePart(part: ReceivedPart, done: (nextPart: number, nextOffset: number) => void): void;

  /** Manifest bytes and number of parts of a complete snapshot (saved or received); null when it was removed. */
  manifest(index: LogIndex): { readonly meta: SnapshotMeta; readonly bytes: Uint8Array; readonly parts: number } | null;
  /** One part, its checksum verified. Throws RaftqError CORRUPT. */
  readPart(index: LogIndex, part: number): Uint8Array;

  /** Bytes of the log since the last snapshot that counts, and of that snapshot (0 without one): the compaction trigger. */
  logBytes(): number;
  snapshotBytes(): number;

  /**
   * The state that came of these data is wrong: the directory is not to be used again (see rejoin/quarantine.ts). Written at once, beside whatever
   * is being written, also after a write that failed. Durable before `close` is done, unless its own write fails.
   */
  markDamaged(why: string): void;

  /** The next segment could not be made for lack of space: soon a persist will find none. */
  lacksSpace(): boolean;

  /** Deletes what is kept only while there is space for it: quarantined data, files of old segments. */
  reclaimSpace(): void;

  /** Keeps the addresses of the other members in case this log cannot be read some day. Promises nothing and never fails. */
  recordKnownMembers(addresses: readonly string[]): void;

  /** Checks that the files are still where they were put. One that was deleted or replaced counts as a failed write. */
  checkFiles(): void;

  /** Writes the closing frame, releases the lock. */
  close(done: () => void): void;
}

export type Opened =
  | { readonly ok: true; readonly storage: Storage }
  /** `damaged` is null unless the error is about the data; otherwise the directory is unlocked again. */
  | { readonly ok: false; readonly error: RaftqError; readonly damaged: Damaged | null };

/** A directory whose data cannot be trusted. They stay as they are, and it stays locked, until one of these is called. */
export interface Damaged {
  /** The one that this node rejoins with; sent to others only once it is recorded. */
  readonly incarnation: Incarnation;
  /** null: nothing readable names its cluster. */
  readonly clusterId: ClusterId | null;
  /** The last known addresses of other members. */
  readonly addresses: readonly string[];
  /** Makes the new incarnation durable: from here on, also after a crash, this node rejoins under it. */
  recordIncarnation(done: (error: RaftqError | null) => void): void;
  /** A majority of this cluster has let the new incarnation in: quarantines the data and opens a fresh directory in their place. */
  quarantineAndReopen(clusterId: ClusterId, done: (opened: Opened) => void): void;
  /** Leaves the directory as it is. */
  unlock(): void;
}

/**
 * What only a newer queue can read, in words; null: nothing. Asked before anything is changed, because storage keeps entries and states
 * without reading them.
 */
export interface NewerContent {
  readonly entry: (entry: Entry) => string | null;
  /** `isFormat`: it is not a part of the state, so it shows nothing else where the state is wrong. */
  readonly state: (firstPart: Uint8Array) => { readonly message: string; readonly isFormat: boolean } | null;
}

export interface OpenStorage {
  readonly nodeId: NodeId;
  /** Used when the directory is new, or when its data turn out to be damaged. */
  readonly newIncarnation: Incarnation;
  /** Draws a segment's random salt: 32 bits. */
  readonly drawSalt: () => number;
  /** Called once, at the first failed operation, or with DISK_FAILED when files are missing: nothing more is acknowledged and the node must stop. */
  readonly onFailure: (error: Error) => void;
  /** Runs `callback` once after `ms`; returns a cancel. For the closing frame after 50 ms of quiet. */
  readonly after: (ms: number, callback: () => void) => () => void;
  readonly segmentBytes: number;
  readonly newerContent: NewerContent;
  /** Of so many free bytes, how many the next segment must leave free: a log that takes the space of the snapshot never gets shorter. */
  readonly reservedBytes: (freeBytes: number) => number;
  /** Free space may have changed by our own doing: something was made, could not be made, or was deleted. */
  readonly onSpaceChanged: () => void;
}
