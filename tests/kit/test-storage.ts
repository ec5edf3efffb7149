// A storage on a real directory or on the simulated disk, driven by the same calls: so that one test runs on both.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import type { Persist } from "../../src/raft/effects.ts";
import { encodeEntry, type Entry } from "../../src/raft/entry.ts";
import type { HardState, Incarnation, MemberId, NodeId, SnapshotMeta } from "../../src/raft/types.ts";
import { NEWER_CONTENT } from "../../src/server/snapshots.ts";
import { createRealDisk } from "../../src/storage/real-disk.ts";
import type { Disk } from "../../src/storage/disk.ts";
import { openStorage } from "../../src/storage/open.ts";
import type { Opened, OpenStorage, SnapshotSource, Storage, Unwritten } from "../../src/storage/types.ts";
import { createSimDisk, type SimDisk } from "./simulated-disk.ts";
import { createScheduler, pass, passUntil, type Scheduler } from "./scheduler.ts";
import { type DiskImage } from "./log-frames.ts";

export const KiB = 1024;
export const BLOCK = 4 * KiB;
export const N1 = "n1" as NodeId;
export const N2 = "n2" as NodeId;
export const INCARNATION = "0123456789abcdef" as Incarnation;
export const VOTE = "n2@fedcba9876543210" as MemberId;
export const SMALL_SEGMENT = 40 * KiB;

export function entry(index: number, term = 1, bytes = 16): Entry {
  const body = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at++) body[at] = index * 31 + term * 7 + at;
  return encodeEntry(
    { index, term, time: index * 10, wall: index * 10 },
    { kind: "command", session: 1, number: index, acknowledgedThrough: 0, body },
  );
}

export function entries(from: number, to: number, term = 1, bytes = 16): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, at) => entry(from + at, term, bytes));
}

export function batch(more: Partial<Persist>): Persist {
  return { seq: 1, hardState: null, entries: [], snapshot: null, sendAfter: [], ...more };
}

export function hardState(currentTerm: number, votedFor: MemberId | null = null): HardState {
  return { currentTerm, votedFor };
}

export function snapshotMeta(index: number, term = 1): SnapshotMeta {
  const voter = { id: N1, incarnation: INCARNATION, address: "127.0.0.1:3000" };
  return {
    index,
    term,
    configuration: { voters: [voter], outgoing: [], learners: [], removed: [] },
    configurationIndex: 1,
    time: index * 10,
  };
}

export function partsOf(index: number, count = 3, bytes = 1_000): Uint8Array[] {
  return Array.from({ length: count }, (_, part) => new Uint8Array(bytes + part).fill((index + part) & 0xff));
}

export function sourceOf(parts: readonly Uint8Array[]): SnapshotSource {
  let next = 0;
  return { nextPart: () => parts[next++] ?? null };
}

const shownEntries = new WeakMap<Entry, string>();

/** Index, term and bytes of each entry: what two logs are compared by. */
export function shown(log: readonly Entry[]): string[] {
  return log.map((one) => {
    const known = shownEntries.get(one);
    if (known !== undefined) return known;
    const text = `${one.index}:${one.term}:${Bun.hash.crc32(one.record)}`;
    shownEntries.set(one, text);
    return text;
  });
}

export type Overrides = Partial<Pick<OpenStorage, "nodeId" | "newIncarnation" | "segmentBytes">>;

export interface Bench {
  /** Opens, or gives the error of the refusal. */
  open(overrides?: Overrides): Promise<Storage | RaftqError>;
  /** Runs what `start` begins until it calls back. */
  call<T>(start: (done: (value: T) => void) => void): Promise<T>;
  /** The process dies. */
  kill(): void;
  read(file: string): Uint8Array | null;
  readonly failures: Error[];
  readonly salts: Random;
}

export function settings(
  bench: Pick<Bench, "failures" | "salts">,
  after: OpenStorage["after"],
  overrides: Overrides,
): OpenStorage {
  return {
    nodeId: N1,
    newIncarnation: INCARNATION,
    drawSalt: () => bench.salts.below(2 ** 32),
    onFailure: (error) => bench.failures.push(error),
    after,
    segmentBytes: SMALL_SEGMENT,
    newerContent: NEWER_CONTENT,
    reservedBytes: () => 0,
    onSpaceChanged: () => undefined,
    ...overrides,
  };
}

/** A damaged directory is left as it is, and unlocked. */
function storageOrError(result: Opened): Storage | RaftqError {
  if (result.ok) return result.storage;
  result.damaged?.unlock();
  return result.error;
}

export async function opened(bench: Bench, overrides: Overrides = {}): Promise<Storage> {
  const result = await bench.open(overrides);
  if (result instanceof RaftqError) throw result;
  return result;
}

export async function refused(bench: Bench, overrides: Overrides = {}): Promise<RaftqError> {
  const result = await bench.open(overrides);
  if (!(result instanceof RaftqError))
    throw new Error(`opened, although it should refuse: ${result.recovered.summary}`);
  return result;
}

/** Fails when the disk has no space for all of it. */
export async function persist(bench: Bench, storage: Storage, more: Partial<Persist>): Promise<void> {
  const unwritten = await bench.call<Unwritten | null>((done) => storage.persist(batch(more), done));
  if (unwritten !== null) throw new Error(`the disk has no space for ${JSON.stringify(unwritten)}`);
}

export function close(bench: Bench, storage: Storage): Promise<void> {
  return bench.call((done) => storage.close(() => done(undefined)));
}

export async function saveAndCount(
  bench: Bench,
  storage: Storage,
  meta: SnapshotMeta,
  keepFrom: number,
  parts = partsOf(meta.index),
): Promise<void> {
  await bench.call((done) => storage.saveSnapshot(meta, sourceOf(parts), () => done(undefined)));
  await persist(bench, storage, { snapshot: { meta, reset: false, keepFrom } });
}

