// Does a node whose data are damaged come back right, whenever it is cut short? Nothing of the damaged data is touched before the
// others have agreed; then they are set aside whole, and the new incarnation begins with nothing.
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/lib/random.ts";
import type { ClusterId, Incarnation, NodeId } from "../../src/raft/types.ts";
import { encodeAtomicFile } from "../../src/storage/rejoin/atomic-file.ts";
import { openDistrusted, openStorage } from "../../src/storage/open.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import type { Damaged, Opened, Storage } from "../../src/storage/types.ts";
import {
  close,
  createSimBench,
  entries,
  hardState,
  KiB,
  N1,
  N2,
  opened,
  persist,
  refused,
  saveAndCount,
  settings,
  type SimBench,
  snapshotMeta,
  VOTE,
} from "../kit/test-storage.ts";

const CLUSTER = "00112233445566aa" as ClusterId;
const OTHERS = ["127.0.0.1:3001", "127.0.0.1:3002"];

/** The incarnation drawn in a life: each draws another one. */
const drawn = (life: number): Incarnation => life.toString(16).padStart(16, "0") as Incarnation;

/** A member's directory with a log, a snapshot and contacts, and then one bit flipped in the middle of its log. */
async function damagedDirectory(seed: number, contacts = true): Promise<SimBench> {
  const bench = createSimBench(seed);
  const storage = await opened(bench);
  await bench.call((done) => storage.setCluster(CLUSTER, () => done(undefined)));
  await persist(bench, storage, { hardState: hardState(2, VOTE), entries: entries(1, 30, 1, KiB) });
  await saveAndCount(bench, storage, snapshotMeta(20), 10);
  await persist(bench, storage, { entries: entries(31, 33) });
  if (contacts) storage.recordKnownMembers(OTHERS);
  bench.pass(100);
  await close(bench, storage);
  bench.kill();
  const log = bench.disk.files().find((file) => file.endsWith(".seg"))!;
  bench.disk.flipBit(log, 3 * 4096 + 40, 2);
  return bench;
}

type Files = ReadonlyMap<string, Uint8Array>;
const isData = (file: string): boolean => file === "meta" || file.startsWith("g0/");

function filesUnder(bench: SimBench, prefix: string): Files {
  const files = bench.disk.files().filter((file) => file.startsWith(prefix));
  return new Map(files.map((file) => [file.slice(prefix.length), bench.disk.cached(file)!.slice()]));
}
const dataOf = (bench: SimBench): Files => new Map([...filesUnder(bench, "")].filter(([file]) => isData(file)));

function quarantined(bench: SimBench): string[] {
  const names = bench.disk.files().filter((file) => file.startsWith("damaged-"));
  return [...new Set(names.map((file) => file.slice(0, file.indexOf("/"))))];
}

/** How far one life has come. */
interface Progress {
  recorded: Incarnation | null;
  agreed: boolean;
  storage: Storage | null;
  error: RaftqError | null;
}

/** One life of a node whose others agree at once: open, record, quarantine. Everything happens in the scheduler's events. */
function live(bench: SimBench, life: number): Progress {
  const progress: Progress = { recorded: null, agreed: false, storage: null, error: null };
  const own = { ...settings(bench, bench.after, {}), newIncarnation: drawn(life) };
  const took = (result: Opened): void => {
    if (result.ok) progress.storage = result.storage;
    else if (result.damaged === null) progress.error = result.error;
    else comeBack(result.damaged);
  };
  const comeBack = (damaged: Damaged): void => {
    expect(damaged.clusterId).toBe(CLUSTER);
    expect(damaged.addresses).toEqual(OTHERS);
    damaged.recordIncarnation((error) => {
      if (error !== null) throw error;
      progress.recorded = damaged.incarnation;
      progress.agreed = true;
      damaged.quarantineAndReopen(CLUSTER, took);
    });
  };
  openStorage(bench.disk.restart(), own, took);
  return progress;
}

/** Runs to the end of the life. */
function settle(bench: SimBench, progress: Progress): Storage {
  while (progress.storage === null && progress.error === null && bench.scheduler.step());
  if (progress.storage === null) throw progress.error ?? new Error("this life never ended");
  return progress.storage;
}

function expectFresh(storage: Storage, incarnation: Incarnation): void {
  const { recovered } = storage;
  expect(recovered.identity).toEqual({ nodeId: N1, incarnation, clusterId: CLUSTER });
  expect(recovered.entries).toEqual([]);
  expect(recovered.snapshot).toBeNull();
  expect(recovered.hardState).toEqual({ currentTerm: 0, votedFor: null });
  expect(recovered.hadData).toBe(true);
}

