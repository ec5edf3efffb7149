/**
 * Sample messages of the protocol, from each layout: one small, one with every field as large as it may be, and random ones. Their bytes
 * are written by hand from the layout's description, so our encoder is held to them.
 */
import { WIRE } from "../../src/config.ts";
import { crc32 } from "../../src/lib/crc32.ts";
import { ERRORS, type ErrorCode } from "../../src/lib/errors.ts";
import type { Shape } from "../../src/lib/layout.ts";
import type { Random } from "../../src/lib/random.ts";
import { encodeConfiguration } from "../../src/raft/configuration.ts";
import { encodeEntry, type Entry, KIND_NAMES } from "../../src/raft/entry.ts";
import type { ClusterId, Incarnation, Member, NodeId } from "../../src/raft/types.ts";
import { decodeMessage, decodePeerMessage } from "../../src/wire/codec.ts";
import { FRAMES } from "../../src/wire/layouts.ts";
import { PEER_MESSAGES, type PeerMessage } from "../../src/wire/peer-layouts.ts";
import type { Hello, HelloAnswer, PeerFrame, WireMessage } from "../../src/wire/protocol.ts";
import { bytesOf } from "./handmade-messagepack.ts";

export const MAX_U48 = 0xffff_ffff_ffff;

export function member(number: number): Member {
  const incarnation = number.toString(16).padStart(16, "0") as Incarnation;
  return { id: `n${number}` as NodeId, incarnation, address: `127.0.0.1:${2999 + number}` };
}

export const CLUSTER = "7f3a00112233ccdd" as ClusterId;
export const LONG_NODE = `n${"9".repeat(31)}` as NodeId;
const LONG_ADDRESS = `${`${"a".repeat(63)}.`.repeat(3)}${"a".repeat(61)}:65535`;

export function entry(index: number, term: number, body = new Uint8Array(3).fill(0x5a)): Entry {
  const stamp = { index, term, time: Math.min(index * 10, MAX_U48), wall: 1_700_000_000_000 };
  return encodeEntry(stamp, { kind: "command", session: 4, number: index, acknowledgedThrough: 0, body });
}

/** An OPEN without its frame, client id and nonce. */
export const OPEN = { type: "open", group: 0, generated: false, resume: false } as const;

export const asPeerFrame = (message: PeerMessage, sequence = 1): PeerFrame => ({ type: "peer", sequence, message });

/** The first message of a client. */
export const HELLO: Hello = {
  type: "hello",
  version: WIRE.protocolVersion,
  features: [],
  role: "client",
  clusterId: null,
  node: null,
};

/** What a node of this build answers to a hello. */
export const HELLO_ANSWER: HelloAnswer = {
  type: "helloAnswer",
  version: WIRE.protocolVersion,
  features: ["later"],
  clusterId: CLUSTER,
  node: member(2),
  leader: member(1).address,
  term: 2,
  members: [member(1).address, member(2).address],
  maxFrameBytes: WIRE.maxClientFrameBytes,
  maxPayloadBytes: WIRE.maxPayloadBytes,
};

/** What stands in a field, where its layout leaves a choice. */
interface Choice {
  number(min: number, max: number): number;
  boolean(): boolean;
  isThere(): boolean;
  name(names: readonly string[]): string;
  length(min: number, max: number): number;
  text(what: string | null, maxBytes: number): string;
  bytes(min: number, max: number): Uint8Array;
  entries(prevLogIndex: number, prevLogTerm: number, term: number): readonly Entry[];
}

const TEXTS: Readonly<Record<string, readonly string[]>> = {
  "node id": ["n4", "a", "n-1", LONG_NODE],
  incarnation: ["0000000000000004", "f".repeat(16)],
  "cluster id": [CLUSTER, "0".repeat(16)],
  address: ["127.0.0.1:3003", "[::1]:3001", "localhost:1", LONG_ADDRESS],
  "error code": Object.keys(ERRORS),
};
const EXAMPLE_CODE = Object.keys(ERRORS).indexOf("NOT_LEADER");

function textsOf(what: string): readonly string[] {
  const texts = TEXTS[what];
  if (texts === undefined) throw new Error(`no text here is a ${what}`);
  return texts;
}

/** Small values, no two numbers alike as far as they may differ. `isThere`: also what may be left out. */
const small = (isThere: boolean, first = 7): Choice => ({
  number: (min, max) => Math.min(max, Math.max(min, first++)),
  boolean: () => true,
  isThere: () => isThere,
  name: (names) => names[0]!,
  length: (min, max) => Math.min(max, Math.max(min, 2)),
  text: (what) => (what === null ? "some text" : textsOf(what)[what === "error code" ? EXAMPLE_CODE : 0]!),
  bytes: (min, max) => new Uint8Array(Math.min(max, Math.max(min, 5))).fill(0x5a),
  entries: (index, _, term) => [entry(index + 1, term), entry(index + 2, term)],
});

