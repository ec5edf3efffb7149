// What do nemeses work on? Five nodes, their network and disks, the clients; who is claimed, and what may still be broken
// without asking more of raftq than it promises.
import type { Random } from "../../src/lib/random.ts";
import type { Abilities } from "./abilities.ts";
import type { Clients } from "./clients.ts";
import type { Network } from "./network.ts";
import { isHealthy, type TortureNode } from "./node.ts";
import { patience, until } from "./shell.ts";
import type { Timeline } from "./timeline.ts";

/** Where the clients are, on the network. */
export const CLIENT_PLACE = "clients";
const SERVES_MS = 60_000;
/** A damaged node must be known to be silent, copy everything, and be swapped in: on a busy machine, while other things break. */
const MEMBER_AGAIN_MS = 90_000;

export interface World {
  readonly nodes: readonly TortureNode[];
  readonly network: Network | null;
  readonly clients: Clients;
  readonly abilities: Abilities;
  readonly timeline: Timeline;
  readonly binary: string;
  readonly previous: string | null;
  /** Strikes last no longer. */
  readonly longestMs: number;
  /** For files of the harness itself. */
  readonly scratch: string;
  /** Something that raftq must not do. */
  blame(what: string): void;
  readonly blamed: readonly string[];
}

export const addressesOf = (world: World): string => world.nodes.map((node) => node.address).join(",");
export const leaderOf = (world: World): TortureNode | null =>
  world.nodes
    .filter((node) => node.running() && node.status?.state === "leader")
    .toSorted((a, b) => (b.status?.term ?? 0) - (a.status?.term ?? 0))[0] ?? null;

/** `count` nodes that no other nemesis has in hand, drawn by chance; null when there are not so many. */
export function claim(world: World, count: number, random: Random, from = world.nodes): TortureNode[] | null {
  const free = from.filter((node) => !node.claimed);
  if (free.length < count) return null;
  const chosen: TortureNode[] = [];
  while (chosen.length < count) chosen.push(...free.splice(random.below(free.length), 1));
  for (const node of chosen) node.claimed = true;
  return chosen.toSorted((a, b) => a.id.localeCompare(b.id));
}

export function release(nodes: readonly TortureNode[], nemesis: string): void {
  for (const node of nodes) {
    node.claimed = false;
    node.flaws.delete(nemesis);
    node.mayExit = null;
  }
}

export const names = (nodes: readonly TortureNode[]): string => nodes.map((node) => node.id).join(", ");

/** How many more voters may lose their disk: what was acknowledged stays on one that did not, and a majority can elect. */
export function spareDisks(world: World): number {
  const voters = world.nodes.filter((node) => node.standing !== "outside").length;
  const lost = world.nodes.filter((node) => node.standing === "lost").length;
  return voters - (Math.floor(voters / 2) + 1) - lost;
}

/** Starts nodes that are down and waits until each serves. */
export async function bringUp(world: World, nodes: readonly TortureNode[]): Promise<void> {
  for (const node of nodes) if (!node.running()) node.start();
  await Promise.all(nodes.map((node) => serves(world, node)));
}

async function serves(world: World, node: TortureNode): Promise<void> {
  const isUp = await until(
    SERVES_MS,
    () => !node.running() || (node.status !== null && node.status.state !== "starting"),
  );
  // Its end, if it came, is judged where every exit is.
  if (!isUp) world.blame(`${node.id} runs and does not serve after ${SERVES_MS / 1_000} s`);
}

/** A node whose disk was damaged is only started: it finds the damage and comes back by itself, as a new incarnation. */
export async function recoverFromDamage(world: World, node: TortureNode, joinOnly: boolean): Promise<void> {
  node.start({ joinOnly });
  if (await until(patience(MEMBER_AGAIN_MS), () => !node.running() || isVoter(world, node))) return;
  world.blame(`${node.id} is no voter ${MEMBER_AGAIN_MS / 1_000} s after its disk was damaged`);
}

export async function becomesVoter(world: World, node: TortureNode): Promise<void> {
  const done = await until(
    patience(MEMBER_AGAIN_MS),
    () => {
      // A node that was refused because its id is taken by a living one asks again, as its operator would.
      if (!node.running()) node.start({ joinOnly: true });
      return isVoter(world, node);
    },
    250,
  );
  if (!done) world.blame(`${node.id} is no voter again after ${MEMBER_AGAIN_MS / 1_000} s`);
}

/** The leader counts this very incarnation of it, and it reports itself that it takes part. */
export function isVoter(world: World, node: TortureNode): boolean {
  const own = node.status;
  if (own === null || own.state === "learner" || own.state === "starting") return false;
  return (leaderOf(world)?.status?.members ?? []).some(
    ({ id, incarnation, role }) => id === node.id && incarnation === own.node.incarnation && role === "voter",
  );
}

export const allHealthy = (world: World): boolean => world.nodes.every(isHealthy);
