// When does which nemesis strike? Episodes: one to three at once, drawn from a shuffled deck so that each has its turn; then all
// is healed, and the queue must serve again at once.
import type { Random } from "../../src/lib/random.ts";
import { DISK_NEMESES } from "./disk-nemeses.ts";
import { MEMBER_NEMESES } from "./member-nemeses.ts";
import type { Nemesis, Strike } from "./nemesis.ts";
import { NETWORK_NEMESES } from "./network-nemeses.ts";
import { PROCESS_NEMESES } from "./process-nemeses.ts";
import { patience, until } from "./shell.ts";
import { allHealthy, bringUp, type World } from "./world.ts";

export const NEMESES: readonly Nemesis[] = [...PROCESS_NEMESES, ...NETWORK_NEMESES, ...DISK_NEMESES, ...MEMBER_NEMESES];

/** After everything is healed, on a quiet machine: an answer within this, and everybody a healthy voter within that. */
const SERVICE_AGAIN_MS = 10_000;
const HEALTHY_AGAIN_MS = 60_000;

export interface Deck {
  readonly struck: ReadonlyMap<string, number>;
  active(): string;
  /** False: nothing could strike. */
  episode(): Promise<boolean>;
}

export function createDeck(world: World, nemeses: readonly Nemesis[], random: Random, atOnce: number): Deck {
  const struck = new Map<string, number>();
  const active = new Set<string>();
  let cards: Nemesis[] = [];

  const draw = (): Nemesis => {
    if (cards.length === 0) {
      const fresh = [...nemeses];
      cards = nemeses.flatMap(() => fresh.splice(random.below(fresh.length), 1));
    }
    return cards.pop()!;
  };

  async function strike(nemesis: Nemesis, chance: Random): Promise<boolean> {
    const began: Strike | null = await nemesis.strike(world, chance);
    if (began === null) return false;
    struck.set(nemesis.name, (struck.get(nemesis.name) ?? 0) + 1);
    const label = `${nemesis.name} ${began.what}`;
    active.add(label);
    world.timeline.record(`strike  ${label} (${(began.holdMs / 1_000).toFixed(1)} s)`);
    await Bun.sleep(began.holdMs);
    await began.heal();
    active.delete(label);
    world.timeline.record(`healed  ${nemesis.name}`);
    return true;
  }

  return {
    struck,
    active: () => (active.size === 0 ? "no nemesis" : [...active].join(" + ")),
    episode: async () => {
      const chosen = Array.from({ length: random.between(1, atOnce) }, draw);
      // One that takes all nodes in hand comes first, or it would never find them free.
      chosen.sort((a, b) => Number(b.all ?? false) - Number(a.all ?? false));
      const strikes: Promise<boolean>[] = [];
      for (const nemesis of chosen) {
        strikes.push(strike(nemesis, random.fork()));
        await Bun.sleep(random.between(0, 400));
      }
      const done = await Promise.all(strikes);
      await recover(world);
      return done.includes(true);
    },
  };
}

/** Everything is healed: from here on raftq has no excuse. */
async function recover(world: World): Promise<void> {
  await bringUp(
    world,
    world.nodes.filter((node) => !node.running()),
  );
  const healed = performance.now();
  if (!(await until(patience(SERVICE_AGAIN_MS), () => world.clients.lastAnswerAt() > healed, 20))) {
    world.blame(`no service ${SERVICE_AGAIN_MS / 1_000} s after everything was healed`);
  }
  if (!(await until(patience(HEALTHY_AGAIN_MS), () => allHealthy(world)))) {
    const sick = world.nodes.map((node) => `${node.id} ${node.running() ? (node.status?.state ?? "silent") : "down"}`);
    world.blame(
      `not all nodes take part ${HEALTHY_AGAIN_MS / 1_000} s after everything was healed: ${sick.join(", ")}`,
    );
  }
}
