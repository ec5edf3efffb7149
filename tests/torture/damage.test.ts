// Is the damage that a torture run does to a disk always damage that raftq must notice? The last frame of the log stays whole.
import { expect, test } from "bun:test";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { STORAGE } from "../../src/config.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { goldenDirectory } from "../storage/golden.ts";
import { damage } from "./damage.ts";

const GOLDEN = goldenDirectory(STORAGE.formatVersion);

function contents(folder: string): Map<string, Buffer> {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
    statSync(join(folder, name)).isFile(),
  );
  return new Map(files.map((name) => [name, readFileSync(join(folder, name))]));
}

test("every damage changes the directory, by a few bits or by a piece that is missing", () => {
  const whole = contents(GOLDEN);
  const kinds = new Set<string>();
  for (let seed = 1; seed <= 60; seed++) {
    const folder = mkdtempSync(join(tmpdir(), "raftq-damage-"));
    try {
      cpSync(GOLDEN, join(folder, "data"), { recursive: true });
      const what = damage(join(folder, "data"), seededRandom(seed));
      kinds.add(what.replace(/[0-9a-f-]{8,}|\d+/g, ""));
      const after = what === "the whole directory deleted" ? new Map<string, Buffer>() : contents(join(folder, "data"));
      const changed = [...whole].filter(([name, bytes]) => after.get(name)?.equals(bytes) !== true);
      expect({ seed, what, changed: changed.length > 0 }).toEqual({ seed, what, changed: true });
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  expect(kinds.size).toBeGreaterThan(4);
});
