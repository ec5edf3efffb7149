// The ready jobs, in a chain of pages that only ever grow at the end: a frozen view of it needs no copy.
import { assert, must } from "../lib/assert.ts";
import { byteRange } from "../lib/byte-range.ts";
import { digestOfJob } from "./digest.ts";
import type { Job } from "./types.ts";

/** Few enough that a page's memory comes back soon after its jobs left, enough that its own cost per job vanishes. */
const JOBS_PER_PAGE = 1_024;
/** Payload bytes after which a page is full as well; a larger job has a page of its own. */
const BYTES_PER_PAGE = 64 * 1_024;
const FIRST_PAYLOAD_BYTES = 1_024;
const SHORT_PAYLOAD_BYTES = 64;

interface Page {
  count: number;
  encodings: Uint8Array;
  /** Where each job's payload ends in `payloads`; it begins where the one before it ends. */
  ends: Uint32Array;
  payloads: Uint8Array;
  next: Page | null;
}

export interface WaitingJobs {
  head: Page;
  tail: Page;
  /** Jobs of the head page that were taken. */
  taken: number;
  count: number;
  /** Payload bytes of the jobs that wait. */
  bytes: number;
  /** The id of the next job. Waiting jobs are consecutive, so they need not carry theirs. */
  nextId: number;
  /** The sum of all waiting jobs' digests. */
  digest: number;
}

export function createJobs(nextId: number): WaitingJobs {
  const page = createPage();
  return { head: page, tail: page, taken: 0, count: 0, bytes: 0, nextId, digest: 0 };
}

function createPage(): Page {
  return {
    count: 0,
    encodings: new Uint8Array(JOBS_PER_PAGE),
    ends: new Uint32Array(JOBS_PER_PAGE),
    payloads: new Uint8Array(FIRST_PAYLOAD_BYTES),
    next: null,
  };
}

/** Where the payload of job `at` begins: for `at` = count, where the page's payloads end. */
function startOf(page: Page, at: number): number {
  return at === 0 ? 0 : must(page.ends[at - 1], "a job of the page");
}

/** Appends a job whose payload is `source` from `start` to `end`; the bytes are copied. */
export function push(jobs: WaitingJobs, encoding: number, source: Uint8Array, start = 0, end = source.length): void {
  const length = end - start;
  const page = pageThatFits(jobs, length);
  const used = startOf(page, page.count);
  if (used + length > page.payloads.length) {
    const larger = new Uint8Array(Math.max(used + length, page.payloads.length * 2));
    larger.set(page.payloads.subarray(0, used));
    page.payloads = larger;
  }
  const { payloads } = page;
  // A view of a few bytes costs more than they do.
  if (length <= SHORT_PAYLOAD_BYTES) for (let at = 0; at < length; at++) payloads[used + at] = source[start + at] ?? 0;
  else payloads.set(source.subarray(start, end), used);
  page.ends[page.count] = used + length;
  page.encodings[page.count] = encoding;
  page.count++;
  jobs.digest = (jobs.digest + digestOfJob(jobs.nextId, encoding, source, start, end)) | 0;
  jobs.count++;
  jobs.bytes += length;
  jobs.nextId++;
}

function pageThatFits(jobs: WaitingJobs, length: number): Page {
  const { tail } = jobs;
  const used = startOf(tail, tail.count);
  if (tail.count < JOBS_PER_PAGE && (tail.count === 0 || used + length <= BYTES_PER_PAGE)) return tail;
  // It is full and will never change again: give back what it did not use.
  tail.encodings = tail.encodings.slice(0, tail.count);
  tail.ends = tail.ends.slice(0, tail.count);
  tail.payloads = tail.payloads.slice(0, used);
  const page = createPage();
  tail.next = page;
  jobs.tail = page;
  return page;
}

/** The first job, without taking it; null when none waits. Its payload stays valid. */
export function first(jobs: WaitingJobs): Job | null {
  if (jobs.count === 0) return null;
  if (jobs.taken === jobs.head.count) {
    jobs.head = must(jobs.head.next, "the page of the first job that waits");
    jobs.taken = 0;
  }
  const { head, taken } = jobs;
  return {
    id: jobs.nextId - jobs.count,
    encoding: must(head.encodings[taken], "the encoding of a job that waits"),
    payload: byteRange(head.payloads, startOf(head, taken), startOf(head, taken + 1)),
  };
}

/** Removes the job that `first` gave. */
export function drop(jobs: WaitingJobs, job: Job): void {
  assert(job.id === jobs.nextId - jobs.count, "jobs leave in the order of their ids");
  const { id, encoding, payload } = job;
  jobs.taken++;
  jobs.count--;
  jobs.bytes -= payload.length;
  // From the bytes as they are now: a job that has changed in memory changes the sum.
  jobs.digest = (jobs.digest - digestOfJob(id, encoding, payload, 0, payload.length)) | 0;
}

