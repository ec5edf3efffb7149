/**
 * The Disk port, simulated. It answers late, forgets what was not synced, fails and hangs when asked to. It outlives its node: `kill`
 * and `powerCut` end one life of the process, `restart` gives the disk as the next one finds it.
 */
import { RaftqError } from "../../src/lib/errors.ts";
import type { Random } from "../../src/lib/random.ts";
import type { Disk, DiskFile, Done } from "../../src/storage/disk.ts";
import { createFileImage, type FileImage, type Range, type SyncUnderWay } from "./disk-image.ts";
import type { Scheduler } from "./scheduler.ts";

export interface DiskWeather {
  /** The longest that an operation takes, milliseconds. */
  readonly operationMaxMs: number;
  readonly slowSyncPercent: number;
  readonly slowSyncMaxMs: number;
}

export type FailingOperation = "write" | "sync" | "create" | "read";
/** What changes the disk. */
export type ChangingOperation = "write" | "sync" | "create" | "rename" | "remove" | "makeDirectory" | "syncDirectory";
/** Which operations are meant. */
export type Aim = (operation: ChangingOperation, path: string) => boolean;
/** Which files are meant. */
export type FileAim = (path: string) => boolean;

/**
 * The port, and its `write` in two halves. The product's types know only the whole; the halves are for tests that need a write which
 * is in the page cache only, and for mutants that forget, or repeat, a sync.
 */
export interface SimPort extends Disk {
  /** In the page cache when done. */
  writeCached(file: DiskFile, offset: number, bytes: Uint8Array, done: Done): void;
  /** fdatasync: what `writeCached` had done with this file before the call is durable when done reports no error. */
  sync(file: DiskFile, done: Done): void;
}

export interface SimDisk {
  /** The port for the next life of the process. */
  restart(): SimPort;
  /** The process dies; what it wrote stays readable, synced or not. No callback of this life comes any more. */
  kill(): void;
  /** Everything that was not synced is kept, lost or torn, piece by piece. */
  powerCut(): void;
  /**
   * The `nth` operation of that kind from now on fails (1: the next one), with EIO unless `code` is given. A write that fails may
   * have written some of its bytes; one whose sync fails is readable, and no later sync makes it durable.
   */
  fail(operation: FailingOperation, nth: number, code?: string): void;
  /** What has not failed yet will not. */
  forgive(): void;
  /** Only so many bytes more fit on it; Infinity: as many as you like, the state at first. */
  leave(freeBytes: number): void;
  /** Bytes that still fit. */
  free(): number;
  /** Calls `run` as the `nth` operation from now on that changes the disk, and is aimed at, begins. */
  whenBegun(nth: number, run: () => void, aim?: Aim): void;
  /** Operations do not end before the returned function is called; with an aim, only writes and syncs of those files. */
  hang(aim?: FileAim): () => void;
  /** What a power cut surely leaves of a file; null: nothing. */
  durable(path: string): Uint8Array | null;
  /** Names that a power cut surely leaves in a directory, sorted. */
  durableNames(directory: string): readonly string[];
  /** The parts of a file that a power cut may leave in any state. */
  unsettled(path: string): readonly Range[];
  /** What a read gives. */
  cached(path: string): Uint8Array | null;
  /** Paths of all files there are, sorted. */
  files(): readonly string[];
  /** How many files the process has open. */
  openFiles(): number;
  /** Sizes of all files together. */
  bytes(): number;
  flipBit(path: string, byte: number, bit: number): void;
  truncate(path: string, size: number): void;
  overwrite(path: string, offset: number, bytes: Uint8Array): void;
  delete(path: string): void;
  /** A backup of everything that reads give at this moment; null stands for a directory. */
  backup(): Backup;
  /** The backup in place of everything, as somebody copies it back. */
  restore(backup: Backup): void;
}

export type Backup = ReadonlyMap<string, Uint8Array | null>;

interface Hang {
  /** null: the whole disk. */
  readonly aim: FileAim | null;
  readonly waiting: (() => void)[];
}

type Entry = FileImage | "directory";
type DirectoryChange =
  | { readonly type: "link"; readonly path: string; readonly entry: Entry }
  | { readonly type: "unlink"; readonly path: string }
  | { readonly type: "rename"; readonly from: string; readonly to: string };

const parentOf = (path: string): string => (path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : ".");
/** As parentOf, without a new text: this is asked for every name of a disk, often. */
const isIn = (path: string, directory: string): boolean => {
  const slash = path.lastIndexOf("/");
  return slash === -1 ? directory === "." : slash === directory.length && path.startsWith(directory);
};
const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

const isMadeIn = (change: DirectoryChange, directory: string): boolean =>
  isIn(change.type === "rename" ? change.to : change.path, directory);