test("damaged data are set aside whole, and the new incarnation begins with nothing and knows its cluster", async () => {
  const bench = await damagedDirectory(1);
  const before = dataOf(bench);
  const storage = settle(bench, live(bench, 7));
  expectFresh(storage, drawn(7));
  expect(filesUnder(bench, "damaged-1/")).toEqual(before);
  await persist(bench, storage, { hardState: hardState(3), entries: entries(1, 3) });
  bench.powerCut();
  const again = settle(bench, live(bench, 8));
  expect(again.recovered.identity.incarnation).toBe(drawn(7));
  expect(again.recovered.entries.length).toBe(3);
});

test("a crash at any event of the way back changes nothing too early, forgets no incarnation and comes out right", async () => {
  let inPlace = 0;
  let moved = 0;
  for (const end of ["kill", "powerCut"] as const) {
    for (let events = 0; ; events++) {
      const bench = await damagedDirectory(events + 1);
      const before = dataOf(bench);
      const first = live(bench, 1);
      for (let left = events; left > 0 && first.storage === null; left--) bench.scheduler.step();
      const over = first.storage !== null;
      bench[end]();
      if (!first.agreed) {
        expect(dataOf(bench)).toEqual(before);
        inPlace++;
      } else moved++;
      const second = live(bench, 2);
      const storage = settle(bench, second);
      // Declared: the others may know it, so it must be the one that comes back.
      if (first.recorded !== null) expect(storage.recovered.identity.incarnation).toBe(drawn(1));
      else expect([drawn(1), drawn(2)]).toContain(storage.recovered.identity.incarnation);
      expectFresh(storage, storage.recovered.identity.incarnation);
      expect(quarantined(bench)).toEqual(["damaged-1"]);
      expect(filesUnder(bench, "damaged-1/")).toEqual(before);
      expect(bench.disk.files()).not.toContain("rejoin");
      if (over) break;
    }
  }
  expect(inPlace).toBeGreaterThan(10);
  expect(moved).toBeGreaterThan(60);
});

test("crashes again and again on the way back never lose the damaged data and never bring back the old log", async () => {
  for (let round = 0; round < 60; round++) {
    const bench = await damagedDirectory(1_000 + round);
    const before = dataOf(bench);
    const chance = seededRandom(round);
    let recorded: Incarnation | null = null;
    for (let life = 1; life <= 4; life++) {
      const progress = live(bench, life);
      for (let left = chance.below(40); left > 0 && progress.storage === null; left--) bench.scheduler.step();
      recorded ??= progress.recorded;
      bench[chance.chance(50) ? "kill" : "powerCut"]();
    }
    const storage = settle(bench, live(bench, 9));
    if (recorded !== null) expect(storage.recovered.identity.incarnation).toBe(recorded);
    expectFresh(storage, storage.recovered.identity.incarnation);
    expect(quarantined(bench)).toEqual(["damaged-1"]);
    expect(filesUnder(bench, "damaged-1/")).toEqual(before);
  }
});

test("a failing write or sync on the way back ends it with a named error, and the next start goes on", async () => {
  for (const operation of ["write", "sync", "create"] as const) {
    let failed = 0;
    for (let nth = 1; ; nth++) {
      const bench = await damagedDirectory(nth);
      const before = dataOf(bench);
      bench.disk.fail(operation, nth);
      const first = live(bench, 1);
      let thrown: unknown = null;
      try {
        settle(bench, first);
      } catch (error) {
        thrown = error;
      }
      bench.kill();
      const storage = settle(bench, live(bench, 2));
      if (first.recorded !== null) expect(storage.recovered.identity.incarnation).toBe(drawn(1));
      expect(filesUnder(bench, "damaged-1/")).toEqual(before);
      if (thrown === null) break;
      failed++;
    }
    expect(failed).toBeGreaterThan(2);
  }
});

