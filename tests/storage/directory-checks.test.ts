// Who may own and see the directories that we keep jobs in? Real directories: owners, modes and links are what is tested.
import { afterEach, expect, test } from "bun:test";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RaftqError } from "../../src/lib/errors.ts";
import { requireOwn, requirePrivate } from "../../src/storage/directory-checks.ts";
import { createRealDisk } from "../../src/storage/real-disk.ts";

const OWN = process.geteuid?.();
const SOMEBODY_ELSE = 54_321;
const made: string[] = [];
afterEach(() => {
  for (const directory of made.splice(0)) fs.rmSync(directory, { recursive: true, force: true });
});

function directory(mode: number): string {
  const path = fs.mkdtempSync(join(tmpdir(), "raftq-private-"));
  made.push(path);
  fs.chmodSync(path, mode);
  return path;
}
const modeOf = (path: string): number => fs.statSync(path).mode & 0o777;
function refusal(act: () => void): RaftqError {
  try {
    act();
  } catch (error) {
    if (error instanceof RaftqError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

test("a directory that stands open is closed while it is empty, and refused once it holds data", () => {
  for (const mode of [0o755, 0o750, 0o701, 0o777]) {
    const fresh = directory(mode);
    requirePrivate(fresh, OWN, false);
    expect(modeOf(fresh)).toBe(0o700);
    const used = directory(mode);
    const { code, message } = refusal(() => requirePrivate(used, OWN, true));
    expect(code).toBe("NOT_PRIVATE");
    expect(message).toContain(`chmod 700 ${used}`);
    expect(modeOf(used)).toBe(mode);
  }
  requirePrivate(directory(0o700), OWN, true);
});

test("a directory of another user is refused, with both users named", () => {
  const path = directory(0o700);
  // Only root may give a directory away; for others, this one is somebody else's.
  if (OWN === 0) fs.chownSync(path, SOMEBODY_ELSE, SOMEBODY_ELSE);
  const { code, message } = refusal(() => requireOwn(path, OWN === 0 ? OWN : SOMEBODY_ELSE));
  expect(code).toBe("NOT_PRIVATE");
  expect(message).toContain(`${SOMEBODY_ELSE}`);
});

test("a symbolic link is refused, also with a slash at its end", () => {
  const link = `${directory(0o700)}-link`;
  made.push(link);
  fs.symlinkSync(directory(0o700), link);
  for (const path of [link, `${link}/`])
    expect(refusal(() => requireOwn(path, OWN)).message).toContain("symbolic link");
});

test("a node's directory: open and empty is taken, open and used is refused", () => {
  const path = directory(0o755);
  const disk = createRealDisk(path);
  disk.lock();
  disk.unlock();
  expect(modeOf(path)).toBe(0o700);
  fs.chmodSync(path, 0o755);
  fs.writeFileSync(join(path, "meta"), "");
  expect(refusal(() => createRealDisk(path).lock()).code).toBe("NOT_PRIVATE");
});

test("a file that is a link is not followed", async () => {
  const path = directory(0o700);
  const target = join(directory(0o700), "elsewhere");
  fs.writeFileSync(target, "data");
  fs.symlinkSync(target, join(path, "meta"));
  const disk = createRealDisk(path);
  expect(() => disk.read("meta")).toThrow();
  expect(() => disk.readAt("meta", 0, 1)).toThrow();
  const error = await new Promise<Error | null>((resolve) => disk.open("meta", (failed) => resolve(failed)));
  expect(error).not.toBeNull();
});
