// Damages the disk of a node that is down, and judges whether its next start notices. Bits flip, a block turns to zeros, or all that was
// written last, a file ends too early or is gone. The only damage left out is the one that nothing can notice: in last frames that
// neither meta nor a later frame proves.
import { STORAGE } from "../../src/config.ts";
import { crc32 } from "../../src/lib/crc32.ts";
import type { Random } from "../../src/lib/random.ts";
import type { NodeId } from "../../src/raft/types.ts";
import { META_PATH, META_SLOT_BYTES, readMeta } from "../../src/storage/meta.ts";
import { recoverLog, type RecoveredLog } from "../../src/storage/wal/recovery.ts";
import { LOG_DIRECTORY, parseSegmentName } from "../../src/storage/wal/segment.ts";
import type { Storage } from "../../src/storage/types.ts";
import type { SimDisk } from "../kit/simulated-disk.ts";
import { openCopy } from "./durable.ts";
import { zeroToEnd } from "../kit/disk-damage.ts";

/**
 * harmless: the node starts with all it knew. refused: it names the damage instead. fresh: it held neither entry nor snapshot, so it
 * has acknowledged nothing, and it starts as somebody new, like one whose disk was wiped: under another incarnation, in no cluster,
 * without the term and the vote of the one that is gone. unnoticed: none of these, which breaks a promise.
 */
export type Verdict = "harmless" | "refused" | "fresh" | "unnoticed";

export interface Damage {
  readonly what: string;
  readonly verdict: Verdict;
}

export interface NodeDisk {
  readonly id: NodeId;
  readonly disk: SimDisk;
  readonly segmentBytes: number;
}

const BLOCK_BYTES = STORAGE.blockBytes;
const ATTEMPTS = 5;
const TAIL_PERCENT = 30;
/** Meta names most frames as durable, so hardly any other blow would meet one of those that only a later frame proves. */
const UNPROVEN_PERCENT = 15;

/** Damages one spot. null: nothing was done, there is no spot that a start could judge. */
export function damageSomewhere(node: NodeDisk, random: Random): Damage | null {
  const { disk } = node;
  const paths = disk.files();
  if (knownBy(node, disk.cached).startsWith(REFUSED) || paths.length === 0) return null;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const drawn = random.below(100);
    const found =
      drawn < TAIL_PERCENT
        ? drawTailDamage(disk, random)
        : drawn < TAIL_PERCENT + UNPROVEN_PERCENT
          ? drawDamageBehindDurableFrame(disk, random)
          : drawDamageAnywhere(disk, paths, random);
    if (found === null) continue;
    return { what: `${found.path}: ${found.what}`, verdict: applyAndJudge(node, found.path, found.apply) };
  }
  return null;
}

/** `apply` damages this one file of a directory that would open. What does the next start make of it? */
export function applyAndJudge(node: NodeDisk, path: string, apply: (disk: SimDisk) => void): Verdict {
  const { disk } = node;
  const before = knownBy(node, disk.cached);
  const allowed = path === META_PATH ? [before, ...knownByOneSlot(node)] : [before];
  apply(disk);
  return verdictOn(knownBy(node, disk.cached), allowed, node);
}

function verdictOn(after: string, allowed: readonly string[], node: NodeDisk): Verdict {
  if (after.startsWith(REFUSED)) return "refused";
  if (allowed.includes(after)) return "harmless";
  // A founder has its first entry before it serves; and a vote is that of an incarnation, which never comes back.
  const isBare = allowed.some((known) => known.includes(EMPTY_LOG));
  return isBare && after === knownBy(node, () => null) ? "fresh" : "unnoticed";
}

/** Log, snapshot and meta in equal shares, whatever the number of their files. */
function drawFile(paths: readonly string[], random: Random): string {
  const log = paths.filter((path) => path.startsWith(LOG_DIRECTORY));
  const meta: readonly string[] = paths.filter((path) => path === META_PATH);
  const snapshots = paths.filter((path) => !log.includes(path) && !meta.includes(path));
  const groups = [log, log, meta, snapshots].filter((group) => group.length > 0);
  const group = groups[random.below(groups.length)]!;
  return group[random.below(group.length)]!;
}

interface DrawnDamage {
  readonly path: string;
  readonly what: string;
  readonly apply: (disk: SimDisk) => void;
}

/** null: nobody could notice it. */
function drawDamageAnywhere(disk: SimDisk, paths: readonly string[], random: Random): DrawnDamage | null {
  const path = drawFile(paths, random);
  const { at, what, apply } = drawFileDamage(path, disk.cached(path)?.length ?? 0, random);
  return at !== null && isBehindDurableFrame(disk, path, at) ? null : { path, what, apply };
}

/**
 * The end of the log turns to zeros, from a frame on that meta names as durable, with all that is behind it: as if the last writes had never
 * been done. null: there is no such frame.
 */
function drawTailDamage(disk: SimDisk, random: Random): DrawnDamage | null {
  const { log, durableFrame } = logOn(disk);
  const durable = contentFrames(log).filter(({ number }) => number <= durableFrame);
  const path = durable.at(-1)?.path;
  const from = durable.filter((frame) => frame.path === path);
  if (path === undefined) return null;
  const { offset } = from[random.below(from.length)]!;
  const apply = (damaged: SimDisk): void => zeroToEnd(damaged, path, offset);
  return { path, what: `zeros from ${offset} to the end`, apply };
}

