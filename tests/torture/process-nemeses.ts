// Which harm comes to processes? Killed, stopped, restarted with an older build or a wrong clock.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../../src/lib/random.ts";
import { flaw, hold, type Nemesis, type Strike } from "./nemesis.ts";
import type { Start } from "./node.ts";
import { bringUp, claim, leaderOf, names, release, type World } from "./world.ts";

function kill(name: string, count: (random: Random) => number): Nemesis {
  return {
    name,
    needs: [],
    ...(name === "kill-all" ? { all: true } : {}),
    strike: async (world, random) => {
      const nodes = claim(world, count(random), random);
      if (nodes === null) return null;
      flaw(nodes, name);
      await Promise.all(nodes.map((node) => node.kill()));
      return {
        what: names(nodes),
        holdMs: hold(random, world, 100, 10_000),
        heal: async () => {
          release(nodes, name);
          await bringUp(world, nodes);
        },
      };
    },
  };
}

const killLeader: Nemesis = {
  name: "kill-leader",
  needs: [],
  strike: async (world, random) => {
    const leader = leaderOf(world);
    const nodes = leader === null ? null : claim(world, 1, random, [leader]);
    if (nodes === null) return null;
    flaw(nodes, "kill-leader");
    await Promise.all(nodes.map((node) => node.kill()));
    return {
      what: names(nodes),
      holdMs: hold(random, world, 100, 5_000),
      heal: async () => {
        release(nodes, "kill-leader");
        await bringUp(world, nodes);
      },
    };
  },
};

const pause: Nemesis = {
  name: "pause",
  needs: [],
  strike: async (world, random) => {
    const leader = random.chance(40) ? leaderOf(world) : null;
    const nodes = leader === null ? claim(world, random.between(1, 3), random) : claim(world, 1, random, [leader]);
    if (nodes === null) return null;
    flaw(nodes, "pause");
    for (const node of nodes) node.signal("SIGSTOP");
    return {
      what: names(nodes),
      holdMs: hold(random, world, 100, 30_000),
      heal: async () => {
        for (const node of nodes) node.signal("SIGCONT");
        // What it reports from now on counts, not what it reported before.
        for (const node of nodes) node.status = null;
        release(nodes, "pause");
        await bringUp(world, nodes);
      },
    };
  },
};

const stop: Nemesis = {
  name: "stop",
  needs: [],
  strike: async (world, random) => {
    const nodes = claim(world, 1, random);
    if (nodes === null) return null;
    flaw(nodes, "stop");
    await Promise.all(nodes.map((node) => node.stop()));
    return {
      what: names(nodes),
      holdMs: hold(random, world, 100, 5_000),
      heal: async () => {
        release(nodes, "stop");
        await bringUp(world, nodes);
      },
    };
  },
};

const killClients: Nemesis = {
  name: "kill-clients",
  needs: [],
  strike: async ({ clients }, random) => {
    const which = random.below(2);
    clients.killAgent(which);
    return { what: `client process ${which + 1}`, holdMs: 10, heal: async () => undefined };
  },
};

/** One node lives a while with `how`, then as it did before. */
async function liveWith(world: World, random: Random, name: string, how: Start, what: string): Promise<Strike | null> {
  const nodes = claim(world, 1, random);
  const [node] = nodes ?? [];
  if (nodes === null || node === undefined) return null;
  flaw(nodes, name);
  await node.kill();
  node.start(how);
  return {
    what: `${node.id}: ${what}`,
    holdMs: hold(random, world, 1_000, 15_000),
    heal: async () => {
      await node.kill();
      release(nodes, name);
      await bringUp(world, nodes);
    },
  };
}

const clockRate: Nemesis = {
  name: "clock-rate",
  needs: ["clock"],
  strike: (world, random) => {
    const rate = [0.5, 0.8, 1.25, 2, 4, 10][random.below(6)] ?? 2;
    const env = { LD_PRELOAD: world.abilities.faketime, FAKETIME: `+0 x${rate}` };
    return liveWith(world, random, "clock-rate", { env }, `its clocks run ${rate} times as fast`);
  },
};

/** The wall clock jumps, back and forth, while the process runs; monotonic clocks cannot. */
const clockJumps: Nemesis = {
  name: "clock-jumps",
  needs: ["clock"],
  strike: async (world, random) => {
    const file = join(world.scratch, `clock-${random.below(1_000_000)}`);
    const jump = (): void => writeFileSync(file, `${["+", "-"][random.below(2)]}${random.between(1, 1_000_000)}s\n`);
    jump();
    const env = {
      LD_PRELOAD: world.abilities.faketime,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_CACHE_DURATION: "1",
      DONT_FAKE_MONOTONIC: "1",
    };
    const strike = await liveWith(world, random, "clock-jumps", { env }, "its wall clock jumps by days");
    if (strike === null) return null;
    const timer = setInterval(jump, 1_500);
    return {
      ...strike,
      heal: () => {
        clearInterval(timer);
        return strike.heal();
      },
    };
  },
};

const previousBuild: Nemesis = {
  name: "previous-build",
  needs: ["previous"],
  strike: (world, random) =>
    liveWith(world, random, "previous-build", { binary: world.previous ?? world.binary }, "runs the previous build"),
};

export const PROCESS_NEMESES: readonly Nemesis[] = [
  kill("kill-one", () => 1),
  kill("kill-minority", () => 2),
  kill("kill-majority", (random) => random.between(3, 4)),
  kill("kill-all", () => 5),
  killLeader,
  pause,
  stop,
  killClients,
  clockRate,
  clockJumps,
  previousBuild,
];
