/**
 * A process of a simulated machine. Every callback of its clock, network and disk enters here: it can be held back (a paused process),
 * dropped (a dead one), and what it throws is caught. The code that runs in it does not notice.
 */
import type { Clock } from "../../src/lib/clock.ts";
import type { DiskFile, Done } from "../../src/storage/disk.ts";
import type { ByteStream, Network } from "../../src/wire/network.ts";
import type { SimPort } from "./simulated-disk.ts";

/** Delivers a callback into a process, holds it back while the process is paused, drops it when the process is dead. */
type Enter = (callback: () => void) => void;

export interface SimProcess {
  readonly enter: Enter;
  readonly alive: () => boolean;
  readonly paused: () => boolean;
  pause(): void;
  /** Delivers what was held back, in its order. */
  resume(): void;
  /** Nothing enters any more. */
  end(): void;
}

export interface ProcessHooks {
  readonly afterEach: () => void;
  readonly threw: (error: unknown) => void;
}

export function createSimProcess({ afterEach, threw }: ProcessHooks): SimProcess {
  let alive = true;
  let held: (() => void)[] | null = null;
  const enter: Enter = (callback) => {
    if (!alive) return;
    if (held !== null) {
      held.push(callback);
      return;
    }
    try {
      callback();
    } catch (error) {
      alive = false;
      threw(error);
    }
    if (alive) afterEach();
  };
  return {
    enter,
    alive: () => alive,
    paused: () => held !== null,
    pause: () => {
      held ??= [];
    },
    resume: () => {
      const late = held ?? [];
      held = null;
      for (const callback of late) enter(callback);
    },
    end: () => {
      alive = false;
      held = null;
    },
  };
}

/** The network port of one life. `received` sees all bytes before the node does, and the name or address that they come from. */
export function enterNetwork(
  network: Network,
  process: SimProcess,
  received: (data: Uint8Array, remote: string) => void,
): Network {
  const wrap = (inner: ByteStream): ByteStream => {
    const outer: ByteStream = {
      remote: inner.remote,
      trust: inner.trust,
      write: (bytes) => inner.write(bytes),
      unsentBytes: () => inner.unsentBytes(),
      close: () => inner.close(),
      onData: () => {},
      onClose: () => {},
      onDrain: () => {},
    };
    inner.onData = (data) => {
      received(data, inner.remote);
      // The view is valid only now; a paused process reads it later.
      const kept = process.paused() ? data.slice() : data;
      process.enter(() => outer.onData(kept));
    };
    inner.onClose = (why) => process.enter(() => outer.onClose(why));
    inner.onDrain = () => process.enter(() => outer.onDrain());
    return outer;
  };
  return {
    listen: (host, port, accept, ready) =>
      network.listen(
        host,
        port,
        (stream) => {
          const wrapped = wrap(stream);
          process.enter(() => accept(wrapped));
        },
        (error, listener) => process.enter(() => ready(error, listener)),
      ),
    dial: (address, timeoutMs, done) =>
      network.dial(address, timeoutMs, (result) => {
        const wrapped = result.ok ? ({ ok: true, stream: wrap(result.stream) } as const) : result;
        process.enter(() => done(wrapped));
      }),
  };
}

/** The clock port of one process. A timer that is cancelled does not run, also when it was due while the process was paused. */
export function enterClock(clock: Clock, process: SimProcess): Clock {
  return {
    now: clock.now,
    wall: clock.wall,
    after: (ms, callback) => {
      let cancelled = false;
      const cancel = clock.after(ms, () =>
        process.enter(() => {
          if (!cancelled) callback();
        }),
      );
      return () => {
        cancelled = true;
        cancel();
      };
    },
    soon: (callback) => clock.soon(() => process.enter(callback)),
  };
}

/** The disk port of one process. */
export function enterDisk(disk: SimPort, process: SimProcess): SimPort {
  const late =
    (done: Done): Done =>
    (error) =>
      process.enter(() => done(error));
  const lateFile =
    (done: (error: Error | null, file: DiskFile | null) => void) =>
    (error: Error | null, file: DiskFile | null): void =>
      process.enter(() => done(error, file));
  return {
    list: (directory) => disk.list(directory),
    read: (path) => disk.read(path),
    readAt: (path, offset, length) => disk.readAt(path, offset, length),
    size: (path) => disk.size(path),
    makeDirectory: (path, done) => disk.makeDirectory(path, late(done)),
    create: (path, size, done) => disk.create(path, size, lateFile(done)),
    open: (path, done) => disk.open(path, lateFile(done)),
    write: (file, offset, bytes, done) => disk.write(file, offset, bytes, late(done)),
    writeCached: (file, offset, bytes, done) => disk.writeCached(file, offset, bytes, late(done)),
    sync: (file, done) => disk.sync(file, late(done)),
    close: (file) => disk.close(file),
    syncDirectory: (path, done) => disk.syncDirectory(path, late(done)),
    rename: (from, to, done) => disk.rename(from, to, late(done)),
    remove: (path, done) => disk.remove(path, late(done)),
    removeDirectory: (path, done) => disk.removeDirectory(path, late(done)),
    freeBytes: (done) => disk.freeBytes((bytes) => process.enter(() => done(bytes))),
    findMissing: (files, done) => disk.findMissing(files, (path) => process.enter(() => done(path))),
    lock: () => disk.lock(),
    unlock: () => disk.unlock(),
  };
}