function namesIn(names: ReadonlyMap<string, Entry>, directory: string): readonly string[] {
  const inside = [...names.keys()].filter((path) => isIn(path, directory));
  return inside.map(nameOf).sort();
}

function applyChange(names: Map<string, Entry>, change: DirectoryChange): void {
  if (change.type === "link") names.set(change.path, change.entry);
  else if (change.type === "unlink") names.delete(change.path);
  else {
    const entry = names.get(change.from);
    // The file was never made, as far as the platter knows.
    if (entry === undefined) return;
    if (entry !== "directory") {
      names.delete(change.from);
      names.set(change.to, entry);
      return;
    }
    // A directory takes along what is in it.
    const inside = [...names].filter(([path]) => movedPath(path, change.from, change.to) !== null);
    for (const [path, moved] of inside) {
      names.delete(path);
      names.set(movedPath(path, change.from, change.to) ?? path, moved);
    }
  }
}

/** Where a path is after `from` was renamed; null: it is not part of what was renamed. */
function movedPath(path: string, from: string, to: string): string | null {
  return path === from || path.startsWith(`${from}/`) ? to + path.slice(from.length) : null;
}

/** A name that was not synced yet belongs to its directory, wherever that is moved: without the move it is lost. */
function followMove(made: DirectoryChange, from: string, to: string): DirectoryChange {
  const follow = (path: string): string => (path === from ? path : (movedPath(path, from, to) ?? path));
  if (made.type === "rename") {
    const moved = { ...made, from: follow(made.from), to: follow(made.to) };
    return moved.from === made.from && moved.to === made.to ? made : moved;
  }
  const path = follow(made.path);
  return path === made.path ? made : { ...made, path };
}

/** Everything takes up to a millisecond. */
export const STEADY_DISK: DiskWeather = { operationMaxMs: 1, slowSyncPercent: 0, slowSyncMaxMs: 0 };

