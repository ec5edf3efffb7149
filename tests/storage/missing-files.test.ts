// Is it noticed that somebody deletes or replaces a node's files while they are open? Writes go on into what has no name any more, so
// only a check finds it; what the node itself renames, removes and uses again is not reported.
import { expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { RaftqError } from "../../src/lib/errors.ts";
import type { Storage } from "../../src/storage/types.ts";
import {
  batch,
  type Bench,
  close,
  createRealBench,
  createSimBench,
  entries,
  hardState,
  KiB,
  opened,
  persist,
  saveAndCount,
  type RealBench,
  type SimBench,
  SMALL_SEGMENT,
  snapshotMeta,
} from "../kit/test-storage.ts";

/** A log of several segments, the first of them from an earlier life, and a snapshot that counts. */
async function running(bench: Bench): Promise<Storage> {
  const first = await opened(bench);
  await persist(bench, first, { hardState: hardState(1), entries: entries(1, 10) });
  await close(bench, first);
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(11, 30, 1, 2 * KiB) });
  await saveAndCount(bench, storage, snapshotMeta(8), 1);
  await persist(bench, storage, { entries: entries(31, 50, 1, 2 * KiB) });
  return storage;
}

/** As a node does, but more often. A file of the real disk may still be in the making. */
async function lookUntilLost(bench: Bench, storage: Storage): Promise<void> {
  if ("pass" in bench) {
    storage.checkFiles();
    return (bench as SimBench).pass(10);
  }
  while (bench.failures.length === 0) {
    storage.checkFiles();
    await Bun.sleep(1);
  }
}

function expectLost(bench: Bench, missing: string): void {
  const [failure] = bench.failures;
  expect(bench.failures.length).toBe(1);
  expect(failure instanceof RaftqError ? failure.code : failure).toBe("DISK_FAILED");
  expect(failure?.message).toContain("the data directory was deleted or replaced while the node ran");
  expect(failure?.message).toContain(missing);
}

/** Nothing is acknowledged any more, and closing writes nothing. */
async function expectSilent(bench: Bench, storage: Storage): Promise<void> {
  let acknowledged = false;
  storage.persist(batch({ entries: entries(51, 52) }), () => (acknowledged = true));
  await close(bench, storage);
  expect(acknowledged).toBe(false);
}

const logFiles = (files: readonly string[]): string[] => files.filter((file) => file.startsWith("g0/log/"));
const LOST: readonly (readonly [string, (files: readonly string[]) => string])[] = [
  ["meta", () => "meta"],
  ["the oldest segment", (files) => logFiles(files)[0]!],
  ["the segment that is written", (files) => logFiles(files).at(-2)!],
  ["the segment that was made ahead", (files) => logFiles(files).at(-1)!],
  ["the manifest", (files) => files.find((file) => file.endsWith("manifest"))!],
  ["a part of the snapshot", (files) => files.find((file) => file.endsWith("part-000001"))!],
];

test.each(LOST)("the simulated disk: when %s is deleted, the next look ends all acknowledging", async (_, choose) => {
  const bench = createSimBench();
  const storage = await running(bench);
  storage.checkFiles();
  bench.pass(10);
  expect(bench.failures).toEqual([]);
  const file = choose(bench.disk.files());
  bench.disk.delete(file);
  await lookUntilLost(bench, storage);
  expectLost(bench, file);
  await expectSilent(bench, storage);
});

const filesIn = (directory: string): string[] =>
  fs
    .readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => fs.statSync(path.join(directory, name)).isFile())
    .toSorted();

test.each(LOST)("the real disk: when %s is deleted, the next look ends all acknowledging", async (_, choose) => {
  using bench = createRealBench();
  const storage = await running(bench);
  const file = path.join(bench.directory, choose(filesIn(bench.directory)));
  fs.rmSync(file);
  await lookUntilLost(bench, storage);
  expectLost(bench, file);
  await expectSilent(bench, storage);
});

