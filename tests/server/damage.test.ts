// Does damage on a minority of the disks ever cost anything? Whatever is damaged, and wherever: it is found before the node takes part,
// the node comes back as a new incarnation by itself, and nothing damaged is ever served or passed on.
import { describe, expect, test } from "bun:test";
import type { MemberId } from "../../src/raft/types.ts";
import { createCheckedCluster, type CheckedCluster } from "./checked-cluster.ts";
import { fileDamage, type DiskDamage, logDamage, metaDamage, snapshotDamage, tailDamage } from "../kit/disk-damage.ts";

/** Seconds on a quiet machine. */
const SLOW_MS = 120_000;

const ALL_DAMAGE = [...logDamage(), ...tailDamage(), ...metaDamage(), ...snapshotDamage(), ...fileDamage()];

/** Every n-th of them, so that each class of file is met. */
const everyNth = (damages: readonly DiskDamage[], n: number, from: number): readonly DiskDamage[] =>
  damages.filter((_, at) => at % n === from % n);

interface Damaged {
  readonly port: number;
  readonly damage: DiskDamage;
  readonly before: MemberId;
}

/** Kills the nodes at `ports` while jobs come in, damages each, starts them again as always and waits for everything to be well. */
function damageAndReturn(cluster: CheckedCluster, ports: readonly number[], damages: readonly DiskDamage[]): void {
  cluster.enqueue(8);
  cluster.quiet();
  const damaged: Damaged[] = ports.map((port, at) => ({ port, damage: damages[at]!, before: cluster.memberAt(port) }));
  for (const { port } of damaged) cluster.end(port, "kill");
  for (const { port, damage } of damaged) damage.apply(cluster.testCluster.diskOf(port));
  cluster.enqueue(2);
  for (const { port } of damaged) cluster.start(port);
  cluster.untilWhole();
  for (const { port, damage, before } of damaged) {
    const { logged } = cluster.at(port);
    const found = logged.findIndex(({ event }) => event === "damaged");
    const letIn = logged.findIndex(({ event }) => event === "quarantined");
    const tookPart = logged.findIndex(({ event }) => event === "role" || event === "snapshot-installed");
    // Found first; no vote, no role, nothing at all before the others had agreed.
    expect({ damage: damage.name, found: found >= 0, inOrder: found < letIn && letIn < tookPart }).toEqual({
      damage: damage.name,
      found: true,
      inOrder: true,
    });
    expect({ damage: damage.name, text: logged[found]!.text }).toEqual({
      damage: damage.name,
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
      for (const [at, damage] of everyNth(ALL_DAMAGE, 3, 0).entries())
        damageAndReturn(cluster, [cluster.ports[at % 3]!], [damage]);
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
      const damages = [...everyNth(ALL_DAMAGE, 3, 1), ...everyNth(ALL_DAMAGE, 3, 2)];
      for (let at = 0; at + 1 < damages.length; at += 2) {
        const ports = [cluster.ports[at % 5]!, cluster.ports[(at + 2) % 5]!];
        damageAndReturn(cluster, ports, [damages[at]!, damages[at + 1]!]);
      }
      cluster.expectAllThere();
    },
    SLOW_MS,
  );
});