export function createSimDisk(scheduler: Scheduler, random: Random, weather: DiskWeather = STEADY_DISK): SimDisk {
  const latency = random.fork();
  const fate = random.fork();
  let names = new Map<string, Entry>();
  let synced = new Map<string, Entry>();
  let unsyncedChanges: DirectoryChange[] = [];
  const open = new Map<DiskFile, FileImage>();
  /** Of files that were renamed while they were open. */
  const places = new WeakMap<DiskFile, string>();
  const placeOf = (file: DiskFile): string => places.get(file) ?? file.path;
  const failing = new Map<FailingOperation, { left: number; readonly code: string }>();
  const hangs = new Set<Hang>();
  let begun: { left: number; readonly run: () => void; readonly aim: Aim } | null = null;
  let life = 0;
  let lockedBy = 0;
  let capacity = Infinity;

  const image = (path: string): FileImage | null => {
    const entry = names.get(path);
    return entry === undefined || entry === "directory" ? null : entry;
  };
  const change = (made: DirectoryChange): void => {
    if (made.type === "rename" && names.get(made.from) === "directory")
      unsyncedChanges = unsyncedChanges.map((earlier) => followMove(earlier, made.from, made.to));
    applyChange(names, made);
    unsyncedChanges.push(made);
  };
  const fails = (operation: FailingOperation): Error | null => {
    const planned = failing.get(operation);
    if (planned === undefined) return null;
    planned.left--;
    if (planned.left > 0) return null;
    failing.delete(operation);
    return Object.assign(new Error(`injected: this ${operation} failed`), { code: planned.code });
  };
  const readable = (path: string): void => {
    const failure = fails("read");
    if (failure !== null) throw Object.assign(failure, { message: `${failure.message}: ${path}` });
  };
  const begin: (...operation: Parameters<Aim>) => void = (operation, path) => {
    if (begun === null || !begun.aim(operation, path) || --begun.left > 0) return;
    const { run } = begun;
    begun = null;
    run();
  };
  const settleNames = (): void => {
    const survived = new Map(synced);
    for (const made of unsyncedChanges) {
      if (fate.chance(50)) applyChange(survived, made);
    }
    const reachable = (path: string): boolean =>
      path === "." || (survived.get(path) === "directory" && reachable(parentOf(path)));
    names = new Map([...survived].filter(([path]) => reachable(parentOf(path))));
    synced = new Map(names);
    unsyncedChanges = [];
  };
  const images = (): FileImage[] => {
    const all = [...names.values(), ...synced.values(), ...open.values()];
    return [...new Set(all)].filter((entry) => entry !== "directory");
  };
  const used = (): number =>
    [...names.values()].reduce((sum, entry) => sum + (entry === "directory" ? 0 : entry.size()), 0);
  const freeBytes = (): number => (capacity === Infinity ? Infinity : Math.max(0, capacity - used()));
  /** `path` null: an operation on no open file. */
  const hangOn = (path: string | null): Hang | undefined =>
    hangs.size === 0 ? undefined : hangs.values().find(({ aim }) => aim === null || (path !== null && aim(path)));
  const endLife = (): void => {
    life++;
    lockedBy = 0;
    hangs.clear();
    begun = null;
    failing.clear();
    open.clear();
  };

  const port = (thisLife: number): SimPort => {
    /** Ends an operation from a later event, unless its process died meanwhile. */
    const later = (isSync: boolean, finish: () => void, path: string | null = null): void => {
      const slow = isSync && latency.chance(weather.slowSyncPercent);
      const longest = slow ? weather.slowSyncMaxMs : weather.operationMaxMs;
      const run = (): void => {
        if (life !== thisLife) return;
        const hang = hangOn(path);
        if (hang === undefined) finish();
        else hang.waiting.push(run);
      };
      scheduler.after((latency.below(1_000) / 1_000) * longest, run);
    };
    const imageOf = (file: DiskFile): FileImage => {
      const found = open.get(file);
      if (found === undefined) throw new Error(`${file.path} is used after it was closed`);
      return found;
    };
    const opened = (path: string, entry: FileImage): DiskFile => {
      const file: DiskFile = { path };
      open.set(file, entry);
      return file;
    };
    const problem = (code: string, path: string): Error => Object.assign(new Error(`${code}: ${path}`), { code });
    const tooFull = (growth: number, path: string): Error | null =>
      growth > freeBytes() ? problem("ENOSPC", path) : null;
    const changing = (done: Done, obstacle: () => Error | null, made: () => DirectoryChange | null): void => {
      later(false, () => {
        const error = obstacle();
        const next = error === null ? made() : null;
        if (next !== null) change(next);
        done(error);
      });
    };
    const writeCached = (
      file: DiskFile,
      offset: number,
      bytes: Uint8Array,
      done: (error: Error | null, write: ReturnType<FileImage["begin"]>) => void,
    ): void => {
      begin("write", placeOf(file));
      const target = imageOf(file);
      const growth = Math.max(0, offset + bytes.length - target.size());
      const failure = fails("write") ?? tooFull(growth, file.path);
      // The system takes what it can before it reports the error.
      const taken = bytes.length - Math.max(0, growth - freeBytes());
      const write = target.begin(offset, failure === null ? bytes : bytes.subarray(0, fate.below(taken + 1)));
      const applied = (): void => {
        write.apply();
        done(failure, write);
      };
      later(false, applied, placeOf(file));
    };
    const sync = (file: DiskFile, covered: () => SyncUnderWay, done: Done): void => {
      begin("sync", placeOf(file));
      const failure = fails("sync");
      const underWay = covered();
      const ended = (): void => {
        if (failure === null) underWay.succeed();
        else underWay.fail();
        done(failure);
      };
      later(true, ended, placeOf(file));
    };

    return {
      list: (directory) => namesIn(names, directory),
      read: (path) => {
        readable(path);
        return image(path)?.lend() ?? null;
      },
      readAt: (path, offset, length) => {
        readable(path);
        const found = image(path);
        if (found === null) throw problem("ENOENT", path);
        return found.lend().subarray(offset, offset + length);
      },
      size: (path) => image(path)?.size() ?? null,
      makeDirectory: (path, done) => {
        begin("makeDirectory", path);
        changing(
          done,
          () => (parentOf(path) === "." || names.get(parentOf(path)) === "directory" ? null : problem("ENOENT", path)),
          () => (names.has(path) ? null : { type: "link", path, entry: "directory" }),
        );
      },
      create: (path, size, done) => {
        begin("create", path);
        later(true, () => {
          const parentMissing = parentOf(path) !== "." && names.get(parentOf(path)) !== "directory";
          const error =
            fails("create") ??
            (names.has(path) ? problem("EEXIST", path) : parentMissing ? problem("ENOENT", path) : tooFull(size, path));
          if (error !== null) return done(error, null);
          const entry = createFileImage(size);
          change({ type: "link", path, entry });
          done(null, opened(path, entry));
        });
      },
      open: (path, done) => {
        later(false, () => {
          const found = image(path);
          if (found === null) done(problem("ENOENT", path), null);
          else done(null, opened(path, found));
        });
      },
      // One call of the system, and yet a crash, a failure or a hang may come before, between and after its halves.
      write: (file, offset, bytes, done) =>
        writeCached(file, offset, bytes, (error, write) => {
          if (error === null) sync(file, write.beginSync, done);
          else done(error);
        }),
      writeCached: (file, offset, bytes, done) => writeCached(file, offset, bytes, (error) => done(error)),
      sync: (file, done) => sync(file, imageOf(file).beginSync, done),
      close: (file) => {
        imageOf(file);
        open.delete(file);
      },
      syncDirectory: (path, done) => {
        begin("syncDirectory", path);
        const failure = fails("sync");
        const covered = new Set(unsyncedChanges.filter((made) => isMadeIn(made, path)));
        later(true, () => {
          if (failure === null) {
            for (const made of covered) applyChange(synced, made);
            unsyncedChanges = unsyncedChanges.filter((made) => !covered.has(made));
          }
          done(failure);
        });
      },
      rename: (from, to, done) => {
        begin("rename", to);
        changing(
          done,
          () => (names.has(from) ? null : problem("ENOENT", from)),
          () => {
            for (const file of open.keys()) if (placeOf(file) === from) places.set(file, to);
            return { type: "rename", from, to };
          },
        );
      },
      remove: (path, done) => {
        begin("remove", path);
        changing(
          done,
          () => (image(path) === null ? problem("ENOENT", path) : null),
          () => ({ type: "unlink", path }),
        );
      },
      removeDirectory: (path, done) => {
        begin("remove", path);
        changing(
          done,
          () => ([...names.keys()].some((other) => isIn(other, path)) ? problem("ENOTEMPTY", path) : null),
          () => ({ type: "unlink", path }),
        );
      },
      freeBytes: (done) => later(false, () => done(freeBytes())),
      // At once when its time has come, without a part in the weather: what is random stays as it was.
      findMissing: (files, done) => {
        const look = (): void => {
          if (life !== thisLife) return;
          const hang = hangOn(null);
          if (hang !== undefined) return void hang.waiting.push(look);
          const unplaced = [...open].find(([file, entry]) => names.get(placeOf(file)) !== entry)?.[0];
          const missing = files().find((path) => image(path) === null);
          done(unplaced === undefined ? (missing ?? null) : placeOf(unplaced));
        };
        scheduler.after(0, look);
      },
      lock: () => {
        if (lockedBy !== 0) throw new RaftqError("LOCKED", `the simulated directory is in use by process ${lockedBy}`);
        lockedBy = thisLife + 1;
      },
      unlock: () => {
        if (life === thisLife) lockedBy = 0;
      },
    };
  };

  const damage = (path: string, how: (bytes: Uint8Array) => Uint8Array): void => {
    const found = image(path);
    if (found === null) throw new Error(`there is no ${path} to damage`);
    found.damage(how);
  };

  return {
    restart: () => port(life),
    kill: () => {
      for (const entry of images()) entry.kill(fate);
      endLife();
    },
    powerCut: () => {
      for (const entry of images()) entry.powerCut(fate);
      endLife();
      settleNames();
    },
    forgive: () => failing.clear(),
    fail: (operation, nth, code = "EIO") => {
      failing.set(operation, { left: nth, code });
    },
    leave: (freeBytesNow) => {
      capacity = used() + freeBytesNow;
    },
    free: freeBytes,
    whenBegun: (nth, run, aim = () => true) => {
      begun = { left: nth, run, aim };
    },
    hang: (aim) => {
      const hang: Hang = { aim: aim ?? null, waiting: [] };
      hangs.add(hang);
      return () => {
        hangs.delete(hang);
        for (const run of hang.waiting.splice(0)) scheduler.after(0, run);
      };
    },
    durable: (path) => {
      const entry = synced.get(path);
      return entry === undefined || entry === "directory" ? null : entry.durable();
    },
    durableNames: (directory) => namesIn(synced, directory),
    unsettled: (path) => image(path)?.unsettled() ?? [],
    cached: (path) => image(path)?.cached() ?? null,
    files: () =>
      [...names]
        .filter(([, entry]) => entry !== "directory")
        .map(([path]) => path)
        .sort(),
    openFiles: () => open.size,
    bytes: used,
    flipBit: (path, byte, bit) =>
      damage(path, (bytes) => {
        bytes[byte] = (bytes[byte] ?? 0) ^ (1 << bit);
        return bytes;
      }),
    truncate: (path, size) => damage(path, (bytes) => bytes.slice(0, size)),
    overwrite: (path, offset, bytes) =>
      damage(path, (all) => {
        // What was not synced may reach further than what is durable.
        all.set(bytes.subarray(0, Math.max(0, all.length - offset)), Math.min(offset, all.length));
        return all;
      }),
    backup: () => new Map([...names].map(([path, entry]) => [path, entry === "directory" ? null : entry.lend()])),
    restore: (backup) => {
      names = new Map(
        [...backup].map(([path, bytes]): [string, Entry] => {
          return [path, bytes === null ? "directory" : createFileImage(bytes)];
        }),
      );
      synced = new Map(names);
      unsyncedChanges = [];
    },
    delete: (path) => {
      names.delete(path);
      synced.delete(path);
      unsyncedChanges = unsyncedChanges.filter((made) => made.type === "rename" || made.path !== path);
    },
  };
}
