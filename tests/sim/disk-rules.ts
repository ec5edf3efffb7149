// What must no process do to its disk? Write on after a failure, write over the only part of meta that a power cut would surely leave,
// or give up a segment that the log still needs.
// These rules see every call of the port, so they need no luck: the crash that would show the harm does not have to come.
import { STORAGE } from "../../src/config.ts";
import { type DiskFile, type Done, isNoSpace } from "../../src/storage/disk.ts";
import { type Meta, META_PATH, readMeta } from "../../src/storage/meta.ts";
import { recoverLog } from "../../src/storage/wal/recovery.ts";
import { replay } from "../../src/storage/wal/replay.ts";
import { LOG_DIRECTORY } from "../../src/storage/wal/segment.ts";
import { SNAPSHOT_DIRECTORY } from "../../src/storage/snapshot/files.ts";
import type { SimDisk, SimPort } from "../kit/simulated-disk.ts";

export interface RulePorts {
  readonly disk: Pick<SimDisk, "durable" | "unsettled" | "cached" | "files">;
  readonly after: (ms: number, run: () => void) => void;
  readonly isStopped: () => boolean;
  /** A process that is suspended cannot stop. */
  readonly isPaused: () => boolean;
  readonly fail: (what: string) => void;
}

/** More than a process needs to end when it waits for nothing. */
const STOP_MS = 1_000;

const inLog = (path: string): boolean => path.startsWith(LOG_DIRECTORY);
const isPromised = (path: string): boolean => path === META_PATH || inLog(path);

function namesIn(files: readonly string[], directory: string): readonly string[] {
  const start = `${directory}/`;
  return files.filter((path) => path.startsWith(start)).map((path) => path.slice(start.length));
}

/** The port of one process, watched: what its callbacks report is what the process knows. */
export function withRules(port: SimPort, { disk, after, isStopped, isPaused, fail }: RulePorts): SimPort {
  /** The file whose write or sync failed since the directory was opened. */
  let failed: string | null = null;
  /** Of files that were renamed while they were open. */
  const renamed = new Map<string, string>();
  const placeOf = ({ path }: DiskFile): string => renamed.get(path) ?? path;

  const mustStop = (path: string): void => {
    after(STOP_MS, () => {
      if (isStopped()) return;
      if (isPaused()) mustStop(path);
      else fail(`goes on ${STOP_MS}ms after a write to ${path} has failed`);
    });
  };
  /** Lack of space is no failure, nor is a segment that cannot be made ahead of its need: its header comes before any frame. */
  const reported =
    (path: string, offset: number | null, done: Done): Done =>
    (error) => {
      const isMeant = isPromised(path) ? !(inLog(path) && offset === 0) : path.startsWith(SNAPSHOT_DIRECTORY);
      if (error !== null && isMeant && !isNoSpace(error) && failed === null) {
        failed = path;
        mustStop(path);
      }
      done(error);
    };
  const begins = (path: string): void => {
    if (failed !== null && isPromised(path)) fail(`writes to ${path} after a write to ${failed} has failed`);
  };
  const writes = (file: DiskFile, offset: number, bytes: Uint8Array): void => {
    const path = placeOf(file);
    begins(path);
    if (path !== META_PATH) return;
    const unsettled = disk.unsettled(path);
    // Nearly always the second is true, and the first need not be known.
    if (!isReadable([...unsettled, { offset, length: bytes.length }]) && isReadable(unsettled))
      fail(`writes to ${path} at ${offset}, and a power cut could leave nothing of it that can be read`);
  };
  /** Would meta be, with nothing right in these places? */
  const isReadable = (lost: readonly { readonly offset: number; readonly length: number }[]): boolean => {
    const left = disk.durable(META_PATH)?.slice() ?? null;
    for (const { offset, length } of lost) left?.fill(0, offset, offset + length);
    try {
      return readMeta({ read: () => left }, STORAGE.formatVersion) !== null;
    } catch {
      return false;
    }
  };

  /** As a start after a kill at this moment would read it. */
  const gone = (path: string): void => {
    if (!inLog(path)) return;
    const files = disk.files();
    const list: SimPort["list"] = (directory) => namesIn(files, directory);
    try {
      const { frames, frameToCopy } = recoverLog({ ...port, list, read: disk.cached }, metaNow(), STORAGE.blockBytes);
      replay([...frames.map(({ frame }) => frame.content), ...(frameToCopy === null ? [] : [frameToCopy])]);
    } catch (error) {
      fail(`gave up ${path}, and its log cannot be read without it: ${String(error)}`);
    }
  };
  const metaNow = (): Meta | null => readMeta({ read: disk.cached }, STORAGE.formatVersion)?.meta ?? null;

  return {
    ...port,
    lock: () => {
      port.lock();
      failed = null;
    },
    remove: (path, done) => {
      port.remove(path, (error) => {
        if (error === null) gone(path);
        done(error);
      });
    },
    rename: (from, to, done) => {
      port.rename(from, to, (error) => {
        if (error === null) {
          renamed.set(from, to);
          gone(from);
        }
        done(error);
      });
    },
    write: (file, offset, bytes, done) => {
      writes(file, offset, bytes);
      port.write(file, offset, bytes, reported(placeOf(file), offset, done));
    },
    writeCached: (file, offset, bytes, done) => {
      writes(file, offset, bytes);
      port.writeCached(file, offset, bytes, reported(placeOf(file), offset, done));
    },
    sync: (file, done) => {
      begins(placeOf(file));
      port.sync(file, reported(placeOf(file), null, done));
    },
  };
}
