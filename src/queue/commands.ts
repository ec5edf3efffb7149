// The bodies of entries, byte for byte: of command, open, touch, tick and version entries, encoded and decoded.
// Accepted bytes are part of the log permanently: what one version of raftq accepts and another refuses would split a cluster.
import { binary, binaryView, boolean, choice, decode, encode, list, text, tuple, uint, zero } from "../lib/layout.ts";
import { arrayStart, leadingIntegers, Malformed } from "../lib/messagepack.ts";
import { type Kinds, kind, union } from "../lib/union.ts";
import { limitsLayout, type QueueLimits } from "./limits.ts";
import { type Command, MAX_ENCODING, type NewJob } from "./types.ts";

/** Client ids and queue names, in bytes of UTF-8. */
export const MAX_NAME_BYTES = 64;
/** Of the nonce that stands for a client's process. */
export const SESSION_NONCE_BYTES = 16;

/** What a client sends to open a session; the nonce stands for its process. */
export interface Open {
  readonly clientId: string;
  readonly nonce: Uint8Array;
  /** Only this process knows the id. */
  readonly generated: boolean;
  /** Its session is not open any more: go on with it, or refuse; begin nothing. */
  readonly resume: boolean;
}

type CommandOf<Type extends Command["type"]> = Extract<Command, { readonly type: Type }>;

const queueName = text(MAX_NAME_BYTES);
/** Its size is judged when it is applied, so that the refusal is the number's answer. */
const payload = binaryView(Number.MAX_SAFE_INTEGER);
const newJob = tuple<NewJob>(
  "a new job",
  { encoding: uint(MAX_ENCODING), payload },
  { reserved: { headers: null, delay: 0, priority: 0, ttl: 0, group: null, key: null } },
);

export const COMMANDS: Kinds<Command> = {
  /** How many jobs there may be is a limit of the state. */
  enqueue: kind<CommandOf<"enqueue">>("enqueue", 1, {
    queue: queueName,
    jobs: list(newJob, Number.MAX_SAFE_INTEGER, 1),
  }),
  dequeue: kind<CommandOf<"dequeue">>("dequeue", 2, {
    queues: list(queueName, 1, 1),
    max: uint(Number.MAX_SAFE_INTEGER, 1),
    maxBytes: uint(),
    leaseMs: zero,
    waitMs: zero,
  }),
  resolve: kind<CommandOf<"resolve">>("resolve", 3, {}),
};

const commands = union<Command>("command", COMMANDS);

export function encodeCommand(command: Command): Uint8Array {
  return commands.encode(command);
}

/** The command in `bytes`; payloads may be views of them. Throws Malformed on anything that this version does not execute. */
export function decodeCommand(bytes: Uint8Array, limits: Pick<QueueLimits, "maxJobsPerCommand">): Command {
  // Before anything is made of them: so many values cost memory.
  const command = commands.decode(bytes, COMMANDS.dequeue.maxValues + limits.maxJobsPerCommand * newJob.maxValues);
  const jobs = command.type === "enqueue" ? command.jobs.length : 0;
  if (jobs > limits.maxJobsPerCommand)
    throw new Malformed(`an enqueue has ${jobs} jobs where 1 to ${limits.maxJobsPerCommand} are expected`);
  return command;
}

export const RESOLVE = encodeCommand({ type: "resolve" });

/** Is this a resolve, in whatever valid form it is written? */
export function isResolve(command: Uint8Array): boolean {
  try {
    return arrayStart(command).first === COMMANDS.resolve.number && commands.decode(command).type === "resolve";
  } catch (error) {
    if (error instanceof Malformed) return false;
    throw error;
  }
}

/** May it be executed while disks are full? What takes jobs out, or resolves a number: not what adds any, nor what cannot be read. */
export function needsNoDiskSpace(command: Uint8Array): boolean {
  try {
    return arrayStart(command).first !== COMMANDS.enqueue.number && commands.decode(command).type !== "enqueue";
  } catch (error) {
    if (error instanceof Malformed) return false;
    throw error;
  }
}

// Control characters, line and paragraph separators, and marks that reverse or hide text. Written out, not taken from the
// engine's Unicode tables: nodes with another engine must decide in the same way.
// oxlint-disable-next-line no-control-regex -- these are what a client id must not hold
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;

/** 1 to 64 bytes of text that can be shown as it is. */
export function isClientId(text: string): boolean {
  if (text.length === 0 || text.length > MAX_NAME_BYTES || !text.isWellFormed()) return false;
  return !UNPRINTABLE.test(text) && new TextEncoder().encode(text).length <= MAX_NAME_BYTES;
}

const openLayout = tuple<Open>(
  "an open",
  {
    clientId: text(MAX_NAME_BYTES),
    nonce: binary(SESSION_NONCE_BYTES, SESSION_NONCE_BYTES),
    generated: boolean,
    resume: boolean,
  },
  {
    check: ({ clientId }) =>
      isClientId(clientId) ? null : `a client id is 1 to ${MAX_NAME_BYTES} bytes of printable text`,
  },
);

export function encodeOpen(open: Open): Uint8Array {
  return encode(openLayout, open);
}

/** Throws Malformed. */
export function decodeOpen(bytes: Uint8Array): Open {
  return decode(openLayout, bytes);
}

/** The sessions whose clients are connected but idle. */
const touchLayout = list(uint(), Number.MAX_SAFE_INTEGER);

export function encodeTouch(sessions: readonly number[]): Uint8Array {
  return encode(touchLayout, sessions);
}

/** Throws Malformed. */
export function decodeTouch(bytes: Uint8Array): readonly number[] {
  return decode(touchLayout, bytes);
}

/** Why a leader makes an entry that changes nothing by itself: a snapshot needs a checkpoint, or something is due. */
export const TICK_PURPOSES = ["checkpoint", "due times"] as const;
export type TickPurpose = (typeof TICK_PURPOSES)[number];

const tickLayout = tuple<{ readonly purpose: TickPurpose }>("a tick", { purpose: choice("tick", TICK_PURPOSES) });

export function encodeTick(purpose: TickPurpose): Uint8Array {
  return encode(tickLayout, { purpose });
}

/** Throws Malformed. */
export function decodeTick(bytes: Uint8Array): TickPurpose {
  return decode(tickLayout, bytes).purpose;
}

/** The version of the state machine from this entry on, and its limits. */
export interface Version {
  readonly version: number;
  readonly limits: QueueLimits;
}

const versionLayout = tuple<Version>("a version", { version: uint(Number.MAX_SAFE_INTEGER, 1), limits: limitsLayout });

export function encodeVersion(version: Version): Uint8Array {
  return encode(versionLayout, version);
}

/** Throws Malformed. */
export function decodeVersion(bytes: Uint8Array): Version {
  return decode(versionLayout, bytes);
}

/** The version alone, which comes first in every layout; null: unreadable. */
export function versionIn(bytes: Uint8Array): number | null {
  return leadingIntegers(bytes, 1)[0] ?? null;
}