/** A frame behind the one that meta names as durable, which a later frame proves all the same. null: there is none. */
function drawDamageBehindDurableFrame(disk: SimDisk, random: Random): DrawnDamage | null {
  const { log, durableFrame } = logOn(disk);
  const frames = contentFrames(log).filter(({ number }) => number > durableFrame);
  const frame = frames[random.below(Math.max(1, frames.length))];
  if (frame === undefined) return null;
  const { path, offset } = frame;
  return { path, ...drawBlockDamage(path, offset, BLOCK_BYTES, random.chance(20), random) };
}

interface ContentFrame {
  readonly path: string;
  readonly number: number;
  readonly offset: number;
}

/** Without the one that would be copied. */
function contentFrames({ frames }: RecoveredLog): readonly ContentFrame[] {
  return frames.flatMap(({ segment, frame: { content, number, offset } }) =>
    content.kind === "opening" || content.kind === "closing" ? [] : [{ path: segment.path, number, offset }],
  );
}

interface DamagedFile {
  readonly what: string;
  /** The block that is hit; null: the file as a whole. */
  readonly at: number | null;
  readonly apply: (disk: SimDisk) => void;
}

function drawFileDamage(path: string, size: number, random: Random): DamagedFile {
  const kind = size === 0 ? 9 : random.below(10);
  if (kind === 9) return { what: "deleted", at: null, apply: (disk) => disk.delete(path) };
  if (kind === 8) {
    const left = random.below(size);
    return { what: `cut to ${left} bytes`, at: null, apply: (disk) => disk.truncate(path, left) };
  }
  // Half of the blows fall into the first blocks, where something is for sure.
  const blocks = Math.ceil(size / BLOCK_BYTES);
  const at = BLOCK_BYTES * random.below(random.chance(50) ? Math.min(4, blocks) : blocks);
  return { at, ...drawBlockDamage(path, at, Math.min(BLOCK_BYTES, size - at), kind === 7, random) };
}

/** One block turns to zeros, or some of its bits flip. */
function drawBlockDamage(
  path: string,
  at: number,
  length: number,
  toZeros: boolean,
  random: Random,
): Omit<DamagedFile, "at"> {
  if (toZeros) {
    return { what: `zeros at ${at}`, apply: (disk) => disk.overwrite(path, at, new Uint8Array(length)) };
  }
  // Headers are at the beginning of a block, and most frames are short.
  const reach = random.chance(60) ? Math.min(64, length) : length;
  const flips = Array.from({ length: random.chance(70) ? 1 : random.between(2, 8) }, () => ({
    byte: at + random.below(reach),
    bit: random.below(8),
  }));
  return {
    what: `bits flipped in bytes ${flips.map(({ byte }) => byte).join(" ")}`,
    apply: (disk) => {
      for (const { byte, bit } of flips) disk.flipBit(path, byte, bit);
    },
  };
}

function logOn(disk: SimDisk): { readonly log: RecoveredLog; readonly durableFrame: number } {
  const port = disk.restart();
  const meta = readMeta(port, STORAGE.formatVersion)?.meta ?? null;
  return { log: recoverLog(port, meta, BLOCK_BYTES), durableFrame: meta?.durableFrame ?? 0 };
}

/** Is this block part of a last frame that nothing proves, or behind it? Damage there looks like a torn write. */
function isBehindDurableFrame(disk: SimDisk, path: string, at: number): boolean {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const segment = path.startsWith(LOG_DIRECTORY) ? parseSegmentName(name)?.number : undefined;
  if (segment === undefined) return false;
  const { log, durableFrame } = logOn(disk);
  if (log.frameToCopy === null || numberOfLast(log) <= durableFrame) return false;
  const { previous } = log;
  return segment > previous.segment || (segment === previous.segment && at >= previous.end);
}

/** The next number is two higher than that of the last frame (FORMAT.md, Repairing). */
const numberOfLast = ({ nextNumber }: RecoveredLog): number => nextNumber - 2;

const REFUSED = "refused: ";
/** As `knownBy` writes it. */
const EMPTY_LOG = '"snapshot":null,"log":[]';

/** All that a start would find, in one text. */
function knownBy({ id, disk, segmentBytes }: NodeDisk, bytesOf: (path: string) => Uint8Array | null): string {
  const opened = openCopy(id, segmentBytes, disk, bytesOf);
  if (typeof opened === "string") return `${REFUSED}${opened}`;
  const { identity, hardState, snapshot, entries } = opened.recovered;
  const log = entries.map(({ record }) => crc32(record));
  try {
    return JSON.stringify({ identity, hardState, snapshot, log, parts: partsOf(opened) });
  } catch (error) {
    return `${REFUSED}${String(error)}`;
  }
}

function partsOf({ recovered, manifest, readPart }: Storage): readonly number[] {
  const { snapshot } = recovered;
  if (snapshot === null) return [];
  const { parts = 0 } = manifest(snapshot.index) ?? {};
  return Array.from({ length: parts }, (_, part) => crc32(readPart(snapshot.index, part)));
}

/** A kill between the two slots leaves them different: then the newer one was never acted on, and either will do. */
function knownByOneSlot(node: NodeDisk): readonly string[] {
  return [0, 1].map((slot) =>
    knownBy(node, (path) => {
      const bytes = node.disk.cached(path);
      if (path !== META_PATH || bytes === null) return bytes;
      const other = bytes.slice();
      other.fill(0, slot * META_SLOT_BYTES, (slot + 1) * META_SLOT_BYTES);
      return other;
    }),
  );
}
