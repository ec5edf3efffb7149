// Which inputs reached something new? One file per target, one input in Base64 a line; short ones first, so that it stays small.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const DIRECTORY = join(import.meta.dir, "corpus");
/** Of one file: ten targets stay below 200 KiB together. */
const MAX_FILE_BYTES = 18 * 1024;
const MAX_INPUT_BYTES = 1_500;

const fileOf = (target: string): string => join(DIRECTORY, `${target}.txt`);

export function readCorpus(target: string): Uint8Array[] {
  const file = fileOf(target);
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => Uint8Array.fromBase64(line));
}

/** Adds what fits; answers how many. */
export function growCorpus(target: string, inputs: readonly Uint8Array[]): number {
  const known = new Set(readCorpus(target).map((input) => input.toBase64()));
  const before = known.size;
  let bytes = [...known].reduce((sum, line) => sum + line.length + 1, 0);
  for (const input of inputs.toSorted((a, b) => a.length - b.length)) {
    const line = input.toBase64();
    if (input.length > MAX_INPUT_BYTES || bytes + line.length + 1 > MAX_FILE_BYTES || known.has(line)) continue;
    known.add(line);
    bytes += line.length + 1;
  }
  if (known.size > before) writeFileSync(fileOf(target), `${[...known].join("\n")}\n`);
  return known.size - before;
}
