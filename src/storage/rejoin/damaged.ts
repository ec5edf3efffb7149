// Turns a directory whose data cannot be trusted into a fresh one. The data are never overwritten: the node's next incarnation is recorded in
// a file beside them; once a majority has let that one in, they are quarantined and an empty log begins in their place.
import { STORAGE } from "../../config.ts";
import { RaftqError } from "../../lib/errors.ts";
import type { ClusterId } from "../../raft/types.ts";
import { type Disk, isNoSpace } from "../disk.ts";
import { readMeta } from "../meta.ts";
import { attempt, type Ended, runSteps, type Steps } from "../steps.ts";
import type { Damaged, Opened, OpenStorage } from "../types.ts";
import { quarantineNumbers, removeQuarantined, quarantine, retryWithoutQuarantine } from "./quarantine.ts";
import { type Rejoin, type RejoinFiles, writeRejoin } from "./rejoin-files.ts";

/** `reopen`: reads the directory again. It stays locked meanwhile. */
export function createDamaged(
  disk: Disk,
  settings: OpenStorage,
  rejoinFiles: RejoinFiles,
  why: string,
  reopen: (done: (opened: Opened) => void) => void,
): Damaged {
  const earlier = rejoinFiles.rejoin?.stage === "asking" ? rejoinFiles.rejoin : null;
  const incarnation = earlier?.incarnation ?? settings.newIncarnation;
  const clusterId = clusterOf(disk, rejoinFiles);
  const asking: Rejoin = { nodeId: settings.nodeId, incarnation, stage: "asking", clusterId, quarantineNumber: 0, why };
  return {
    incarnation,
    clusterId,
    addresses: rejoinFiles.knownMembers?.addresses ?? [],
    recordIncarnation: (done) => {
      const written = ({ error }: Ended<void>): void => done(error === null ? null : rejoinWriteFailed(error));
      if (earlier === null) runSteps(writeStage(disk, asking), written);
      else settings.after(0, () => done(null));
    },
    quarantineAndReopen: (cluster, done) => {
      const quarantineNumber = (quarantineNumbers(disk).at(-1) ?? 0) + 1;
      const agreed: Rejoin = { ...asking, stage: "agreed", clusterId: cluster, quarantineNumber };
      runSteps(writeStage(disk, agreed), ({ error }) => {
        if (error === null) return reopen(done);
        disk.unlock();
        done({ ok: false, error: rejoinWriteFailed(error), damaged: null });
      });
    },
    unlock: () => disk.unlock(),
  };
}

function writeStage(disk: Disk, rejoin: Rejoin): Steps {
  return retryWithoutQuarantine(disk, () => writeRejoin(disk, rejoin));
}

/** Lack of space is no failure of the disk: the data are as they were, and the next start goes on from there. */
function rejoinWriteFailed(error: Error): RaftqError {
  if (!isNoSpace(error)) return new RaftqError("DISK_FAILED", `the disk failed: ${error.message}`, error);
  return new RaftqError("DISK_FULL", `the disk is too full to rejoin after damage: ${error.message}`, error);
}

/** The cluster that readable data name; null: none do. */
function clusterOf(disk: Disk, { rejoin, knownMembers }: RejoinFiles): ClusterId | null {
  const recorded = rejoin?.clusterId ?? knownMembers?.clusterId ?? null;
  try {
    return readMeta(disk, STORAGE.formatVersion)?.meta.clusterId ?? recorded;
  } catch (error) {
    if (error instanceof RaftqError && error.code === "CORRUPT") return recorded;
    throw error;
  }
}

/** The majority has agreed, perhaps before a crash: the data are moved, and only then that is recorded. */
export function* quarantineData(disk: Disk, rejoin: Rejoin): Steps {
  yield* retryWithoutQuarantine(disk, () => quarantine(disk, rejoin.quarantineNumber));
  yield* writeStage(disk, { ...rejoin, stage: "moved" });
  // Space for the new data. Files that a person put in there are kept.
  yield* attempt(removeQuarantined(disk, 1));
}