/** A directory or file is deleted, or another one with the same content is put in its place. */
const STRIKES: readonly (readonly [string, (directory: string) => void])[] = [
  ["all of the directory is deleted", (directory) => fs.rmSync(directory, { recursive: true })],
  [
    "the directory is emptied",
    (directory) =>
      fs.readdirSync(directory).forEach((name) => fs.rmSync(path.join(directory, name), { recursive: true })),
  ],
  ["the directory is moved away", (directory) => fs.renameSync(directory, `${directory}-moved`)],
  ["a copy is put in place of the directory", (directory) => replaceByCopy(directory)],
  [
    "a file is put in place of the directory",
    (directory) => (fs.rmSync(directory, { recursive: true }), fs.writeFileSync(directory, "")),
  ],
  ["g0 is deleted", (directory) => fs.rmSync(path.join(directory, "g0"), { recursive: true })],
  ["a copy is put in place of g0", (directory) => replaceByCopy(path.join(directory, "g0"))],
  ["the log's directory is deleted", (directory) => fs.rmSync(path.join(directory, "g0/log"), { recursive: true })],
  ["the snapshots are deleted", (directory) => fs.rmSync(path.join(directory, "g0/snapshot"), { recursive: true })],
  ["a copy is put in place of meta", (directory) => replaceByCopy(path.join(directory, "meta"))],
];

function replaceByCopy(target: string): void {
  fs.renameSync(target, `${target}.moved`);
  fs.cpSync(`${target}.moved`, target, { recursive: true });
}

/** Of everything that has a name now. */
const contentsOf = (root: string): ReadonlyMap<string, string> =>
  new Map(filesIn(root).map((file) => [file, Bun.hash(fs.readFileSync(path.join(root, file))).toString()]));

/** The segment that is made ahead is whole, so that nothing is under way: as many as on the simulated disk, where time passes at once. */
async function untilSegmentsAreMade(bench: RealBench): Promise<void> {
  const simulated = createSimBench();
  await running(simulated);
  simulated.pass(1_000);
  const count = logFiles(simulated.disk.files()).length;
  const made = (): boolean => {
    const files = logFiles(filesIn(bench.directory));
    const [newest = ""] = files.slice(-1);
    const start = fs.readFileSync(path.join(bench.directory, newest)).toString("latin1", 0, 8);
    return files.length === count && start === "raftqseg";
  };
  while (!made()) await Bun.sleep(1);
}

test.each(STRIKES)(
  "the real disk: when %s, the next look ends all acknowledging, and nothing is written there",
  async (_, strike) => {
    using bench = createRealBench();
    const storage = await running(bench);
    await untilSegmentsAreMade(bench);
    strike(bench.directory);
    await lookUntilLost(bench, storage);
    expectLost(bench, bench.directory);
    const root = path.dirname(bench.directory);
    const before = contentsOf(root);
    await expectSilent(bench, storage);
    const after = contentsOf(root);
    // Only the claim on the directory is taken back.
    for (const [file, hash] of before)
      if (!file.includes("LOCK/")) expect([file, after.get(file)]).toEqual([file, hash]);
    expect([...after.keys()].filter((file) => !before.has(file))).toEqual([]);
  },
);

test("a write that meets the missing directory before the next look ends by the same name", async () => {
  for (const bench of [createSimBench(), createRealBench()]) {
    const storage = await running(bench);
    if ("disk" in bench) bench.disk.restore(new Map());
    else fs.renameSync(bench.directory, `${bench.directory}-moved`);
    let from = 51;
    const fill = (): void => {
      storage.persist(batch({ entries: entries(from, (from += 10) - 1, 1, 2 * KiB) }), fill);
    };
    fill();
    while (bench.failures.length === 0) {
      if (!("disk" in bench)) await Bun.sleep(1);
      else if (!bench.scheduler.step()) throw new Error("nothing failed");
    }
    expectLost(bench, "ENOENT");
    if (!("disk" in bench)) bench[Symbol.dispose]();
  }
});

/** Segments fill, snapshots count and go, files are used again, and with every step the disk is looked at. */
async function expectNoAlarm(bench: Bench): Promise<void> {
  for (let start = 0, from = 1; start < 3; start++) {
    const storage = await opened(bench, { segmentBytes: SMALL_SEGMENT });
    for (let round = 0; round < 12; round++, from += 10) {
      storage.checkFiles();
      await persist(bench, storage, { entries: entries(from, from + 9, 1, 2 * KiB) });
      storage.checkFiles();
      if (round % 3 === 2) await saveAndCount(bench, storage, snapshotMeta(from + 5), from + 5);
      storage.checkFiles();
    }
    await close(bench, storage);
    expect(bench.failures).toEqual([]);
  }
}

test("the simulated disk: what the node itself makes, renames and deletes is never taken for it", async () => {
  for (let seed = 1; seed <= 20; seed++) await expectNoAlarm(createSimBench(seed));
});

test("the real disk: what the node itself makes, renames and deletes is never taken for it", async () => {
  using bench = createRealBench();
  await expectNoAlarm(bench);
});
