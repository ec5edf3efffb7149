// Is the simulated disk as bad as a real one may be, and no worse? A test of the tests.
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/lib/random.ts";
import type { DiskFile } from "../../src/storage/disk.ts";
import { createSimDisk, type SimDisk, type SimPort } from "./simulated-disk.ts";
import { createScheduler, runAll, type Scheduler } from "./scheduler.ts";

interface World {
  readonly scheduler: Scheduler;
  readonly disk: SimDisk;
  readonly port: SimPort;
  readonly run: () => void;
}

function createWorld(seed: number): World {
  const scheduler = createScheduler();
  const disk = createSimDisk(scheduler, seededRandom(seed), {
    operationMaxMs: 1,
    slowSyncPercent: 10,
    slowSyncMaxMs: 50,
  });
  return {
    scheduler,
    disk,
    port: disk.restart(),
    run: () => runAll(scheduler),
  };
}

function created({ port, run }: World, path: string, size: number): DiskFile {
  let made: DiskFile | null = null;
  port.create(path, size, (_, file) => {
    made = file;
  });
  run();
  return (made as DiskFile | null) ?? expect.unreachable(`${path} was not created`);
}

const ignore = (): void => undefined;
const OLD = new Uint8Array(4_096).fill(1);
const NEW = new Uint8Array(4_096).fill(2);

test("a callback never comes from inside the call", () => {
  const world = createWorld(1);
  let called = false;
  world.port.makeDirectory("a", () => {
    called = true;
  });
  expect(called).toBe(false);
  world.run();
  expect(called).toBe(true);
});

test("a write that is done, in a synced directory, outlives every power cut", () => {
  for (let seed = 0; seed < 50; seed++) {
    const world = createWorld(seed);
    const file = created(world, "f", 4_096);
    world.port.write(file, 0, OLD, () => world.port.syncDirectory(".", ignore));
    world.run();
    world.port.writeCached(file, 0, NEW.subarray(0, 10), ignore);
    world.run();
    world.disk.powerCut();
    expect(world.disk.restart().read("f")?.subarray(10)).toEqual(OLD.subarray(10));
  }
});

test("an unsynced write is kept, lost, cut short or torn by sectors", () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const world = createWorld(seed);
    const file = created(world, "f", 4_096);
    world.port.write(file, 0, OLD, () => world.port.syncDirectory(".", ignore));
    world.run();
    world.port.writeCached(file, 0, NEW, ignore);
    world.run();
    expect(world.port.read("f")).toEqual(NEW);
    world.disk.powerCut();
    const left = world.disk.restart().read("f")!;
    const changed = left.filter((byte) => byte === 2).length;
    const prefix = left.subarray(0, changed).every((byte) => byte === 2);
    seen.add(changed === 0 ? "lost" : changed === 4_096 ? "kept" : prefix ? "cut short" : "torn");
  }
  expect([...seen].sort()).toEqual(["cut short", "kept", "lost", "torn"]);
});

test("a kill leaves completed writes readable and only a power cut takes them", () => {
  const world = createWorld(3);
  const file = created(world, "f", 4_096);
  world.port.syncDirectory(".", ignore);
  world.port.writeCached(file, 0, NEW, ignore);
  world.run();
  world.disk.kill();
  expect(world.disk.restart().read("f")).toEqual(NEW);
  expect(world.disk.durable("f")).toEqual(new Uint8Array(4_096));
});

test("after a kill no callback of the old life comes", () => {
  for (const end of ["kill", "powerCut"] as const) {
    const world = createWorld(4);
    const file = created(world, "f", 4_096);
    let called = 0;
    const count = (): void => {
      called++;
    };
    world.port.write(file, 0, NEW, count);
    world.port.writeCached(file, 0, NEW, count);
    world.port.sync(file, count);
    world.port.create("g", 10, count);
    world.port.syncDirectory(".", count);
    world.disk[end]();
    world.run();
    expect(called).toBe(0);
  }
});

test("names made without a directory sync may vanish, and with one they stay", () => {
  const fates = new Set<string>();
  for (let seed = 0; seed < 100; seed++) {
    const world = createWorld(seed);
    created(world, "synced", 1);
    world.port.syncDirectory(".", ignore);
    world.run();
    created(world, "a", 1);
    world.port.rename("synced", "renamed", ignore);
    world.run();
    world.disk.powerCut();
    const names = world.disk.files();
    expect(names.filter((name) => name === "synced" || name === "renamed")).toHaveLength(1);
    fates.add(names.join(" "));
  }
  expect([...fates].sort()).toEqual(["a renamed", "a synced", "renamed", "synced"]);
});

