// Is what was acknowledged there after any crash? Scripts of persists, truncations, votes, rotations and snapshots are cut at every
// event, by a kill or a power cut; recovery itself is cut again; and what one recovery reported must outlive the next power cut.
import { expect, test } from "bun:test";
import { STORAGE } from "../../src/config.ts";
import { readMeta } from "../../src/storage/meta.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import type { Persist } from "../../src/raft/effects.ts";
import type { Storage } from "../../src/storage/types.ts";
import { crc32 } from "../../src/lib/crc32.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import { encodeManifest } from "../../src/storage/snapshot/manifest.ts";
import {
  batch,
  createSimBench,
  entries,
  hardState,
  partsOf,
  type SimBench,
  snapshotMeta,
  sourceOf,
  VOTE,
} from "../kit/test-storage.ts";
import { after, difference, during, type Expected, NOTHING, stateOf } from "./model.ts";

/** The number of the first frame of a new directory: meta names it from the start. */
const FIRST_FRAME = 2;
/** For a loaded machine; alone, each takes about a second. */
const LONG_TEST_MS = 60_000;

type Step =
  | { readonly type: "persist"; readonly batch: Persist }
  | { readonly type: "save"; readonly index: number; readonly term: number }
  | { readonly type: "receive"; readonly index: number; readonly term: number }
  | { readonly type: "quiet" };

interface Progress {
  /** Acknowledged. */
  state: Expected;
  /** The persist under way. */
  pending: Persist | null;
  finished: boolean;
}

const lastIndexOf = (state: Expected): number => state.log.at(-1)?.index ?? state.snapshotIndex;

/** The next thing a node might do in this state. */
function drawStep(state: Expected, saved: number | null, random: Random): Step {
  const last = lastIndexOf(state);
  const term = Math.max(1, state.hardState.currentTerm);
  if (saved !== null) {
    // A received one lies behind the log.
    const reset = saved > last;
    const meta = snapshotMeta(saved, term);
    const keepFrom = reset || random.chance(50) ? saved + 1 : Math.max(1, saved - random.below(10));
    const follows = reset && random.chance(50) ? entries(saved + 1, saved + 3, term) : [];
    return { type: "persist", batch: batch({ snapshot: { meta, reset, keepFrom }, entries: follows }) };
  }
  const kind = random.below(100);
  if (kind < 8) return { type: "quiet" };
  if (kind < 20)
    return { type: "persist", batch: batch({ hardState: hardState(term + 1, random.chance(50) ? VOTE : null) }) };
  if (kind < 30 && last > state.snapshotIndex) {
    return { type: "save", index: random.between(state.snapshotIndex + 1, last), term };
  }
  if (kind < 35) return { type: "receive", index: last + random.between(1, 20), term };
  const uncommitted = last - state.snapshotIndex;
  const truncates = kind < 50 && uncommitted > 0;
  const from = truncates ? random.between(state.snapshotIndex + 1, last) : last + 1;
  const newTerm = truncates ? hardState(term + 1) : null;
  const count = random.chance(10) ? 20 : random.between(1, 4);
  const log = entries(from, from + count - 1, newTerm?.currentTerm ?? term, random.chance(20) ? 5_000 : 40);
  return { type: "persist", batch: batch({ hardState: newTerm, entries: log }) };
}

/** Runs drawn steps one after the other, all by callback. */
function runScript(bench: SimBench, storage: Storage, progress: Progress, steps: number, random: Random): void {
  let left = steps;
  let saved: number | null = null;
  const next = (): void => {
    if (left-- === 0) {
      progress.finished = true;
      return;
    }
    const step = drawStep(progress.state, saved, random);
    saved = null;
    switch (step.type) {
      case "persist":
        progress.pending = step.batch;
        storage.persist(step.batch, () => {
          progress.state = after(progress.state, step.batch);
          progress.pending = null;
          next();
        });
        break;
      case "save":
        saved = step.index;
        storage.saveSnapshot(snapshotMeta(step.index, step.term), sourceOf(partsOf(step.index, 2, 600)), next);
        break;
      case "receive":
        saved = step.index;
        receive(storage, step.index, step.term, next);
        break;
      case "quiet":
        bench.after(80, next);
        break;
    }
  };
  next();
}

