// When is a snapshot taken, and how are its parts moved between the queue, the disk and the other members?
import { STORAGE } from "../config.ts";
import { failure, RaftqError } from "../lib/errors.ts";
import type { Clock } from "../lib/clock.ts";
import { assert, must } from "../lib/assert.ts";
import { isCheckpoint, newerEntry, type Queue } from "../queue/queue.ts";
import { freeze, NewerState, newerState, restore } from "../queue/snapshot.ts";
import type { Effects, Input } from "../raft/effects.ts";
import type { Checkpoint, InstallSnapshot } from "../raft/messages.ts";
import type { Progress } from "../raft/progress.ts";
import { fieldsOf } from "../raft/entry.ts";
import { metaAt, type Raft } from "../raft/raft.ts";
import type { SnapshotMeta } from "../raft/types.ts";
import type { NewerContent, Storage } from "../storage/types.ts";
import type { DiskSpace } from "./disk-space.ts";
import type { Stages } from "./stages.ts";
import type { LogEvent, NodeSettings } from "./types.ts";

/** By what factor the log may outgrow its limit while a member still receives the last snapshot. */
const MAX_OUTGROWN_FACTOR = 4;

/** What storage keeps without reading it. */
export const NEWER_CONTENT: NewerContent = { entry: (entry) => newerEntry(fieldsOf(entry)), state: newerState };

export interface Snapshots {
  /** The log has outgrown the last snapshot, or the disk is nearly full and one would give space back; and it fits. */
  isDue(raft: Raft): boolean;
  /**
   * Starts a snapshot of the applied state when one is due, if that is at a checkpoint. `digest`: what the
   * members compare there; null: this node has not come there by itself. Throws CORRUPT when the state is another one by now.
   */
  consider(raft: Raft, queue: Queue, digest: number | null): void;
  /**
   * A majority has this digest at this checkpoint, and so has this node: a snapshot that was frozen there with the same digest may be
   * sent, and take the place of the log. So may one of an earlier checkpoint that was passed over: the entries behind it lead from
   * its state to this one, here and wherever it is restored.
   */
  confirm(checkpoint: Checkpoint): void;
  partToSend(wanted: Effects["sendParts"][number]): InstallSnapshot | null;
  storePart(part: Effects["storeParts"][number]): void;
  /** The state of a snapshot that counts, in place of the present one. */
  restore(meta: SnapshotMeta): Queue;
  /** Of the snapshot that is being written, or was written and does not count yet. */
  writtenBytes(): number;
}

export interface SnapshotPorts {
  readonly clock: Clock;
  readonly stages: Pick<Stages, "add">;
  readonly log: (line: LogEvent) => void;
}

type Rule = Pick<NodeSettings, "compactMinBytes" | "compactFactor" | "segmentBytes">;

/** A snapshot of this node's own state, from the moment in which it is frozen until it counts. */
interface Pending {
  readonly meta: SnapshotMeta;
  /** Of what was frozen. */
  readonly digest: number;
  isSaved: boolean;
  isConfirmed: boolean;
}