test("only the newest damaged data are kept, and what a person put beside them does not stand in the way", async () => {
  const bench = await damagedDirectory(1);
  settle(bench, live(bench, 1));
  for (const life of [2, 3]) {
    bench.kill();
    const log = bench.disk.files().find((file) => file.startsWith("g0/log/"))!;
    bench.disk.truncate(log, 100);
    expectFresh(settle(bench, live(bench, life)), drawn(life));
    expect(quarantined(bench)).toEqual([`damaged-${life}`]);
  }
  const port = bench.disk.restart();
  await bench.call<void>((done) => port.create("damaged-3/notes.txt", 10, () => done()));
  bench.kill();
  bench.disk.truncate("meta", 5_000);
  bench.disk.flipBit("meta", 100, 0);
  expectFresh(settle(bench, live(bench, 4)), drawn(4));
  expect(quarantined(bench)).toEqual(["damaged-3", "damaged-4"]);
});

test("damaged data of an earlier time go when there is no room for a file on the way back, and then it goes on", async () => {
  // The notes that it asks, that the others agreed, that the data are moved; the first segment; meta; and what comes behind.
  for (let nth = 1; nth <= 8; nth++) {
    const bench = await damagedDirectory(nth);
    settle(bench, live(bench, 1));
    bench.kill();
    const [log, earlier] = ["g0/log/", "damaged-1/g0/log/"].map((prefix) => [...filesUnder(bench, prefix).keys()][0]!);
    bench.disk.truncate(`g0/log/${log}`, 100);
    bench.disk.fail("create", nth, "ENOSPC");
    expectFresh(settle(bench, live(bench, 2)), drawn(2));
    expect(bench.disk.files().filter((file) => file.endsWith(earlier!))).toEqual([]);
    // The newest go only when there is no room for them either.
    if (nth <= 2) expect(bench.disk.files().some((file) => /^damaged-.*meta$/.test(file))).toBe(true);
  }
});

test("a directory that was judged while it ran takes the same way, however well it reads", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await bench.call((done) => storage.setCluster(CLUSTER, () => done(undefined)));
  await persist(bench, storage, { entries: entries(1, 5) });
  await close(bench, storage);
  const found = new RaftqError("STALE_DISK", "it forgot entry 6");
  const own = { ...settings(bench, bench.after, {}), newIncarnation: drawn(5) };
  const result = await bench.call<Opened>((done) => openDistrusted(bench.disk.restart(), own, found, done));
  if (result.ok || result.damaged === null) throw new Error("it was trusted");
  const { damaged } = result;
  expect(result.error).toBe(found);
  await bench.call((done) => damaged.recordIncarnation(done));
  bench.powerCut();
  // What was recorded stays recorded, also after a crash.
  const error = await refused(bench);
  expect(error.message).toContain("it forgot entry 6");
});

test("a directory that ever held data is known for it, whatever is deleted in it", async () => {
  for (const gone of [
    ["meta", "g0"],
    ["meta", "g0", "rejoin"],
  ]) {
    const bench = await damagedDirectory(3);
    if (gone.includes("rejoin")) settle(bench, live(bench, 1));
    bench.kill();
    for (const file of bench.disk.files()) {
      if (gone.some((name) => file === name || file.startsWith(`${name}/`))) bench.disk.delete(file);
    }
    const storage = await opened(bench);
    expect(storage.recovered.identity.clusterId).toBeNull();
    expect(storage.recovered.hadData).toBe(true);
    expect(storage.recovered.knownMembers).toEqual({ nodeId: N1, clusterId: CLUSTER, addresses: OTHERS });
  }
});

test("an unreadable note on the way back is not believed, and the data are judged again", async () => {
  for (const at of [0, 9, 13, 20, 40]) {
    const bench = await damagedDirectory(at);
    const before = dataOf(bench);
    const first = live(bench, 1);
    while (first.recorded === null) bench.scheduler.step();
    bench.kill();
    bench.disk.flipBit("rejoin", at, 3);
    const storage = settle(bench, live(bench, 2));
    expectFresh(storage, drawn(2));
    expect(filesUnder(bench, "damaged-1/")).toEqual(before);
  }
});

test("a note of a newer format is refused on the way back, and so are contacts of one", async () => {
  const bench = await damagedDirectory(1);
  const first = live(bench, 1);
  while (first.recorded === null) bench.scheduler.step();
  bench.kill();
  for (const [file, magic] of [
    ["rejoin", "raftqrej"],
    ["contacts", "raftqcon"],
  ] as const)
    bench.disk.overwrite(file, 0, encodeAtomicFile(magic, bench.disk.cached(file)!.slice(16), 99));
  for (const file of ["rejoin", "contacts"]) {
    const error = await refused(bench);
    expect([error.code, error.message]).toEqual(["NEWER_FORMAT", expect.stringContaining(`${file} has format`)]);
    bench.disk.delete(file);
  }
  expect((await refused(bench)).code).toBe("CORRUPT");
});

