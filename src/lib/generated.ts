// Generates the code that writes and reads the fields of a layout, when it is first used, as msgpackr does for its records: one loop
// for all layouts, which looks each field up by name, takes three times as long for a message.
import { assert } from "./assert.ts";
import type { Binary, Packable } from "./packing.ts";

export interface GeneratedField {
  /** A property's name: letters and digits. */
  readonly name: string;
  /** `undefined` is left out of what is read. */
  readonly mayBeLeftOut: boolean;
  write(value: unknown, binaries: Binary[]): Packable;
  read(value: unknown, areViews: boolean): unknown;
}

export interface GeneratedCode {
  /** The fields of `value`, in their order, between `before` and `after`. */
  write(value: object, binaries: Binary[]): Packable[];
  /** The properties that stand in `values` behind `before`. */
  read(values: readonly unknown[], areViews: boolean): object;
}

/** `type`: a property that every value has beside its fields; null: none. */
export function generate(
  fields: readonly GeneratedField[],
  before: readonly number[],
  after: readonly (null | 0)[],
  type: string | null,
): GeneratedCode {
  for (const name of [...fields.map((field) => field.name), type ?? "none"])
    assert(/^[A-Za-z][A-Za-z0-9]*$/.test(name), `"${name}" can stand in generated code`);
  const written = fields.map(({ name }, at) => `write${at}(value.${name}, binaries)`);
  const read = (at: number): string => `read${at}(values[${before.length + at}], areViews)`;
  const always = fields.flatMap(({ name, mayBeLeftOut }, at) => (mayBeLeftOut ? [] : [`${name}: ${read(at)}`]));
  const others = fields.map(({ name, mayBeLeftOut }, at) =>
    mayBeLeftOut ? `const left${at} = ${read(at)}; if (left${at} !== undefined) found.${name} = left${at};` : "",
  );
  const code = `"use strict"; return {
    write: (value, binaries) => [${[...before, ...written, ...after.map(String)].join(", ")}],
    read: (values, areViews) => {
      const found = { ${[...(type === null ? [] : [`type: "${type}"`]), ...always].join(", ")} };
      ${others.join("\n")}
      return found;
    },
  };`;
  const names = fields.flatMap((_, at) => [`write${at}`, `read${at}`]);
  // oxlint-disable-next-line no-new-func, typescript/no-implied-eval, typescript/no-unsafe-call, typescript/consistent-type-assertions -- its text is made of the layout's own names, checked above, and numbers
  return new Function(...names, code)(...fields.flatMap(({ write, read: reader }) => [write, reader])) as GeneratedCode;
}
