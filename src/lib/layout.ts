// Layouts describe arrays of MessagePack values, each once: its fields in order, each with its type and range.
// Writing, strict reading, the protocol's page and the tests' examples are all made from that description.
import { generate, type GeneratedCode } from "./generated.ts";
import { COPIED_BYTES, Malformed, unpack } from "./messagepack.ts";
import { BINARY, type Binary, pack, type Packable, packableInteger } from "./packing.ts";

/** The description of a field as data, for documents and for tests that make values. */
export type Shape =
  | { readonly kind: "boolean" }
  | { readonly kind: "uint"; readonly min: number; readonly max: number }
  /** `what`: what it must be beside its length; null: any text. */
  | { readonly kind: "text"; readonly maxBytes: number; readonly what: string | null }
  | { readonly kind: "choice"; readonly names: readonly string[] }
  | { readonly kind: "binary"; readonly minBytes: number; readonly maxBytes: number; readonly what: string | null }
  | { readonly kind: "optional"; readonly of: Shape }
  | { readonly kind: "list"; readonly of: Shape; readonly min: number; readonly max: number }
  | { readonly kind: "tuple"; readonly name: string; readonly fields: readonly NamedShape[] }
  /** A place that a later version may use. */
  | { readonly kind: "reserved"; readonly value: Reserved };

export interface NamedShape {
  readonly name: string;
  readonly shape: Shape;
}

export type Reserved = null | 0;

const unsupported = (expected: Reserved): string => `not supported in this version: send ${expected ?? "nil"}`;

export interface Field<T> {
  readonly shape: Shape;
  /** MessagePack values that it has at most, itself included. */
  readonly maxValues: number;
  /** Adds to `binaries` those that belong where `BINARY` stands in what it gives. */
  write(value: T, binaries: Binary[]): Packable;
  /** `areViews`: binaries are views of the input. Throws Malformed. */
  read(value: unknown, areViews: boolean): T;
}

export type Fields<T> = { readonly [K in keyof T]-?: Field<T[K]> };

export const boolean: Field<boolean> = {
  shape: { kind: "boolean" },
  maxValues: 1,
  write: (value) => value,
  read: (value) => {
    if (typeof value !== "boolean") throw new Malformed("expected true or false");
    return value;
  },
};

/** From `min` to `max`; at most 2^53 - 1. */
export function uint(max = Number.MAX_SAFE_INTEGER, min = 0): Field<number> {
  return {
    shape: { kind: "uint", min, max },
    maxValues: 1,
    write: packableInteger,
    read: (value) => {
      if (typeof value !== "number") throw new Malformed("expected a number");
      if (value > max) throw new Malformed(`the number ${value} is above the ${max} allowed`);
      if (value < min) throw new Malformed(`the number ${value} is below the ${min} allowed`);
      return value;
    },
  };
}

/** A number that a later version may use. */
export const zero: Field<number> = {
  shape: { kind: "reserved", value: 0 },
  maxValues: 1,
  write: packableInteger,
  read: (value) => {
    if (value !== 0) throw new Malformed(unsupported(0));
    return value;
  },
};

export function text(maxBytes: number): Field<string> {
  return {
    shape: { kind: "text", maxBytes, what: null },
    maxValues: 1,
    write: wellFormed,
    read: (value) => readText(value, maxBytes),
  };
}

/** Characters of a wrong text that an error shows. */
const MAX_QUOTED = 64;

/** A text that `is` accepts; `what` names it for people: "node id". */
export function textOf<T extends string>(what: string, maxBytes: number, is: (text: string) => text is T): Field<T> {
  return {
    shape: { kind: "text", maxBytes, what },
    maxValues: 1,
    write: (value) => value,
    read: (value) => {
      const found = readText(value, maxBytes);
      if (!is(found)) throw new Malformed(`"${found.slice(0, MAX_QUOTED)}" is no ${what}`);
      return found;
    },
  };
}

/** Half a surrogate pair, or a byte order mark in front, could not be read again: U+FFFD stands for it then. */
function wellFormed(value: string): string {
  return (value.charCodeAt(0) === 0xfeff ? `\ufffd${value.slice(1)}` : value).toWellFormed();
}

function readText(value: unknown, maxBytes: number): string {
  if (typeof value !== "string") throw new Malformed("expected a text");
  // A character has at most three bytes for each of its UTF-16 units: most texts need not be measured.
  if (value.length * 3 > maxBytes) {
    const bytes = Buffer.byteLength(value);
    if (bytes > maxBytes) throw new Malformed(`a text of ${bytes} bytes is longer than the ${maxBytes} allowed`);
  }
  return value;
}

/** One of a closed set of names. */
export function choice<T extends string>(what: string, names: readonly T[]): Field<T> {
  return {
    shape: { kind: "choice", names },
    maxValues: 1,
    write: (value) => value,
    read: (value) => {
      if (typeof value !== "string") throw new Malformed("expected a text");
      const found = names.find((name) => name === value);
      if (found === undefined) throw new Malformed(`"${value.slice(0, MAX_QUOTED)}" is no ${what}`);
      return found;
    },
  };
}

