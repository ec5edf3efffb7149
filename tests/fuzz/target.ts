// What is fuzzed, and what counts as a finding? A target turns bytes into an outcome; whatever it throws is a finding.
import type { Random } from "../../src/lib/random.ts";

export interface FuzzTarget {
  readonly name: string;
  /** A valid or nearly valid input, made from the structure of what is read. */
  generate(random: Random): Uint8Array;
  /** Another input near this one; without it, `mutate.ts` changes the bytes and the MessagePack values in them. */
  mutate?(input: Uint8Array, random: Random): Uint8Array;
  /** What became of the input: words, one a line, without its numbers. An input with a new word is kept. Throws: a finding. */
  run(input: Uint8Array): string | Promise<string>;
  /** The longest time that one input may take. */
  readonly maxMs: number;
  /** After a run: sockets, directories. */
  end?(): void;
}

export class Finding extends Error {
  override name = "Finding";
}

export function expectThat(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Finding(what);
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

/** A refusal without its numbers and quotes, so that equal refusals have equal words. */
export function gist(message: string): string {
  return message
    .replace(/".*"/s, "S")
    .replace(/0x[0-9a-f]+|\d+/g, "N")
    .slice(0, 80);
}

/** 0, 1, 2, 4, 8 …: how many, about. */
export function about(count: number): number {
  return count === 0 ? 0 : 2 ** Math.floor(Math.log2(count));
}

/** Choices that are read from bytes instead of drawn: so a scenario is an input like any other. Zeros follow the last byte. */
export function choicesOf(input: Uint8Array): Random & { readonly left: () => number } {
  let at = 0;
  const next = (bytes: number): number => {
    let value = 0;
    for (let count = 0; count < bytes; count++) value = value * 256 + (input[at++] ?? 0);
    return value;
  };
  const below = (limit: number): number => (limit <= 256 ? next(1) : limit <= 65_536 ? next(2) : next(4)) % limit;
  return {
    below,
    between: (low, high) => low + below(high - low + 1),
    chance: (percent) => below(100) < percent,
    fork: () => {
      throw new Error("choices that are read cannot be forked");
    },
    left: () => Math.max(0, input.length - at),
  };
}

export function randomBytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}
