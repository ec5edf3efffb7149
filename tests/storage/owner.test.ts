// Whose directory is it? Known before anything in it is opened or changed, whatever is damaged.
import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ClusterId } from "../../src/raft/types.ts";
import { type Owner, readOwner } from "../../src/storage/owner.ts";
import { createRealDisk } from "../../src/storage/real-disk.ts";
import { close, createSimBench, N1, opened } from "../kit/test-storage.ts";

test("a directory that is not there, or empty, is nobody's, and stays as it is", () => {
  const directory = mkdtempSync(join(tmpdir(), "raftq-owner-"));
  try {
    for (const path of [directory, join(directory, "new")])
      expect(readOwner(createRealDisk(path))).toEqual({ nodeId: null, isNew: true });
    expect(readdirSync(directory)).toEqual([]);
    writeFileSync(join(directory, "a-file"), "");
    expect(readOwner(createRealDisk(join(directory, "a-file")))).toEqual({ nodeId: null, isNew: false });
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("a directory that a node has opened is its own, also while one slot of meta is damaged; without any it is nobody's, but not new", async () => {
  const bench = createSimBench(1);
  const owner = (): Owner => readOwner(bench.disk.restart());
  expect(owner()).toEqual({ nodeId: null, isNew: true });
  await close(bench, await opened(bench));
  bench.kill();
  expect(owner()).toEqual({ nodeId: N1, isNew: false });
  bench.disk.flipBit("meta", 30, 1);
  expect(owner()).toEqual({ nodeId: N1, isNew: false });
  bench.disk.flipBit("meta", 4096 + 30, 1);
  expect(owner()).toEqual({ nodeId: null, isNew: false });
});

test("where only a note beside the data names their owner, that counts", async () => {
  const bench = createSimBench(2);
  const storage = await opened(bench);
  await bench.call((done) => storage.setCluster("00112233445566aa" as ClusterId, () => done(undefined)));
  storage.recordKnownMembers(["127.0.0.1:3001"]);
  bench.pass(100);
  await close(bench, storage);
  bench.kill();
  for (const slot of [0, 4096]) bench.disk.flipBit("meta", slot + 30, 1);
  expect(readOwner(bench.disk.restart())).toEqual({ nodeId: N1, isNew: false });
});