/** The place of a name in a closed list. */
export function placeIn<T extends string>(names: readonly T[]): Field<T> {
  const place = uint(names.length - 1);
  return {
    ...place,
    write: (value) => packableInteger(names.indexOf(value)),
    read: (value) => {
      const found = names[place.read(value, false)];
      if (found === undefined) throw new Malformed("a place beyond the last name");
      return found;
    },
  };
}

/** In memory of its own. */
export function binary(maxBytes: number, minBytes = 0): Field<Uint8Array> {
  const view = binaryView(maxBytes, minBytes);
  return { ...view, read: (value, areViews) => (areViews ? view.read(value, true).slice() : view.read(value, false)) };
}

/** Perhaps a view of the input: good for as long as that is. */
export function binaryView(maxBytes: number, minBytes = 0): Field<Uint8Array> {
  return {
    shape: { kind: "binary", minBytes, maxBytes, what: null },
    maxValues: 1,
    write: placeBinary,
    read: (value) => readBinary(value, maxBytes, minBytes),
  };
}

export function placeBinary(value: Binary, binaries: Binary[]): Packable {
  binaries.push(value);
  return BINARY;
}

function readBinary(value: unknown, maxBytes: number, minBytes: number): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new Malformed("expected a binary");
  const { length } = value;
  if (length > maxBytes) throw new Malformed(`a binary of ${length} bytes is longer than the ${maxBytes} allowed`);
  if (length < minBytes) throw new Malformed(`a binary of ${length} bytes is shorter than the ${minBytes} due`);
  return value;
}

/** A binary that stands for something else. `what` names that for people; `read` gets a view, and throws Malformed. */
export function binaryOf<T>(
  what: string,
  maxBytes: number,
  write: (value: T) => Binary,
  read: (bytes: Uint8Array) => T,
): Field<T> {
  return {
    shape: { kind: "binary", minBytes: 0, maxBytes, what },
    maxValues: 1,
    write: (value, binaries) => placeBinary(write(value), binaries),
    read: (value) => read(readBinary(value, maxBytes, 0)),
  };
}

/** nil: there is none. */
export function nullable<T>(field: Field<T>): Field<T | null> {
  return {
    shape: { kind: "optional", of: field.shape },
    maxValues: field.maxValues,
    write: (value, binaries) => (value === null ? null : field.write(value, binaries)),
    read: (value, areViews) => (value === null ? null : field.read(value, areViews)),
  };
}

/** nil: the property is left out. */
export function optional<T>(field: Field<T>): Field<T | undefined> {
  return {
    shape: { kind: "optional", of: field.shape },
    maxValues: field.maxValues,
    write: (value, binaries) => (value === undefined ? null : field.write(value, binaries)),
    read: (value, areViews) => (value === null ? undefined : field.read(value, areViews)),
  };
}

export function list<T>(field: Field<T>, max: number, min = 0): Field<readonly T[]> {
  return {
    shape: { kind: "list", of: field.shape, min, max },
    maxValues: 1 + max * field.maxValues,
    write: (values, binaries) => values.map((value) => field.write(value, binaries)),
    read: (value, areViews) => {
      if (!Array.isArray(value)) throw new Malformed("expected an array");
      const { length } = value;
      if (length < min || length > max) {
        const allowed = min === max ? min : `${min} to ${max}`;
        throw new Malformed(`an array has ${length} values where ${allowed} are expected`);
      }
      const read: T[] = [];
      for (let at = 0; at < length; at++) read.push(field.read(value[at], areViews));
      return read;
    },
  };
}

export interface Rules<T> {
  /** Values behind the fields that a later version may use, by name. */
  readonly reserved?: Readonly<Record<string, Reserved>>;
  /** Why fields that are right alone are wrong together; null: they are not. */
  readonly check?: (value: T) => string | null;
}

/** The fields of an array. */
export interface Row<T> {
  readonly shapes: readonly NamedShape[];
  /** With the number in front and the reserved ones. */
  readonly count: number;
  readonly maxValues: number;
  write(value: T, binaries: Binary[]): Packable[];
  read(values: readonly unknown[], areViews: boolean): T;
}

interface RowState {
  readonly name: string;
  readonly fields: readonly (readonly [string, Field<unknown>])[];
  readonly reserved: readonly (readonly [string, Reserved])[];
  readonly kind: RowKind | null;
  /** Made when the row is first used. */
  generated: GeneratedCode | null;
}

/** The number that stands in front, and the type that it means. */
interface RowKind {
  readonly type: string;
  readonly number: number;
}

