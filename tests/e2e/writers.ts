// Who writes while a test does harm? Clients that enqueue distinct integers through a pipe and remember what was
// acknowledged; afterwards it counts what was lost, duplicated, misordered.
import type { Pipe, World } from "./harness.ts";

/** Every writer's integers lie in a range of their own, in rising order. */
const RANGE = 1_000_000_000;
/** Lines written ahead of their answers: more than the client keeps in flight, so that it is never idle. */
const AHEAD = 256;
const BREATH_MS = 5;

/** `everyMs` of a writer that is always there and leaves the processors to what is tested. At full speed: `kill.e2e.ts`, torture. */
export const STEADY_MS = 2;

export interface Writer {
  /** Integers whose enqueue was answered "ok", in the order of the answers. */
  readonly acknowledged: number[];
  /** When each answer came, in milliseconds. */
  readonly acknowledgedAt: number[];
  /** Answers that were not "ok". */
  readonly failed: string[];
  /** Stops writing, waits for what is under way; the client's exit code. */
  stop(): Promise<number | null>;
  stderr(): string;
}

export interface WriterOptions {
  /** Also the client's id, `w1`, and the range of its integers. */
  readonly number: number;
  readonly addresses: string;
  readonly timeout?: string;
  /** One line each so many milliseconds; otherwise as fast as they are answered. */
  readonly everyMs?: number;
}

export function startWriter(world: World, { number, addresses, timeout = "60s", everyMs }: WriterOptions): Writer {
  const acknowledged: number[] = [];
  const acknowledgedAt: number[] = [];
  const failed: string[] = [];
  const sent: number[] = [];
  let answered = 0;
  const args = ["client", "--id", `w${number}`, "--addr", addresses, "--timeout", timeout, "--json"];
  const pipe: Pipe = world.pipe(args, (line, at) => {
    const value = sent[answered++] as number;
    const { status } = JSON.parse(line) as { status: string };
    if (status === "ok") {
      acknowledged.push(value);
      acknowledgedAt.push(at);
    } else failed.push(line);
  });
  let writing = true;
  const one = (): void => {
    const value = number * RANGE + sent.length;
    sent.push(value);
    pipe.write(`enqueue(${value})`);
  };
  const done = (async () => {
    while (writing) {
      if (everyMs === undefined) while (pipe.waiting() < AHEAD) one();
      else one();
      await Bun.sleep(everyMs ?? BREATH_MS);
    }
  })();
  return {
    acknowledged,
    acknowledgedAt,
    failed,
    stderr: () => pipe.stderr(),
    stop: async () => {
      writing = false;
      await done;
      return pipe.end();
    },
  };
}

/** Dequeues until the queue is empty; the values in the order they came. */
export async function drain(world: World, addresses: string): Promise<readonly number[]> {
  const values: number[] = [];
  let empty = false;
  const wrong: string[] = [];
  const pipe = world.pipe(["client", "--id", "drain", "--addr", addresses, "--timeout", "60s", "--json"], (line) => {
    const answer = JSON.parse(line) as { status: string; value?: number };
    if (answer.status === "ok") values.push(answer.value as number);
    else if (answer.status === "empty") empty = true;
    else wrong.push(line);
  });
  while (!empty && wrong.length === 0) {
    while (pipe.waiting() < AHEAD) pipe.write("dequeue");
    await Bun.sleep(BREATH_MS);
  }
  await pipe.end();
  if (wrong.length > 0) throw new Error(`a dequeue failed: ${wrong[0]}`);
  return values;
}

export interface Reckoning {
  /** Acknowledged, and not there. */
  readonly lost: number;
  readonly duplicated: number;
  /** Came out after a later integer of the same writer. */
  readonly misordered: number;
}

export function reckon(writers: readonly Writer[], dequeued: readonly number[]): Reckoning {
  const seen = new Set(dequeued);
  const lost = writers.flatMap((writer) => writer.acknowledged).filter((value) => !seen.has(value)).length;
  const last = new Map<number, number>();
  let misordered = 0;
  for (const value of dequeued) {
    const writer = Math.floor(value / RANGE);
    if (value < (last.get(writer) ?? 0)) misordered++;
    last.set(writer, value);
  }
  return { lost, duplicated: dequeued.length - seen.size, misordered };
}

/** The longest time without an acknowledgement between `from` and `to`. */
export function longestSilence(at: readonly number[], from: number, to: number): number {
  const inside = at.filter((time) => time >= from && time <= to);
  const points = [from, ...inside, to];
  return points.slice(1).reduce((longest, time, i) => Math.max(longest, time - (points[i] as number)), 0);
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