/** The largest of everything. `budget`: bytes of all binaries that need not have so many. */
function largest(budget: number): Choice {
  let left = budget;
  return {
    number: (_, max) => max,
    boolean: () => false,
    isThere: () => true,
    name: (names) => names.at(-1)!,
    length: (_, max) => max,
    text: (what, maxBytes) => (what === null ? "ü".repeat(maxBytes / 2) : textsOf(what).at(-1)!),
    bytes: (min, max) => {
      const length = Math.max(min, Math.min(max, left));
      left -= length;
      return new Uint8Array(length).fill(0xa5);
    },
    entries: () => [],
  };
}

const chosen = (random: Random): Choice => ({
  number: (min, max) => {
    const drawn = random.chance(50) ? random.below(12) : 2 ** random.below(54) - random.below(2);
    return Math.min(max, Math.max(min, drawn));
  },
  boolean: () => random.chance(50),
  isThere: () => random.chance(50),
  name: (names) => names[random.below(names.length)]!,
  length: (min, max) => Math.max(min, random.below(Math.min(max + 1, 5))),
  text: (what, maxBytes) => {
    if (what === null) return ["", "c1", "naïve", "日本語", "x".repeat(Math.min(64, maxBytes))][random.below(5)]!;
    const texts = textsOf(what);
    return texts[random.below(texts.length)]!;
  },
  bytes: (min, max) => {
    const length = Math.max(min, random.below(Math.min(max + 1, random.chance(95) ? 400 : 3_000)));
    return Uint8Array.from({ length }, () => random.below(256));
  },
  entries: (prevLogIndex, prevLogTerm, term) => {
    let last = Math.max(1, prevLogTerm);
    return Array.from({ length: prevLogIndex > MAX_U48 - 9 || term === 0 ? 0 : random.below(6) }, (_, at): Entry => {
      last = Math.min(term, last + random.below(2));
      const kind = KIND_NAMES[random.below(KIND_NAMES.length)]!;
      const draft = { kind, session: 1, number: 2, acknowledgedThrough: 0, body: new Uint8Array(random.below(300)) };
      return encodeEntry({ index: prevLogIndex + 1 + at, term: last, time: 5, wall: 6 }, draft);
    });
  },
});

function valueOfShape(shape: Shape, choice: Choice): unknown {
  switch (shape.kind) {
    case "boolean":
      return choice.boolean();
    case "uint":
      return choice.number(shape.min, shape.max);
    case "text":
      return choice.text(shape.what, shape.maxBytes);
    case "choice":
      return choice.name(shape.names);
    case "binary":
      if (shape.what === "configuration") return CONFIGURATION;
      return shape.what === null ? choice.bytes(shape.minBytes, shape.maxBytes) : new Uint8Array(0);
    case "optional":
      return choice.isThere() ? valueOfShape(shape.of, choice) : null;
    case "list":
      return Array.from({ length: choice.length(shape.min, shape.max) }, () => valueOfShape(shape.of, choice));
    case "tuple":
      return consistent(
        shape.name,
        shape.fields.map(({ shape: inner }) => valueOfShape(inner, choice)),
        choice,
      );
    case "reserved":
      return shape.value;
  }
}

const CONFIGURATION = encodeConfiguration({
  voters: [member(1), member(2)],
  outgoing: [],
  learners: [{ ...member(3), replaces: null }],
  removed: [{ id: member(4).id, readmitted: true }],
});

/** Fields that are right alone, made right together. */
function consistent(name: string, values: readonly unknown[], choice: Choice): readonly unknown[] {
  const [first, second, third, fourth, fifth, sixth, ...rest] = values;
  const number = (value: unknown): number => (typeof value === "number" ? value : 0);
  switch (name) {
    case "a failure":
      // Longer messages are shortened when they are sent.
      return values.with(1, ERRORS[first as ErrorCode].class).with(3, String(fourth).slice(0, 1_024));
    case "a snapshot's meta":
      return values.with(3, Math.min(number(first), number(fourth)));
    case "hello":
      return values.with(5, fourth === "peer" ? ["n4", "0000000000000004", "127.0.0.1:3003"] : null);
    case "peekAnswer":
      return third === null ? values.with(3, 0).with(4, new Uint8Array(0)) : values;
    case "fragment":
      return values.with(2, crc32(fifth as Uint8Array));
    case "InstallSnapshot": {
      const parts = Math.max(1, number(rest[0] ?? sixth));
      const [part] = [number(fifth)];
      return values.with(4, Math.min(part, parts - 1)).with(5, parts);
    }
    case "AppendEntries": {
      const [term, index, prevTerm] = [number(second), number(third), Math.min(number(fourth), number(second))];
      const records = choice.entries(index, prevTerm, term).map(({ record }) => record);
      return values.with(3, prevTerm).with(5, new Uint8Array(Buffer.concat(records)));
    }
    default:
      return values;
  }
}