test("what a failed sync covered is readable, and never made durable by a later sync", () => {
  for (let seed = 0; seed < 50; seed++) {
    const world = createWorld(seed);
    const file = created(world, "f", 4_096);
    world.port.syncDirectory(".", ignore);
    world.run();
    world.disk.fail("sync", 1);
    const errors: (Error | null)[] = [];
    if (seed % 2 === 0) world.port.write(file, 0, NEW, (error) => errors.push(error));
    else world.port.writeCached(file, 0, NEW, () => world.port.sync(file, (error) => errors.push(error)));
    world.run();
    expect(world.disk.cached("f")).toEqual(NEW);
    world.port.sync(file, (error) => errors.push(error));
    world.run();
    expect(errors.map((error) => error?.message ?? null)).toEqual(["injected: this sync failed", null]);
    expect(world.disk.durable("f")).toEqual(new Uint8Array(4_096));
  }
});

test("a write has not begun, is in the page cache only, or is durable: it is done in the last case, and reported once", () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 20; seed++) {
    const world = createWorld(seed);
    const file = created(world, "f", 4_096);
    world.port.syncDirectory(".", ignore);
    world.run();
    let reports = 0;
    world.port.write(file, 0, NEW, () => reports++);
    do {
      const isCached = world.disk.cached("f")?.[0] === 2;
      const isDurable = world.disk.durable("f")?.[0] === 2;
      seen.add(`${isDurable ? "durable" : isCached ? "cached" : "not begun"}, reports ${reports}`);
    } while (world.scheduler.step());
    expect([world.disk.durable("f")?.[0], reports]).toEqual([2, 1]);
  }
  expect([...seen].sort()).toEqual(["cached, reports 0", "durable, reports 1", "not begun, reports 0"]);
});

test("a write makes nothing durable but itself", () => {
  const world = createWorld(9);
  const file = created(world, "f", 30);
  world.port.syncDirectory(".", ignore);
  world.port.writeCached(file, 0, NEW.subarray(0, 12), ignore);
  world.run();
  world.port.write(file, 10, OLD.subarray(0, 10), ignore);
  world.run();
  expect([...(world.disk.durable("f") ?? [])].map(String).join("")).toBe("000000000011111111110000000000");
});

test("a power cut never brings back what lay under a write that is done", () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const world = createWorld(seed);
    const file = created(world, "f", 3);
    world.port.syncDirectory(".", ignore);
    world.run();
    if (seed % 2 === 0) world.port.writeCached(file, 0, OLD.subarray(0, 3), ignore);
    else {
      world.disk.fail("sync", 1);
      world.port.write(file, 0, OLD.subarray(0, 3), ignore);
    }
    world.run();
    world.port.write(file, 1, NEW.subarray(0, 1), ignore);
    world.run();
    world.disk.powerCut();
    seen.add([...(world.disk.cached("f") ?? [])].map(String).join(""));
  }
  expect([...seen].sort()).toEqual(["020", "021", "120", "121"]);
});

test("one seed is one run", () => {
  const trace = (seed: number): string => {
    const world = createWorld(seed);
    const lines: string[] = [];
    const note = (what: string) => (): void => void lines.push(`${what} ${world.scheduler.now()}`);
    const file = created(world, "f", 8_192);
    for (let at = 0; at < 20; at++) {
      world.port.write(file, at * 300, NEW.subarray(0, 300), note(`write ${at}`));
      world.port.writeCached(file, at * 300, NEW.subarray(0, 100), note(`write ${at} to the cache`));
      world.port.sync(file, note(`sync ${at}`));
    }
    for (let step = 0; step < 25; step++) world.scheduler.step();
    world.disk.powerCut();
    return `${lines.join("\n")}\n${Bun.hash.crc32(world.disk.cached("f") ?? new Uint8Array(0))}`;
  };
  expect(trace(11)).toBe(trace(11));
  expect(trace(11)).not.toBe(trace(12));
});

test("a write that fails may have written some of its bytes, from the first one on", () => {
  const lengths = new Set<number>();
  for (let seed = 0; seed < 50; seed++) {
    const world = createWorld(seed);
    const file = created(world, "f", 4_096);
    world.disk.fail("write", 1);
    const errors: (Error | null)[] = [];
    world.port.write(file, 0, NEW, (error) => errors.push(error));
    world.run();
    expect(errors.map((error) => error?.message)).toEqual(["injected: this write failed"]);
    const bytes = world.disk.cached("f") ?? OLD;
    const written = bytes.indexOf(0) === -1 ? bytes.length : bytes.indexOf(0);
    expect(bytes.subarray(written).every((byte) => byte === 0)).toBe(true);
    lengths.add(written);
  }
  expect(lengths.size).toBeGreaterThan(10);
});

