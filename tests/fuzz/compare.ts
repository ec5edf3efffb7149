// Does an independent MessagePack reader find the same values? What our strict reader accepts, msgpackr must read alike.
import { unpack } from "msgpackr/pack";
import { createWriter, type Writer } from "../../src/lib/msgpack.ts";
import { expectThat, Finding, sameBytes } from "./target.ts";

/** The values that msgpackr finds in `bytes`, written again in our shortest form. */
export function canonical(bytes: Uint8Array): Uint8Array {
  const writer = createWriter();
  rewrite(writer, unpack(bytes));
  return writer.finish();
}

function rewrite(writer: Writer, value: unknown): void {
  if (value === null) writer.nil();
  else if (typeof value === "boolean") writer.boolean(value);
  else if (typeof value === "number" || typeof value === "bigint") writer.uint(Number(value));
  else if (typeof value === "string") writer.text(value);
  else if (value instanceof Uint8Array) writer.binary(value);
  else if (Array.isArray(value)) {
    writer.array(value.length);
    for (const item of value) rewrite(writer, item);
  } else throw new Finding(`msgpackr finds a ${typeof value} where we found one of our six types`);
}

/** `accepted` was read by our decoder as something whose encoding is `encoded`: the same values, in the shortest form. */
export function expectSameValues(accepted: Uint8Array, encoded: Uint8Array): void {
  expectThat(sameBytes(canonical(accepted), encoded), "msgpackr reads other values than we do");
  expectThat(sameBytes(canonical(encoded), encoded), "msgpackr reads other values than we wrote");
}
