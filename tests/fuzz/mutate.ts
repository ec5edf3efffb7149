// How does an input become another one? Its bytes change, or the MessagePack values in it do, and stay well formed.
import type { Random } from "../../src/lib/random.ts";

import { joined, mutateBytes } from "../kit/mutate-bytes.ts";
import { pick } from "../kit/pick.ts";

const TWO_32 = 2 ** 32;
const HOSTILE_NUMBERS = [
  0,
  1,
  2,
  127,
  128,
  255,
  256,
  65_535,
  65_536,
  2 ** 31 - 1,
  2 ** 31,
  TWO_32 - 1,
  TWO_32,
  2 ** 48 - 1,
  2 ** 48,
  2 ** 53 - 1,
  2 ** 53,
  2 ** 63,
];

export function mutate(input: Uint8Array, random: Random): Uint8Array {
  let bytes = input;
  for (let changes = random.between(1, 4); changes > 0; changes--) {
    const structured = random.chance(50) ? mutateValues(bytes, random) : null;
    bytes = structured ?? mutateBytes(bytes, random);
  }
  return bytes;
}

/** One value of a MessagePack text, of our six types; `tag` and what follows it is kept as it was written. */
type Value =
  | { readonly type: "leaf"; readonly bytes: Uint8Array }
  | { readonly type: "text" | "binary"; readonly content: Uint8Array }
  | { readonly type: "uint"; readonly value: number }
  | { readonly type: "array"; readonly items: Value[] };

/** The first value in `bytes` with one of its values changed; null when there is none. What lies behind it stays. */
function mutateValues(bytes: Uint8Array, random: Random): Uint8Array | null {
  const found = parse(bytes, 0, 0);
  if (found === null) return null;
  const value = random.chance(50)
    ? mutateNth(found.value, { left: random.below(nodes(found.value)) }, random)
    : random.chance(90)
      ? mutateOne(found.value, random)
      : wrap(found.value, random);
  const written: number[] = [];
  write(value, written, random);
  return joined(Uint8Array.from(written), bytes.subarray(found.end));
}

const MAX_DEPTH = 12;

function parse(bytes: Uint8Array, at: number, depth: number): { readonly value: Value; readonly end: number } | null {
  const tag = bytes[at];
  if (tag === undefined || depth > MAX_DEPTH) return null;
  const number = (width: number): number => {
    let value = 0;
    for (let offset = 1; offset <= width; offset++) value = value * 256 + (bytes[at + offset] ?? 0);
    return value;
  };
  const content = (type: "text" | "binary", head: number, length: number) => {
    const end = at + head + length;
    return end > bytes.length ? null : { value: { type, content: bytes.slice(at + head, end) }, end };
  };
  const array = (head: number, length: number) => {
    const items: Value[] = [];
    let end = at + head;
    for (let count = 0; count < length; count++) {
      const item = parse(bytes, end, depth + 1);
      if (item === null) return null;
      items.push(item.value);
      end = item.end;
    }
    return { value: { type: "array" as const, items }, end };
  };
  if (tag < 0x80) return { value: { type: "uint", value: tag }, end: at + 1 };
  if (tag >= 0x90 && tag < 0xa0) return array(1, tag & 0x0f);
  if (tag >= 0xa0 && tag < 0xc0) return content("text", 1, tag & 0x1f);
  switch (tag) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return { value: { type: "leaf", bytes: bytes.slice(at, at + 1) }, end: at + 1 };
    case 0xc4:
      return content("binary", 2, number(1));
    case 0xc5:
      return content("binary", 3, number(2));
    case 0xc6:
      return content("binary", 5, number(4));
    case 0xd9:
      return content("text", 2, number(1));
    case 0xda:
      return content("text", 3, number(2));
    case 0xcc:
      return { value: { type: "uint", value: number(1) }, end: at + 2 };
    case 0xcd:
      return { value: { type: "uint", value: number(2) }, end: at + 3 };
    case 0xce:
      return { value: { type: "uint", value: number(4) }, end: at + 5 };
    case 0xcf:
      return { value: { type: "uint", value: number(8) }, end: at + 9 };
    case 0xdc:
      return array(3, number(2));
    default:
      return null;
  }
}

function wrap(value: Value, random: Random): Value {
  let deep = value;
  for (let left = random.between(1, random.chance(95) ? 3 : 500); left > 0; left--)
    deep = { type: "array", items: [deep] };
  return deep;
}

function nodes(value: Value): number {
  return value.type === "array" ? value.items.reduce((sum, item) => sum + nodes(item), 1) : 1;
}

/** Each value alike, so that one deep in a long list is met as often as one near the top. */
function mutateNth(value: Value, at: { left: number }, random: Random): Value {
  if (at.left-- === 0) return replaced(value, random);
  if (value.type !== "array") return value;
  return { type: "array", items: value.items.map((item) => (at.left < 0 ? item : mutateNth(item, at, random))) };
}