test("a full disk refuses what needs room, may take some of its bytes, and goes on when there is room again", () => {
  const taken = new Set<number>();
  for (let seed = 0; seed < 30; seed++) {
    const world = createWorld(seed);
    const file = created(world, "f", 1_000);
    world.disk.leave(500);
    const codes: (string | undefined)[] = [];
    const note = (error: Error | null): void =>
      void codes.push(error === null ? "ok" : (error as Error & { code?: string }).code);
    world.port.write(file, 0, OLD.subarray(0, 1_000), note);
    world.run();
    world.port.create("g", 600, note);
    world.run();
    world.port.write(file, 900, NEW.subarray(0, 700), note);
    world.run();
    taken.add(world.disk.cached("f")?.length ?? 0);
    world.disk.leave(Infinity);
    world.port.create("h", 600, note);
    world.run();
    expect(codes).toEqual(["ok", "ENOSPC", "ENOSPC", "ok"]);
  }
  expect(Math.max(...taken)).toBeLessThanOrEqual(1_500);
  expect(taken.size).toBeGreaterThan(5);
});

test("the read that is set to fail throws EIO, and no other", () => {
  const world = createWorld(6);
  created(world, "f", 10);
  world.disk.fail("read", 2);
  expect(world.port.read("f")).toHaveLength(10);
  expect(() => world.port.readAt("f", 0, 1)).toThrow("injected: this read failed: f");
  expect(world.port.read("f")).toHaveLength(10);
});

test("damage behind the end of what is durable changes what a read gives, and nothing else", () => {
  const world = createWorld(8);
  const file = created(world, "f", 10);
  world.port.syncDirectory(".", () => world.port.writeCached(file, 0, NEW.subarray(0, 30), ignore));
  world.run();
  world.disk.kill();
  world.disk.overwrite("f", 20, OLD.subarray(0, 10));
  world.disk.overwrite("f", 5, OLD.subarray(0, 10));
  const read = [...(world.disk.cached("f") ?? [])].map(String).join("");
  expect(read).toBe("222221111111111222221111111111");
  expect([...(world.disk.durable("f") ?? [])].map(String).join("")).toBe("0000011111");
});

test("who waits for the third change of the disk is called as it begins: the sync of a write is one by itself", () => {
  const world = createWorld(7);
  const file = created(world, "f", 10);
  let called = 0;
  world.disk.whenBegun(3, () => called++);
  world.port.write(file, 0, NEW.subarray(0, 1), ignore);
  world.run();
  expect(called).toBe(0);
  world.port.rename("f", "g", ignore);
  expect(called).toBe(1);
  world.port.remove("g", ignore);
  expect(called).toBe(1);
});

test("a hang of some files leaves the others alone, and what it holds ends when it is over", () => {
  const world = createWorld(10);
  const [slow, quick] = [created(world, "slow", 10), created(world, "quick", 10)];
  const done: string[] = [];
  const letGo = world.disk.hang((path) => path === "slow");
  const letAllGo = world.disk.hang((path) => path === "slow" || path === "none");
  world.port.write(slow, 0, NEW.subarray(0, 1), () => done.push("slow"));
  world.port.write(quick, 0, NEW.subarray(0, 1), () => done.push("quick"));
  world.run();
  expect(done).toEqual(["quick"]);
  letGo();
  world.run();
  expect(done).toEqual(["quick"]);
  letAllGo();
  world.run();
  expect(done).toEqual(["quick", "slow"]);
});

test("a file that is renamed while it is open hangs, and is aimed at, under its new name", () => {
  const world = createWorld(12);
  const file = created(world, "f.new", 10);
  world.port.rename("f.new", "f", ignore);
  world.run();
  let begun = 0;
  world.disk.whenBegun(
    1,
    () => begun++,
    (_, path) => path === "f",
  );
  const letGo = world.disk.hang((path) => path === "f");
  let done = 0;
  world.port.write(file, 0, NEW.subarray(0, 1), () => done++);
  world.run();
  expect([begun, done]).toEqual([1, 0]);
  letGo();
  world.run();
  expect(done).toBe(1);
});

test("what was written and not synced is unsettled, and so is what is being written", () => {
  const world = createWorld(13);
  const file = created(world, "f", 100);
  world.port.writeCached(file, 10, NEW.subarray(0, 20), ignore);
  world.run();
  world.port.write(file, 50, NEW.subarray(0, 5), ignore);
  expect(world.disk.unsettled("f")).toEqual([
    { offset: 10, length: 20 },
    { offset: 50, length: 5 },
  ]);
  world.run();
  expect(world.disk.unsettled("f")).toEqual([{ offset: 10, length: 20 }]);
  // What the platter holds already cannot be lost.
  world.port.writeCached(file, 50, NEW.subarray(0, 5), ignore);
  expect(world.disk.unsettled("f")).toEqual([{ offset: 10, length: 20 }]);
  world.disk.powerCut();
  expect(world.disk.unsettled("f")).toEqual([]);
});
