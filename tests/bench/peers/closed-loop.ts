// How fast does a system do its work for so many operations in flight? A timed window of closed-loop workers: each waits for
// the server's word before it asks again.
import { type Peer, pause, type QueueClient, type Role, serversOf } from "./peer.ts";
import { cpuMicros, machineMicros, type ServerProcess } from "./processes.ts";

export const WORKS = ["enqueue", "dequeue", "pairs"] as const;
/** `pairs`: half the workers enqueue, half dequeue; a pair is a completed dequeue. */
export type Work = (typeof WORKS)[number];

export interface Task {
  readonly work: Work;
  readonly inFlight: number;
  readonly size: number;
  readonly seconds: number;
}

export interface Window extends Task {
  readonly operations: number;
  /** Per second. */
  readonly rate: number;
  /** Of pairs: the enqueues'. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU time per operation, of all servers and of the client. */
  readonly serverMicros: number;
  readonly clientMicros: number;
  /** Cores that others than servers and client kept busy: more than a few hundredths, and the figures are a hint only. */
  readonly otherCores: number;
  readonly failures: number;
}

/** Connections that the operations in flight share, as long as a connection takes its share. */
export const CONNECTIONS = 8;
const WARM_UP_MS = 1_000;
/** A dequeue window lives on what is stored. */
const DEQUEUE_WARM_UP_MS = 400;
/** How long the last operations may take; what still waits then ends with its connection. */
const LAST_ANSWERS_MS = 1_500;
const AFTER_FAILURE_MS = 5;
const FILL_IN_FLIGHT = 256;

/** Enough connections for so many operations in flight. */
export async function openAll(peer: Peer, inFlight: number, role: Role): Promise<readonly QueueClient[]> {
  const count = Math.max(Math.min(inFlight, CONNECTIONS), Math.ceil(inFlight / peer.inFlightPerConnection));
  const leader = await peer.leader();
  const share = Math.ceil(inFlight / count);
  return Promise.all(Array.from({ length: count }, () => peer.connect(leader, share, role)));
}

const bodyOf = (size: number): Buffer => Buffer.alloc(size, "x");

/** Adds `count` messages as fast as they are taken. */
export async function fill(peer: Peer, count: number, size: number): Promise<void> {
  const clients = await openAll(peer, FILL_IN_FLIGHT, "producer");
  const body = bodyOf(size);
  let left = count;
  const worker = async (_: unknown, i: number): Promise<void> => {
    const client = clients[i % clients.length] as QueueClient;
    while (left-- > 0) await client.enqueue(body).catch(() => pause(AFTER_FAILURE_MS));
  };
  await Promise.all(Array.from({ length: FILL_IN_FLIGHT }, worker));
  for (const client of clients) client.close();
}

/** What the workers of one window share. */
interface Floor {
  counting: boolean;
  stopped: boolean;
  failures: number;
  /** Messages that may still be taken. */
  left: number;
  /** Nothing is left to take. */
  dry(): void;
}

async function work(floor: Floor, operation: () => Promise<unknown>, tookMs: number[], takes: boolean): Promise<void> {
  while (!floor.stopped) {
    if (takes && floor.left-- <= 0) return floor.dry();
    const began = performance.now();
    try {
      await operation();
      if (floor.counting) tookMs.push(performance.now() - began);
    } catch {
      if (floor.counting) floor.failures++;
      await pause(AFTER_FAILURE_MS);
    }
  }
}

const quantile = (sorted: Float64Array, share: number): number => sorted[Math.floor(share * sorted.length)] ?? 0;

/** CPU in microseconds, and the cores that others kept busy. */
interface Used {
  readonly seconds: number;
  readonly servers: number;
  readonly client: number;
  readonly others: number;
}

/** Time and CPU from now on. */
export function stopwatch(processes: readonly ServerProcess[]): () => Used {
  const servers = cpuMicros(processes);
  const machine = machineMicros();
  const own = process.cpuUsage();
  const began = performance.now();
  return () => {
    const seconds = (performance.now() - began) / 1_000;
    const { user, system } = process.cpuUsage(own);
    const used = cpuMicros(processes) - servers;
    const others = Math.max(0, machineMicros() - machine - used - user - system);
    return { seconds, servers: used, client: user + system, others: others / 1e6 / seconds };
  };
}

export async function measureWindow(peer: Peer, task: Task): Promise<Window> {
  const { work: kind, inFlight } = task;
  const half = Math.max(1, inFlight >> 1);
  const producers = { enqueue: inFlight, dequeue: 0, pairs: half }[kind];
  const consumers = { enqueue: 0, dequeue: inFlight, pairs: half }[kind];
  const makers = producers > 0 ? await openAll(peer, producers, "producer") : [];
  const takers = consumers > 0 ? await openAll(peer, consumers, "consumer") : [];
  const stored = kind === "dequeue" ? await peer.depth() : Number.POSITIVE_INFINITY;
  let dry: () => void = () => undefined;
  const isDry = new Promise<void>((done) => (dry = done));
  // Near the end the workers would wait for each other's leftovers.
  const floor: Floor = { counting: false, stopped: false, failures: 0, left: stored - 2 * consumers, dry };
  const made: number[] = [];
  const taken: number[] = [];
  const body = bodyOf(task.size);
  const enqueue = (i: number) => () => (makers[i % makers.length] as QueueClient).enqueue(body);
  const dequeue = (i: number) => () => (takers[i % takers.length] as QueueClient).dequeue();
  const workers = [
    ...Array.from({ length: producers }, (_, i) => work(floor, enqueue(i), made, false)),
    ...Array.from({ length: consumers }, (_, i) => work(floor, dequeue(i), taken, true)),
  ];
  await Promise.race([pause(kind === "dequeue" ? DEQUEUE_WARM_UP_MS : WARM_UP_MS), isDry]);
  const stop = stopwatch(serversOf(peer));
  floor.counting = true;
  await Promise.race([pause(task.seconds * 1_000), isDry]);
  floor.counting = false;
  const used = stop();
  floor.stopped = true;
  await Promise.race([Promise.all(workers), pause(LAST_ANSWERS_MS)]);
  for (const client of [...makers, ...takers]) client.close();
  return windowOf(task, kind === "enqueue" ? made : taken, kind === "dequeue" ? taken : made, used, floor.failures);
}

/** `counted`: what makes an operation; `timed`: whose latency is reported. */
export function windowOf(
  task: Task,
  counted: readonly number[],
  timed: readonly number[],
  used: Used,
  failures: number,
): Window {
  const operations = counted.length;
  if (operations === 0) throw new Error(`nothing was done in ${used.seconds.toFixed(1)} s`);
  return {
    ...task,
    ...timesOf(timed),
    operations,
    seconds: used.seconds,
    rate: operations / used.seconds,
    serverMicros: used.servers / operations,
    clientMicros: used.client / operations,
    otherCores: used.others,
    failures,
  };
}

/** Median and 99th percentile. */
function timesOf(tookMs: readonly number[]): { readonly p50Ms: number; readonly p99Ms: number } {
  const sorted = Float64Array.from(tookMs).toSorted();
  return { p50Ms: quantile(sorted, 0.5), p99Ms: quantile(sorted, 0.99) };
}
