// Decides when a snapshot is taken and when it counts, and moves its parts between the queue, the disk and the other members.
import { SERVER, STORAGE } from "../config.ts";
import { failure, RaftqError } from "../lib/errors.ts";
import type { Clock } from "../lib/clock.ts";
import { assert, must } from "../lib/assert.ts";
import { isCheckpoint, newerEntry, type Queue } from "../queue/queue.ts";
import { type FrozenQueue, freeze, NewerState, newerState, restore } from "../queue/snapshot.ts";
import type { Effects } from "../raft/effects.ts";
import type { Checkpoint, InstallSnapshot } from "../raft/messages.ts";
import type { Progress } from "../raft/progress.ts";
import { fieldsOf } from "../raft/entry.ts";
import { metaAt, type Raft } from "../raft/raft.ts";
import type { LogIndex, SnapshotMeta } from "../raft/types.ts";
import type { NewerContent, Storage } from "../storage/types.ts";
import { type DiskSpace, fitsSnapshot, snapshotHadNoSpace } from "./disk-watermarks.ts";
import { addInput, type Inbox } from "./inbox.ts";
import { addTime, type Stages } from "./stages.ts";
import type { LogEvent, NodeSettings } from "./types.ts";

/** What storage keeps without reading it. */
export const NEWER_CONTENT: NewerContent = { entry: (entry) => newerEntry(fieldsOf(entry)), state: newerState };

/** A snapshot of this node's own state, from the moment in which it is frozen until it counts. */
interface PendingSnapshot {
  readonly meta: SnapshotMeta;
  /** Of what was frozen. */
  readonly digest: number;
  isSaved: boolean;
  isConfirmed: boolean;
}

export interface SnapshotPorts {
  readonly storage: Storage;
  readonly settings: Pick<NodeSettings, "compactMinBytes" | "compactFactor" | "segmentBytes">;
  readonly inbox: Inbox;
  readonly clock: Clock;
  readonly stages: Stages;
  readonly log: (line: LogEvent) => void;
}

export interface Snapshots extends SnapshotPorts {
  isSaving: boolean;
  /** Of the snapshot that is being written, or was written and does not count yet. */
  writtenBytes: number;
  /** The newest snapshot on disk, whether it counts or not. */
  savedIndex: LogIndex;
  pending: PendingSnapshot | null;
  /** The newest checkpoint at which this node's state is known to be a majority's. */
  confirmed: Checkpoint | null;
}

export function createSnapshots(ports: SnapshotPorts): Snapshots {
  const savedIndex = ports.storage.recovered.snapshot?.index ?? 0;
  return { ...ports, isSaving: false, writtenBytes: 0, savedIndex, pending: null, confirmed: null };
}

/** The last one is not written, or does not count yet, so the log has not shrunk yet either. */
function isUnderWay({ isSaving, savedIndex }: Snapshots, raft: Raft): boolean {
  return isSaving || (raft.snapshot?.index ?? 0) < savedIndex;
}

/** The log has outgrown the last snapshot, or the disk is nearly full and one would give space back; and it fits. */
export function isSnapshotDue(snapshots: Snapshots, space: DiskSpace, raft: Raft): boolean {
  if (isUnderWay(snapshots, raft) || !fitsSnapshot(space)) return false;
  return space.isBelowSoftWatermark
    ? freesSpace(snapshots, space)
    : hasOutgrown(snapshots, raft) || fitsBetter(snapshots, space, raft);
}

function hasOutgrown({ settings, storage }: Snapshots, raft: Raft): boolean {
  const limit = Math.max(settings.compactMinBytes, settings.compactFactor * storage.snapshotBytes());
  const bytes = storage.logBytes();
  // A newer snapshot makes a transfer that is under way start again: wait for it, within limits.
  return bytes > limit && (bytes > SERVER.maxOutgrownFactor * limit || sendingTo(raft).length === 0);
}

/** Less waits now than in the last snapshot. */
function shrunkBy({ storage }: Snapshots, space: DiskSpace): number {
  return Math.max(0, storage.snapshotBytes() - space.snapshotBytes);
}

/** On a disk that is nearly full: is there a segment's worth to win, from the log or because less waits than in the last snapshot? */
function freesSpace(snapshots: Snapshots, space: DiskSpace): boolean {
  return snapshots.storage.logBytes() + shrunkBy(snapshots, space) > snapshots.settings.segmentBytes;
}

/** A member whose disk is low may have no space for the last snapshot, and then waits for one that is smaller. */
function fitsBetter(snapshots: Snapshots, space: DiskSpace, raft: Raft): boolean {
  if (shrunkBy(snapshots, space) <= snapshots.settings.segmentBytes) return false;
  return sendingTo(raft).some(({ diskLow }) => diskLow);
}

/**
 * Starts a snapshot of the applied state when one is due, if that is at a checkpoint. `digest`: what the
 * members compare there; null: this node has not come there by itself. Throws CORRUPT when the state is another one by now.
 */
export function considerSnapshot(
  snapshots: Snapshots,
  space: DiskSpace,
  raft: Raft,
  queue: Queue,
  digest: number | null,
): void {
  if (isUnderWay(snapshots, raft)) return;
  snapshots.writtenBytes = 0;
  // The leader's may count for what is here and not applied yet: the log does not reach back to this state any more.
  const newest = Math.max(snapshots.savedIndex, raft.snapshot?.index ?? 0);
  if (queue.appliedIndex <= newest || !isCheckpoint(queue) || !isSnapshotDue(snapshots, space, raft)) return;
  assert(digest !== null, "a checkpoint behind the last snapshot was reached by apply");
  const frozen = freeze(queue, STORAGE.maxPartBytes);
  if (frozen.digest !== digest) {
    const why = `the state of this node has changed since its checkpoint at index ${queue.appliedIndex}, and no entry has done it; its data are not used again`;
    throw new RaftqError("CORRUPT", why);
  }
  const meta = metaAt(raft, queue.appliedIndex);
  assert(meta.index === queue.appliedIndex, "a snapshot stands for what is applied");
  saveSnapshot(snapshots, space, meta, frozen);
}

