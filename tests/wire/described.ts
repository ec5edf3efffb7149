// How does a layout look on the protocol's page? One row of a table for each message, and one for each array inside them.
import type { NamedShape, Shape } from "../../src/lib/layout.ts";
import { MAX_U48 } from "../../src/lib/u48.ts";
import { COMMANDS } from "../../src/queue/commands.ts";
import { REPLIES } from "../../src/queue/replies.ts";
import { FRAMES } from "../../src/wire/layouts.ts";
import { PEER_MESSAGES } from "../../src/wire/peer-layouts.ts";

/** Arrays with names of their own, as they are met. */
const named = new Map<string, readonly NamedShape[]>();

const shortName = (name: string): string => name.replace(/^an? /, "");

/** Whatever may be as long as its message needs no limit of its own. */
function bounded(what: string, max: number, min = 0): string {
  if (max === Number.MAX_SAFE_INTEGER) return min > 0 ? `${what} ≥ ${min}` : what;
  return max === min ? `${what} = ${max}` : `${what} ≤ ${max}`;
}

function typeOf(shape: Shape): string {
  switch (shape.kind) {
    case "boolean":
      return "boolean";
    case "uint":
      if (shape.min > 0) return `uint ≥ ${shape.min}`;
      return shape.max === MAX_U48 ? "u48" : bounded("uint", shape.max);
    case "text":
      return bounded(shape.what ?? "text", shape.maxBytes);
    case "choice":
      return shape.names.map((name) => `"${name}"`).join(" or ");
    case "binary":
      if (shape.minBytes === shape.maxBytes) return `binary of ${shape.maxBytes}`;
      return bounded(shape.what ?? "binary", shape.maxBytes);
    case "optional":
      return `${typeOf(shape.of)}, or nil`;
    case "list":
      return `list of ${bounded(typeOf(shape.of), shape.max, shape.min)}`;
    case "tuple":
      named.set(shortName(shape.name), shape.fields);
      return shortName(shape.name);
    case "reserved":
      return shape.value === null ? "nil" : String(shape.value);
  }
}

const fieldsOf = (shapes: readonly NamedShape[]): string =>
  shapes.length === 0 ? "none" : shapes.map(({ name, shape }) => `${name}: ${typeOf(shape)}`).join("; ");

export const FRAME_ROWS = Object.values(FRAMES).map(
  ({ number, type, from, leastRole, priority, shapes }) =>
    `| ${number} | ${type} | ${from} | ${leastRole ?? "any"} | ${leastRole === "peer" ? "of its message" : priority} | ${fieldsOf(shapes)} |`,
);
export const PEER_ROWS = Object.values(PEER_MESSAGES).map(
  ({ number, type, priority, shapes }) => `| ${number} | ${type} | ${priority} | ${fieldsOf(shapes)} |`,
);
export const COMMAND_ROWS = Object.values(COMMANDS).map(
  ({ number, type, shapes }) => `| ${number} | ${type} | ${fieldsOf(shapes)} |`,
);
export const REPLY_ROWS = Object.values(REPLIES).map(
  ({ number, type, shapes }) => `| ${number} | ${type} | ${fieldsOf(shapes)} |`,
);
/** After the rows above, which name them: an array inside another one is met when its own row is made. */
export const ARRAY_ROWS: string[] = [];
for (const [name, shapes] of named) ARRAY_ROWS.push(`| ${name} | ${fieldsOf(shapes)} |`);
