// What is left of a segment that could not be made? Nothing of the old file that it was to be made from.
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/lib/random.ts";
import type { Disk } from "../../src/storage/disk.ts";
import { runSteps } from "../../src/storage/steps.ts";
import { createPreallocator, makeSegment } from "../../src/storage/wal/preallocator.ts";
import { LOG_DIRECTORY, type Segment } from "../../src/storage/wal/segment.ts";
import { createSimBench } from "../kit/test-storage.ts";

const BYTES = 64 * 1024;

test("the file of an old segment that cannot be renamed, or opened under its new name, is not left behind", async () => {
  for (const failing of ["rename", "open"] as const) {
    const bench = createSimBench();
    const real = bench.disk.restart();
    let isFailing = false;
    const disk: Disk = {
      ...real,
      rename: (from, to, done) => {
        if (isFailing && failing === "rename") done(new Error("injected"));
        else real.rename(from, to, done);
      },
      open: (path, done) => {
        if (isFailing && failing === "open") done(new Error("injected"), null);
        else real.open(path, done);
      },
    };
    const preallocator = createPreallocator(
      disk,
      {
        segmentBytes: BYTES,
        blockBytes: 4_096,
        formatVersion: 1,
        drawSalt: () => seededRandom(1).below(0x1_0000_0000),
        after: bench.after,
        reservedBytes: () => 0,
        onSpaceChanged: () => {},
      },
      1,
    );
    for (const path of ["g0", LOG_DIRECTORY])
      expect(await bench.call<Error | null>((done) => disk.makeDirectory(path, done))).toBeNull();
    const make = (old: Segment | null) =>
      bench.call<{ readonly error: Error | null; readonly segment: Segment | null }>((done) =>
        runSteps(makeSegment(preallocator, BYTES, old), ({ error, result }) =>
          done({ error, segment: result?.segment ?? null }),
        ),
      );
    const { segment: old, error } = await make(null);
    expect(error).toBeNull();
    expect(disk.list(LOG_DIRECTORY)).toHaveLength(1);
    isFailing = true;
    expect((await make(old)).error?.message).toBe("injected");
    expect(disk.list(LOG_DIRECTORY)).toEqual([]);
  }
});