type AnyLayout = (typeof FRAMES)[keyof typeof FRAMES] | (typeof PEER_MESSAGES)[keyof typeof PEER_MESSAGES];

function bytesFor({ type, number, shapes }: AnyLayout, choice: Choice): Uint8Array {
  const values = [number, ...shapes.map(({ shape }) => valueOfShape(shape, choice))];
  return bytesOf(consistent(type, values, choice));
}

/** A message and the bytes of its array, which no encoder of ours wrote. */
export interface Handmade<Message> {
  readonly message: Message;
  readonly bytes: Uint8Array;
}

function frameFor(type: keyof typeof FRAMES, choice: Choice): Handmade<WireMessage> {
  const bytes = bytesFor(FRAMES[type], choice);
  return { message: decodeMessage(bytes), bytes };
}

function peerMessageFor(type: keyof typeof PEER_MESSAGES, choice: Choice): Handmade<PeerMessage> {
  const bytes = bytesFor(PEER_MESSAGES[type], choice);
  return { message: decodePeerMessage(bytes), bytes };
}

const keysOf = <T extends object>(value: T): readonly (keyof T)[] => Object.keys(value) as (keyof T)[];
const FRAME_TYPES = keysOf(FRAMES).filter((type) => type !== "peer");
const PEER_TYPES = keysOf(PEER_MESSAGES);

export const HANDMADE_FRAMES = FRAME_TYPES.flatMap((type) => [true, false].map((is) => frameFor(type, small(is))));
export const HANDMADE_PEER_MESSAGES = PEER_TYPES.flatMap((type) =>
  [true, false].map((is) => peerMessageFor(type, small(is))),
);

/** One of each, with all that may be left out. */
export const PEER_EXAMPLES: readonly PeerMessage[] = PEER_TYPES.map(
  (type) => peerMessageFor(type, small(true)).message,
);
export const EXAMPLES = FRAME_TYPES.map((type) => frameFor(type, small(true)).message);
/** And without, where there is any. */
export const SECOND_FORMS: readonly WireMessage[] = [
  ...FRAME_TYPES.filter((type) => mayLeaveOut(FRAMES[type])).map((type) => frameFor(type, small(false)).message),
  ...PEER_TYPES.filter((type) => mayLeaveOut(PEER_MESSAGES[type])).map((type) =>
    asPeerFrame(peerMessageFor(type, small(false)).message),
  ),
];

function mayLeaveOut({ shapes }: AnyLayout): boolean {
  const isOptional = (shape: Shape): boolean =>
    shape.kind === "optional" || (shape.kind === "tuple" && shape.fields.some((field) => isOptional(field.shape)));
  return shapes.some(({ shape }) => isOptional(shape));
}

/** More than the heads of a frame of a member, around a message. */
const FRAME_BYTES = 64;

/** Every field as large, long or full as it may be. */
export function atLimits(): readonly WireMessage[] {
  const frames = FRAME_TYPES.map((type) => {
    const limit = type === "fragment" ? WIRE.maxPeerFrameBytes : WIRE.maxClientFrameBytes;
    const empty = bytesFor(FRAMES[type], largest(0)).length;
    return frameFor(type, largest(limit - empty - FRAME_BYTES)).message;
  });
  const peers = PEER_TYPES.map((type) => {
    const empty = bytesFor(PEER_MESSAGES[type], largest(0)).length;
    return peerMessageFor(type, largest(WIRE.maxPeerFrameBytes - empty - 2 * FRAME_BYTES)).message;
  });
  const head = { term: MAX_U48, prevLogIndex: MAX_U48 - 2, prevLogTerm: MAX_U48, leaderCommit: MAX_U48 };
  const records = [entry(MAX_U48 - 1, MAX_U48, new Uint8Array(1 << 20)), entry(MAX_U48, MAX_U48)];
  return [
    ...frames,
    ...[...peers, { type: "AppendEntries", ...head, entries: records } as const].map((message) =>
      asPeerFrame(message, Number.MAX_SAFE_INTEGER),
    ),
  ];
}

export function randomMessage(random: Random): WireMessage {
  if (random.chance(50)) return frameFor(FRAME_TYPES[random.below(FRAME_TYPES.length)]!, chosen(random)).message;
  const type = PEER_TYPES[random.below(PEER_TYPES.length)]!;
  return asPeerFrame(peerMessageFor(type, chosen(random)).message, random.below(1_000_000));
}
