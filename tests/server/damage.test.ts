// Does damage on a minority of the disks ever cost anything? Whatever is hit, and wherever: it is found before the node takes part,
// the node comes back as a new incarnation by itself, and nothing damaged is ever served or passed on.
import { describe, expect, test } from "bun:test";
import type { MemberId } from "../../src/raft/types.ts";
import { createCheckedCluster, type CheckedCluster } from "./checked-cluster.ts";
import { fileHits, type Hit, logHits, metaHits, snapshotHits, tailHits } from "../kit/disk-damage.ts";

/** Seconds on a quiet machine. */
const SLOW_MS = 120_000;

const ALL_HITS = [...logHits(), ...tailHits(), ...metaHits(), ...snapshotHits(), ...fileHits()];

/** Every n-th of them, so that each class of file is met. */
const everyNth = (hits: readonly Hit[], n: number, from: number): readonly Hit[] =>
  hits.filter((_, at) => at % n === from % n);

interface Stricken {
  readonly port: number;
  readonly hit: Hit;
  readonly before: MemberId;
}

/** Kills the nodes at `ports` while jobs come in, damages each, starts them again as always and waits for everything to be well. */
function strikeAndReturn(cluster: CheckedCluster, ports: readonly number[], hits: readonly Hit[]): void {
  cluster.enqueue(8);
  cluster.quiet();
  const stricken: Stricken[] = ports.map((port, at) => ({ port, hit: hits[at]!, before: cluster.memberAt(port) }));
  for (const { port } of stricken) cluster.end(port, "kill");
  for (const { port, hit } of stricken) hit.strike(cluster.testCluster.diskOf(port));
  cluster.enqueue(2);
  for (const { port } of stricken) cluster.start(port);
  cluster.untilWhole();
  for (const { port, hit, before } of stricken) {
    const { logged } = cluster.at(port);
    const told = logged.findIndex(({ event }) => event === "damaged");
    const letIn = logged.findIndex(({ event }) => event === "quarantined");
    const tookPart = logged.findIndex(({ event }) => event === "role" || event === "snapshot-installed");
    // Found first; no vote, no role, nothing at all before the others had agreed.
    expect({ hit: hit.name, told: told >= 0, inOrder: told < letIn && letIn < tookPart }).toEqual({
      hit: hit.name,
      told: true,
      inOrder: true,
    });
    expect({ hit: hit.name, text: logged[told]!.text }).toEqual({
      hit: hit.name,
      text: expect.stringMatching(/damaged|missing|no entries|unreadable/),
    });
    expect(cluster.memberAt(port)).not.toBe(before);
    expect(cluster.quarantined(port).length).toBe(1);
  }
  cluster.expectEqualStates();
}

describe("one of three", () => {
  test(
    "every class of position: found, brought back, nothing lost",
    () => {
      const cluster = createCheckedCluster(3, 11);
      for (const [at, hit] of everyNth(ALL_HITS, 3, 0).entries())
        strikeAndReturn(cluster, [cluster.ports[at % 3]!], [hit]);
      cluster.expectAllThere();
    },
    SLOW_MS,
  );
});

describe("two of five", () => {
  test(
    "every class of position, at different places on the two: found, brought back, nothing lost",
    () => {
      const cluster = createCheckedCluster(5, 12);
      const hits = [...everyNth(ALL_HITS, 3, 1), ...everyNth(ALL_HITS, 3, 2)];
      for (let at = 0; at + 1 < hits.length; at += 2) {
        const ports = [cluster.ports[at % 5]!, cluster.ports[(at + 2) % 5]!];
        strikeAndReturn(cluster, ports, [hits[at]!, hits[at + 1]!]);
      }
      cluster.expectAllThere();
    },
    SLOW_MS,
  );
});
