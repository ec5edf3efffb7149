// Can the parts of a snapshot make `restore` do anything but refuse, or give a state that is sound and goes on?
import { crc32 } from "../../src/lib/crc32.ts";
import { Malformed } from "../../src/lib/messagepack.ts";
import { type Random, seededRandom } from "../../src/lib/random.ts";
import { apply, newerEntry, type Queue } from "../../src/queue/queue.ts";
import { restore } from "../../src/queue/snapshot.ts";
import { queueWith } from "../kit/queue-log.ts";
import { bytesOf, valueOf } from "../kit/handmade-messagepack.ts";
import { mutate } from "./mutate.ts";
import { drawEntry, expectSound, LIMITS, MAX_U48, smallPartsOf, thawed } from "./queue-targets.ts";
import { about, type FuzzTarget, gist } from "./target.ts";
import { joined } from "../kit/mutate-bytes.ts";
import { pick } from "../kit/pick.ts";

/** Parts that state where they end: two bytes of length each. */
const LENGTH_BYTES = 2;

export const state: FuzzTarget = {
  name: "state",
  maxMs: 200,
  generate: (random) => {
    const queue = queueWith(LIMITS);
    let time = 0;
    for (let index = 1; index <= random.between(0, 60); index++) {
      time += random.below(20);
      const entry = drawEntry(queue, index, time, random);
      if (newerEntry(entry) === null) apply(queue, entry);
      if (queue.appliedIndex < index) break;
    }
    return packed(smallPartsOf(queue));
  },
  mutate: (input, random) => {
    const parts = unpacked(input);
    const meant = random.chance(50) ? withOtherMeaning(parts, random) : null;
    if (meant !== null) return packed(withRightDigest(meant));
    const at = random.below(parts.length + 1);
    if (random.chance(5)) parts.splice(at, 1);
    else if (at < parts.length) parts[at] = mutate(parts[at]!, random);
    return packed(random.chance(80) ? withRightDigest(parts) : parts);
  },
  run: (input) => {
    let queue: Queue;
    try {
      queue = restore(unpacked(input));
    } catch (error) {
      if (error instanceof Malformed) return gist(error.message);
      throw error;
    }
    const restored = `restored ${about(queue.ready)} ${queue.sessionCount}`;
    return [restored, ...goOn(thawed(queue), seededRandom(crc32(input)))].join("\n");
  },
};

/** A few more entries, from clients that know its sessions. What they do to it is sound, and can be written again. */
function goOn(queue: Queue, random: Random): Set<string> {
  const words = new Set<string>();
  let time = queue.time;
  // A counter at its end is no state that a log leads to.
  const isAtEnd = (): boolean => queue.appliedIndex >= MAX_U48 || queue.sessions.usedSeq > MAX_U48 - 100;
  for (let left = 12; left > 0 && !isAtEnd(); left--) {
    time = Math.min(MAX_U48, time + random.below(200));
    const entry = drawEntry(queue, queue.appliedIndex + 1, time, random);
    if (newerEntry(entry) !== null) continue;
    // A stored answer is whatever the snapshot holds.
    const { reply, duplicate } = apply(queue, entry);
    words.add(`then ${entry.kind} ${reply === null} ${duplicate}`);
    expectSound(queue);
  }
  thawed(queue);
  return words;
}

/** As an attacker who knows the format would: the header states the digest of what the parts now hold. */
function withRightDigest(parts: readonly Uint8Array[]): readonly Uint8Array[] {
  try {
    restore(parts);
    return parts;
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    const found = /digest (\d+) where its header claims (\d+)/.exec(error.message);
    if (found === null) return parts;
    const [right, claimed] = [found[1], found[2]].map((digits) => bytesOf(Number(digits)));
    const header = Buffer.from(parts[0]!);
    const at = header.indexOf(claimed!);
    return [joined(header.subarray(0, at), right!, header.subarray(at + claimed!.length)), ...parts.slice(1)];
  }
}

function packed(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(
    Buffer.concat(parts.flatMap((part) => [Uint8Array.of(part.length >> 8, part.length & 0xff), part])),
  );
}

function unpacked(input: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at + LENGTH_BYTES <= input.length;) {
    const length = (input[at] ?? 0) * 256 + (input[at + 1] ?? 0);
    at += LENGTH_BYTES;
    parts.push(input.slice(at, at + length));
    at += length;
  }
  return parts;
}

const HEADER = 1;
const SESSION = 2;
/** Where the header states how many sessions there are. */
const SESSION_COUNT = 5;

/** The records of all parts, well formed, one or two of them changed in their content; null: these are no records. */
function withOtherMeaning(parts: readonly Uint8Array[], random: Random): readonly Uint8Array[] | null {
  let records: unknown[][];
  try {
    records = parts.flatMap((part) => (valueOf(part) as [number, unknown[][]])[1]);
    if (!records.every(Array.isArray)) return null;
  } catch {
    return null;
  }
  const header = records[0];
  const sessions = records.filter(([kind]) => kind === SESSION);
  for (let changes = random.between(1, 2); changes > 0; changes--) {
    const record = random.chance(40) ? header : random.chance(60) ? pick(random, sessions) : pick(random, records);
    if (record === undefined) return null;
    if (record !== header && random.chance(10)) {
      records.splice(random.between(1, records.length), 0, structuredClone(record));
      if (record[0] === SESSION && header?.[0] === HEADER) header[SESSION_COUNT] = sessions.length + 1;
    } else changeNumber(record, numbersIn(records), random);
  }
  return records.map((record, at) => partOf(at, record));
}

/** One number, anywhere in the record, becomes a near one, one that stands elsewhere, or one at an edge. */
function changeNumber(record: unknown[], others: readonly number[], random: Random): void {
  const places = placesIn(record).slice(1);
  if (places.length === 0) return;
  const { array, at, value } = pick(random, places);
  const near = Math.max(0, value + random.between(-3, 3));
  array[at] = pick(random, [near, near, pick(random, others), 0, 1, MAX_U48, MAX_U48 + 1, Number.MAX_SAFE_INTEGER]);
}

interface Place {
  readonly array: unknown[];
  readonly at: number;
  readonly value: number;
}

function placesIn(array: unknown[]): readonly Place[] {
  return array.flatMap((value, at): readonly Place[] => {
    if (Array.isArray(value)) return placesIn(value as unknown[]);
    return typeof value === "number" ? [{ array, at, value }] : [];
  });
}

const numbersIn = (records: unknown[][]): readonly number[] => records.flatMap(placesIn).map(({ value }) => value);

const partOf = (number: number, record: unknown): Uint8Array => bytesOf([number, [record]]);
