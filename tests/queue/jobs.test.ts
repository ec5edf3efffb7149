// Do pages keep every job, in order, in little memory, and does a frozen view stay what it was?
import { describe, expect, test } from "bun:test";
import { BrokenInvariant } from "../../src/lib/assert.ts";
import { seededRandom } from "../../src/lib/random.ts";
import {
  blocksOf,
  createJobs,
  drop,
  first,
  type FrozenJobs,
  freezeJobs,
  push,
  pushBlock,
  type WaitingJobs,
} from "../../src/queue/jobs.ts";
import { text } from "../kit/queue-log.ts";

const MAX_PAYLOAD = 1 << 20;

function take(jobs: WaitingJobs): { id: number; encoding: number; payload: Uint8Array } | null {
  const job = first(jobs);
  if (job !== null) drop(jobs, job);
  return job;
}

/** What a frozen view holds, read back through blocks of at most `maxBytes`. */
function contents(frozen: FrozenJobs, maxBytes: number): string[] {
  const copy = createJobs(frozen.firstId);
  for (const block of blocksOf(frozen, maxBytes)) expect(pushBlock(copy, block, MAX_PAYLOAD)).toBeNull();
  const seen: string[] = [];
  for (let job = take(copy); job !== null; job = take(copy))
    seen.push(`${job.id}:${job.encoding}:${job.payload.toHex()}`);
  return seen;
}

const memoryOf = (jobs: WaitingJobs): number => {
  let bytes = 0;
  for (let page: WaitingJobs["head"] | null = jobs.head; page !== null; page = page.next) {
    bytes += page.encodings.byteLength + page.ends.byteLength + page.payloads.byteLength;
  }
  return bytes;
};

describe("pages", () => {
  test("sizes around every page border come out as they went in", () => {
    const jobs = createJobs(1);
    const sizes = [0, 1, 1_023, 1_024, 1_025, 65_535, 65_536, 65_537, 200_000, 0, 0, 64_000, 1_536, 1, 3];
    const payloads = sizes.map((size, at) => new Uint8Array(size).fill(at + 1));
    payloads.forEach((payload, at) => push(jobs, at, payload));
    payloads.forEach((payload, at) => expect(take(jobs)).toEqual({ id: at + 1, encoding: at, payload }));
    expect(take(jobs)).toBeNull();
    expect([jobs.count, jobs.bytes, jobs.nextId]).toEqual([0, 0, sizes.length + 1]);
  });

  test("a queue that is emptied and filled again, exactly at a page's end, loses nothing", () => {
    const jobs = createJobs(1);
    for (let round = 0; round < 5; round++) {
      for (let at = 0; at < 1_024; at++) push(jobs, 0, text(`${at}`));
      for (let at = 0; at < 1_024; at++) expect(take(jobs)?.payload).toEqual(text(`${at}`));
      expect(take(jobs)).toBeNull();
    }
  });

  test("a million jobs of 16 bytes take less than 32 bytes each, and their memory leaves with them", () => {
    const jobs = createJobs(1);
    const payload = new Uint8Array(16);
    for (let at = 0; at < 1_000_000; at++) push(jobs, 1, payload);
    expect(memoryOf(jobs) / 1_000_000).toBeLessThan(32);
    for (let at = 0; at < 1_000_000; at++) take(jobs);
    expect(memoryOf(jobs)).toBeLessThan(64 * 1_024);
  });

  test("a few large jobs take little more than their payloads", () => {
    const jobs = createJobs(1);
    for (let at = 0; at < 200; at++) push(jobs, 1, new Uint8Array(20_000));
    expect(memoryOf(jobs)).toBeLessThan(200 * 20_000 * 1.1);
  });

  test("a job's payload stays true while its page grows", () => {
    const jobs = createJobs(1);
    push(jobs, 0, text("first"));
    const { payload } = first(jobs)!;
    for (let at = 0; at < 3_000; at++) push(jobs, 0, new Uint8Array(50).fill(at));
    expect(payload).toEqual(text("first"));
    expect(first(jobs)!.payload).toEqual(text("first"));
  });

  test("only the first job can be dropped", () => {
    const jobs = createJobs(1);
    push(jobs, 0, text("a"));
    push(jobs, 0, text("b"));
    expect(() => drop(jobs, { id: 2, encoding: 0, payload: text("b") })).toThrow(BrokenInvariant);
  });
});

describe("a frozen view", () => {
  test("stays what it was while jobs come and go, read in blocks of any size", () => {
    const random = seededRandom(21);
    for (let round = 0; round < 12; round++) {
      const jobs = createJobs(1);
      const expected: string[] = [];
      const pushOne = (): void => {
        const encoding = random.below(256);
        const payload = new Uint8Array(random.chance(1) ? random.below(70_000) : random.below(40)).fill(
          random.below(256),
        );
        expected.push(`${jobs.nextId}:${encoding}:${payload.toHex()}`);
        push(jobs, encoding, payload);
      };
      for (let count = random.below(3_000); count > 0; count--) pushOne();
      for (let count = random.below(2_000); count > 0; count--) if (take(jobs) !== null) expected.shift();
      const frozen = freezeJobs(jobs);
      const atFreeze = [...expected];
      for (let count = random.below(2_000); count > 0; count--) {
        if (random.chance(60)) pushOne();
        else if (take(jobs) !== null) expected.shift();
      }
      expect(contents(frozen, random.between(50, 20_000))).toEqual(atFreeze);
      expect(contents(freezeJobs(jobs), 10_000)).toEqual(expected);
    }
  });

  test("gives blocks within the limit, and one job alone where that is larger", () => {
    const jobs = createJobs(1);
    for (const size of [10, 10, 500, 10, 99, 1, 95]) push(jobs, 0, new Uint8Array(size));
    const blocks = [...blocksOf(freezeJobs(jobs), 100)];
    expect(blocks.map((block) => [block.firstId, block.encodings.length])).toEqual([
      [1, 2],
      [3, 1],
      [4, 1],
      [5, 1],
      [6, 1],
      [7, 1],
    ]);
    for (const block of blocks) {
      const size = block.encodings.length + block.lengths.length + block.payloads.length;
      expect(size <= 100 || block.encodings.length === 1).toBe(true);
    }
  });

  test("of an empty queue has no blocks", () => {
    const jobs = createJobs(9);
    push(jobs, 0, text("a"));
    take(jobs);
    expect([...blocksOf(freezeJobs(jobs), 100)]).toEqual([]);
  });
});

describe("a block", () => {
  const block = {
    firstId: 1,
    encodings: new Uint8Array(2),
    lengths: new Uint8Array([0, 0, 0, 1, 0, 0, 0, 2]),
    payloads: text("abb"),
  };

  test("is appended when its columns agree", () => {
    const jobs = createJobs(1);
    expect(pushBlock(jobs, block, 2)).toBeNull();
    expect([take(jobs)!.payload, take(jobs)!.payload]).toEqual([text("a"), text("bb")]);
  });

  test("is refused when it does not follow, does not add up, or holds a job that is too long", () => {
    expect(pushBlock(createJobs(2), block, 2)).toBe("job 1 stands where job 2 is expected");
    expect(pushBlock(createJobs(1), { ...block, encodings: new Uint8Array(3) }, 2)).toContain(
      "columns of different height",
    );
    expect(pushBlock(createJobs(1), { ...block, payloads: text("abbb") }, 2)).toContain("belong to no job");
    expect(pushBlock(createJobs(1), { ...block, payloads: text("ab") }, 2)).toBe("job 2 is too long");
    expect(pushBlock(createJobs(1), block, 1)).toBe("job 2 is too long");
  });
});