/** A snapshot that another node would send, made by a storage of its own. */
function receive(storage: Storage, index: number, term: number, done: () => void): void {
  const meta = snapshotMeta(index, term);
  const bytes = manifestOf(index, term);
  const parts = partsOf(index, 2, 600);
  const send = (part: number): void =>
    storage.storePart({ meta, manifest: bytes, part, parts: 2, offset: 0, bytes: parts[part]! }, (nextPart) =>
      nextPart === 2 ? done() : send(nextPart),
    );
  send(0);
}

const manifests = new Map<string, Uint8Array>();
function manifestOf(index: number, term: number): Uint8Array {
  const key = `${index}-${term}`;
  const known = manifests.get(key);
  if (known !== undefined) return known;
  const bytes = encodeManifest(
    {
      meta: snapshotMeta(index, term),
      parts: partsOf(index, 2, 600).map((part) => ({ bytes: part.length, crc: crc32(part) })),
    },
    STORAGE.formatVersion,
  );
  manifests.set(key, bytes);
  return bytes;
}

function crash(bench: SimBench, random: Random): void {
  if (random.chance(60)) bench.powerCut();
  else bench.kill();
}

/** Opens, cut again now and then. */
async function recover(bench: SimBench, random: Random): Promise<Storage> {
  for (let cuts = random.below(3); cuts > 0; cuts--) {
    bench.beginOpen();
    for (let events = random.below(40); events > 0; events--) bench.scheduler.step();
    crash(bench, random);
  }
  const result = await bench.open();
  if (result instanceof RaftqError) throw result;
  return result;
}

function check(storage: Storage, allowed: readonly Expected[], where: string): void {
  const wrong = difference(storage.recovered, allowed);
  if (wrong !== null) throw new Error(`${where}: ${wrong}`);
  const { snapshot } = storage.recovered;
  if (snapshot !== null) expect(storage.readPart(snapshot.index, 1)).toEqual(partsOf(snapshot.index, 2, 600)[1]!);
}

/** One run: the script cut after `events` events, then recovery, then a power cut, then recovery. False: it was over before. */
async function cutAfter(events: number, scriptSeed: number, fateSeed: number): Promise<boolean> {
  const where = `script ${scriptSeed}, cut after ${events} events, fate ${fateSeed}`;
  const bench = createSimBench(fateSeed);
  const fate = seededRandom(fateSeed);
  const progress: Progress = { state: NOTHING, pending: null, finished: false };
  const first = await bench.open();
  if (first instanceof RaftqError) throw first;
  runScript(bench, first, progress, 40, seededRandom(scriptSeed));
  for (let step = 0; step < events && !progress.finished; step++) bench.scheduler.step();
  crash(bench, fate);
  const second = await recover(bench, fate);
  const allowed = progress.pending === null ? [progress.state] : during(progress.state, progress.pending);
  check(second, allowed, where);
  // Reported is acknowledged: it must not have been in the page cache only.
  bench.powerCut();
  check(await recover(bench, fate), [stateOf(second.recovered)], `${where}, second recovery`);
  expect(bench.failures).toEqual([]);
  return !progress.finished;
}

test(
  "a crash at any event of a script loses nothing acknowledged",
  async () => {
    let events = 0;
    let fate = 0;
    while (await cutAfter(events, 1, fate++)) events++;
    expect(events).toBeGreaterThan(250);
  },
  LONG_TEST_MS,
);

test("a crash of any kind during the founding of a directory leaves one that opens", async () => {
  for (let fateSeed = 0; fateSeed < 400; fateSeed++) {
    const bench = createSimBench(fateSeed);
    const storage = await recover(bench, seededRandom(fateSeed));
    expect(storage.recovered.entries).toEqual([]);
    expect(storage.recovered.hadData).toBe(false);
  }
});

/** Writes from time to time: with pauses that are long enough for a record of the durable frame, and for more than a second with none. */
function runPauses(bench: SimBench, storage: Storage, progress: Progress, pauses: readonly number[]): void {
  const next = (at: number): void => {
    const pause = pauses[at];
    if (pause === undefined) {
      progress.finished = true;
      return;
    }
    progress.pending = batch({ entries: entries(at + 1, at + 1) });
    storage.persist(progress.pending, () => {
      progress.state = after(progress.state, batch({ entries: entries(at + 1, at + 1) }));
      progress.pending = null;
      bench.after(pause, () => next(at + 1));
    });
  };
  next(0);
}

