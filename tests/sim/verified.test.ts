// Does the judge of what followers verified judge? It compares a follower's log with that of the leader of its term.
import { expect, test } from "bun:test";
import type { Term } from "../../src/raft/types.ts";

import { createVerified } from "./verified.ts";
import { idOf } from "../kit/raft-samples.ts";

/** The verdict on n2, which follows n1 in term 3, when their logs hold these terms. */
function verdict(
  verifiedIndex: number,
  own: readonly Term[],
  leaders: readonly Term[],
  leadsStill = true,
): string | null {
  const failures: string[] = [];
  const verified = createVerified((what) => void failures.push(what));
  const logOf = (terms: readonly Term[]) => ({
    currentTerm: 3,
    leader: idOf("n1"),
    lastIndex: terms.length,
    termAt: (index: number) => (index === 0 ? 0 : terms[index - 1]),
  });
  const leader = { ...logOf(leaders), self: idOf("n1"), role: "leader" as "leader" | "follower", verifiedIndex: 0 };
  verified.observe(leader);
  if (!leadsStill) leader.role = "follower";
  verified.observe({ ...logOf(own), self: idOf("n2"), role: "follower", verifiedIndex });
  return failures[0] ?? null;
}

test("what the leader holds as well may be verified", () => {
  expect(verdict(0, [1, 2, 2], [1, 3])).toBeNull();
  expect(verdict(1, [1, 2, 2], [1, 3])).toBeNull();
});

test("what it does not hold may not", () => {
  expect(verdict(2, [1, 2, 2], [1, 3])).toMatch(
    /^n2@.* takes index 2 for verified in term 3, and holds term 2 there, not 3$/,
  );
  expect(verdict(3, [1, 2, 2], [1, 3])).toMatch(
    /^n2@.* takes index 3 for verified in term 3, whose leader has only 2$/,
  );
});

test("a leader that leads no more may have dropped what it sent", () => {
  expect(verdict(3, [1, 3, 3], [1], false)).toBeNull();
});
