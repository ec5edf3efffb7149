// Which harm comes to disks? Slow, full, failing, hanging, without power, damaged.
import type { Random } from "../../src/lib/random.ts";
import { damage } from "./damage.ts";
import { flaw, hold, type Nemesis } from "./nemesis.ts";
import type { TortureNode } from "./node.ts";
import { inject } from "./tracer.ts";
import { bringUp, claim, names, recoverFromDamage, release, spareDisks } from "./world.ts";

/** A nemesis that holds what running nodes do to their disks. */
function traced(
  name: string,
  draw: (random: Random) => { readonly inject: string; readonly what: string },
  mayExit: boolean,
): Nemesis {
  return {
    name,
    needs: ["strace"],
    strike: async (world, random) => {
      const nodes = claim(world, random.between(1, 2), random);
      if (nodes === null) return null;
      const drawn = draw(random);
      flaw(nodes, name);
      for (const node of nodes) if (mayExit) node.mayExit = name;
      const undo = await Promise.all(
        nodes.filter((node) => node.running()).map((node) => inject(node.pid(), drawn.inject)),
      );
      return {
        what: `${names(nodes)}: ${drawn.what}`,
        holdMs: hold(random, world, 500, 12_000),
        heal: async () => {
          await Promise.all(undo.map((one) => one()));
          // What was under way while it was held may still end it.
          if (mayExit) await Bun.sleep(300);
          release(nodes, name);
          await bringUp(world, nodes);
        },
      };
    },
  };
}

const slowDisk = traced(
  "slow-disk",
  (random) => {
    const ms = random.between(5, 250);
    return { inject: `delay_enter=${ms}000`, what: `every write takes ${ms} ms more` };
  },
  false,
);

const hangingDisk = traced(
  "disk-hangs",
  (random) => {
    const ms = random.between(700, 4_000);
    return { inject: `delay_enter=${ms}000`, what: `every write hangs for ${ms} ms` };
  },
  true,
);

const failingDisk = traced("disk-fails", () => ({ inject: "error=EIO", what: "every write answers EIO" }), true);

const fullDisk: Nemesis = {
  name: "full-disk",
  needs: ["mounts"],
  strike: async (world, random) => {
    const nodes = claim(world, random.between(1, 3), random);
    if (nodes === null) return null;
    flaw(nodes, "full-disk");
    const left = random.chance(50) ? 0 : random.between(1, 6_000_000);
    const undo = nodes.map((node) => node.disk.fill(left));
    return {
      what: `${names(nodes)}: ${left} bytes left`,
      holdMs: hold(random, world, 2_000, 25_000),
      heal: async () => {
        undo.forEach((one) => one());
        await Bun.sleep(300);
        release(nodes, "full-disk");
        await bringUp(world, nodes);
      },
    };
  },
};

/** A write to a quick disk is durable before the power is gone: only slow ones show who answered too early. */
const SLOW_BEFORE_CUT_PERCENT = 50;
const SLOW_MS = 300;

async function makeSlow(nodes: readonly TortureNode[]): Promise<void> {
  await Promise.all(nodes.map((node) => inject(node.pid(), `delay_enter=${SLOW_MS}000`)));
  await Bun.sleep(2 * SLOW_MS);
}

function power(name: string, count: number): Nemesis {
  return {
    name,
    needs: ["power"],
    ...(count === 5 ? { all: true } : {}),
    strike: async (world, random) => {
      const nodes = claim(world, count, random);
      if (nodes === null) return null;
      flaw(nodes, name);
      for (const node of nodes) node.mayExit = name;
      const isSlow = world.abilities.has.has("strace") && random.chance(SLOW_BEFORE_CUT_PERCENT);
      if (isSlow) await makeSlow(nodes);
      // All at the same moment, as near as a loop can come to it.
      for (const node of nodes) node.disk.cutPower();
      await Promise.all(nodes.map((node) => node.kill()));
      return {
        what: `${names(nodes)}${isSlow ? " with slow disks" : ""}`,
        holdMs: hold(random, world, 50, 3_000),
        heal: async () => {
          await Promise.all(nodes.map((node) => node.disk.remount()));
          release(nodes, name);
          await bringUp(world, nodes);
        },
      };
    },
  };
}

const damagedDisk: Nemesis = {
  name: "damage",
  needs: [],
  strike: async (world, random) => {
    if (world.nodes.some((node) => node.standing === "outside")) return null;
    const spare = spareDisks(world);
    const nodes = spare < 1 ? null : claim(world, random.between(1, spare), random);
    if (nodes === null) return null;
    flaw(nodes, "damage");
    await Promise.all(nodes.map((node) => node.kill()));
    for (const node of nodes) node.standing = "lost";
    const done = nodes.map((node) => `${node.id}: ${damage(node.disk.data, random)}`);
    const joinOnly = random.chance(50);
    return {
      what: done.join("; "),
      holdMs: hold(random, world, 100, 5_000),
      heal: async () => {
        await Promise.all(nodes.map((node) => recoverFromDamage(world, node, joinOnly)));
        for (const node of nodes) node.standing = "member";
        release(nodes, "damage");
      },
    };
  },
};

export const DISK_NEMESES: readonly Nemesis[] = [
  slowDisk,
  hangingDisk,
  failingDisk,
  fullDisk,
  power("power-one", 1),
  power("power-two", 2),
  power("power-all", 5),
  damagedDisk,
];
