// What is a nemesis? A fault with a name: what the machine must be able to do for it, how it strikes, and how it is healed.
import type { Random } from "../../src/lib/random.ts";
import type { Ability } from "./abilities.ts";
import type { TortureNode } from "./node.ts";
import type { World } from "./world.ts";

export interface Strike {
  /** In words: who, and what. */
  readonly what: string;
  readonly holdMs: number;
  heal(): Promise<void>;
}

export interface Nemesis {
  readonly name: string;
  readonly needs: readonly Ability[];
  /** Takes all nodes in hand: strikes before others do. */
  readonly all?: true;
  /** Null: it cannot strike now, because others have what it needs in hand. */
  strike(world: World, random: Random): Promise<Strike | null>;
}

/** A duration, short ones as often as long ones. */
export function hold(random: Random, world: World, minMs: number, maxMs: number): number {
  const top = Math.max(minMs, Math.min(maxMs, world.longestMs));
  return Math.round(minMs * (top / minMs) ** (random.below(1_000) / 1_000));
}

export function flaw(nodes: readonly TortureNode[], nemesis: string): void {
  for (const node of nodes) node.flaws.add(nemesis);
}
