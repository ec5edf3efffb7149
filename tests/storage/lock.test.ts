// Do two processes ever get the same directory? Claims are judged by process id and start time; what is dead is taken over.
import { expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { RaftqError } from "../../src/lib/errors.ts";
import { createRealDisk } from "../../src/storage/real-disk.ts";
import { close, createRealBench, entries, opened, persist, refused } from "./harness.ts";

const LOCK_PATH = path.join(import.meta.dir, "../../src/storage/lock.ts");

/** A process that takes the lock, says so, and holds it until its input ends. */
function holder(directory: string): {
  readonly process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly said: Promise<string>;
} {
  const script = `
    import { takeLock } from ${JSON.stringify(LOCK_PATH)};
    try {
      takeLock(${JSON.stringify(directory)}, process.pid);
      console.log("taken");
      process.stdin.resume();
    } catch (error) {
      console.log(error.code);
      process.exit(0);
    }`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const reader = child.stdout.getReader();
  return { process: child, said: reader.read().then(({ value }) => new TextDecoder().decode(value).trim()) };
}

test("a second open in the same process is refused, naming the process; after the close it succeeds", async () => {
  using bench = createRealBench();
  const storage = await opened(bench);
  const second = createRealDisk(bench.directory);
  expect(() => second.lock()).toThrow(`in use by process ${process.pid}`);
  await persist(bench, storage, { entries: entries(1, 1) });
  await close(bench, storage);
  second.lock();
  second.unlock();
});

test("a directory held by another process is refused; once that process was killed, it is taken over", async () => {
  using bench = createRealBench();
  fs.mkdirSync(bench.directory);
  const other = holder(bench.directory);
  expect(await other.said).toBe("taken");
  const error = await refused(bench);
  expect(error.code).toBe("LOCKED");
  expect(error.message).toContain(`process ${other.process.pid}`);
  other.process.kill("SIGKILL");
  await other.process.exited;
  await close(bench, await opened(bench));
});

test("a stale lock whose process id was given to another process is taken over", async () => {
  using bench = createRealBench();
  fs.mkdirSync(path.join(bench.directory, "LOCK"), { recursive: true });
  fs.writeFileSync(path.join(bench.directory, "LOCK", `${process.ppid}-1-00000000`), "");
  fs.writeFileSync(path.join(bench.directory, "LOCK", "4194305-77-00000000"), "");
  const again = createRealDisk(bench.directory);
  again.lock();
  again.unlock();
  const ownStart = fs.readFileSync(`/proc/${process.pid}/stat`, "utf8").split(") ")[1]!.split(" ")[19]!;
  // The same process id and start time, counted from another boot.
  fs.writeFileSync(path.join(bench.directory, "LOCK", `${process.pid}-${ownStart}-00000000`), "");
  const storage = await opened(bench);
  const claims = fs.readdirSync(path.join(bench.directory, "LOCK"));
  expect(claims).toHaveLength(1);
  expect(claims[0]).toStartWith(`${process.pid}-`);
  await close(bench, storage);
});

test("of several processes that come at once, never two get the directory", async () => {
  using bench = createRealBench();
  fs.mkdirSync(path.join(bench.directory, "LOCK"), { recursive: true });
  fs.writeFileSync(path.join(bench.directory, "LOCK", "4194305-77-00000000"), "");
  const all = Array.from({ length: 5 }, () => holder(bench.directory));
  const said = await Promise.all(all.map((one) => one.said));
  expect(said.filter((word) => word === "taken").length).toBeLessThanOrEqual(1);
  expect(said.filter((word) => word === "LOCKED").length).toBeGreaterThanOrEqual(4);
  for (const one of all) one.process.kill("SIGKILL");
  await Promise.all(all.map((one) => one.process.exited));
  await close(bench, await opened(bench));
});

test("a directory that cannot be written, or is a symbolic link, is refused", async () => {
  using bench = createRealBench();
  const file = path.join(path.dirname(bench.directory), "file");
  fs.writeFileSync(file, "");
  const refusal = (directory: string): RaftqError => {
    try {
      createRealDisk(directory).lock();
    } catch (error) {
      if (error instanceof RaftqError) return error;
      throw error;
    }
    throw new Error(`${directory} was accepted`);
  };
  expect(refusal(path.join(file, "data")).code).toBe("UNWRITABLE");
  expect(refusal(file).code).toBe("UNWRITABLE");
  fs.mkdirSync(bench.directory);
  const link = `${bench.directory}-link`;
  fs.symlinkSync(bench.directory, link);
  expect(refusal(link).message).toContain("symbolic link");
});

test("directories are for their owner only, and so are files", async () => {
  using bench = createRealBench();
  const storage = await opened(bench);
  await persist(bench, storage, { entries: entries(1, 1) });
  const modes = fs.readdirSync(bench.directory, { recursive: true, withFileTypes: true }).map((found) => ({
    isFile: found.isFile(),
    mode: fs.statSync(path.join(found.parentPath, found.name)).mode & 0o777,
  }));
  expect(fs.statSync(bench.directory).mode & 0o777).toBe(0o700);
  expect(modes.filter(({ isFile, mode }) => mode !== (isFile ? 0o600 : 0o700))).toEqual([]);
  await close(bench, storage);
});

test("a release that the disk refuses is no fault: the claim of an ended process counts for nothing", () => {
  const bench = createRealBench();
  const disk = createRealDisk(bench.directory);
  disk.lock();
  const claims = path.join(bench.directory, "LOCK");
  const [claim = ""] = fs.readdirSync(claims);
  // A directory in its place cannot be unlinked: what a file system that was shut down answers to any removal.
  fs.rmSync(path.join(claims, claim));
  fs.mkdirSync(path.join(claims, claim));
  expect(() => disk.unlock()).not.toThrow();
});