/** The jobs that wait now; it stays what it is while the queue goes on. */
export interface FrozenJobs {
  readonly page: Page;
  readonly taken: number;
  readonly count: number;
  readonly firstId: number;
}

export function freezeJobs(jobs: WaitingJobs): FrozenJobs {
  return { page: jobs.head, taken: jobs.taken, count: jobs.count, firstId: jobs.nextId - jobs.count };
}

/** Consecutive jobs, column by column: few large copies instead of many small ones. */
export interface JobBlock {
  readonly firstId: number;
  /** One byte each. */
  readonly encodings: Uint8Array;
  /** Four bytes each, big-endian. */
  readonly lengths: Uint8Array;
  readonly payloads: Uint8Array;
}

const BYTES_PER_LENGTH = 4;
const COLUMN_BYTES_PER_JOB = 1 + BYTES_PER_LENGTH;

/** Jobs `from` up to, not including, `to` of one page. */
interface Run {
  readonly page: Page;
  readonly from: number;
  readonly to: number;
}

/** Every frozen job in order, in blocks of at most `maxBytes` (but at least one job). */
export function* blocksOf(frozen: FrozenJobs, maxBytes: number): Generator<JobBlock> {
  let page = frozen.page;
  let at = frozen.taken;
  let id = frozen.firstId;
  let left = frozen.count;
  while (left > 0) {
    const runs: Run[] = [];
    let jobs = 0;
    let bytesLeft = maxBytes;
    while (left > 0 && bytesLeft > 0) {
      if (at === page.count) {
        page = must(page.next, "the page of the next frozen job");
        at = 0;
      }
      const to = endOfRun(page, at, left, bytesLeft, jobs === 0);
      if (to === at) break;
      bytesLeft -= (to - at) * COLUMN_BYTES_PER_JOB + startOf(page, to) - startOf(page, at);
      runs.push({ page, from: at, to });
      jobs += to - at;
      left -= to - at;
      at = to;
    }
    yield blockOf(runs, id, jobs);
    id += jobs;
  }
}

function endOfRun(page: Page, from: number, left: number, bytesLeft: number, atLeastOne: boolean): number {
  const start = startOf(page, from);
  let to = atLeastOne ? from + 1 : from;
  const last = Math.min(page.count, from + left);
  while (to < last && (to + 1 - from) * COLUMN_BYTES_PER_JOB + startOf(page, to + 1) - start <= bytesLeft) to++;
  return to;
}

function blockOf(runs: readonly Run[], firstId: number, jobs: number): JobBlock {
  const payloadBytes = runs.reduce((sum, { page, from, to }) => sum + startOf(page, to) - startOf(page, from), 0);
  const encodings = new Uint8Array(jobs);
  const lengths = new Uint8Array(jobs * BYTES_PER_LENGTH);
  const payloads = new Uint8Array(payloadBytes);
  const lengthView = new DataView(lengths.buffer);
  let job = 0;
  let payloadAt = 0;
  for (const { page, from, to } of runs) {
    const bytes = page.payloads.subarray(startOf(page, from), startOf(page, to));
    payloads.set(bytes, payloadAt);
    payloadAt += bytes.length;
    encodings.set(page.encodings.subarray(from, to), job);
    for (let at = from; at < to; at++, job++) {
      lengthView.setUint32(job * BYTES_PER_LENGTH, startOf(page, at + 1) - startOf(page, at));
    }
  }
  return { firstId, encodings, lengths, payloads };
}

/** Why `block` cannot follow the jobs that wait; null when it was appended. */
export function pushBlock(jobs: WaitingJobs, block: JobBlock, maxPayloadBytes: number): string | null {
  const { encodings, lengths, payloads } = block;
  if (block.firstId !== jobs.nextId) return `job ${block.firstId} stands where job ${jobs.nextId} is expected`;
  if (lengths.length !== encodings.length * BYTES_PER_LENGTH) return "a block of jobs has columns of different height";
  const lengthView = new DataView(lengths.buffer, lengths.byteOffset, lengths.length);
  let start = 0;
  for (let job = 0; job < encodings.length; job++) {
    const length = lengthView.getUint32(job * BYTES_PER_LENGTH);
    if (length > maxPayloadBytes || start + length > payloads.length) return `job ${jobs.nextId} is too long`;
    push(jobs, must(encodings[job], "a job's encoding"), payloads, start, start + length);
    start += length;
  }
  return start === payloads.length ? null : "a block of jobs has payload bytes that belong to no job";
}