export function row<T extends object>(
  name: string,
  fields: Fields<T>,
  { reserved = {}, check }: Rules<T>,
  kind: RowKind | null = null,
): Row<T> {
  const state: RowState = {
    name,
    fields: Object.entries<Field<unknown>>(fields),
    reserved: Object.entries(reserved),
    kind,
    generated: null,
  };
  const others = state.reserved.length + inFront(state);
  return {
    shapes: [
      ...state.fields.map(([key, { shape }]) => ({ name: key, shape })),
      ...state.reserved.map(([key, value]) => ({ name: key, shape: { kind: "reserved", value } as const })),
    ],
    count: state.fields.length + others,
    maxValues: state.fields.reduce((sum, [, field]) => sum + field.maxValues, others),
    write: (value, binaries) => (state.generated ?? generateCode(state)).write(value, binaries),
    read: (values, areViews) => {
      // oxlint-disable-next-line typescript/consistent-type-assertions -- each of its fields is read
      const read = readRow(state, values, areViews) as T;
      const problem = check === undefined ? null : check(read);
      if (problem !== null) throw new Malformed(problem);
      return read;
    },
  };
}

/** Values in front of the fields. */
const inFront = ({ kind }: RowState): number => (kind === null ? 0 : 1);

function generateCode(state: RowState): GeneratedCode {
  const { fields, reserved, kind } = state;
  state.generated = generate(
    fields.map(([name, { shape, write, read }]) => ({ name, mayBeLeftOut: shape.kind === "optional", write, read })),
    kind === null ? [] : [kind.number],
    reserved.map(([, value]) => value),
    kind?.type ?? null,
  );
  return state.generated;
}

function readRow(state: RowState, values: readonly unknown[], areViews: boolean): object {
  let found: object;
  try {
    found = (state.generated ?? generateCode(state)).read(values, areViews);
  } catch (error) {
    throw error instanceof Malformed ? namedProblem(state, error, values, areViews) : error;
  }
  if (state.reserved.length > 0) expectReserved(state, values);
  return found;
}

/** Which field it was: it is read once more. */
function namedProblem(state: RowState, problem: Malformed, values: readonly unknown[], areViews: boolean): Malformed {
  for (const [at, [key, field]] of state.fields.entries()) {
    try {
      field.read(values[inFront(state) + at], areViews);
    } catch (error) {
      if (error instanceof Malformed) return new Malformed(`${state.name}, ${key}: ${error.message}`);
      throw error;
    }
  }
  return problem;
}

function expectReserved(state: RowState, values: readonly unknown[]): void {
  const { name, fields, reserved } = state;
  const first = inFront(state) + fields.length;
  for (let at = 0; at < reserved.length; at++) {
    const [key, expected] = reserved[at] ?? ["", null];
    if (values[first + at] !== expected) throw new Malformed(`${name}, ${key}: ${unsupported(expected)}`);
  }
}

export const countOf = (values: number): string => (values === 1 ? "1 value" : `${values} values`);

/** An array with these fields, in this order. `name` names it for people. */
export function tuple<T extends object>(name: string, fields: Fields<T>, rules: Rules<T> = {}): Field<T> {
  const { shapes, count, maxValues, write, read } = row(name, fields, rules);
  return {
    shape: { kind: "tuple", name, fields: shapes },
    maxValues: 1 + maxValues,
    write,
    read: (value, areViews) => {
      if (!Array.isArray(value)) throw new Malformed(`expected an array (${name})`);
      if (value.length !== count) throw new Malformed(`${name} has ${countOf(count)}, not ${value.length}`);
      return read(value, areViews);
    },
  };
}

/** The same values seen as something else: `flat` is how they lie in the array. */
export function converted<T, Flat>(field: Field<Flat>, to: (value: T) => Flat, from: (flat: Flat) => T): Field<T> {
  return {
    shape: field.shape,
    maxValues: field.maxValues,
    write: (value, binaries) => field.write(to(value), binaries),
    read: (value, areViews) => from(field.read(value, areViews)),
  };
}

/** With a few values too many, the layout reports where they are. */
const SPARE_VALUES = 16;

/** Throws Malformed. */
export function unpackArray(bytes: Uint8Array, maxValues: number): readonly unknown[] {
  const values: unknown = unpack(bytes, maxValues + SPARE_VALUES);
  if (!Array.isArray(values)) throw new Malformed("expected an array");
  return values;
}

/** The bytes of a value whose field is an array. */
export function encode<T>(field: Field<T>, value: T, headroom = 0): Uint8Array {
  const binaries: Binary[] = [];
  const packable = field.write(value, binaries);
  if (!Array.isArray(packable)) throw new Error("what is encoded alone is an array");
  return pack(packable, binaries, headroom);
}

/** Throws Malformed. */
export function decode<T>(field: Field<T>, bytes: Uint8Array): T {
  return field.read(unpackArray(bytes, field.maxValues), bytes.length > COPIED_BYTES);
}

/** As `decode`; null: malformed. */
export function decodeOrNull<T>(field: Field<T>, bytes: Uint8Array): T | null {
  try {
    return decode(field, bytes);
  } catch (error) {
    if (error instanceof Malformed) return null;
    throw error;
  }
}
