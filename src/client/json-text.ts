// The JSON text of a value: that of JSON.stringify, unless that text would stand for another value. Then the value is refused, with
// the place in it.
import { RaftqError } from "../lib/errors.ts";

/** What JSON.stringify makes `{}` of, or the like: their content is in no property. By the names that the language gives their kinds. */
const OPAQUE: ReadonlySet<string> = new Set(
  "Map Set WeakMap WeakSet WeakRef Promise RegExp Error ArrayBuffer SharedArrayBuffer Blob".split(" "),
);

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;
const refused = (message: string): RaftqError => new RaftqError("USAGE", message);

/** `name`: what the value is called in a refusal. Throws RaftqError USAGE. */
export function jsonTextOf(value: unknown, name: string): string {
  // The objects between `value` and what is looked at now, each with its place.
  const above: { readonly object: unknown; readonly place: string }[] = [];

  /** JSON.stringify calls it for each property in turn, when toJSON was called; `this` holds the property. */
  function look(this: unknown, key: string, property: unknown): unknown {
    while (above.length > 0 && above.at(-1)?.object !== this) above.pop();
    const place = above.length === 0 ? name : `${above.at(-1)?.place ?? ""}${step(this, key)}`;
    const problem = problemOf(property) ?? (property === null ? dateProblem(this, key) : null);
    if (problem !== null) throw refused(`${place} ${problem}, which JSON cannot hold: it would be changed or left out`);
    if (typeof property === "object" && property !== null) {
      if (above.some(({ object }) => object === property))
        throw refused(`${place} is an object that holds itself: JSON has no end for it`);
      above.push({ object: property, place });
    }
    return property;
  }
  const text: string | undefined = JSON.stringify(value, look);
  if (text === undefined) throw refused(`${name} has no JSON text`);
  return text;
}

function step(holder: unknown, key: string): string {
  if (Array.isArray(holder)) return `[${key}]`;
  return IDENTIFIER.test(key) ? `.${key}` : `[${quoted(key)}]`;
}

/** In a message, so nothing of it may act on a terminal. */
const quoted = (key: string): string =>
  // oxlint-disable-next-line no-control-regex -- these are what must not pass
  JSON.stringify(key).replace(/[\u007f-\u009f]/g, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);

function problemOf(value: unknown): string | null {
  switch (typeof value) {
    case "number":
      return Number.isFinite(value) ? null : `is ${value}`;
    case "bigint":
      return "is a BigInt";
    case "undefined":
      return "is undefined";
    case "function":
      return "is a function";
    case "symbol":
      return "is a symbol";
    case "string":
    case "boolean":
      return null;
    case "object":
      return value === null ? null : objectProblem(value);
  }
}

function objectProblem(value: object): string | null {
  if (value instanceof Number || value instanceof BigInt) return problemOf(value.valueOf());
  const kind = kindOf(value);
  if (ArrayBuffer.isView(value) || OPAQUE.has(kind)) return `is ${/^[AE]/.test(kind) ? "an" : "a"} ${kind}`;
  const symbols = Object.getOwnPropertySymbols(value);
  const isKept = (key: symbol): boolean => Object.prototype.propertyIsEnumerable.call(value, key);
  return symbols.some(isKept) ? "has a key that is a symbol" : null;
}

/** `[object Map]` without its frame. */
const kindOf = (value: unknown): string => Object.prototype.toString.call(value).slice("[object ".length, -1);

/** Its toJSON has made null of it. */
function dateProblem(holder: unknown, key: string): string | null {
  const original: unknown = typeof holder === "object" && holder !== null ? Reflect.get(holder, key) : null;
  return kindOf(original) === "Date" ? "is an invalid Date" : null;
}
