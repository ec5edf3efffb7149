// Does raftq stay as it is for minutes and hours? Pairs on three nodes, as many as they can or a share of that: each minute's
// rate, times, memory, disk, and whether the leader changed.
import { mkdtempSync, readFileSync, rmSync, statSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { must } from "../../src/lib/assert.ts";
import { writeStderr } from "../scripts/project.ts";
import { fill, measureWindow, openAll } from "./peers/closed-loop.ts";
import { type Peer, pause, type QueueClient } from "./peers/peer.ts";
import { killEverything } from "./peers/processes.ts";
import { createRaftq, type Raftq } from "./peers/raftq.ts";
import { coldStart, stopAll } from "./peers/start.ts";
import { SYSTEMS } from "./peers/systems.ts";

export interface Minute {
  /** Pairs a second. */
  readonly rate: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly worstMs: number;
  /** Of the node that uses most. */
  readonly memoryMiB: number;
  readonly diskMiB: number;
  /** A new one: the leader changed. */
  readonly term: number;
  readonly failures: number;
}

const IN_FLIGHT = 256;
const SIZE = 16;
/** So many jobs are stored before the load begins that no dequeue finds the queue empty. */
const STORED = 10_000;
const FULL_LOAD_SECONDS = 20;
const TICK_MS = 1;
const MINUTE_MS = 60_000;
const AFTER_FAILURE_MS = 5;
const LAST_ANSWERS_MS = 2_000;
const MIB = 1024 * 1024;

/** `load`: of the rate that the nodes reach at first; null: as much as they take. */
export async function benchSteady(minutes: number, load: number | null): Promise<readonly Minute[]> {
  const directory = mkdtempSync(join(tmpdir(), "raftq-bench-"));
  process.on("exit", killEverything);
  let raftq: Raftq | null = null;
  const system = { ...must(SYSTEMS[0], "raftq"), create: (home: string) => (raftq = createRaftq(home)) };
  try {
    const { peer } = await coldStart(system, join(directory, "nodes"));
    try {
      return await measureMinutes(must<Raftq>(raftq, "the nodes that were started"), minutes, load);
    } finally {
      await stopAll(peer);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function measureMinutes(raftq: Raftq, minutes: number, load: number | null): Promise<readonly Minute[]> {
  const warmUp = { work: "pairs", inFlight: IN_FLIGHT, size: SIZE, seconds: FULL_LOAD_SECONDS } as const;
  const full = await measureWindow(raftq, warmUp);
  await fill(raftq, STORED, SIZE);
  const tally = createTally();
  const stop = load === null ? await asMuchAsPossible(raftq, tally) : await paced(raftq, tally, load * full.rate);
  const measured: Minute[] = [];
  for (let i = 0; i < minutes; i++) {
    tally.take();
    await pause(MINUTE_MS);
    const minute = { ...tally.take(), ...(await sizesOf(raftq)) };
    measured.push(minute);
    writeStderr(minuteLine(minute, i + 1));
  }
  stop();
  await pause(LAST_ANSWERS_MS);
  return measured;
}

async function sizesOf(raftq: Raftq): Promise<Pick<Minute, "memoryMiB" | "diskMiB" | "term">> {
  const { term } = await raftq.status();
  const memory = raftq.nodes.map((node) => node.pids().reduce((sum, pid) => sum + residentBytes(pid), 0));
  const disk = raftq.nodes.map(({ directory }) => bytesIn(directory));
  return { memoryMiB: Math.max(...memory) / MIB, diskMiB: Math.max(...disk) / MIB, term };
}

function residentBytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
  return Number(line?.[1] ?? 0) * 1024;
}

function bytesIn(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce(
      (sum, entry) => sum + (statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0),
      0,
    );
}

// ---- The load

type Operation = () => Promise<unknown>;

/** By turns through as many connections as a closed loop would use. */
async function operations(peer: Peer): Promise<{ readonly make: Operation; readonly take: Operation; close(): void }> {
  const makers = await openAll(peer, IN_FLIGHT / 2, "producer");
  const takers = await openAll(peer, IN_FLIGHT / 2, "consumer");
  const body = Buffer.alloc(SIZE, "x");
  let made = 0;
  let taken = 0;
  return {
    make: () => must(makers[made++ % makers.length], "a producer").enqueue(body),
    take: () => must(takers[taken++ % takers.length], "a consumer").dequeue(),
    close: () => {
      for (const client of [...makers, ...takers] satisfies QueueClient[]) client.close();
    },
  };
}

async function asMuchAsPossible(peer: Peer, tally: Tally): Promise<() => void> {
  const { make, take, close } = await operations(peer);
  let isStopped = false;
  const worker = async (operation: Operation, isPair: boolean): Promise<void> => {
    while (!isStopped) if (!(await tally.time(operation, performance.now(), isPair))) await pause(AFTER_FAILURE_MS);
  };
  for (let i = 0; i < IN_FLIGHT / 2; i++) {
    void worker(make, false);
    void worker(take, true);
  }
  return () => {
    isStopped = true;
    setTimeout(close, LAST_ANSWERS_MS / 2);
  };
}

/** Whether or not the earlier ones are answered; an operation's time begins when it was due. */
async function paced(peer: Peer, tally: Tally, perSecond: number): Promise<() => void> {
  const { make, take, close } = await operations(peer);
  const began = performance.now();
  let begun = 0;
  const timer = setInterval(() => {
    const due = ((performance.now() - began) / 1_000) * perSecond;
    for (; begun < due; begun++) {
      const dueAt = began + (begun / perSecond) * 1_000;
      void tally.time(make, dueAt, false);
      void tally.time(take, dueAt, true);
    }
  }, TICK_MS);
  return () => {
    clearInterval(timer);
    setTimeout(close, LAST_ANSWERS_MS / 2);
  };
}

// ---- The count

/** An hour has too many times to keep them all. */
const BUCKET_MS = 0.1;
const BUCKETS = 50_000;

type Counted = Omit<Minute, "memoryMiB" | "diskMiB" | "term">;

interface Tally {
  /** Whether it succeeded. */
  time(operation: Operation, from: number, isPair: boolean): Promise<boolean>;
  /** What was counted since the last call. */
  take(): Counted;
}

function createTally(): Tally {
  const buckets = new Uint32Array(BUCKETS);
  let [pairs, failures, times, worstMs, since] = [0, 0, 0, 0, performance.now()];
  const quantile = (share: number): number => {
    let left = share * times;
    const at = buckets.findIndex((count) => (left -= count) < 0);
    return at < 0 ? worstMs : (at + 1) * BUCKET_MS;
  };
  return {
    time: async (operation, from, isPair) => {
      try {
        await operation();
      } catch {
        failures++;
        return false;
      }
      const ms = performance.now() - from;
      const bucket = Math.min(BUCKETS - 1, Math.floor(ms / BUCKET_MS));
      buckets[bucket] = (buckets[bucket] ?? 0) + 1;
      times++;
      worstMs = Math.max(worstMs, ms);
      if (isPair) pairs++;
      return true;
    },
    take: () => {
      const now = performance.now();
      const rate = (pairs / (now - since)) * 1_000;
      const counted = { rate, p50Ms: quantile(0.5), p99Ms: quantile(0.99), p999Ms: quantile(0.999), worstMs, failures };
      buckets.fill(0);
      [pairs, failures, times, worstMs, since] = [0, 0, 0, 0, now];
      return counted;
    },
  };
}

// ---- The report

const minuteLine = (minute: Minute, number: number): string => {
  const { rate, p50Ms, p99Ms, p999Ms, worstMs, memoryMiB, diskMiB, term, failures } = minute;
  const times = `p50 ${p50Ms.toFixed(1)}, p99 ${p99Ms.toFixed(1)}, p99.9 ${p999Ms.toFixed(1)}, worst ${worstMs.toFixed(0)} ms`;
  const sizes = `${memoryMiB.toFixed(0)} MiB of memory, ${diskMiB.toFixed(0)} MiB on disk`;
  return `minute ${number}: ${rate.toFixed(0)} pairs/s, ${times}; ${sizes}; term ${term}; ${failures} failures`;
};

/** The whole, in a few lines. */
export function steadyText(minutes: readonly Minute[]): string {
  const first = must(minutes[0], "the first minute");
  const last = must(minutes.at(-1), "the last minute");
  const range = (of: (minute: Minute) => number, digits: number): string => {
    const values = minutes.map(of);
    return `${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)}`;
  };
  return [
    `pairs a second      ${range(({ rate }) => rate, 0)}; the last minute ${(last.rate / first.rate).toFixed(2)} of the first`,
    `p99.9, in a minute  ${range(({ p999Ms }) => p999Ms, 1)} ms; worst ${Math.max(...minutes.map(({ worstMs }) => worstMs)).toFixed(0)} ms`,
    `memory of a node    ${first.memoryMiB.toFixed(0)} MiB after the first minute, ${last.memoryMiB.toFixed(0)} after the last; ${range(({ memoryMiB }) => memoryMiB, 0)}`,
    `disk of a node      ${range(({ diskMiB }) => diskMiB, 0)} MiB`,
    `changes of leader   ${last.term - first.term}`,
    `failures            ${minutes.reduce((sum, { failures }) => sum + failures, 0)}`,
  ].join("\n");
}