/** Changes one value, found by walking down at random. */
function mutateOne(value: Value, random: Random): Value {
  if (value.type !== "array" || value.items.length === 0 || random.chance(10)) return replaced(value, random);
  const items = value.items.slice();
  const at = random.below(items.length);
  const item = items[at]!;
  switch (random.below(10)) {
    case 0:
      items.splice(at, 1);
      break;
    case 1:
      items.splice(at, 0, item);
      break;
    case 2: {
      const other = random.below(items.length);
      items[at] = items[other]!;
      items[other] = item;
      break;
    }
    case 3:
      items.push(randomLeaf(random));
      break;
    default:
      items[at] = mutateOne(item, random);
  }
  return { type: "array", items };
}

function replaced(value: Value, random: Random): Value {
  if (random.chance(25)) return randomLeaf(random);
  switch (value.type) {
    case "uint": {
      const near = value.value + random.between(-2, 2);
      return { type: "uint", value: random.chance(50) ? Math.max(0, near) : pick(random, HOSTILE_NUMBERS) };
    }
    case "text":
    case "binary": {
      const type = random.chance(10) ? (value.type === "text" ? "binary" : "text") : value.type;
      return { type, content: mutateContent(value.content, random) };
    }
    case "leaf":
    case "array":
      return randomLeaf(random);
  }
}

/** A binary often holds MessagePack again: commands, replies, configurations. */
function mutateContent(content: Uint8Array, random: Random): Uint8Array {
  const inside = random.chance(60) ? mutateValues(content, random) : null;
  if (inside !== null) return inside;
  if (random.chance(10)) return new Uint8Array(random.below(300)).fill(random.below(256));
  return mutateBytes(content, random);
}

function randomLeaf(random: Random): Value {
  switch (random.below(6)) {
    case 0:
      return { type: "uint", value: pick(random, HOSTILE_NUMBERS) };
    case 1:
      return { type: "leaf", bytes: Uint8Array.of(pick(random, [0xc0, 0xc1, 0xc2, 0xc3, 0xe0, 0xff])) };
    case 2:
      return { type: "text", content: new Uint8Array(random.below(80)).fill(random.between(0x20, 0xff)) };
    case 3:
      return { type: "binary", content: new Uint8Array(random.below(80)) };
    case 4:
      return {
        type: "array",
        items: Array.from({ length: random.below(20) }, () => ({ type: "uint", value: 1 }) as const),
      };
    default:
      // Extensions, floats, maps: whole values of types that are not ours.
      return {
        type: "leaf",
        bytes: pick(random, [
          Uint8Array.of(0xd4, 1, 2),
          Uint8Array.of(0xca, 0, 0, 0, 0),
          Uint8Array.of(0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0),
          Uint8Array.of(0x81, 1, 1),
          Uint8Array.of(0xd0, 0xff),
          Uint8Array.of(0xc7, 1, 0, 0),
          Uint8Array.of(0xd3, 0, 0, 0, 0, 0, 0, 0, 1),
        ]),
      };
  }
}

/** In the shortest form, or now and then in a longer one that readers accept too. */
function write(value: Value, out: number[], random: Random): void {
  const longer = random.chance(10) ? random.between(1, 3) : 0;
  switch (value.type) {
    case "leaf":
      for (const byte of value.bytes) out.push(byte);
      return;
    case "uint":
      return writeHead(out, value.value, [null, 0xcc, 0xcd, 0xce, 0xcf], 0x80, 0x00, longer);
    case "text":
      writeHead(out, value.content.length, [null, 0xd9, 0xda, 0xdb], 32, 0xa0, longer);
      for (const byte of value.content) out.push(byte);
      return;
    case "binary":
      writeHead(out, value.content.length, [null, 0xc4, 0xc5, 0xc6], 0, 0, longer);
      for (const byte of value.content) out.push(byte);
      return;
    case "array":
      writeHead(out, value.items.length, [null, null, 0xdc, 0xdd], 16, 0x90, longer);
      for (const item of value.items) write(item, out, random);
  }
}

/** `tags`: for numbers of 0 (fixed), 1, 2, 4 and 8 bytes; `longer`: so many forms longer than needed. */
function writeHead(
  out: number[],
  value: number,
  tags: readonly (number | null)[],
  fixedBelow: number,
  fixedTag: number,
  longer: number,
): void {
  const needed = value < fixedBelow ? 0 : value < 2 ** 8 ? 1 : value < 2 ** 16 ? 2 : value < TWO_32 ? 3 : 4;
  let form = Math.min(tags.length - 1, needed + longer);
  while (form < tags.length && tags[form] === null && form > 0) form++;
  const tag = tags[form];
  if (form === 0 || tag === null || tag === undefined) {
    out.push(fixedTag | (value & (fixedBelow - 1)));
    return;
  }
  out.push(tag);
  const width = [0, 1, 2, 4, 8][form]!;
  for (let shift = width - 1; shift >= 0; shift--) out.push(Math.floor(value / 2 ** (8 * shift)) % 256);
}
