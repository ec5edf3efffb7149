// How was the golden directory made? Once per format version, by `bun tests/storage/make-golden.ts`; what is checked in is never
// made again, so that a later raftq is held to opening what an earlier one wrote.
import fs from "node:fs";
import path from "node:path";
import type { ClusterId } from "../../src/raft/types.ts";
import {
  createSimBench,
  entries,
  hardState,
  opened,
  persist,
  saveAndCount,
  snapshotMeta,
  VOTE,
} from "../kit/test-storage.ts";
import { STORAGE } from "../../src/config.ts";
import { GOLDEN_SEGMENT_BYTES, goldenDirectory } from "./golden.ts";

const DIRECTORY = goldenDirectory(STORAGE.formatVersion);
if (fs.existsSync(DIRECTORY)) throw new Error(`${DIRECTORY} exists, and a golden directory is never made again`);
const bench = createSimBench();
const storage = await opened(bench, { segmentBytes: GOLDEN_SEGMENT_BYTES });
await persist(bench, storage, { hardState: hardState(2, VOTE), entries: entries(1, 8, 1, 700) });
await bench.call<void>((done) => storage.setCluster("00112233445566aa" as ClusterId, () => done()));
await persist(bench, storage, { entries: entries(9, 12, 2, 700) });
await persist(bench, storage, { entries: entries(13, 18, 2) });
await saveAndCount(bench, storage, snapshotMeta(12, 2), 11);
await persist(bench, storage, { hardState: hardState(3), entries: entries(17, 20, 3) });
// Killed: the last batch has no closing frame behind it.
bench.pass(10);
bench.kill();
for (const file of bench.disk.files()) {
  const target = path.join(DIRECTORY, file);
  fs.mkdirSync(path.dirname(target), { recursive: true });
  fs.writeFileSync(target, bench.disk.cached(file)!);
}
