// How fast, and how quick, are one node and three? The client library in a closed loop: so many operations in flight, each
// waits for its ok. The pipes (pipes.ts) measure the same through the program that people use.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { QUEUE } from "../../src/config.ts";
import { must } from "../../src/lib/assert.ts";
import { type Figure, figure } from "./measure.ts";
import { fill, measureWindow, type Window } from "./peers/closed-loop.ts";
import type { Peer, System } from "./peers/peer.ts";
import { killEverything } from "./peers/processes.ts";
import { createRaftq, type Raftq } from "./peers/raftq.ts";
import { coldStart, stopAll } from "./peers/start.ts";
import { SYSTEMS } from "./peers/systems.ts";

const ROUNDS = 3;
const SECONDS = 1;
const JOB_BYTES = 16;
/** Requests of as many jobs as there may be, and how many of them are under way at once. */
const BATCH = QUEUE.maxJobsPerCommand;
const BATCHES_IN_FLIGHT = 16;
const BATCHES_TO_TAKE = 600;

export async function benchCluster(): Promise<readonly Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), "raftq-bench-"));
  process.on("exit", killEverything);
  try {
    const figures: Figure[] = [];
    for (const size of [1, 3]) figures.push(...(await benchNodes(size, join(directory, String(size)))));
    return figures;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function benchNodes(size: number, directory: string): Promise<readonly Figure[]> {
  const [first] = SYSTEMS;
  let raftq: Raftq | null = null;
  const system = { ...(first as System), create: (home: string) => (raftq = createRaftq(home, size)) };
  const { peer, firstAckMs } = await coldStart(system, directory);
  const nodes = size === 1 ? "one node" : `${size} nodes`;
  try {
    const single = await rounds(peer, "enqueue", 1);
    const busy = await rounds(peer, "enqueue", 256);
    const pairs = await rounds(peer, "pairs", 256);
    return [
      figure(`${nodes}: start to the first ok`, "ms", [firstAckMs]),
      figure(
        `${nodes}, 1 in flight: enqueue, median`,
        "ms",
        single.map(({ p50Ms }) => p50Ms),
      ),
      figure(
        `${nodes}, 1 in flight: enqueue, p99`,
        "ms",
        single.map(({ p99Ms }) => p99Ms),
      ),
      figure(
        `${nodes}, 256 in flight: enqueues`,
        "jobs/s",
        busy.map(({ rate }) => rate),
      ),
      figure(
        `${nodes}, 256 in flight: enqueue, p99`,
        "ms",
        busy.map(({ p99Ms }) => p99Ms),
      ),
      figure(
        `${nodes}, 256 in flight: nodes' CPU`,
        "µs/job",
        busy.map(({ serverMicros }) => serverMicros),
      ),
      figure(
        `${nodes}, 256 in flight: enqueue and dequeue`,
        "jobs/s",
        pairs.map(({ rate }) => rate),
      ),
      ...(size === 1 ? [] : await benchBatchesAndReads(must<Raftq>(raftq, "the nodes that were started"), nodes)),
    ];
  } finally {
    await stopAll(peer);
  }
}

async function benchBatchesAndReads(raftq: Raftq, nodes: string): Promise<readonly Figure[]> {
  const batches = raftq.inBatches(BATCH);
  const enqueued = await rounds(batches, "enqueue", BATCHES_IN_FLIGHT);
  const reads = await rounds(raftq.reading(), "enqueue", 256);
  // With what the enqueues have left, more than is taken out.
  await fill(batches, BATCHES_TO_TAKE, JOB_BYTES);
  const dequeued = await rounds(batches, "dequeue", BATCHES_IN_FLIGHT, SECONDS / 2);
  const jobs = ({ rate }: Window): number => rate * BATCH;
  const requests = `${nodes}, ${BATCH.toLocaleString("en")} jobs a request`;
  return [
    figure(`${requests}: enqueued`, "jobs/s", enqueued.map(jobs)),
    figure(`${requests}: dequeued`, "jobs/s", dequeued.map(jobs)),
    figure(
      `${nodes}, 256 in flight: peeks`,
      "reads/s",
      reads.map(({ rate }) => rate),
    ),
    figure(
      `${nodes}, 256 in flight: peek, p99`,
      "ms",
      reads.map(({ p99Ms }) => p99Ms),
    ),
  ];
}

async function rounds(
  peer: Peer,
  work: Window["work"],
  inFlight: number,
  seconds = SECONDS,
): Promise<readonly Window[]> {
  const windows: Window[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    windows.push(await measureWindow(peer, { work, inFlight, size: JOB_BYTES, seconds }));
  }
  return windows;
}
