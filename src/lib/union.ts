// Unions of array layouts: the first value is the number of the kind, and each kind has its own fields behind that.
import { countOf, type Field, type Fields, type NamedShape, row, type Rules, unpackArray } from "./layout.ts";
import { COPIED_BYTES, arrayStart, Malformed } from "./messagepack.ts";
import { type Binary, pack, type Packable } from "./packing.ts";

/** An array whose first value is the number of its kind. */
export interface Kind<T> {
  readonly type: string;
  readonly number: number;
  /** Behind the number. */
  readonly shapes: readonly NamedShape[];
  /** With the number. */
  readonly count: number;
  readonly maxValues: number;
  write(value: T, binaries: Binary[]): Packable[];
  read(values: readonly unknown[], areViews: boolean): T;
}

const withArticle = (type: string): string => (/^[aeiou]/i.test(type) ? `an ${type}` : `a ${type}`);

/** `type`: the property by which the members of a union are distinguished. */
export function kind<T extends { readonly type: string }>(
  type: T["type"],
  number: number,
  fields: Fields<Omit<T, "type">>,
  rules: Rules<T> = {},
): Kind<T> {
  // oxlint-disable-next-line typescript/consistent-type-assertions -- the type is the constant beside these fields
  const body = row<T>(withArticle(type), fields as unknown as Fields<T>, rules, { type, number });
  return { type, number, ...body };
}

export function convertedKind<T extends { readonly type: string }, Flat>(
  { type, number, shapes, count, maxValues, write, read }: Kind<Flat>,
  to: (value: T) => Flat,
  from: (flat: Flat) => T,
): Kind<T> {
  return {
    type,
    number,
    shapes,
    count,
    maxValues,
    write: (value, binaries) => write(to(value), binaries),
    read: (values, areViews) => from(read(values, areViews)),
  };
}

/** Every member of a union, by its type. */
export type Kinds<T extends { readonly type: string }> = {
  readonly [Type in T["type"]]: Kind<Extract<T, { readonly type: Type }>>;
};

export interface Union<T extends { readonly type: string }> {
  readonly kinds: readonly Kind<T>[];
  write(value: T, binaries: Binary[]): Packable[];
  /** Of a member that is one value among others. Throws Malformed. */
  read(value: unknown, areViews: boolean): T;
  encode(value: T): Uint8Array;
  /** `maxValues`: fewer than its layout allows. Throws Malformed. */
  decode(bytes: Uint8Array, maxValues?: number): T;
}

/** `what`: a member of the union, for people: "message". */
export function union<T extends { readonly type: string }>(what: string, kinds: Kinds<T>): Union<T> {
  const all: readonly Kind<T>[] = Object.values(kinds);
  const byNumber: (Kind<T> | undefined)[] = [];
  for (const one of all) byNumber[one.number] = one;
  const byType = new Map(all.map((one) => [one.type, one]));

  function write(value: T, binaries: Binary[]): Packable[] {
    const found = byType.get(value.type);
    if (found === undefined) throw new Error(`there is no layout of a ${value.type}`);
    return found.write(value, binaries);
  }

  function kindOf(number: unknown): Kind<T> {
    if (typeof number !== "number") throw new Malformed(`expected a number: which ${what} it is`);
    const found = byNumber[number];
    if (found === undefined) throw new Malformed(`the ${what} type ${number} is unknown`);
    return found;
  }

  function expectCount({ type, count }: Kind<T>, values: number): void {
    if (values !== count) throw new Malformed(`${withArticle(type)} has ${countOf(count)}, not ${values}`);
  }

  return {
    kinds: all,
    write,
    read: (values, areViews) => {
      if (!Array.isArray(values)) throw new Malformed("expected an array");
      const found = kindOf(values[0]);
      expectCount(found, values.length);
      return found.read(values, areViews);
    },
    encode: (value) => {
      const binaries: Binary[] = [];
      return pack(write(value, binaries), binaries);
    },
    decode: (bytes, maxValues = Number.MAX_SAFE_INTEGER) => {
      const { values, first } = arrayStart(bytes);
      const found = kindOf(first);
      expectCount(found, values);
      return found.read(unpackArray(bytes, Math.min(maxValues, found.maxValues)), bytes.length > COPIED_BYTES);
    },
  };
}

/** A member of a union as a field; `name` names it for people. */
export function memberOf<T extends { readonly type: string }>(
  name: string,
  { kinds, write, read }: Union<T>,
): Field<T> {
  return {
    shape: { kind: "tuple", name, fields: [] },
    maxValues: Math.max(...kinds.map(({ maxValues }) => maxValues)),
    write,
    read,
  };
}
