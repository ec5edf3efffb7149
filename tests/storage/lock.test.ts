// Do two processes ever get the same directory? The kernel's lock counts, also between containers that cannot see each other's
// processes; a process that has ended, in whatever way, holds nothing.
import { expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { RaftqError } from "../../src/lib/errors.ts";
import { remoteFileSystem } from "../../src/storage/directory-checks.ts";
import { createRealDisk } from "../../src/storage/real-disk.ts";
import { close, createRealBench, entries, opened, persist, refused } from "../kit/test-storage.ts";

const LOCK_PATH = path.join(import.meta.dir, "../../src/storage/lock.ts");

/** A container of its own: process ids in it mean nothing outside, and those outside nothing in it. */
const CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"] as const;

/** A process that takes the lock, reports it, and holds it until its input ends. */
function holder(
  directory: string,
  container: readonly string[] = [],
): {
  readonly process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly output: Promise<string>;
} {
  const script = `
    import { acquireLock } from ${JSON.stringify(LOCK_PATH)};
    try {
      acquireLock(${JSON.stringify(directory)});
      console.log("acquired");
      process.stdin.on("end", () => process.exit(0)).resume();
    } catch (error) {
      console.log(error.code + ": " + error.message);
      process.exit(0);
    }`;
  const command = [...container, process.execPath, "-e", script];
  const child = Bun.spawn(command, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const reader = child.stdout.getReader();
  return { process: child, output: reader.read().then(({ value }) => new TextDecoder().decode(value).trim()) };
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
  expect(await other.output).toBe("acquired");
  const error = await refused(bench);
  expect(error.code).toBe("LOCKED");
  expect(error.message).toContain(`process ${other.process.pid}`);
  other.process.kill("SIGKILL");
  await other.process.exited;
  await close(bench, await opened(bench));
});

test("a LOCK that somebody made or removed is neither a lock nor a way in", async () => {
  using bench = createRealBench();
  fs.mkdirSync(bench.directory);
  const lockFile = path.join(bench.directory, "LOCK");
  fs.writeFileSync(lockFile, "1");
  const storage = await opened(bench);
  fs.rmSync(lockFile);
  expect(await holder(bench.directory).output).toBe(`LOCKED: ${bench.directory} is in use by process ${process.pid}`);
  await close(bench, storage);
});

test("where directories cannot be locked, as on NFS, the file LOCK in it is", async () => {
  using bench = createRealBench();
  fs.mkdirSync(bench.directory);
  // The kernel's answer to the first flock of each process, which is the one on the directory.
  const noDirectoryLocks = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=flock:error=EBADF:when=1"];
  if (Bun.which("strace") === null || Bun.spawnSync([...noDirectoryLocks, "true"]).exitCode !== 0)
    return console.warn("LEFT OUT: a file system without locks of directories; strace is missing here");
  const first = holder(bench.directory, noDirectoryLocks);
  expect(await first.output).toBe("acquired");
  expect(fs.readdirSync(bench.directory)).toEqual(["LOCK"]);
  expect(await holder(bench.directory, noDirectoryLocks).output).toStartWith("LOCKED");
  await first.process.stdin.end();
  await first.process.exited;
  const second = holder(bench.directory, noDirectoryLocks);
  expect(await second.output).toBe("acquired");
  await second.process.stdin.end();
  await second.process.exited;
});

test("of several processes that come at once, exactly one gets the directory", async () => {
  using bench = createRealBench();
  fs.mkdirSync(bench.directory);
  const all = Array.from({ length: 5 }, () => holder(bench.directory));
  const outputs = await Promise.all(all.map((one) => one.output));
  expect(outputs.filter((output) => output === "acquired")).toHaveLength(1);
  expect(outputs.filter((output) => output.startsWith("LOCKED"))).toHaveLength(4);
  for (const one of all) one.process.kill("SIGKILL");
  await Promise.all(all.map((one) => one.process.exited));
  await close(bench, await opened(bench));
});

test("containers that share a directory and see nothing of each other's processes never both get it", async () => {
  using bench = createRealBench();
  fs.mkdirSync(bench.directory);
  if (Bun.spawnSync([...CONTAINER, "true"]).exitCode !== 0)
    return console.warn("LEFT OUT: two containers; this machine lets nobody make a process namespace here");
  const inside = holder(bench.directory, CONTAINER);
  expect(await inside.output).toBe("acquired");
  expect((await refused(bench)).code).toBe("LOCKED");
  expect(await holder(bench.directory, CONTAINER).output).toStartWith("LOCKED");
  await inside.process.stdin.end();
  await inside.process.exited;
  const storage = await opened(bench);
  expect(await holder(bench.directory, CONTAINER).output).toBe(
    `LOCKED: ${bench.directory} is in use by a process that cannot be seen from here, perhaps of another container or machine`,
  );
  await close(bench, storage);
});

test("a directory on a file system that other machines may use is refused, unless that is allowed", () => {
  for (const [type, name] of [
    [0x6969, "NFS"],
    [0xff534d42, "CIFS"],
    [0xff534d42 | 0, "CIFS"],
    [0x65735546, "FUSE"],
  ] as const)
    expect(remoteFileSystem(type)).toBe(name);
  // ext4, XFS, Btrfs, ZFS, tmpfs, overlayfs.
  for (const type of [0xef53, 0x58465342, 0x9123683e, 0x2fc12fc1, 0x01021994, 0x794c7630])
    expect(remoteFileSystem(type)).toBeNull();
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
  const below = path.join(file, "data", "n1");
  const why = `--data ${below} cannot be made, because ${file} is a file, not a directory`;
  expect(refusal(below)).toMatchObject({ code: "NOT_A_DIRECTORY", message: why });
  expect(refusal(file)).toMatchObject({
    code: "NOT_A_DIRECTORY",
    message: `--data ${file} is a file, not a directory`,
  });
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