export function createSnapshots(
  storage: Storage,
  rule: Rule,
  diskSpace: () => DiskSpace,
  input: (input: Input) => void,
  { clock, stages, log }: SnapshotPorts,
): Snapshots {
  let saving = false;
  let writtenBytes = 0;
  let savedIndex = storage.recovered.snapshot?.index ?? 0;
  let pending: Pending | null = null;
  let confirmed: Checkpoint | null = null;

  const release = (): void => {
    if (pending === null || !pending.isSaved || !pending.isConfirmed) return;
    input({ type: "snapshotSaved", meta: pending.meta });
    pending = null;
  };

  /** At its own index by the digest; a later one shows that the state which was frozen here was right to go on from. */
  function check(snapshot: Pending, { index, digest }: Checkpoint): void {
    if (index < snapshot.meta.index) return;
    assert(
      index > snapshot.meta.index || digest === snapshot.digest,
      `the snapshot at index ${index} was frozen with the digest that a majority has there`,
    );
    snapshot.isConfirmed = true;
  }

  /** The last one is not written, or does not count yet, so the log has not shrunk yet either. */
  const isUnderWay = (raft: Raft): boolean => saving || (raft.snapshot?.index ?? 0) < savedIndex;

  function isDue(raft: Raft): boolean {
    if (isUnderWay(raft) || !diskSpace().fitsSnapshot()) return false;
    return diskSpace().isBelowSoftWatermark() ? freesSpace() : hasOutgrown(raft) || fitsBetter(raft);
  }

  function hasOutgrown(raft: Raft): boolean {
    const limit = Math.max(rule.compactMinBytes, rule.compactFactor * storage.snapshotBytes());
    const bytes = storage.logBytes();
    // A newer snapshot makes a transfer that is under way start again: wait for it, but not for ever.
    return bytes > limit && (bytes > MAX_OUTGROWN_FACTOR * limit || sendingTo(raft).length === 0);
  }

  /** Less waits now than in the last snapshot. */
  const shrunkBy = (): number => Math.max(0, storage.snapshotBytes() - diskSpace().snapshotBytes());

  /** On a disk that is nearly full: is there a segment's worth to win, from the log or because less waits than in the last snapshot? */
  const freesSpace = (): boolean => storage.logBytes() + shrunkBy() > rule.segmentBytes;

  /** A member whose disk is low may have no space for the last snapshot, and then waits for one that is smaller. */
  const fitsBetter = (raft: Raft): boolean =>
    shrunkBy() > rule.segmentBytes && sendingTo(raft).some(({ diskLow }) => diskLow);

  return {
    isDue,
    consider: (raft, queue, digest) => {
      if (isUnderWay(raft)) return;
      writtenBytes = 0;
      // The leader's may count for what is here and not applied yet: the log does not reach back to this state any more.
      const newest = Math.max(savedIndex, raft.snapshot?.index ?? 0);
      if (queue.appliedIndex <= newest || !isCheckpoint(queue) || !isDue(raft)) return;
      assert(digest !== null, "a checkpoint behind the last snapshot was reached by apply");
      const frozen = freeze(queue, STORAGE.maxPartBytes);
      if (frozen.digest !== digest) {
        const why = `the state of this node has changed since its checkpoint at index ${queue.appliedIndex}, and no entry has done it; its data are not used again`;
        throw new RaftqError("CORRUPT", why);
      }
      saving = true;
      const meta = metaAt(raft, queue.appliedIndex);
      assert(meta.index === queue.appliedIndex, "a snapshot stands for what is applied");
      const snapshot: Pending = { meta, digest: frozen.digest, isSaved: false, isConfirmed: false };
      if (confirmed !== null) check(snapshot, confirmed);
      pending = snapshot;
      const nextPart = (): Uint8Array | null => {
        const began = clock.now();
        const part = frozen.nextPart();
        writtenBytes += part?.length ?? 0;
        stages.add("snapshot", clock.now() - began);
        return part;
      };
      storage.saveSnapshot(meta, { nextPart }, (isSaved) => {
        saving = false;
        if (!isSaved) {
          diskSpace().snapshotFailed();
          const text = `there is no space for a snapshot at index ${meta.index}; trying again later`;
          return log({ level: "debug", event: "snapshot-failed", text });
        }
        // The leader's snapshot may have been installed meanwhile.
        savedIndex = Math.max(savedIndex, meta.index);
        log({ level: "debug", event: "snapshot-saved", text: `saved a snapshot at index ${meta.index}` });
        snapshot.isSaved = true;
        release();
      });
    },

    writtenBytes: () => writtenBytes,

    confirm: (checkpoint) => {
      confirmed = checkpoint;
      if (pending !== null) check(pending, checkpoint);
      release();
    },

    partToSend: ({ term, meta, part, offset, maxBytes }) => {
      const stored = storage.manifest(meta.index);
      // A newer snapshot took its place: raft notices by the silence and starts again with that one.
      if (stored === null || part >= stored.parts) return null;
      const whole = storage.readPart(meta.index, part);
      if (offset > 0 && offset >= whole.length) return null;
      const bytes = whole.subarray(offset, Math.min(whole.length, offset + Math.max(1, Math.floor(maxBytes))));
      return {
        type: "InstallSnapshot",
        term,
        meta: stored.meta,
        manifest: stored.bytes,
        part,
        parts: stored.parts,
        offset,
        bytes,
      };
    },

    storePart: (received) => {
      const { from, link, meta, parts } = received;
      storage.storePart(received, (nextPart, nextOffset) => {
        input({ type: "partStored", from, link, meta, nextPart, nextOffset, parts });
      });
    },

    restore: (meta) => {
      // What is compared from now on was not led to by the state that was frozen.
      pending = null;
      savedIndex = Math.max(savedIndex, meta.index);
      return restoreFrom(storage, meta);
    },
  };
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
