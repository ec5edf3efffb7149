// Draws one of several values.
import type { Random } from "../../src/lib/random.ts";

export function pick<T>(random: Random, values: readonly T[]): T {
  return values[random.below(values.length)] as T;
}
