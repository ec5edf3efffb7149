// Makes the log's segments, from files that the log no longer needs or as new ones. One is made ahead of its need; on a full disk that is
// tried again until there is space.
import { STORAGE } from "../../config.ts";
import { type Disk, type DiskFile, isNoSpace, noSpace } from "../disk.ts";
import {
  resultOf,
  attempt,
  createFile,
  failWith,
  freeBytes,
  openFile,
  removeFile,
  runSteps,
  type Steps,
  write,
} from "../steps.ts";
import type { OpenStorage } from "../types.ts";
import { encodeSegmentHeader, LOG_DIRECTORY, type Segment, segmentPath } from "./segment.ts";

export interface SegmentSettings {
  /** The usual size. */
  readonly segmentBytes: number;
  readonly blockBytes: number;
  readonly formatVersion: number;
  readonly drawSalt: () => number;
  readonly after: OpenStorage["after"];
  readonly reservedBytes: OpenStorage["reservedBytes"];
  /** A segment was made, or could not be made. */
  readonly onSpaceChanged: () => void;
}

export interface OpenSegment {
  readonly segment: Segment;
  readonly file: DiskFile;
}

interface SegmentRequest {
  readonly bytes: number;
  readonly done: (error: Error | null, segment: OpenSegment | null) => void;
}

/** Any reason but a full disk why a segment cannot be made ahead is no failure until it is needed: then making it is tried once more. */
export interface Preallocator {
  readonly disk: Disk;
  readonly settings: SegmentSettings;
  /** The number of the segment that is made next. Each attempt uses one up. */
  nextSegment: number;
  /** The segment that was made ahead. */
  ready: OpenSegment | null;
  /** Segments that are log no more, kept for their files: oldest first, all of the usual size. */
  recycled: Segment[];
  making: boolean;
  closed: boolean;
  /** The last attempt found no space. It is repeated by a timer. */
  lacksSpace: boolean;
  /** Waits for the segment that is being made. */
  request: SegmentRequest | null;
  /** The largest size that was requested and had no space; 0 once it was reported that there is some. */
  missedBytes: number;
  cancelRetry: (() => void) | null;
  /** Each to be called once, when there is space after a request without. */
  spaceWaiters: (() => void)[];
  /** To be called when the attempt under way has ended, after the close. */
  whenMade: (() => void) | null;
}

export function createPreallocator(disk: Disk, settings: SegmentSettings, nextSegment: number): Preallocator {
  return {
    disk,
    settings,
    nextSegment,
    ready: null,
    recycled: [],
    making: false,
    closed: false,
    lacksSpace: false,
    request: null,
    missedBytes: 0,
    cancelRetry: null,
    spaceWaiters: [],
    whenMade: null,
  };
}

/** Makes a segment ahead, unless there is one. Tries at once when it waits for space. */
export function preallocate(preallocator: Preallocator): void {
  if (preallocator.ready === null && !preallocator.closed) tryToMake(preallocator);
}

/** The segment that was made ahead, or a new one if there is none of at least that size; null: there is no space. One call at a time. */
export const takeSegment = (preallocator: Preallocator, bytes: number): Steps<OpenSegment | null> =>
  resultOf((done) => {
    preallocator.request = { bytes, done };
    answerRequest(preallocator, null);
  });

/** Keeps some of these files, for segments to come, and returns the others. Nothing of them may be log any more, for good. */
export function recycleSegments(preallocator: Preallocator, segments: readonly Segment[]): readonly Segment[] {
  const { closed, settings, recycled } = preallocator;
  const fitting = closed ? [] : segments.filter(({ bytes }) => bytes === settings.segmentBytes);
  const kept = fitting.slice(0, Math.max(0, STORAGE.maxRecycledSegments - recycled.length));
  recycled.push(...kept);
  return segments.filter((segment) => !kept.includes(segment));
}

/** Keeps none any more, and returns all that were kept. */
export function dropRecycled(preallocator: Preallocator): readonly Segment[] {
  const dropped = preallocator.recycled;
  preallocator.recycled = [];
  return dropped;
}

/** Waits for a segment that is being made. */
export function closePreallocator(preallocator: Preallocator, done: () => void): void {
  preallocator.closed = true;
  preallocator.cancelRetry?.();
  const finish = (): void => {
    if (preallocator.ready !== null) preallocator.disk.close(preallocator.ready.file);
    done();
  };
  if (preallocator.making) preallocator.whenMade = finish;
  else finish();
}

