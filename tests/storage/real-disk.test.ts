// Is what is written to a real disk durable when it is done? No test can cut this machine's power, so the flags of the open files
// are checked.
import { expect, spyOn, test } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import { must } from "../../src/lib/assert.ts";
import type { DiskFile } from "../../src/storage/disk.ts";
import { createRealDisk } from "../../src/storage/real-disk.ts";
import { close, createRealBench, entries, hardState, opened, persist, VOTE } from "../kit/test-storage.ts";

const { O_DIRECT, O_DSYNC, O_RDONLY } = fs.constants;
const ACCESS_MODE = 3;

function flagsOf(descriptor: number | string): number {
  const flags = /^flags:\s*(\d+)$/m.exec(fs.readFileSync(`/proc/self/fdinfo/${descriptor}`, "utf8"))?.[1] ?? "";
  return Number.parseInt(flags, 8);
}

/** By path, the flags of each descriptor that this process has open in `directory`. */
function flagsUnder(directory: string): ReadonlyMap<string, readonly number[]> {
  const found = new Map<string, number[]>();
  for (const descriptor of fs.readdirSync("/proc/self/fd")) {
    const path = fs.existsSync(`/proc/self/fd/${descriptor}`) ? fs.readlinkSync(`/proc/self/fd/${descriptor}`) : "";
    if (!path.startsWith(`${directory}/`)) continue;
    const name = path.slice(directory.length + 1);
    found.set(name, [...(found.get(name) ?? []), flagsOf(descriptor)]);
  }
  return found;
}

function expectDurable(flags: ReadonlyMap<string, readonly number[]>, names: readonly (string | RegExp)[]): void {
  const paths = [...flags.keys()];
  for (const name of names) expect(paths).toContainEqual(expect.stringMatching(name));
  for (const [path, how] of [...flags].flatMap(([one, all]) => all.map((each) => [one, each] as const))) {
    if ((how & ACCESS_MODE) !== O_RDONLY) expect({ path, durable: how & O_DSYNC }).toEqual({ path, durable: O_DSYNC });
  }
}

test("every file that a node writes is open for durable writes, at its first start and at a later one", async () => {
  using bench = createRealBench();
  for (const start of [1, 2]) {
    const storage = await opened(bench);
    await persist(bench, storage, { hardState: hardState(start, VOTE), entries: entries(start, start) });
    expectDurable(flagsUnder(bench.directory), ["meta", /^g0\/log\/.*\.seg$/]);
    await close(bench, storage);
  }
});

test("a new file has its size and its zeros, is not put in place of another one, and leaves nothing when it cannot be made", async () => {
  using bench = createRealBench();
  fs.mkdirSync(bench.directory, { mode: 0o700 });
  const disk = createRealDisk(bench.directory);
  const create = (path: string, size: number): Promise<string> =>
    new Promise((resolve) =>
      disk.create(path, size, (error: (Error & { code?: string }) | null, file: DiskFile | null) => {
        if (file !== null) disk.close(file);
        resolve(error === null ? "made" : (error.code ?? error.message));
      }),
    );
  const size = 2.5 * 1024 * 1024;
  expect(await create("segment", size)).toBe("made");
  expect(Buffer.compare(fs.readFileSync(join(bench.directory, "segment")), Buffer.alloc(size))).toBe(0);
  expect(fs.statSync(join(bench.directory, "segment")).mode & 0o777).toBe(0o600);
  expect(await create("segment", 0)).toBe("EEXIST");
  expect(disk.size("segment")).toBe(size);
  expect(await create("empty", 0)).toBe("made");
  expect(disk.size("empty")).toBe(0);
  expect(await create("nowhere/file", 10)).toBe("ENOENT");
});

