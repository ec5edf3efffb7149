// Which damage does a disk do to what it holds? Bits flip, files are cut short or vanish; never in the last frame of the log alone,
// whose loss cannot be distinguished from a write that was cut off by a crash.
import { existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../../src/lib/random.ts";

const BLOCK = 4_096;
const FRAME = Buffer.from("rqF1");
/** Of a frame: a bit in it is never mere padding. */
const HEADER = 64;
const DROP_ALL_PERCENT = 15;

/** Damages the directory of a node that is down. What was done, in words. */
export function damage(data: string, random: Random): string {
  const segments = filesIn(join(data, "g0/log"));
  const kinds = [
    () => flipLog(segments, random),
    () => cutLog(segments, random),
    () => dropSegment(segments, random),
    () => flipSnapshot(data, random),
    () => flipMeta(data, random),
  ];
  const [kind] = random.chance(DROP_ALL_PERCENT) ? [] : kinds.splice(random.below(kinds.length), 1);
  return kind?.() ?? dropAll(data);
}

const filesIn = (folder: string): readonly string[] =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, encoding: "utf8" })
        .map((name) => join(folder, name))
        .filter((path) => statSync(path).isFile())
        .toSorted()
    : [];

function flip(path: string, at: number, random: Random): void {
  const bytes = readFileSync(path);
  bytes[at] = bytes[at]! ^ (1 << random.below(8));
  writeFileSync(path, bytes);
}

/** Where frames begin, and where the last one does. */
function framesOf(path: string): readonly number[] {
  const bytes = readFileSync(path);
  const found: number[] = [];
  for (let at = BLOCK; at < bytes.length; at += BLOCK) {
    if (bytes.subarray(at, at + FRAME.length).equals(FRAME)) found.push(at);
  }
  return found;
}

function flipLog(segments: readonly string[], random: Random): string | null {
  const path = segments[random.below(segments.length || 1)];
  if (path === undefined) return null;
  // The kill may have cut off the very last write, so that the frame before it is the last whole one.
  const frames = framesOf(path).slice(0, -2);
  if (frames.length === 0) return null;
  const at = frames[random.below(frames.length)]! + random.below(HEADER);
  flip(path, at, random);
  return `a bit of ${path.split("/").at(-1)} at ${at}`;
}

function cutLog(segments: readonly string[], random: Random): string | null {
  const path = segments[random.below(segments.length || 1)];
  if (path === undefined) return null;
  const length = random.below(statSync(path).size);
  truncateSync(path, length);
  return `${path.split("/").at(-1)} cut to ${length} bytes`;
}

function dropSegment(segments: readonly string[], random: Random): string | null {
  const path = segments[random.below(segments.length || 1)];
  if (path === undefined) return null;
  rmSync(path);
  return `${path.split("/").at(-1)} deleted`;
}

function flipSnapshot(data: string, random: Random): string | null {
  const files = filesIn(join(data, "g0/snapshot"));
  const path = files[random.below(files.length || 1)];
  if (path === undefined) return null;
  const at = random.below(Math.max(1, statSync(path).size));
  flip(path, at, random);
  return `a bit of ${path.split("/").slice(-2).join("/")} at ${at}`;
}

/** Both slots: one alone is repaired without a word. */
function flipMeta(data: string, random: Random): string | null {
  const path = join(data, "meta");
  if (!existsSync(path)) return null;
  for (const slot of [0, BLOCK]) flip(path, slot + random.below(60), random);
  return "both slots of meta";
}

function dropAll(data: string): string {
  rmSync(data, { recursive: true, force: true });
  return "the whole directory deleted";
}
