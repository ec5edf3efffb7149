// Does an independent MessagePack reader find the same values? What our strict reader accepts, msgpackr must read alike.
import { unpack } from "msgpackr/pack";
import { createWriter, type Writer } from "../../src/lib/msgpack.ts";
import { expectThat, Finding, sameBytes } from "./target.ts";

/** Where a binary holds MessagePack of its own: one position in each array on the way to it. It may be in a longer form, too. */
export type Nested = readonly number[];

/** The values that msgpackr finds in `bytes`, written again in our shortest form, as are those in the binary at `nested`. */
export function canonical(bytes: Uint8Array, nested: Nested | null = null): Uint8Array {
  const writer = createWriter();
  rewrite(writer, unpack(bytes), nested);
  return writer.finish();
}

function rewrite(writer: Writer, value: unknown, nested: Nested | null): void {
  if (value === null) writer.nil();
  else if (typeof value === "boolean") writer.boolean(value);
  else if (typeof value === "number" || typeof value === "bigint") writer.uint(Number(value));
  else if (typeof value === "string") writer.text(value);
  else if (value instanceof Uint8Array) writer.binary(nested?.length === 0 ? canonical(value) : value);
  else if (Array.isArray(value)) {
    writer.array(value.length);
    for (const [at, item] of value.entries()) rewrite(writer, item, nested?.[0] === at ? nested.slice(1) : null);
  } else throw new Finding(`msgpackr finds a ${typeof value} where we found one of our six types`);
}

/** `accepted` was read by our decoder as something whose encoding is `encoded`: the same values, in the shortest form. */
export function expectSameValues(accepted: Uint8Array, encoded: Uint8Array, nested: Nested | null = null): void {
  expectThat(sameBytes(canonical(accepted, nested), encoded), "msgpackr reads other values than we do");
  expectThat(sameBytes(canonical(encoded, nested), encoded), "msgpackr reads other values than we wrote");
}
