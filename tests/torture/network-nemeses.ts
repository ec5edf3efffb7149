// Which harm comes to connections? Partitions of every shape, loss, resets, slow links.
import type { Random } from "../../src/lib/random.ts";
import type { Ability } from "./abilities.ts";
import { flaw, hold, type Nemesis, type Strike } from "./nemesis.ts";
import type { Harm, Network } from "./network.ts";
import { CLIENT_PLACE, claim, leaderOf, names, release, type World } from "./world.ts";

const cut = (from: string, to: string): Harm => ({ type: "drop", from, to });
const cutBoth = (a: string, b: string): readonly Harm[] => [cut(a, b), cut(b, a)];
const between = (some: readonly string[], others: readonly string[]): readonly Harm[] =>
  some.flatMap((a) => others.flatMap((b) => cutBoth(a, b)));

function shuffled(world: World, random: Random): string[] {
  const left = world.nodes.map((node) => node.id);
  return world.nodes.flatMap(() => left.splice(random.below(left.length), 1));
}

/** A nemesis that is a set of harms to links. */
function links(
  name: string,
  draw: (world: World, random: Random) => { readonly what: string; readonly harms: readonly Harm[] } | null,
): Nemesis {
  return {
    name,
    needs: ["network", "firewall"],
    strike: async (world, random) => {
      const drawn = draw(world, random);
      if (world.network === null || drawn === null) return null;
      const undo = world.network.harm(drawn.harms);
      return { what: drawn.what, holdMs: hold(random, world, 500, 15_000), heal: async () => undo() };
    },
  };
}

const isolateLeader = links("isolate-leader", (world, random) => {
  const leader = leaderOf(world);
  if (leader === null) return null;
  const others = world.nodes.filter((node) => node !== leader).map((node) => node.id);
  // Half of the time it can still be talked to by clients: it must not answer them.
  const seesClients = random.chance(50);
  const from = seesClients ? others : [...others, CLIENT_PLACE];
  return { what: `${leader.id}${seesClients ? ", clients still reach it" : ""}`, harms: between([leader.id], from) };
});

const split = links("split", (world, random) => {
  const ids = shuffled(world, random);
  const size = random.between(1, 2);
  const [few, many] = [ids.slice(0, size), ids.slice(size)];
  const withClients = random.below(3);
  const harms = between(few, withClients === 0 ? [...many, CLIENT_PLACE] : many);
  return { what: `${few.join(" ")} | ${many.join(" ")}${withClients === 0 ? " clients" : ""}`, harms };
});

const oneWay = links("one-way", (world, random) => {
  const [victim = "", ...others] = shuffled(world, random);
  const inward = random.chance(50);
  const some = others.slice(0, random.between(1, 4));
  const harms = some.map((other) => (inward ? cut(other, victim) : cut(victim, other)));
  return { what: `${victim} ${inward ? "receives nothing from" : "cannot send to"} ${some.join(" ")}`, harms };
});

/** Two halves that see only one node in common. */
const bridge = links("bridge", (world, random) => {
  const [middle = "", ...others] = shuffled(world, random);
  const [left, right] = [others.slice(0, 2), others.slice(2)];
  return { what: `${left.join(" ")} | ${middle} | ${right.join(" ")}`, harms: between(left, right) };
});

/** Everybody sees a majority, and no two the same one. */
const ring = links("ring", (world, random) => {
  const ids = shuffled(world, random);
  const harms = ids.flatMap((id, i) => cutBoth(id, ids[(i + 2) % ids.length] ?? id));
  return { what: ids.join(" - "), harms };
});

const loss = links("loss", (world, random) => {
  const percent = random.between(2, 40);
  const ids = [...shuffled(world, random), CLIENT_PLACE];
  const victims = random.chance(50) ? ids : ids.slice(0, random.between(1, 2));
  const harms = victims.flatMap((from) =>
    ids
      .filter((to) => to !== from)
      .flatMap((to): readonly Harm[] => [
        { type: "loss", from, to, percent },
        { type: "loss", from: to, to: from, percent },
      ]),
  );
  return {
    what: `${percent} % of what ${victims.length === ids.length ? "all" : victims.join(" ")} send and receive`,
    harms,
  };
});

/** A nemesis of the links of a few nodes. */
function atNodes(
  name: string,
  needs: readonly Ability[],
  work: (
    network: Network,
    ids: readonly string[],
    random: Random,
  ) => { readonly what: string; readonly undo: () => void },
): Nemesis {
  return {
    name,
    needs: ["network", ...needs],
    strike: async (world, random): Promise<Strike | null> => {
      const { network } = world;
      const nodes = network === null ? null : claim(world, random.between(1, 2), random);
      if (network === null || nodes === null) return null;
      flaw(nodes, name);
      const ids = nodes.map((node) => node.id);
      const { what, undo } = work(network, ids, random);
      return {
        what: `${names(nodes)}${what}`,
        holdMs: hold(random, world, 500, 10_000),
        heal: async () => {
          undo();
          release(nodes, name);
        },
      };
    },
  };
}

/** Waves: every connection of the node dies, and some come back before the next wave. */
const resets = atNodes("resets", ["firewall"], (network, ids, random) => {
  let undo: (() => void)[] = [];
  const calm = (): void => {
    for (const one of undo) one();
    undo = [];
  };
  const wave = (): void => {
    if (undo.length > 0) calm();
    else undo = ids.map((id) => network.reset(id));
  };
  wave();
  const timer = setInterval(wave, random.between(100, 400));
  return {
    what: "",
    undo: () => {
      clearInterval(timer);
      calm();
    },
  };
});

const slowLink = atNodes("slow-link", ["traffic"], (network, ids, random) => {
  const kbit = [128, 512, 2_000, 8_000][random.below(4)] ?? 512;
  const undo = ids.map((id) => network.slow(id, kbit));
  return { what: `: ${kbit} kbit/s`, undo: () => undo.forEach((one) => one()) };
});

export const NETWORK_NEMESES: readonly Nemesis[] = [isolateLeader, split, oneWay, bridge, ring, loss, resets, slowLink];
