// Is damage judged by what a start would really find?
import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/lib/random.ts";
import {
  close,
  createSimBench,
  entries,
  hardState,
  N1,
  opened,
  persist,
  refused,
  saveAndCount,
  type SimBench,
  SMALL_SEGMENT,
  snapshotMeta,
  VOTE,
} from "../kit/test-storage.ts";
import { META_SLOT_BYTES } from "../../src/storage/meta.ts";
import type { ClusterId, Incarnation } from "../../src/raft/types.ts";
import { damageSomewhere, applyAndJudge } from "./damage.ts";

/** A directory with a snapshot, several segments and a term, closed as it should be. */
async function filled(seed: number): Promise<SimBench> {
  const bench = createSimBench(seed);
  const storage = await opened(bench);
  await persist(bench, storage, { hardState: hardState(2), entries: entries(1, 20, 1, 2_000) });
  await saveAndCount(bench, storage, snapshotMeta(10), 5);
  await persist(bench, storage, { entries: entries(21, 40, 2, 2_000) });
  await close(bench, storage);
  bench.kill();
  return bench;
}

test("after damage in one spot a closed directory is refused, or opens with all that it held", async () => {
  const verdicts = new Map<string, number>();
  const hit = new Set<string>();
  for (let seed = 1; seed <= 20; seed++) {
    const bench = await filled(seed);
    const damage = damageSomewhere({ id: N1, disk: bench.disk, segmentBytes: SMALL_SEGMENT }, seededRandom(seed));
    if (damage === null) throw new Error(`seed ${seed} hit nothing`);
    verdicts.set(damage.verdict, (verdicts.get(damage.verdict) ?? 0) + 1);
    if (damage.verdict === "refused") hit.add(/log|snapshot|meta/.exec(damage.what)?.[0] ?? "?");
    // Damage in a part of a snapshot is found when the part is read.
    if (damage.verdict === "harmless") await opened(bench);
    else if (!damage.what.includes("part-")) expect((await refused(bench)).code).toBe("CORRUPT");
  }
  expect([...verdicts.keys()].toSorted()).toEqual(["harmless", "refused"]);
  expect([...hit].toSorted()).toEqual(["log", "meta", "snapshot"]);
  expect(verdicts.get("refused")).toBeGreaterThan(3);
});

test("a last frame that no closing frame follows is left alone: damage there looks like a torn write", async () => {
  for (let seed = 1; seed <= 6; seed++) {
    const bench = await filled(seed);
    const storage = await opened(bench);
    await persist(bench, storage, { entries: entries(41, 41, 2, 100) });
    bench.kill();
    const damage = damageSomewhere({ id: N1, disk: bench.disk, segmentBytes: SMALL_SEGMENT }, seededRandom(seed));
    expect(damage?.verdict).not.toBe("unnoticed");
  }
});

test("frames at the end of a log that meta names as durable and that turn to zeros together are refused, and frames that nothing shows to be durable are spared", async () => {
  const struck = { durable: 0, behind: 0 };
  for (let seed = 1; seed <= 120; seed++) {
    const bench = await filled(1);
    const isLive = seed % 2 === 0;
    if (isLive) {
      const storage = await opened(bench);
      await persist(bench, storage, { entries: entries(41, 43, 2, 100) });
      bench.pass(100);
      await persist(bench, storage, { entries: entries(44, 44, 2, 100) });
      bench.kill();
    }
    const damage = damageSomewhere({ id: N1, disk: bench.disk, segmentBytes: SMALL_SEGMENT }, seededRandom(seed));
    expect(damage?.verdict).not.toBe("unnoticed");
    if (damage?.what.endsWith("to the end") !== true) continue;
    struck[isLive ? "behind" : "durable"]++;
    expect(damage.verdict).toBe("refused");
    expect((await refused(bench)).code).toBe("CORRUPT");
  }
  expect(Math.min(struck.durable, struck.behind)).toBeGreaterThan(3);
});

test("the second slot of meta is not spared because the first one is damaged already", async () => {
  let struck = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const bench = await filled(1);
    bench.disk.flipBit("meta", 20, 1);
    const damage = damageSomewhere({ id: N1, disk: bench.disk, segmentBytes: SMALL_SEGMENT }, seededRandom(seed));
    const [, at = "0"] = /^meta: (?:zeros at|bits flipped in bytes) (\d+)/.exec(damage?.what ?? "") ?? [];
    if (damage === null || Number(at) < META_SLOT_BYTES) continue;
    struck++;
    expect(damage.verdict).toBe("refused");
  }
  expect(struck).toBeGreaterThan(0);
});

describe("a learner that has a cluster, a term and a vote, and holds no entry yet", () => {
  const nodeDiskOf = ({ disk }: SimBench) => ({ id: N1, disk, segmentBytes: SMALL_SEGMENT });

  async function learner(entryCount = 0): Promise<SimBench> {
    const bench = createSimBench();
    const storage = await opened(bench);
    await bench.call<void>((done) => storage.setCluster("00112233445566ff" as ClusterId, () => done()));
    await persist(bench, storage, { hardState: hardState(2) });
    await persist(bench, storage, { hardState: hardState(5, VOTE), entries: entries(1, entryCount, 5) });
    await close(bench, storage);
    bench.kill();
    return bench;
  }

  test("may start as somebody new when its meta is deleted: under another incarnation, in no cluster, without term and vote", async () => {
    const bench = await learner();
    expect(applyAndJudge(nodeDiskOf(bench), "meta", (disk) => disk.delete("meta"))).toBe("fresh");
    const another = "fedcba9876543210" as Incarnation;
    const { recovered } = await opened(bench, { newIncarnation: another });
    expect(recovered.identity).toEqual({ nodeId: N1, incarnation: another, clusterId: null });
    expect(recovered.hardState).toEqual({ currentTerm: 0, votedFor: null });
  });

  test("may not start as itself with an earlier term: that it has forgotten its vote is a broken promise", async () => {
    const early = createSimBench();
    await close(early, await opened(early));
    const older = early.disk.cached("meta")!;
    const bench = await learner();
    expect(applyAndJudge(nodeDiskOf(bench), "meta", (disk) => disk.overwrite("meta", 0, older))).toBe("unnoticed");
  });

  test("is refused when both slots of its meta are damaged; and so is one with an entry whose meta is deleted", async () => {
    const both = (disk: SimBench["disk"]): void =>
      [20, META_SLOT_BYTES + 20].forEach((at) => disk.flipBit("meta", at, 1));
    expect(applyAndJudge(nodeDiskOf(await learner()), "meta", both)).toBe("refused");
    expect(applyAndJudge(nodeDiskOf(await learner(1)), "meta", (disk) => disk.delete("meta"))).toBe("refused");
  });
});

test("a directory without meta and entries is that of somebody new, and one with entries is refused", async () => {
  const verdicts = new Set<string>();
  for (let seed = 1; seed <= 200; seed++) {
    const bench = createSimBench(seed);
    const storage = await opened(bench);
    if (seed % 2 === 0) await persist(bench, storage, { hardState: hardState(2), entries: entries(1, 3, 1, 100) });
    await close(bench, storage);
    bench.kill();
    const damage = damageSomewhere({ id: N1, disk: bench.disk, segmentBytes: SMALL_SEGMENT }, seededRandom(seed));
    if (damage?.what !== "meta: deleted") continue;
    verdicts.add(`${seed % 2 === 0 ? "entries" : "empty"}: ${damage.verdict}`);
  }
  expect([...verdicts].toSorted()).toEqual(["empty: fresh", "entries: refused"]);
});