test("closing waits for contacts that are being written", async () => {
  const bench = createSimBench();
  const storage = await opened(bench);
  await bench.call((done) => storage.setCluster(CLUSTER, () => done(undefined)));
  storage.recordKnownMembers(OTHERS);
  await close(bench, storage);
  bench.powerCut();
  expect((await opened(bench)).recovered.knownMembers?.addresses).toEqual(OTHERS);
});

test("unreadable contacts name nobody, and meta still names the cluster", async () => {
  for (const at of [3, 10, 14, 30]) {
    const bench = await damagedDirectory(1);
    bench.disk.flipBit("contacts", at, 1);
    const result = await bench.call<Opened>((done) =>
      openStorage(bench.disk.restart(), settings(bench, bench.after, {}), done),
    );
    if (result.ok || result.damaged === null) throw new Error("it was trusted");
    expect({ cluster: result.damaged.clusterId, addresses: result.damaged.addresses }).toEqual({
      cluster: CLUSTER,
      addresses: [],
    });
  }
});

test("the directory of another node is refused, not repaired: also when only a note still names its owner", async () => {
  const foreign = { nodeId: N2 as NodeId };
  const bench = await damagedDirectory(1);
  const before = filesUnder(bench, "");
  expect((await refused(bench, foreign)).code).toBe("FOREIGN_DIRECTORY");
  for (const slot of [0, 4096]) bench.disk.flipBit("meta", slot + 30, 1);
  expect((await refused(bench, foreign)).code).toBe("FOREIGN_DIRECTORY");
  expect((await refused(bench)).code).toBe("CORRUPT");
  for (const slot of [0, 4096]) bench.disk.flipBit("meta", slot + 30, 1);
  expect(filesUnder(bench, "")).toEqual(before);
  const first = live(bench, 1);
  while (first.recorded === null) bench.scheduler.step();
  bench.kill();
  expect((await refused(bench, foreign)).code).toBe("FOREIGN_DIRECTORY");
});

test("without room for its notes it ends with DISK_FULL, whenever that is, and goes on from there when there is room", async () => {
  for (const stage of ["record", "quarantine"] as const) {
    const bench = await damagedDirectory(1);
    const before = dataOf(bench);
    const result = await bench.call<Opened>((done) =>
      openStorage(bench.disk.restart(), { ...settings(bench, bench.after, {}), newIncarnation: drawn(1) }, done),
    );
    if (result.ok || result.damaged === null) throw new Error("it was trusted");
    const { damaged } = result;
    if (stage === "quarantine") await bench.call((done) => damaged.recordIncarnation(() => done(undefined)));
    bench.disk.leave(0);
    const error =
      stage === "record"
        ? await bench.call<RaftqError | null>((done) => damaged.recordIncarnation(done))
        : await bench.call<RaftqError | null>((done) =>
            damaged.quarantineAndReopen(CLUSTER, (opening) => done(opening.ok ? null : opening.error)),
          );
    expect([error?.code, error?.message]).toEqual(["DISK_FULL", expect.stringContaining("ENOSPC: rejoin.new")]);
    if (stage === "record") damaged.unlock();
    expect(dataOf(bench)).toEqual(before);
    bench.kill();
    bench.disk.leave(Infinity);
    expectFresh(settle(bench, live(bench, 2)), stage === "record" ? drawn(2) : drawn(1));
    expect(filesUnder(bench, "damaged-1/")).toEqual(before);
  }
});

test("a file that somebody put into set-aside data does not keep a tight disk busy", async () => {
  const bench = createSimBench();
  const disk = bench.disk.restart();
  await bench.call<void>((done) => disk.makeDirectory("damaged-1", () => done()));
  await bench.call<void>((done) =>
    disk.create("damaged-1/notes.txt", 10, (_, file) => {
      disk.close(file!);
      done();
    }),
  );
  let asked = 0;
  // As server/disk-watermarks.ts does on a tight disk: whenever the space changed, it measures, and then drops what was set aside.
  const storage = await opened(bench, {
    onSpaceChanged: () => {
      asked++;
      if (asked < 1_000) bench.after(0, () => storage.reclaimSpace());
    },
  } as never);
  bench.pass(100);
  const before = asked;
  storage.reclaimSpace();
  bench.pass(1_000);
  expect(asked - before).toBeLessThan(5);
});