for (const [name, pauses, from] of [
  ["after the quiet", [80, 52, 53, 54, 80], 0],
  ["once a second", Array.from({ length: 42 }, () => 25), 900],
] as const) {
  test(
    `a crash at any event while meta names the newest frame ${name} is no damage, and loses nothing acknowledged`,
    async () => {
      let cuts = 0;
      let named = 0;
      for (let isOver = false, events = 0; !isOver; events++) {
        for (let fateSeed = 1; fateSeed <= 6; fateSeed++) {
          const bench = createSimBench(fateSeed);
          const progress: Progress = { state: NOTHING, pending: null, finished: false };
          const storage = await bench.open();
          if (storage instanceof RaftqError) throw storage;
          const begins = bench.scheduler.now() + from;
          runPauses(bench, storage, progress, pauses);
          while (bench.scheduler.now() < begins && bench.scheduler.step());
          for (let step = 0; step < events && !progress.finished; step++) bench.scheduler.step();
          isOver = progress.finished;
          if (fateSeed % 2 === 0) bench.powerCut();
          else bench.kill();
          const meta = readMeta({ read: bench.read }, STORAGE.formatVersion)?.meta;
          if ((meta?.durableFrame ?? 0) > FIRST_FRAME) named++;
          const where = `${name}, cut after ${events} events, fate ${fateSeed}`;
          const again = await bench.open();
          if (again instanceof RaftqError) throw new Error(`${where}: ${again.message}`);
          const allowed = progress.pending === null ? [progress.state] : during(progress.state, progress.pending);
          check(again, allowed, where);
          bench.powerCut();
          const last = await bench.open();
          if (last instanceof RaftqError) throw new Error(`${where}, second start: ${last.message}`);
          check(last, [stateOf(again.recovered)], where);
          cuts++;
        }
      }
      // Some cuts come before it, and some behind it.
      expect(named).toBeGreaterThan(20);
      expect(named).toBeLessThan(cuts);
    },
    LONG_TEST_MS,
  );
}

test(
  "many lives, each cut at a random moment, lose nothing acknowledged",
  async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = seededRandom(seed);
      const bench = createSimBench(seed);
      let allowed: readonly Expected[] = [NOTHING];
      for (let life = 0; life < 6; life++) {
        const storage = await recover(bench, random);
        check(storage, allowed, `seed ${seed}, life ${life}`);
        const progress: Progress = { state: stateOf(storage.recovered), pending: null, finished: false };
        runScript(bench, storage, progress, 60, random.fork());
        for (let events = random.below(400); events > 0 && !progress.finished; events--) bench.scheduler.step();
        crash(bench, random);
        allowed = progress.pending === null ? [progress.state] : during(progress.state, progress.pending);
      }
      expect(bench.failures).toEqual([]);
    }
  },
  LONG_TEST_MS,
);

test(
  "a kill while one meta slot is written and a power cut while recovery writes them again never damage both",
  async () => {
    for (const killAt of [1, 3, 4]) {
      for (let cutAt = 14; cutAt < 22; cutAt++) {
        for (let fateSeed = 0; fateSeed < 50; fateSeed++) {
          const bench = createSimBench(fateSeed);
          const storage = await bench.open();
          if (storage instanceof RaftqError) throw storage;
          await bench.call((done) => storage.persist(batch({ hardState: hardState(4, VOTE) }), done));
          storage.persist(batch({ hardState: hardState(5, VOTE) }), () => undefined);
          bench.pass(20);
          // The next one is cut while slot A or B is written or synced.
          storage.persist(batch({ hardState: hardState(6) }), () => undefined);
          for (let events = killAt; events > 0; events--) bench.scheduler.step();
          bench.kill();
          bench.beginOpen();
          for (let events = cutAt; events > 0; events--) bench.scheduler.step();
          bench.powerCut();
          const again = await bench.open();
          if (again instanceof RaftqError) throw again;
          expect(again.recovered.hardState.currentTerm).toBeGreaterThanOrEqual(killAt === 4 ? 6 : 5);
        }
      }
    }
  },
  LONG_TEST_MS,
);
