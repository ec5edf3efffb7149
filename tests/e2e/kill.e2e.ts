// Is anything lost when the leader is killed again and again? The long run: RAFTQ_E2E_ENQUEUES=100000 RAFTQ_E2E_KILLS=20.
import { expect } from "bun:test";
import { type Cluster, parameter, waitFor, inWorld } from "./harness.ts";
import { drain, longestSilence, median, reckon, startWriter, type Writer } from "./writers.ts";

const ENQUEUES = parameter("RAFTQ_E2E_ENQUEUES", 3_000);
const KILLS = parameter("RAFTQ_E2E_KILLS", 3);
const WRITERS = 8;
const KILL_INTERVAL_MS = 2_000;
const DOWN_MS = 1_000;
const LONG_MS = 60_000 + KILLS * 10_000 + ENQUEUES * 2;

/** Every two seconds: `kill -9` the leader, start it again. Answers when each kill happened. */
async function killLeaders(cluster: Cluster, enough: (kills: number) => boolean): Promise<readonly number[]> {
  const at: number[] = [];
  while (!enough(at.length)) {
    const leader = await cluster.leader();
    at.push(performance.now());
    await leader.kill();
    await Bun.sleep(DOWN_MS);
    leader.start();
    await Bun.sleep(KILL_INTERVAL_MS - DOWN_MS);
  }
  return at;
}

const total = (writers: readonly Writer[]): number =>
  writers.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);

inWorld(
  "eight writers lose nothing, repeat nothing and keep their order while leaders are killed",
  async (world) => {
    const cluster = await world.cluster(5);
    const { addresses } = cluster;
    const writers = Array.from({ length: WRITERS }, (_, i) => startWriter(world, { number: i + 1, addresses }));
    const kills = await killLeaders(cluster, (count) => count >= KILLS && total(writers) >= ENQUEUES);
    const codes = await Promise.all(writers.map((writer) => writer.stop()));
    expect(writers.flatMap((writer) => writer.failed)).toEqual([]);
    expect(codes).toEqual(writers.map(() => 0));

    const dequeued = await drain(world, addresses);
    const result = reckon(writers, dequeued);
    console.log(`${total(writers)} enqueues, ${kills.length} kills: ${JSON.stringify(result)}`);
    expect(result).toEqual({ lost: 0, duplicated: 0, misordered: 0 });
    expect(dequeued.length).toBe(total(writers));
  },
  LONG_MS,
);

inWorld(
  "one client that counts to N while leaders are killed dequeues 1 to N",
  async (world) => {
    const cluster = await world.cluster(5);
    const answers: string[] = [];
    const args = ["client", "--id", "c1", "--addr", cluster.addresses, "--timeout", "60s"];
    const pipe = world.pipe(args, (line) => answers.push(line));
    let counting = true;
    let n = 0;
    const count = (async () => {
      while (counting) {
        pipe.write(`enqueue(${++n})`);
        await Bun.sleep(1);
      }
    })();
    await killLeaders(cluster, (kills) => kills >= KILLS);
    counting = false;
    await count;
    expect(await pipe.end()).toBe(0);
    expect(answers.length).toBe(n);
    expect(answers.filter((answer) => !/^ok id=\d+ index=\d+$/.test(answer))).toEqual([]);
    expect(await drain(world, cluster.addresses)).toEqual(Array.from({ length: n }, (_, i) => i + 1));
  },
  LONG_MS,
);

inWorld(
  "what goes in by hundreds while leaders are killed comes out by a thousand, whole and in order, and a peek shows what is next",
  async (world) => {
    const cluster = await world.cluster(3);
    const answers: string[] = [];
    const args = ["client", "--id", "c1", "--addr", cluster.addresses, "--timeout", "60s"];
    const pipe = world.pipe(args, (line) => answers.push(line));
    let counting = true;
    let lines = 0;
    let n = 0;
    const count = (async () => {
      while (counting) {
        pipe.write(`enqueue(${Array.from({ length: 400 }, () => ++n).join(", ")})`);
        lines++;
        await Bun.sleep(20);
      }
    })();
    await killLeaders(cluster, (kills) => kills >= 2);
    counting = false;
    await count;
    expect(await pipe.end()).toBe(0);
    expect(answers.length).toBe(lines);
    expect(answers.filter((answer) => !/^ok ids=\d+-\d+ index=\d+$/.test(answer))).toEqual([]);
    const input = "peek\ndequeue 1000\n".repeat(Math.ceil(n / 1_000) + 1);
    const { stdout, code } = await world.raftq(["client", "--id", "c2", "--addr", cluster.addresses], { input });
    expect(code).toBe(0);
    const out = stdout.trimEnd().split("\n");
    expect(out.slice(-2)).toEqual(["(empty)", "(empty)"]);
    const taken = out.slice(0, -2).map((line) => JSON.parse(line) as number | number[]);
    expect(taken.flatMap((value) => (typeof value === "number" ? [] : value))).toEqual(
      Array.from({ length: n }, (_, i) => i + 1),
    );
    for (let at = 0; at < taken.length; at += 2) expect(taken[at]).toBe((taken[at + 1] as number[])[0]!);
  },
  LONG_MS,
);

inWorld(
  "a writer paced at 1 ms waits under half a second for the next leader after a kill",
  async (world) => {
    const cluster = await world.cluster(5);
    const writer = startWriter(world, { number: 1, addresses: cluster.addresses, everyMs: 1 });
    await waitFor("the first acknowledgement", 5_000, () => writer.acknowledgedAt[0]);
    const kills = await killLeaders(cluster, (count) => count >= KILLS);
    await writer.stop();
    const silences = kills.map((at) => longestSilence(writer.acknowledgedAt, at, at + KILL_INTERVAL_MS));
    console.log(
      `silence around a kill: ${JSON.stringify({ median: median(silences), worst: Math.max(...silences) })} ms`,
    );
    expect(median(silences)).toBeLessThan(500);
    expect(writer.failed).toEqual([]);
  },
  LONG_MS,
);

inWorld(
  "a leader that is asked to stop, or to hand over, is replaced without an election timeout",
  async (world) => {
    const cluster = await world.cluster(5);
    const writer = startWriter(world, { number: 1, addresses: cluster.addresses, everyMs: 1 });
    await waitFor("the first acknowledgement", 5_000, () => writer.acknowledgedAt[0]);
    const stops: number[] = [];
    const transfers: number[] = [];
    for (let round = 0; round < KILLS; round++) {
      const leader = await cluster.leader();
      const stopped = performance.now();
      expect(await leader.stop()).toBe(0);
      leader.start();
      await Bun.sleep(DOWN_MS);
      stops.push(longestSilence(writer.acknowledgedAt, stopped, performance.now()));

      const asked = performance.now();
      const transfer = await world.raftq(["cluster", "transfer", "--addr", cluster.addresses]);
      expect(transfer).toMatchObject({ code: 0 });
      await Bun.sleep(DOWN_MS);
      transfers.push(longestSilence(writer.acknowledgedAt, asked, performance.now()));
    }
    await writer.stop();
    console.log(`silence around SIGTERM: ${JSON.stringify({ median: median(stops), worst: Math.max(...stops) })} ms`);
    console.log(
      `silence around transfer: ${JSON.stringify({ median: median(transfers), worst: Math.max(...transfers) })} ms`,
    );
    // Less than the shortest election timeout: a hand-over, not an election that somebody waited for.
    expect(median(stops)).toBeLessThan(300);
    expect(median(transfers)).toBeLessThan(300);
    expect(writer.failed).toEqual([]);
  },
  LONG_MS,
);