function saveSnapshot(snapshots: Snapshots, space: DiskSpace, meta: SnapshotMeta, frozen: FrozenQueue): void {
  const { storage, log } = snapshots;
  const pending: PendingSnapshot = { meta, digest: frozen.digest, isSaved: false, isConfirmed: false };
  if (snapshots.confirmed !== null) confirm(pending, snapshots.confirmed);
  snapshots.isSaving = true;
  snapshots.pending = pending;
  storage.saveSnapshot(meta, { nextPart: () => nextPart(snapshots, frozen) }, (isSaved) => {
    snapshots.isSaving = false;
    if (!isSaved) {
      snapshotHadNoSpace(space);
      const text = `there is no space for a snapshot at index ${meta.index}; trying again later`;
      return log({ level: "debug", event: "snapshot-failed", text });
    }
    // The leader's snapshot may have been installed meanwhile.
    snapshots.savedIndex = Math.max(snapshots.savedIndex, meta.index);
    log({ level: "debug", event: "snapshot-saved", text: `saved a snapshot at index ${meta.index}` });
    pending.isSaved = true;
    release(snapshots);
  });
}

function nextPart(snapshots: Snapshots, frozen: FrozenQueue): Uint8Array | null {
  const { clock, stages } = snapshots;
  const began = clock.now();
  const part = frozen.nextPart();
  snapshots.writtenBytes += part?.length ?? 0;
  addTime(stages, "snapshot", clock.now() - began);
  return part;
}

/**
 * A majority has this digest at this checkpoint, and so has this node: a snapshot that was frozen there with the same digest may be
 * sent, and take the place of the log. So may one of an earlier checkpoint that was passed over: the entries behind it lead from
 * its state to this one, here and wherever it is restored.
 */
export function confirmSnapshot(snapshots: Snapshots, checkpoint: Checkpoint): void {
  snapshots.confirmed = checkpoint;
  if (snapshots.pending !== null) confirm(snapshots.pending, checkpoint);
  release(snapshots);
}

/** At its own index by the digest; a later one shows that the state which was frozen here was right to go on from. */
function confirm(pending: PendingSnapshot, { index, digest }: Checkpoint): void {
  if (index < pending.meta.index) return;
  assert(
    index > pending.meta.index || digest === pending.digest,
    `the snapshot at index ${index} was frozen with the digest that a majority has there`,
  );
  pending.isConfirmed = true;
}

/** It counts once it is saved and confirmed. */
function release(snapshots: Snapshots): void {
  const { pending, inbox } = snapshots;
  if (pending === null || !pending.isSaved || !pending.isConfirmed) return;
  addInput(inbox, { type: "snapshotSaved", meta: pending.meta });
  snapshots.pending = null;
}

export function partToSend({ storage }: Snapshots, wanted: Effects["sendParts"][number]): InstallSnapshot | null {
  const { term, meta, part, offset, maxBytes } = wanted;
  const stored = storage.manifest(meta.index);
  // A newer snapshot took its place: raft notices by the silence and starts again with that one.
  if (stored === null || part >= stored.parts) return null;
  const whole = storage.readPart(meta.index, part);
  if (offset > 0 && offset >= whole.length) return null;
  const bytes = whole.subarray(offset, Math.min(whole.length, offset + Math.max(1, Math.floor(maxBytes))));
  const { parts, bytes: manifest } = stored;
  return { type: "InstallSnapshot", term, meta: stored.meta, manifest, part, parts, offset, bytes };
}

export function storePart({ storage, inbox }: Snapshots, received: Effects["storeParts"][number]): void {
  const { from, link, meta, parts } = received;
  storage.storePart(received, (nextPart, nextOffset) => {
    addInput(inbox, { type: "partStored", from, link, meta, nextPart, nextOffset, parts });
  });
}

/** The state of a snapshot that counts, in place of the present one. */
export function restoreSnapshot(snapshots: Snapshots, meta: SnapshotMeta): Queue {
  // What is compared from now on was not led to by the state that was frozen.
  snapshots.pending = null;
  snapshots.savedIndex = Math.max(snapshots.savedIndex, meta.index);
  return restoreFrom(snapshots.storage, meta);
}

/** Who receives a snapshot, or cannot for lack of space. */
function sendingTo({ progress, linksDown }: Raft): readonly Progress[] {
  return [...progress.values()].filter(({ state, id }) => state === "snapshot" && !linksDown.has(id));
}

/** Reads every part of a complete snapshot. Throws RaftqError CORRUPT when a part is damaged, NEWER_FORMAT. */
export function restoreFrom(storage: Storage, meta: SnapshotMeta): Queue {
  const stored = must(storage.manifest(meta.index), `the snapshot at index ${meta.index}`);
  function* parts(): Generator<Uint8Array> {
    for (let part = 0; part < stored.parts; part++) yield storage.readPart(meta.index, part);
  }
  try {
    const queue = restore(parts());
    assert(queue.appliedIndex === meta.index, "a snapshot's state ends at its index");
    return queue;
  } catch (error) {
    if (error instanceof RaftqError) throw error;
    if (error instanceof NewerState)
      throw new RaftqError("NEWER_FORMAT", `the snapshot at index ${meta.index} holds ${error.message}`, error);
    const { message } = failure("CORRUPT", `the snapshot at index ${meta.index} cannot be read: ${String(error)}`);
    throw new RaftqError("CORRUPT", message, error);
  }
}