/** Virtual time after which nothing more is expected. */
const PATIENCE_MS = 60_000;

export interface SimBench extends Bench {
  readonly disk: SimDisk;
  readonly scheduler: Scheduler;
  powerCut(): void;
  /** Begins to open; nothing happens before the scheduler's next steps. */
  beginOpen(): void;
  /** A timer of the present life. */
  after(ms: number, callback: () => void): () => void;
  /** Lets virtual time pass. */
  pass(ms: number): void;
}

/** Timers of a killed life never fire. */
export function createSimBench(seed = 1): SimBench {
  const scheduler = createScheduler();
  const disk = createSimDisk(scheduler, seededRandom(seed));
  let life = 0;
  const after = (ms: number, callback: () => void): (() => void) => {
    const mine = life;
    return scheduler.after(ms, () => {
      if (mine === life) callback();
    });
  };
  const bench: SimBench = {
    disk,
    scheduler,
    after,
    failures: [],
    salts: seededRandom(7),
    open: (overrides = {}) =>
      bench.call((done) => {
        openStorage(disk.restart(), settings(bench, after, overrides), (result) => done(storageOrError(result)));
      }),
    call: <T>(start: (done: (value: T) => void) => void) => {
      let answer: { value: T } | null = null;
      start((value) => {
        answer = { value };
      });
      passUntil(scheduler, () => answer !== null, PATIENCE_MS);
      const given = answer as { value: T } | null;
      return given === null ? Promise.reject(new Error("it never calls back")) : Promise.resolve(given.value);
    },
    kill: () => {
      life++;
      disk.kill();
    },
    beginOpen: () => openStorage(disk.restart(), settings(bench, after, {}), () => undefined),
    powerCut: () => {
      life++;
      disk.powerCut();
    },
    pass: (ms) => pass(scheduler, ms),
    read: (file) => disk.cached(file),
  };
  return bench;
}

/** A bench whose disk holds these files, after a kill. */
export async function createSimBenchWith(image: DiskImage): Promise<SimBench> {
  const bench = createSimBench();
  const disk = bench.disk.restart();
  for (const directory of ["g0", "g0/log", "g0/snapshot"])
    await bench.call((done) => disk.makeDirectory(directory, done));
  for (const [file, bytes] of image) {
    const parent = file.slice(0, file.lastIndexOf("/"));
    if (parent.startsWith("g0/snapshot/")) await bench.call((done) => disk.makeDirectory(parent, done));
    await bench.call<void>((done) => disk.create(file, bytes.length, () => done()));
    bench.disk.overwrite(file, 0, bytes);
  }
  bench.kill();
  return bench;
}

export interface RealBench extends Bench, Disposable {
  readonly directory: string;
}

/** A real disk whose process can die: then no callback comes any more, and nothing new is begun. */
function createMortalDisk(disk: Disk): { readonly disk: Disk; die(): void; settled(): Promise<void> } {
  let dead = false;
  const underWay = new Set<Promise<void>>();
  const mortal = <A extends unknown[]>(
    done: (...answer: A) => void,
    begin: (done: (...answer: A) => void) => void,
  ): void => {
    if (dead) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    underWay.add(promise);
    begin((...answer) => {
      underWay.delete(promise);
      resolve();
      if (!dead) done(...answer);
    });
  };
  return {
    disk: {
      ...disk,
      makeDirectory: (at, done) => mortal(done, (late) => disk.makeDirectory(at, late)),
      create: (at, size, done) => mortal(done, (late) => disk.create(at, size, late)),
      open: (at, done) => mortal(done, (late) => disk.open(at, late)),
      write: (file, offset, bytes, done) => mortal(done, (late) => disk.write(file, offset, bytes, late)),
      syncDirectory: (at, done) => mortal(done, (late) => disk.syncDirectory(at, late)),
      rename: (from, to, done) => mortal(done, (late) => disk.rename(from, to, late)),
      remove: (at, done) => mortal(done, (late) => disk.remove(at, late)),
      removeDirectory: (at, done) => mortal(done, (late) => disk.removeDirectory(at, late)),
      freeBytes: (done) => mortal(done, (late) => disk.freeBytes(late)),
      findMissing: (files, done) => mortal(done, (late) => disk.findMissing(files, late)),
    },
    die: () => {
      dead = true;
      disk.unlock();
    },
    settled: async () => {
      await Promise.all(underWay);
    },
  };
}

export function createRealBench(): RealBench {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), "raftq-storage-"));
  const directory = path.join(root, "data");
  let living = createMortalDisk(createRealDisk(directory));
  const timers = new Set<Timer>();
  const after = (ms: number, callback: () => void): (() => void) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      callback();
    }, ms);
    timers.add(timer);
    return () => clearTimeout(timer);
  };
  const bench: RealBench = {
    directory,
    failures: [],
    salts: seededRandom(7),
    open: async (overrides = {}) => {
      await living.settled();
      living = createMortalDisk(createRealDisk(directory));
      return bench.call((done) => {
        openStorage(living.disk, settings(bench, after, overrides), (result) => done(storageOrError(result)));
      });
    },
    call: (start) => new Promise((resolve) => start(resolve)),
    kill: () => {
      for (const timer of timers) clearTimeout(timer);
      living.die();
    },
    read: (file) => {
      const full = path.join(directory, file);
      return fs.existsSync(full) ? fs.readFileSync(full) : null;
    },
    [Symbol.dispose]: () => {
      for (const timer of timers) clearTimeout(timer);
      fs.rmSync(root, { recursive: true, force: true });
    },
  };
  return bench;
}