/** Sizes and places around the edges of what goes past the page cache, and memory that begins anywhere. */
const PIECES = [
  { offset: 0, length: 4_096, skew: 0 },
  { offset: 4_096, length: 1_000, skew: 0 },
  { offset: 8_192, length: 8_192, skew: 1 },
  { offset: 20_480, length: 300_001, skew: 0 },
  { offset: 400_001, length: 270_000, skew: 0 },
  { offset: 700_416, length: 262_144, skew: 16 },
] as const;
const FILE_BYTES = 1024 * 1024;

/** Writes all pieces over a file of zeros and reads it back by another way. */
async function writePieces(directory: string, name: string): Promise<boolean> {
  const disk = createRealDisk(directory);
  const file = await new Promise<DiskFile>((resolve, reject) =>
    disk.create(name, FILE_BYTES, (error, made) => (made === null ? reject(error as Error) : resolve(made))),
  );
  const expected = new Uint8Array(FILE_BYTES);
  for (const [at, { offset, length, skew }] of PIECES.entries()) {
    const bytes = new Uint8Array(length + skew).subarray(skew).fill(at + 1);
    await new Promise<void>((resolve, reject) =>
      disk.write(file, offset, bytes, (error) => (error === null ? resolve() : reject(error))),
    );
    expected.set(bytes, offset);
  }
  disk.close(file);
  return Buffer.compare(fs.readFileSync(join(directory, name)), expected) === 0;
}

test("bytes that go past the page cache, by it, or half and half are all where they belong", async () => {
  using bench = createRealBench();
  fs.mkdirSync(bench.directory, { mode: 0o700 });
  expect(await writePieces(bench.directory, "file")).toBe(true);
});

test("on a file system that refuses to write past the page cache, or to open a file for that, all is written all the same", async () => {
  using bench = createRealBench();
  fs.mkdirSync(bench.directory, { mode: 0o700 });
  const refusal = Object.assign(new Error("EINVAL: invalid argument"), { code: "EINVAL" });
  const { write, open } = fs;
  let refused = 0;
  const refusing = spyOn(fs, "write").mockImplementation(((descriptor: number, ...rest: unknown[]) => {
    if ((flagsOf(descriptor) & O_DIRECT) === 0) return (write as (...all: unknown[]) => void)(descriptor, ...rest);
    refused++;
    (rest.at(-1) as (error: Error) => void)(refusal);
  }) as typeof fs.write);
  try {
    expect(await writePieces(bench.directory, "write")).toBe(true);
  } finally {
    refusing.mockRestore();
  }
  // Once for the file: it is not tried again.
  expect(refused).toBeLessThanOrEqual(1);
  const closed = spyOn(fs, "open").mockImplementation(((path: string, flags: number, ...rest: unknown[]) => {
    if ((flags & O_DIRECT) === 0) return (open as (...all: unknown[]) => void)(path, flags, ...rest);
    (rest.at(-1) as (error: Error) => void)(refusal);
  }) as typeof fs.open);
  try {
    expect(await writePieces(bench.directory, "open")).toBe(true);
  } finally {
    closed.mockRestore();
  }
});

test("the free space is asked for when nothing is being closed: a removed file takes its space until then", async () => {
  using bench = createRealBench();
  fs.mkdirSync(bench.directory, { mode: 0o700 });
  const disk = createRealDisk(bench.directory);
  const file = await new Promise<DiskFile | null>((done) => disk.create("segment", 4_096, (_, made) => done(made)));
  const closing: (() => void)[] = [];
  const close = spyOn(fs, "close").mockImplementation(((descriptor: number, done: (error: null) => void) => {
    closing.push(() => {
      fs.closeSync(descriptor);
      done(null);
    });
  }) as typeof fs.close);
  try {
    disk.close(must(file, "the file"));
    const order: string[] = [];
    const asked = new Promise<void>((done) =>
      disk.freeBytes(() => {
        order.push("asked");
        done();
      }),
    );
    await Bun.sleep(20);
    order.push("closed");
    for (const end of closing) end();
    await asked;
    expect(order).toEqual(["closed", "asked"]);
  } finally {
    close.mockRestore();
  }
});
