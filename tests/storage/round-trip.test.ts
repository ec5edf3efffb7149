// Does a storage give back what it was given? The same cases on a real directory and on the simulated disk.
import { describe, expect, test } from "bun:test";
import { RaftqError } from "../../src/lib/errors.ts";
import type { ClusterId } from "../../src/raft/types.ts";
import {
  type Bench,
  close,
  createRealBench,
  createSimBench,
  entries,
  hardState,
  INCARNATION,
  KiB,
  N1,
  N2,
  opened,
  partsOf,
  persist,
  refused,
  saveAndCount,
  shown,
  snapshotMeta,
  sourceOf,
  VOTE,
} from "../kit/test-storage.ts";

type Ending = "after a clean stop" | "after a kill";

const DISKS: readonly { readonly disk: string; readonly make: () => Bench & Partial<Disposable> }[] = [
  { disk: "real disk", make: createRealBench },
  { disk: "simulated disk", make: createSimBench },
];

for (const { disk, make } of DISKS) {
  for (const ending of ["after a clean stop", "after a kill"] as const satisfies readonly Ending[]) {
    describe(`${disk}, ${ending}`, () => {
      const withBench = async (
        run: (
          bench: Bench,
          restart: (storage: Awaited<ReturnType<typeof opened>>) => Promise<Awaited<ReturnType<typeof opened>>>,
        ) => Promise<void>,
      ): Promise<void> => {
        const bench = make();
        try {
          await run(bench, async (storage) => {
            if (ending === "after a clean stop") await close(bench, storage);
            else bench.kill();
            return opened(bench);
          });
          expect(bench.failures).toEqual([]);
        } finally {
          bench[Symbol.dispose]?.();
        }
      };

      test("a new directory is empty and keeps the incarnation drawn for it", () =>
        withBench(async (bench, restart) => {
          let storage = await opened(bench);
          expect(storage.recovered.identity).toEqual({ nodeId: N1, incarnation: INCARNATION, clusterId: null });
          expect(storage.recovered.hadData).toBe(false);
          storage = await restart(storage);
          expect(storage.recovered.identity).toEqual({ nodeId: N1, incarnation: INCARNATION, clusterId: null });
          expect(storage.recovered.entries).toEqual([]);
          expect(storage.recovered.hadData).toBe(false);
          await close(bench, storage);
        }));

      test("term, vote, cluster and entries come back", () =>
        withBench(async (bench, restart) => {
          let storage = await opened(bench);
          await persist(bench, storage, { hardState: hardState(3, VOTE), entries: entries(1, 5) });
          await bench.call<void>((done) => storage.setCluster("00112233445566aa" as ClusterId, () => done()));
          await persist(bench, storage, { entries: entries(6, 6, 3) });
          const before = shown([...entries(1, 5), ...entries(6, 6, 3)]);
          for (let round = 0; round < 3; round++) {
            storage = await restart(storage);
            expect(shown(storage.recovered.entries)).toEqual(before);
            expect(storage.recovered.hardState).toEqual(hardState(3, VOTE));
            expect(storage.recovered.identity.clusterId).toBe("00112233445566aa" as ClusterId);
            expect(storage.recovered.hadData).toBe(true);
          }
          await close(bench, storage);
        }));

      test("a later batch with a smaller first index truncates", () =>
        withBench(async (bench, restart) => {
          let storage = await opened(bench);
          await persist(bench, storage, { entries: entries(1, 20) });
          await persist(bench, storage, { hardState: hardState(2), entries: entries(11, 12, 2) });
          storage = await restart(storage);
          expect(shown(storage.recovered.entries)).toEqual(shown([...entries(1, 10), ...entries(11, 12, 2)]));
          await persist(bench, storage, { hardState: hardState(4), entries: entries(1, 1, 4) });
          storage = await restart(storage);
          expect(shown(storage.recovered.entries)).toEqual(shown(entries(1, 1, 4)));
          await close(bench, storage);
        }));

      test("batches larger than a segment are split, and an entry larger than a segment gets one of its own", () =>
        withBench(async (bench, restart) => {
          let storage = await opened(bench);
          await persist(bench, storage, { entries: entries(1, 60, 1, 3 * KiB) });
          await persist(bench, storage, { entries: entries(61, 61, 1, 100 * KiB) });
          await persist(bench, storage, { entries: entries(62, 64, 1, 10) });
          storage = await restart(storage);
          const expected = shown([
            ...entries(1, 60, 1, 3 * KiB),
            ...entries(61, 61, 1, 100 * KiB),
            ...entries(62, 64, 1, 10),
          ]);
          expect(shown(storage.recovered.entries)).toEqual(expected);
          await close(bench, storage);
        }));

      test("a persist with nothing to write is answered, but not from within the call", () =>
        withBench(async (bench) => {
          const storage = await opened(bench);
          let inside = true;
          const wasInside = await bench.call<boolean>((done) => {
            storage.persist({ seq: 1, hardState: null, entries: [], snapshot: null, sendAfter: [] }, () =>
              done(inside),
            );
            inside = false;
          });
          expect(wasInside).toBe(false);
          await close(bench, storage);
        }));

      test("a saved snapshot counts once a persist names it, and its parts come back", () =>
        withBench(async (bench, restart) => {
          let storage = await opened(bench);
          await persist(bench, storage, { entries: entries(1, 30, 1, 2 * KiB) });
          const bytesBefore = storage.logBytes();
          const meta = snapshotMeta(25);
          await bench.call<void>((done) => storage.saveSnapshot(meta, sourceOf(partsOf(25)), () => done()));
          expect(storage.manifest(25)?.parts).toBe(3);
          expect(storage.snapshotBytes()).toBe(0);
          await persist(bench, storage, { snapshot: { meta, reset: false, keepFrom: 20 } });
          expect(storage.snapshotBytes()).toBe(3_003);
          expect(storage.logBytes()).toBeLessThan(bytesBefore);
          const bytesAfter = storage.logBytes();
          storage = await restart(storage);
          expect(storage.recovered.snapshot).toEqual(meta);
          expect(storage.snapshotBytes()).toBe(3_003);
          expect(Math.abs(storage.logBytes() - bytesAfter)).toBeLessThanOrEqual(32 * KiB);
          expect(storage.recovered.entries.at(-1)?.index).toBe(30);
          expect(storage.recovered.entries[0]!.index).toBeLessThanOrEqual(20);
          expect(partsOf(25).map((_, part) => storage.readPart(25, part))).toEqual(partsOf(25));
          await close(bench, storage);
        }));

      test("a snapshot that no persist named is gone after a restart", () =>
        withBench(async (bench, restart) => {
          let storage = await opened(bench);
          await persist(bench, storage, { entries: entries(1, 10) });
          await saveAndCount(bench, storage, snapshotMeta(5), 6);
          await bench.call<void>((done) => storage.saveSnapshot(snapshotMeta(9), sourceOf(partsOf(9)), () => done()));
          storage = await restart(storage);
          expect(storage.recovered.snapshot?.index).toBe(5);
          expect(storage.manifest(9)).toBeNull();
          await close(bench, storage);
        }));

      test("a received snapshot that resets the log leaves nothing of it", () =>
        withBench(async (bench, restart) => {
          let storage = await opened(bench);
          await persist(bench, storage, { entries: entries(1, 10) });
          const other = createSimBench(9);
          const leader = await opened(other);
          const meta = snapshotMeta(50, 4);
          await other.call<void>((done) => leader.saveSnapshot(meta, sourceOf(partsOf(50)), () => done()));
          const manifest = leader.manifest(50)!.bytes;
          for (let part = 0; part < 3; part++) {
            const bytes = leader.readPart(50, part);
            expect(
              await bench.call<number>((done) =>
                storage.storePart({ meta, manifest, part, parts: 3, offset: 0, bytes }, done),
              ),
            ).toBe(part + 1);
          }
          await persist(bench, storage, {
            hardState: hardState(4),
            snapshot: { meta, reset: true, keepFrom: 51 },
            entries: entries(51, 53, 4),
          });
          storage = await restart(storage);
          expect(storage.recovered.snapshot).toEqual(meta);
          expect(shown(storage.recovered.entries)).toEqual(shown(entries(51, 53, 4)));
          expect(storage.readPart(50, 2)).toEqual(partsOf(50)[2]!);
          await close(bench, storage);
        }));

      test("the directory of another node is refused by name", () =>
        withBench(async (bench) => {
          await close(bench, await opened(bench));
          const error = await refused(bench, { nodeId: N2 });
          expect(error).toBeInstanceOf(RaftqError);
          expect(error.code).toBe("FOREIGN_DIRECTORY");
          expect(error.message).toContain("n1");
          expect(error.message).toContain("n2");
          await close(bench, await opened(bench));
        }));
    });
  }
}
