// Does anything acknowledged go missing when all nodes die at once? The long run: RAFTQ_E2E_ROUNDS=10.
import { expect } from "bun:test";
import { parameter, waitFor, inWorld } from "./harness.ts";
import { drain, reckon, startWriter } from "./writers.ts";

const ROUNDS = parameter("RAFTQ_E2E_ROUNDS", 3);
const LOAD_MS = 1_000;
const SERVES_WITHIN_MS = 3_000;

inWorld(
  "kill -9 of all five nodes under load: each restart serves within three seconds, and nothing acknowledged is missing",
  async (world) => {
    const { nodes, addresses } = await world.cluster(5);
    const writers = [1, 2, 3, 4].map((number) => startWriter(world, { number, addresses }));
    const [first] = writers;
    const restarts: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      await Bun.sleep(LOAD_MS);
      await Promise.all(nodes.map((node) => node.kill()));
      const before = first?.acknowledged.length ?? 0;
      const began = performance.now();
      for (const node of nodes) node.start();
      await waitFor("an acknowledgement after the restart", 10_000, () =>
        (first?.acknowledged.length ?? 0) > before ? true : undefined,
      );
      restarts.push(performance.now() - began);
    }
    await Promise.all(writers.map((writer) => writer.stop()));
    console.log(`serving again after ${restarts.map((ms) => `${ms.toFixed(0)} ms`).join(", ")}`);
    expect(Math.max(...restarts)).toBeLessThan(SERVES_WITHIN_MS);
    expect(writers.flatMap((writer) => writer.failed)).toEqual([]);
    expect(reckon(writers, await drain(world, addresses))).toEqual({ lost: 0, duplicated: 0, misordered: 0 });
  },
  60_000 + ROUNDS * 20_000,
);
