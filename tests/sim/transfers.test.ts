// Does the judge of transfers judge? A leader may take a part for received once it was on the member's disk, and not before.
import { expect, test } from "bun:test";
import { newProgress } from "../../src/raft/progress.ts";
import { partPath, directoryOf } from "../../src/storage/snapshot/files.ts";

import { createTransfers } from "./transfers.ts";
import { configuration, idOf } from "../kit/raft-samples.ts";

const META = { index: 40, term: 2, configuration: configuration("n1", "n2"), configurationIndex: 1, time: 9 };

/** n1 sends the snapshot to n2: the verdict when it takes `nextPart` parts for received, after n2 had these parts for a while. */
function verdict(nextPart: number, had: readonly number[], matchIndex = 0): string | null {
  const failures: string[] = [];
  const transfers = createTransfers((what) => void failures.push(what));
  const leads = (next: number): void => {
    const progress = newProgress(idOf("n2"), 1, 0);
    progress.matchIndex = matchIndex;
    progress.snapshot = { meta: META, nextPart: next, nextOffset: 0, sent: true };
    transfers.observe(
      "n1",
      { self: idOf("n1"), leadership: {}, progress: new Map([[progress.id, progress]]) },
      () => false,
    );
  };
  const follows = (parts: readonly number[]): void => {
    const files = parts.map((part) => partPath(directoryOf(META), part));
    transfers.observe("n2", { self: idOf("n2"), leadership: null, progress: new Map() }, (path) =>
      files.includes(path),
    );
  };
  leads(0);
  follows(had);
  follows([]);
  leads(nextPart);
  return failures[0] ?? null;
}

test("parts that a member had may be taken for received, also when they are gone by now", () => {
  expect(verdict(0, [])).toBeNull();
  expect(verdict(2, [0, 1])).toBeNull();
});

test("others may not, unless the member has all that the snapshot stands for", () => {
  expect(verdict(1, [])).toMatch(/^n1@.* takes 1 parts of the snapshot at 40 for received by n2@.*, which has had 0$/);
  expect(verdict(3, [0, 1])).not.toBeNull();
  expect(verdict(2, [1])).not.toBeNull();
  expect(verdict(1, [], 40)).toBeNull();
});