function tryToMake(preallocator: Preallocator): void {
  if (preallocator.making) return;
  const { settings, request, recycled } = preallocator;
  preallocator.cancelRetry?.();
  preallocator.cancelRetry = null;
  preallocator.making = true;
  const isAhead = request === null;
  const bytes = Math.max(settings.segmentBytes, preallocator.missedBytes, request?.bytes ?? 0);
  const old = bytes === settings.segmentBytes ? (recycled.shift() ?? null) : null;
  runSteps(makeSegment(preallocator, bytes, old), ({ error, result }) => {
    preallocator.making = false;
    preallocator.ready = result;
    preallocator.lacksSpace = error !== null && isNoSpace(error);
    if (preallocator.closed) return preallocator.whenMade?.();
    if (preallocator.lacksSpace)
      preallocator.cancelRetry = settings.after(STORAGE.spaceRetryMs, () => tryToMake(preallocator));
    settings.onSpaceChanged();
    answerRequest(preallocator, isAhead ? null : error);
    // After another failure nothing tries again by itself, so the waiting write does: it ends then, or stops the node.
    if (!preallocator.lacksSpace) reportSpace(preallocator);
  });
}

function reportSpace(preallocator: Preallocator): void {
  const waiters = preallocator.spaceWaiters;
  preallocator.spaceWaiters = [];
  preallocator.missedBytes = 0;
  for (const waiter of waiters) waiter();
}

/** `error`: how an attempt for this request has just failed. */
function answerRequest(preallocator: Preallocator, error: Error | null): void {
  const { request, ready, lacksSpace } = preallocator;
  if (request === null || preallocator.making) return;
  preallocator.ready = null;
  if (ready !== null && ready.segment.bytes >= request.bytes) {
    preallocator.request = null;
    return request.done(null, ready);
  }
  if (ready !== null) return replaceTooSmall(preallocator, ready);
  if (!lacksSpace && error === null) return tryToMake(preallocator);
  preallocator.request = null;
  if (lacksSpace) preallocator.missedBytes = Math.max(preallocator.missedBytes, request.bytes);
  request.done(lacksSpace ? null : error, null);
}

/** It is removed first, because the larger one may need its space. */
function replaceTooSmall(preallocator: Preallocator, { file, segment }: OpenSegment): void {
  preallocator.making = true;
  preallocator.disk.close(file);
  preallocator.disk.remove(segment.path, () => {
    preallocator.making = false;
    tryToMake(preallocator);
  });
}

/** A segment under the next number: sized, with a header, and durable together with its name. `old`: one of that size, to use its file. */
export function* makeSegment(preallocator: Preallocator, bytes: number, old: Segment | null): Steps<OpenSegment> {
  const { disk, settings } = preallocator;
  const number = preallocator.nextSegment++;
  const salt = settings.drawSalt();
  const path = segmentPath(number, salt);
  const segment: Segment = { path, number, salt, blockBytes: settings.blockBytes, bytes };
  const file = old === null ? yield* createSegment(disk, settings, segment) : yield* renameSegment(disk, old, segment);
  const begun = yield* attempt(beginSegment(disk, settings, file, segment));
  if (begun.error === null) return { segment, file };
  disk.close(file);
  // Without its name or header it only takes space, of which there may be none.
  yield* attempt(removeFile(disk, path));
  return yield* failWith(begun.error);
}

/** Its space is asked for first: to write until nothing fits any more would take the last space from every program on this file system. */
function* createSegment(disk: Disk, { reservedBytes }: SegmentSettings, { path, bytes }: Segment): Steps<DiskFile> {
  const free = yield* freeBytes(disk);
  const needed = bytes + reservedBytes(free);
  if (free < needed) yield* failWith(noSpace(needed, free));
  return yield* createFile(disk, path, bytes);
}

/** Its earlier frames name where they belong, and their checksums begin with another salt: none of them can be read here. */
function* renameSegment(disk: Disk, old: Segment, { path }: Segment): Steps<DiskFile> {
  const renamed = yield* attempt(renameAndOpen(disk, old.path, path));
  if (renamed.error === null) return renamed.result;
  // Under either name: it is not kept for later any more.
  for (const left of [old.path, path]) yield* attempt(removeFile(disk, left));
  return yield* failWith(renamed.error);
}

function* renameAndOpen(disk: Disk, from: string, to: string): Steps<DiskFile> {
  yield (done) => disk.rename(from, to, done);
  return yield* openFile(disk, to);
}

function* beginSegment(disk: Disk, { formatVersion }: SegmentSettings, file: DiskFile, segment: Segment): Steps {
  yield* write(disk, file, encodeSegmentHeader(segment, formatVersion));
  yield (done) => disk.syncDirectory(LOG_DIRECTORY, done);
}
