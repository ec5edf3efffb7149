// How many jobs a second go through the compiled binary? One client pipes enqueues, then dequeues, as fast as they are
// answered: `seq 1 N | sed 's/.*/enqueue(&)/' | raftq client --id c1 --json`.
import { type Cluster, waitFor, type World, withWorld } from "../e2e/harness.ts";
import { type Figure, measure } from "./measure.ts";

const SIZES = [1, 3, 5];
const JOBS = 10_000;

async function pipe(world: World, cluster: Cluster, line: (i: number) => string): Promise<readonly [number, number]> {
  let answered = 0;
  const wrong: string[] = [];
  const began = performance.now();
  let ended = began;
  const client = world.pipe(["client", "--id", "c1", "--addr", cluster.addresses, "--json"], (answer, at) => {
    answered++;
    ended = at;
    if (!answer.includes('"status":"ok"')) wrong.push(answer);
  });
  for (let i = 0; i < JOBS; i++) client.write(line(i));
  await waitFor("all answers", 60_000, () => (answered === JOBS ? true : undefined));
  await client.end();
  if (wrong.length > 0) throw new Error(`${wrong.length} answers were not ok: ${wrong[0]}`);
  return [JOBS, (ended - began) / 1_000];
}

/** Starting the client is part of it, as it is for a person. */
export async function benchPipes(): Promise<readonly Figure[]> {
  const figures: Figure[] = [];
  for (const size of SIZES) {
    await withWorld(async (world) => {
      const cluster = await world.cluster(size);
      const nodes = size === 1 ? "one node" : `${size} nodes`;
      figures.push(
        await measure(`pipe into ${nodes}: enqueues`, "jobs", () => pipe(world, cluster, (i) => `enqueue(${i})`)),
      );
      figures.push(await measure(`pipe from ${nodes}: dequeues`, "jobs", () => pipe(world, cluster, () => "dequeue")));
    });
  }
  return figures;
}
