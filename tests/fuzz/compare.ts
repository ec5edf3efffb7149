// Does an independent MessagePack reader find the same values? What raftq accepts, a reader by hand must read alike.
import { bytesOf, valueOf } from "../kit/handmade-messagepack.ts";
import { expectThat, sameBytes } from "./target.ts";

/** Where a binary holds MessagePack of its own: one position in each array on the way to it. It may be in a longer form, too. */
export type Nested = readonly number[];

/** The values in `bytes`, written again in their shortest form, as are those in the binary at `nested`. */
export function canonical(bytes: Uint8Array, nested: Nested | null = null): Uint8Array {
  return bytesOf(withNested(valueOf(bytes), nested));
}

function withNested(value: unknown, nested: Nested | null): unknown {
  if (nested === null) return value;
  if (value instanceof Uint8Array) return nested.length === 0 ? canonical(value) : value;
  if (!Array.isArray(value)) return value;
  return value.map((item, at) => (nested[0] === at ? withNested(item, nested.slice(1)) : item));
}

/** `accepted` was read by our decoder as something whose encoding is `encoded`: the same values, in the shortest form. */
export function expectSameValues(accepted: Uint8Array, encoded: Uint8Array, nested: Nested | null = null): void {
  expectThat(sameBytes(canonical(accepted, nested), encoded), "another reader finds other values than we do");
  expectThat(sameBytes(canonical(encoded, nested), encoded), "another reader finds other values than we wrote");
}
